"""The legacy calls by SOAP: whoever wrote the envelope, it is read; whatever is in it, nothing breaks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from lxml import etree

from gateway.outbound.model import ErrorCode, StatusRow
from gateway.store import StoreUnavailable, ledger
from gateway.web.soap import SOAP_11, SOAP_12, SoapEnvelope, write_answer
from tests.legacy_calls import (
    AUTH,
    ENVELOPES,
    PHONES,
    SOAP,
    TEXT,
    TOML,
    XML,
    envelope,
    events,
    leaked,
    owed,
    recipients,
    send,
    soap,
    store_of,
    values,
)
from tests.visitor import console


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    with console(tmp_path, TOML) as made:
        yield made


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def test_there_are_envelopes() -> None:
    assert {path.name.partition("-")[0] for path in ENVELOPES} == {"one", "two"}


@pytest.mark.parametrize("path", ENVELOPES, ids=lambda path: path.stem)
def test_every_family_of_clients_is_read(app: Flask, client: FlaskClient, path: Path) -> None:
    """The name of a file says for how many recipients it is; all else is the same in all of them."""
    answer = soap(client, path.read_bytes())
    assert answer.status_code == 200 and values(answer)["result"] == "true"
    phones = PHONES[: 2 if path.name.startswith("two") else 1]
    assert [(one["from"], one["to"], one["message"]) for one in owed(app)] == [("15162065919", p, TEXT) for p in phones]
    (event,) = events(app)
    assert (event.state, event.custom_ticket, event.keyword) == ("accepted", "ct", "JOIN")
    assert values(answer)["ticket"] == event.ticket and not leaked(app)
    assert b"15162065515" in event.body or b"206-5515" in event.body


@pytest.mark.parametrize("path", ENVELOPES, ids=lambda path: path.stem)
def test_the_answer_is_in_the_callers_own_words(client: FlaskClient, path: Path) -> None:
    asked, answered = etree.fromstring(path.read_bytes()), etree.fromstring(soap(client, path.read_bytes()).data)
    assert answered.tag == asked.tag
    (operation,) = answered[0]
    named = next(one for one in asked.iter() if etree.QName(one).localname.lower().startswith("sendmessage"))
    assert etree.QName(operation).localname == "sendMessageResponse"
    assert etree.QName(operation).namespace == (etree.QName(named).namespace or "urn:sms-gateway:webservices")


@pytest.mark.parametrize("path", ["/legacy/webservices", "/legacy/webservices/", f"{SOAP}?version=2.0.0"])
def test_where_envelopes_go(client: FlaskClient, path: str) -> None:
    assert client.post(path, data=send(), content_type=XML).status_code == 200


def test_the_soap_action_and_the_content_type_do_not_matter(client: FlaskClient) -> None:
    for content_type in (None, "application/xml", "application/soap+xml", "text/plain", "application/octet-stream"):
        answer = client.post(SOAP, data=send(), content_type=content_type, headers={"SOAPAction": '"nonsense"'})
        assert values(answer)["result"] == "true"


def test_a_template_with_values_beside_the_recipient_and_for_all(app: Flask, client: FlaskClient) -> None:
    people = {"recipients": [{"sendTo": PHONES[0], "name": "Ann"}, {"sendTo": PHONES[1]}]}
    said = envelope("sendTemplateMessage", auth=AUTH, template="welcome", recipientList=people, name="you")
    assert values(soap(client, said))["result"] == "true"
    assert [one["message"] for one in owed(app)] == ["Hello Ann, from 12345", "Hello you, from 12345"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"auth": AUTH | {"password": "canary wrong"}}, ErrorCode.CREDENTIALS),
        ({"auth": {}}, ErrorCode.CREDENTIALS),
        ({"auth": AUTH | {"code": "99999"}}, ErrorCode.CODE),
        ({"recipientList": recipients()}, ErrorCode.RECIPIENTS),
        ({"recipientList": recipients("nobody")}, ErrorCode.RECIPIENTS),
        ({"message": " "}, ErrorCode.MESSAGE),
        ({"status_url": "http://169.254.169.254/"}, ErrorCode.STATUS_URL),
        ({"custom_ticket": "x" * 300}, ErrorCode.CUSTOM_TICKET),
    ],
)
def test_a_refusal_is_an_answer_and_no_fault(
    app: Flask, client: FlaskClient, changes: dict[str, Any], code: int
) -> None:
    answer = soap(client, send(**changes))
    said = values(answer)
    assert (answer.status_code, said["result"], said["error_code"], said["ticket"]) == (200, "false", str(code), "")
    assert said["message"] and "canary" not in answer.text
    assert [event.state for event in events(app)] == ["refused"] and not owed(app) and not leaked(app)


def ask(client: FlaskClient, name: str, **said: Any) -> str:
    answer = soap(client, envelope(name, auth=AUTH, **said))
    assert answer.status_code == 200
    return answer.text


def test_what_became_of_it(app: Flask, client: FlaskClient) -> None:
    ticket = values(soap(client, send()))["ticket"]
    for text in (
        ask(client, "getTransactionStatus", transaction_ticket_id=ticket, sentTo=""),
        ask(client, "getCustomTransactionStatus", custom_ticket="ct"),
    ):
        found = etree.fromstring(text.encode()).findall(".//recipients")
        assert [[one.text for one in row] for row in found] == [[phone, "99", "queued", "true"] for phone in PHONES]
    one = ask(client, "getTransactionStatus", transaction_ticket_id=ticket, sentTo=f"+{PHONES[1]}")
    assert PHONES[0] not in one and PHONES[1] in one
    unknown = values(ask(client, "getTransactionStatus", transaction_ticket_id="nonsense"))
    assert (unknown["result"], unknown["error_code"]) == ("false", str(ErrorCode.UNKNOWN_TICKET))
    assert len(events(app)) == 1, "a question is no event"


def test_a_question_needs_credentials(client: FlaskClient) -> None:
    answer = soap(client, envelope("getTransactionStatus", auth={"username": "x"}, transaction_ticket_id="1"))
    assert values(answer)["error_code"] == str(ErrorCode.CREDENTIALS) and answer.status_code == 200


def test_rows_of_an_encoded_answer_are_an_array() -> None:
    """PHP without a WSDL makes a list of it, also of a single one."""
    row = StatusRow(phone=PHONES[0], status_code=100, status_message="delivered")
    told = write_answer(SoapEnvelope(name="getTransactionStatus", encoded=True), [row])
    assert b'<recipients xsi:type="SOAP-ENC:Array" SOAP-ENC:arrayType="xsd:anyType[1]"><item><sendTo' in told
    assert b"Array" not in write_answer(SoapEnvelope(name="getTransactionStatus", encoded=True, version=SOAP_12), [row])


def test_what_xml_cannot_say_is_left_out() -> None:
    row = StatusRow(phone="1", status_code=99, status_message="a\0b\x08\r\n<&\ud800\uffff")
    told = etree.fromstring(write_answer(SoapEnvelope(name="getTransactionStatus"), [row]))
    assert told.findtext(".//status_message") == "ab\r\n<&"


# Faults


@pytest.mark.parametrize(
    "body",
    [
        "",
        "nonsense",
        "<a/>",
        "<Envelope/>",
        "<s:Envelope xmlns:s='urn:other'><s:Body/></s:Envelope>",
        envelope("sendMessage")[:-1],
        envelope("noSuchCall", auth=AUTH),
        f"<s:Envelope xmlns:s='{SOAP_11}'><s:Body/></s:Envelope>",
        "<!DOCTYPE a []>" + send(),
        "<?xml version='1.0'?>\n<!-- x --><!doctype a SYSTEM 'file:///etc/passwd'>" + send(),
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]>' + send(message="&b;").replace("&amp;b;", "&b;"),
        send(message="&b;").replace("&amp;b;", "&b;"),
        "\0",
        send(message="\0"),
        "<a>" * 500,
        "<a>" * 100 + "</a>" * 100,
        "<a/>" * 80_000,
        f"<a>{'<a/>' * 80_000}</a>",
    ],
)
def test_what_cannot_be_read_is_a_fault_of_the_client(app: Flask, client: FlaskClient, body: str) -> None:
    answer = soap(client, body)
    assert answer.status_code == 400 and answer.content_type == XML
    fault = etree.fromstring(answer.data).find(f".//{{{SOAP_11}}}Fault")
    assert fault.findtext("faultcode") in ("SOAP-ENV:Client", "SOAP-ENV:VersionMismatch") and fault.findtext(
        "faultstring"
    )
    (event,) = events(app)
    assert event.state == "refused" and event.errors and not leaked(app)
    assert (
        b"Envelope" in event.body if "noSuchCall" in body or "<s:Body/>" in body and SOAP_11 in body else not event.body
    )


def test_a_fault_of_soap_12_has_its_shape(client: FlaskClient) -> None:
    answer = soap(client, envelope("noSuchCall", SOAP_12))
    assert answer.status_code == 400 and answer.mimetype == "application/soap+xml"
    fault = etree.fromstring(answer.data).find(f".//{{{SOAP_12}}}Fault")
    assert fault.findtext(f"{{{SOAP_12}}}Code/{{{SOAP_12}}}Value") == "SOAP-ENV:Sender"


def test_an_unknown_version_is_told_so(client: FlaskClient) -> None:
    answer = soap(client, "<s:Envelope xmlns:s='urn:other'><s:Body/></s:Envelope>")
    assert values(answer)["faultcode"] == "SOAP-ENV:VersionMismatch"


def test_too_large_and_packed(client: FlaskClient) -> None:
    assert soap(client, send(message="x" * 1024 * 1024)).status_code == 413
    packed = client.post(SOAP, data=b"x", content_type=XML, headers={"Content-Encoding": "gzip"})
    assert packed.status_code == 415 and values(packed)["faultcode"] == "SOAP-ENV:Client"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD"])
def test_other_methods_are_405(client: FlaskClient, method: str) -> None:
    answer = client.open(SOAP, method=method)
    assert answer.status_code == 405 and "POST" in answer.headers["Allow"]


@pytest.mark.parametrize("body", [send(), "nonsense"])
def test_a_store_that_is_away_is_a_fault_of_the_server(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(store_of(app).writer, "write", away)
    answer = soap(client, body)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert values(answer)["faultcode"] == "SOAP-ENV:Server"


def test_an_accident_is_asked_to_come_again(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def accident(*_: object) -> None:
        raise RuntimeError("canary")

    monkeypatch.setattr("gateway.outbound.accept.accept", accident)
    answer = soap(client, send())
    assert answer.status_code == 503 and "canary" not in answer.text


def test_a_call_that_looks_like_a_callback_is_none(client: FlaskClient) -> None:
    for path in ("/legacy/statusXYZ", "/legacy/callbacks", "/legacy/", "/legacy/nothing"):
        assert client.post(path, data=b"x").status_code == 404


def test_it_is_counted_rung_and_logged_without_numbers(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rung: list[Any] = []
    monkeypatch.setattr(app.extensions["gateway"].notifier, "notify", rung.append)
    soap(client, send())
    soap(client, send(auth={}))
    soap(client, "nonsense")
    said = client.get("/metrics").text
    assert rung == [(ledger.ENDPOINT,)]
    assert 'gateway_calls_total{call="sendMessage",outcome="accepted"} 1.0' in said
    assert 'gateway_calls_total{call="sendMessage",outcome="refused"} 1.0' in said
    assert 'gateway_calls_total{call="unknown",outcome="malformed"} 1.0' in said
    logged = capsys.readouterr().out
    assert "legacy_call" in logged and PHONES[0] not in logged and "🎉" not in logged and "canary" not in logged
