"""`CoreAPI` by itself: its requests, its reading of responses, and its retries."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest
import requests
import responses

from gateway.carrierx import (
    AnswerLost,
    BadRequest,
    Conflict,
    CoreAPI,
    CoreError,
    Detail,
    Forbidden,
    NotAuthorized,
    NotFound,
    ServerError,
    TooMany,
)
from gateway.carrierx import errors as kinds
from gateway.carrierx.redaction import Redactor

BASE = "https://api.carrierx.com/core/v2"
MESSAGES = f"{BASE}/sms/messages"
SID = "097b49df-c54e-4eaf-97d0-89cf7d5a655b"
FROM, TO = "15162065575", "15162065574"
MESSAGE = {
    "date_created": "2021-01-18T21:01:13.415Z", "direction": "outbound", "from": FROM, "message": "This is a test",
    "message_sid": SID, "status": "queued", "to": TO, "user_data": None,
}  # fmt: skip
GROUP_SAMPLE = '{"from ": "15208210009", "group_recipients": ["17575000928"], "message_sid": "x", "to ": "14386009161"}'
DATE = "Fri, 20 Nov 2026 09:30:07 GMT"
NOW = 1795167000.0  # seven seconds before


class Naps(list[float]):
    """The pauses, in seconds, that would have been slept."""


@pytest.fixture
def naps() -> Naps:
    return Naps()


@pytest.fixture
def api(naps: Naps) -> CoreAPI:
    return CoreAPI(token="token-of-tests", sleep=naps.append, random=lambda: 0.0, clock=lambda: NOW)


def say(method: str, url: str, *answers: Any) -> None:
    """Each request gets the next answer: a status, a body, a status and a body, or an exception."""
    for answer in answers:
        if isinstance(answer, Exception):
            responses.add(method, url, body=answer)
            continue
        status, body, headers = (answer, "{}", {}) if isinstance(answer, int) else (200, answer, {})
        if isinstance(answer, tuple):
            status, body, *rest = answer
            headers = rest[0] if rest else {}
        responses.add(
            method, url, status=status, body=body if isinstance(body, str) else json.dumps(body), headers=headers
        )


def asked(at: int = -1) -> Any:
    body = responses.calls[at].request.body
    return json.loads(body or b"null")


@responses.activate
def test_a_text_is_sent(api: CoreAPI) -> None:
    say("POST", MESSAGES, MESSAGE)
    sent = api.send(FROM, TO, "This is a test", user_data="ours")
    assert sent["message_sid"] == SID and sent["status"] == "queued"
    assert asked() == {"from": FROM, "to": TO, "message": "This is a test", "user_data": "ours"}
    headers = responses.calls[0].request.headers
    assert headers["Authorization"] == "Bearer token-of-tests" and headers["Content-Type"] == "application/json"
    assert headers["User-Agent"].startswith("sms-gateway") and headers["Accept-Encoding"] == "identity"


@responses.activate
def test_media_and_groups(api: CoreAPI) -> None:
    say("POST", MESSAGES, MESSAGE)
    api.send(FROM, TO, None, media_urls=["https://x.example/1.png"])
    assert asked() == {"from": FROM, "to": TO, "media_urls": ["https://x.example/1.png"]}
    api.send(FROM, None, "hi", group_recipients=("17575000928", "14386009161"))
    assert asked() == {"from": FROM, "group_recipients": ["17575000928", "14386009161"], "message": "hi"}


@responses.activate
def test_http_basic() -> None:
    say("POST", MESSAGES, MESSAGE)
    CoreAPI(login="me", password="sécret").send(FROM, TO, "x")
    assert responses.calls[0].request.headers["Authorization"] == "Basic bWU6c8OpY3JldA=="


@pytest.mark.parametrize(
    "account",
    [
        {},
        {"token": "a", "login": "b", "password": "c"},
        {"token": "a", "password": "c"},
        {"login": "b"},
        {"password": "c"},
        {"login": "b:c", "password": "d"},
        {"token": "a\r\nX: y"},
        {"token": "tökén"},
        {"token": "a", "base_url": "ftp://x"},
        {"token": "a", "base_url": "https://me:secret@x.example"},
        {"token": "a", "base_url": "https://x.example/?key=1"},
        {"token": "a", "base_url": "https://x.example:99999"},
        {"token": "a", "base_url": "https://[::1"},
    ],
)
def test_an_account_is_one_way_to_log_in_and_a_url(account: dict[str, str]) -> None:
    with pytest.raises(ValueError) as caught:
        CoreAPI(**account)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"from_": " "}, "from_ is empty"),
        ({"to": None}, "one of to and group_recipients"),
        ({"group_recipients": ["1", "2"]}, "one of to and group_recipients"),
        ({"to": ""}, "recipient is empty"),
        ({"to": None, "group_recipients": ["1", " "]}, "recipient is empty"),
        ({"to": None, "group_recipients": "15162065574"}, "not one text"),
        ({"to": None, "group_recipients": list(map(str, range(10)))}, "at most 10"),
        ({"message": ""}, "both are empty"),
        ({"message": None}, "both are empty"),
        ({"message": "x" * 1601, "media_urls": ["https://x.example/"]}, "1600 characters, not 1601"),
        ({"message": "x" * 1601, "to": None, "group_recipients": ["1"]}, "1600 characters"),
        ({"media_urls": ["https://x.example/"] * 11}, "10 media, not 11"),
        ({"media_urls": "https://x.example/"}, "not one text"),
        ({"media_urls": ["file:///etc/passwd"]}, "http or https"),
        ({"media_urls": ["http://[x"]}, "http or https"),
        ({"message": "half \ud83d"}, "surrogate"),
    ],
)
@responses.activate
def test_what_the_vendor_does_not_take_is_not_asked(api: CoreAPI, request_: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        api.send(**{"from_": FROM, "to": TO, "message": "x"} | request_)
    assert not responses.calls


@responses.activate
def test_the_most_that_is_taken(api: CoreAPI) -> None:
    say("POST", MESSAGES, MESSAGE)
    api.send(FROM, TO, "x" * 1600, media_urls=["https://x.example/"] * 10)
    api.send(FROM, None, "x", group_recipients=list(map(str, range(9))))
    api.send(FROM, TO, "x" * 5000)
    assert len(responses.calls) == 3


@responses.activate
def test_raw_bytes_go_out_and_come_back_as_they_are(api: CoreAPI) -> None:
    answer = json.dumps(MESSAGE, indent=3)
    say("POST", MESSAGES, answer)
    say("GET", f"{MESSAGES}/{SID}", answer)
    body = '{"from":  "1", "message": "é"}'.encode()
    assert api.send_raw(body) == answer.encode() and responses.calls[0].request.body == body
    assert api.read_raw(SID) == answer.encode()


@responses.activate
def test_both_generations_of_names_are_read(api: CoreAPI) -> None:
    old = {"message_sid": SID, "from_did": FROM, "to_did": TO, "price": 0.01}
    say("GET", f"{MESSAGES}/old", old)
    say("GET", f"{MESSAGES}/odd", GROUP_SAMPLE)
    say(
        "GET", f"{MESSAGES}/both", '{"message_sid": null, "message_sid": "x", "from": null, "from_did": "1", "to": "2"}'
    )
    read = api.read("old")
    assert (read["from"], read["to"]) == (FROM, TO) and read["price"] == Decimal("0.01")
    assert (api.read("odd")["from"], api.read("odd")["to"]) == ("15208210009", "14386009161")
    assert api.read("both") == {"message_sid": "x", "from": "1", "to": "2"}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, CoreError), (400, BadRequest), (401, NotAuthorized), (402, CoreError), (403, Forbidden), (404, NotFound),
        (409, Conflict), (415, BadRequest), (422, BadRequest), (429, TooMany), (500, ServerError), (599, ServerError),
    ],
)  # fmt: skip
@responses.activate
def test_errors_by_status(status: int, kind: type[CoreError]) -> None:
    details = [{"field": "to", "message": "is no number", "reference_sid": "ref"}, {"message": None}, "odd", 5]
    say("POST", MESSAGES, (status, {"message": "Bad", "errors": details}, {"Retry-After": "7"}))
    with pytest.raises(CoreError) as caught:
        CoreAPI(token="t", retries=0).send(FROM, TO, "some text")
    error = caught.value
    assert type(error) is kind and (error.status, error.message, error.retry_after) == (status, "Bad", 7.0)
    assert error.errors == (Detail("to", "is no number", "ref"), Detail(), Detail(message="odd"), Detail())
    assert "Bad; to: is no number [ref]; odd" in str(error) and str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", ""),
        ("<html><style>a {}</style><body><h1>502 Bad\nGateway</h1><hr>nginx</body></html>", "502 Bad Gateway nginx"),
        ('["a list"]', '["a list"]'),
        ('{"message": {"odd": 1}, "errors": "odd"}', ""),
        ("x" * 9000, "x" * 200 + "…"),
        ("[" * 100_000, "[" * 200 + "…"),
        ('{"message": "half \\ud83d, nul \\u0000"}', "half , nul"),
        ('{"a": NaN}', '{"a": NaN}'),
        ('{"a": ' + "9" * 5000 + "}", '{"a": …9999'),
    ],
)
@responses.activate
def test_error_bodies_of_all_kinds(body: str, message: str) -> None:
    say("GET", f"{MESSAGES}/x", (502, body))
    with pytest.raises(ServerError) as caught:
        CoreAPI(token="t", retries=0).read("x")
    assert (caught.value.status, caught.value.message.replace("}", "")) == (502, message.replace("}", ""))


@pytest.mark.parametrize(
    "body", ["", "[]", "ok", '{"status": "queued"}', '{"message_sid": ""}', '{"message_sid": 5}', "<p>"]
)
@responses.activate
def test_a_success_without_a_message_is_a_lost_answer(api: CoreAPI, body: str) -> None:
    say("POST", MESSAGES, body)
    say("GET", f"{MESSAGES}/{SID}", body)
    for ask in (lambda: api.send(FROM, TO, "x"), lambda: api.send_raw(b"{}")):
        responses.calls.reset()
        with pytest.raises(AnswerLost, match="CarrierX answered 200, but"):
            ask()
        assert len(responses.calls) == 1
    with pytest.raises(AnswerLost):
        api.read(SID)


@pytest.mark.parametrize(("first", "times"), [(409, 4), (429, 4), (400, 1), (401, 1), (404, 1), (500, 1), (503, 1)])
@responses.activate
def test_a_send_is_made_again_only_where_nothing_was_sent(api: CoreAPI, naps: Naps, first: int, times: int) -> None:
    say("POST", MESSAGES, first)
    with pytest.raises(CoreError):
        api.send(FROM, TO, "x")
    assert len(responses.calls) == times and naps == [0.25, 0.5, 1.0][: times - 1]
    assert len({call.request.body for call in responses.calls}) == 1


@pytest.mark.parametrize("failure", [requests.ReadTimeout("x"), requests.ConnectionError("x"), "no json"])
@responses.activate
def test_a_send_whose_answer_is_lost_is_not_made_again(api: CoreAPI, failure: Any) -> None:
    say("POST", MESSAGES, failure)
    with pytest.raises(AnswerLost):
        api.send(FROM, TO, "x")
    assert len(responses.calls) == 1


@pytest.mark.parametrize(
    "first", [409, 429, 500, 503, "no json", requests.ReadTimeout("x"), requests.ConnectTimeout("x")]
)
@responses.activate
def test_reads_and_callbacks_are_made_again(api: CoreAPI, naps: Naps, first: Any) -> None:
    say("GET", f"{MESSAGES}/{SID}", first, MESSAGE)
    say("PATCH", f"{BASE}/partners/p", first, {"partner_sid": "p"})
    assert api.read(SID)["message_sid"] == SID
    assert api.set_callback("https://x.example", partner="p") == {"partner_sid": "p"}
    assert naps == [0.25, 0.25]


@responses.activate
def test_a_raw_send_is_made_once(api: CoreAPI, naps: Naps) -> None:
    say("POST", MESSAGES, 429)
    with pytest.raises(TooMany):
        api.send_raw(b"{}")
    assert len(responses.calls) == 1 and not naps


@pytest.mark.parametrize(
    ("header", "slept"),
    [("3", [3.0]), (DATE, [7.0]), ("0", [0.0]), ("61", []), ("soon", [0.25]), ("-1", [0.25]), ("9" * 400, [0.25])],
)
@responses.activate
def test_retry_after(api: CoreAPI, naps: Naps, header: str, slept: list[float]) -> None:
    say("POST", MESSAGES, (429, "{}", {"Retry-After": header}), MESSAGE)
    if slept:
        api.send(FROM, TO, "x")
    else:
        with pytest.raises(TooMany) as caught:
            api.send(FROM, TO, "x")
        assert caught.value.retry_after == 61.0
    assert naps == slept


@responses.activate
def test_backoff_is_bounded_and_spread(naps: Naps) -> None:
    say("GET", f"{MESSAGES}/x", 500)
    with pytest.raises(ServerError):
        CoreAPI(token="t", retries=9, sleep=naps.append, random=lambda: 1.0).read("x")
    assert naps == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


@pytest.mark.parametrize(
    ("level", "url", "body"),
    [
        ({"partner": "p 1"}, f"{BASE}/partners/p%201", {"callbacks": {"sms": "https://me.example/cb"}}),
        ({"did": "d"}, f"{BASE}/phonenumber/dids/d", {"callback_url": "https://me.example/cb"}),
        ({"did_group": "g"}, f"{BASE}/phonenumber/did_groups/g", {"callback_url": "https://me.example/cb"}),
    ],
)
@responses.activate
def test_callbacks(api: CoreAPI, level: dict[str, str], url: str, body: Any) -> None:
    say("PATCH", url, {"name": "as it is"})
    say("GET", url, {"name": "as it is"})
    assert api.set_callback("https://me.example/cb", **level) == {"name": "as it is"} and asked() == body
    ((name, sid),) = level.items()
    assert getattr(api, name)(sid) == {"name": "as it is"}


@responses.activate
def test_a_callback_is_taken_away(api: CoreAPI) -> None:
    say("PATCH", f"{BASE}/phonenumber/dids/d", {})
    api.set_callback(None, did="d")
    assert asked() == {"callback_url": None}


@pytest.mark.parametrize(
    "level", [{}, {"partner": "a", "did": "b"}, {"did": ""}, {"partner": ".."}, {"did_group": "/"}]
)
def test_a_callback_is_set_in_one_place(api: CoreAPI, level: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        api.set_callback("https://me.example/cb", **level)


def test_every_kind_says_its_name_in_the_package() -> None:
    import gateway.carrierx

    for name in gateway.carrierx.__all__:
        assert getattr(gateway.carrierx, name).__name__ == name
    assert set(vars(kinds)) & {"NotSent", "AnswerLost"} <= set(gateway.carrierx.__all__)
    with pytest.raises(AttributeError, match="nothing_such"):
        gateway.carrierx.nothing_such  # noqa: B018


def test_the_ledger_and_the_command_line_do_not_load_requests() -> None:
    code = "import sys, gateway.store.ledger, gateway.cli.serve; sys.exit('requests' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_text_is_hidden_however_deep_it_stands() -> None:
    text = "The canary sings"
    for depth in (1, 500, *range(850, 1000), 5000):
        redactor = Redactor((), b"[" * depth + json.dumps(text).encode() + b"]" * depth)
        assert redactor.redact(f"cannot send: {text}") == "cannot send: [hidden]"
