"""Legacy calls: checked, kept, answered with a ticket, and owed to CarrierX; on both databases."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Config
from gateway.outbound import validate
from gateway.outbound.accept import accept, malformed, statuses
from gateway.outbound.model import CallCredentials, ErrorCode, Recipient, StatusQuery, StatusRow
from gateway.store import Store, StoreUnavailable
from gateway.store.message_status import record_opt_out
from gateway.store.statement import index_key
from tests import acme, sends


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return sends.config(tmp_path)


def test_one_message(store: Store, config: Config) -> None:
    accepted = sends.accept(store, config)
    answer = accepted.answer
    assert (answer.result, answer.error_code, answer.message) == (True, 0, "")
    assert answer.custom_ticket == "order-7" and str(uuid.UUID(answer.ticket)) == answer.ticket
    assert accepted.endpoints == ("@carrierx",)
    (event,) = sends.rows(store, "SELECT * FROM events")
    assert event.id == accepted.event_id
    assert (event.source, event.state, event.direction) == ("legacy-send", "accepted", "outbound")
    assert (event.custom_ticket, event.keyword, json.loads(event.errors)) == ("order-7", "", {})
    assert json.loads(event.notes) == ["The call sendMessage; recipients: 1."]
    assert (event.phone, event.number, event.ticket) == (sends.PHONE, sends.NUMBER, answer.ticket)
    assert bytes(event.body) == b"as it came" and event.content_type == "text/xml" and event.remote == "192.0.2.7"


def test_what_goes_to_carrierx(store: Store, config: Config) -> None:
    sends.accept(store, config, media_urls=("https://media.example.com/1",))
    (owed,) = sends.rows(store, "SELECT * FROM deliveries")
    entry = sends.entry(store)
    assert (owed.endpoint, owed.wire_format, owed.delivery_id) == ("@carrierx", "carrierx-send", entry.send_id)
    assert owed.ordering_key == "@carrierx/conversation/15162065515/15162065919" and owed.queue_position == "head"
    assert json.loads(owed.body) == {
        "from": "15162065919",
        "to": "15162065515",
        "message": "Hello é 🎉 &=+%\nthere",
        "media_urls": ["https://media.example.com/1"],
        "user_data": entry.send_id,
    }
    assert (entry.state, entry.origin, entry.code, entry.custom_ticket) == ("owed", "legacy", "12345", "order-7")


def test_as_many_messages_as_recipients(store: Store, config: Config) -> None:
    """The same phone in two spellings is one."""
    accepted = sends.accept(store, config, "15162065515", "+1 (516) 206-5516", "5162065517", "15162065516")
    assert [one.phone for one in sends.entries(store)] == ["15162065515", "15162065516", "15162065517"]
    assert {one.ticket for one in sends.entries(store)} == {accepted.answer.ticket}
    assert len({one.send_id for one in sends.entries(store)}) == 3
    assert [row.phone for row in sends.rows(store, "SELECT phone FROM events")] == [""]


def test_a_decimal_ticket(store: Store, config: Config) -> None:
    config = replace(config, tickets="decimal")
    accepted = sends.accept(store, config)
    entry = sends.entry(store)
    assert accepted.answer.ticket == entry.ticket_shown == str(entry.ticket_number) == str(accepted.event_id)
    for ticket in (entry.ticket_shown, entry.ticket, entry.ticket.upper()):
        assert statuses(StatusQuery(auth=sends.AUTH, ticket=ticket), config, store) == [_queued(sends.PHONE)]


def _queued(phone: str) -> StatusRow:
    return StatusRow(phone=phone, status_code=99, status_message="queued")


WRONG = "another"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"auth": replace(sends.AUTH, username=WRONG)}, ErrorCode.CREDENTIALS),
        ({"auth": replace(sends.AUTH, password=WRONG)}, ErrorCode.CREDENTIALS),
        ({"auth": replace(sends.AUTH, api_key=WRONG)}, ErrorCode.CREDENTIALS),
        ({"auth": CallCredentials(code="12345")}, ErrorCode.CREDENTIALS),
        ({"auth": replace(sends.AUTH, code="99999")}, ErrorCode.CODE),
        ({"auth": replace(sends.AUTH, code="")}, ErrorCode.CODE),
        ({"recipients": ()}, ErrorCode.RECIPIENTS),
        ({"recipients": (Recipient(phone="ACME"), Recipient(phone=" "))}, ErrorCode.RECIPIENTS),
        ({"recipients": (Recipient(phone="12345"),)}, ErrorCode.RECIPIENTS),
        ({"recipients": tuple(Recipient(phone=str(15162060000 + n)) for n in range(1001))}, ErrorCode.RECIPIENTS),
        ({"text": " \n"}, ErrorCode.MESSAGE),
        ({"text": "x" * 1601}, ErrorCode.MESSAGE),
        ({"custom_ticket": "é" * 101}, ErrorCode.CUSTOM_TICKET),
        ({"status_url": "ftp://example.com/"}, ErrorCode.STATUS_URL),
        ({"status_url": "http://me:secret@example.com/"}, ErrorCode.STATUS_URL),
        ({"status_url": "http://169.254.169.254/latest"}, ErrorCode.STATUS_URL),
        ({"status_url": "http://10.0.0.5/status.php"}, ErrorCode.STATUS_URL),
        ({"status_url": "http://[::1]/status.php"}, ErrorCode.STATUS_URL),
        ({"status_url": "http://example.com:22/"}, ErrorCode.STATUS_URL),
        ({"name": "sendTemplateMessage", "text": "unknown"}, ErrorCode.TEMPLATE),
        ({"name": "sendTemplateMessage", "text": "welcome"}, ErrorCode.TEMPLATE),
    ],
)
def test_refused_in_the_platforms_shape(
    sqlite_store: Store, config: Config, changes: dict[str, Any], code: ErrorCode
) -> None:
    config = replace(config, templates={"welcome": "Hello {name}"})
    accepted = sends.accept(sqlite_store, config, **changes)
    answer = accepted.answer
    assert (answer.result, answer.error_code, answer.ticket) == (False, code, "") and answer.message
    assert answer.custom_ticket == changes.get("custom_ticket", "order-7")
    assert sends.entries(sqlite_store) == [] and accepted.endpoints == ()
    (event,) = sends.rows(sqlite_store, "SELECT * FROM events")
    assert event.state == "refused" and json.loads(event.errors).keys() == {code.name.lower()}
    assert (event.id, event.ticket, event.custom_ticket) == (accepted.event_id, "", index_key(answer.custom_ticket))
    assert bytes(event.body) == (b"" if code == ErrorCode.CREDENTIALS else b"as it came")
    known = changes.get("auth", sends.AUTH).code == "12345"
    assert event.number == (sends.NUMBER if known else "")
    for secret in ("secret of acme", "key of acme"):
        assert secret not in str(event) and secret not in answer.message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"auth": replace(sends.AUTH, api_key=WRONG)}, ErrorCode.CREDENTIALS.sentence),
        ({"auth": replace(sends.AUTH, code="99999")}, ErrorCode.CODE.sentence),
        ({"status_url": "ftp://example.com/"}, ErrorCode.STATUS_URL.sentence),
        ({"recipients": (Recipient(phone="1"),) * 1001}, "There are more than 1000 recipients in one call."),
        ({"name": "sendTemplateMessage", "text": "unknown"}, "There is no template of this ID."),
        ({"name": "sendTemplateMessage", "text": "welcome"}, "Placeholders without a value: name, town."),
    ],
)
def test_what_the_caller_is_told(config: Config, changes: dict[str, Any], message: str) -> None:
    call = sends.call(**changes)
    with pytest.raises(validate.CallRefused) as refused:
        validate.authenticate(call.auth, config)
        validate.check(call, replace(config, templates={"welcome": "Hello {name} of {town}"}))
    assert refused.value.answer().message == message and refused.value.answer().custom_ticket == ""


def test_as_much_as_is_allowed(config: Config) -> None:
    phones = tuple(str(15162060000 + nth) for nth in range(1000))
    checked = validate.check(sends.call(*phones, text="x" * 1600, custom_ticket="é" * 100), config)
    assert tuple(checked.texts) == phones and set(checked.texts.values()) == {"x" * 1600}


def test_a_text_loses_what_no_phone_shows(config: Config) -> None:
    assert validate.check(sends.call(text="a\0b\0"), config).texts == {sends.PHONE: "ab"}
    with pytest.raises(validate.CallRefused):
        validate.check(sends.call(text=" \0"), config)


def test_nobody_sends_without_configured_credentials(sqlite_store: Store, config: Config) -> None:
    assert not sends.accept(sqlite_store, replace(config, legacy=None)).answer.result
    assert not sends.accept(
        sqlite_store, replace(config, legacy=None), auth=CallCredentials(code="12345")
    ).answer.result
    only_name = replace(sends.LEGACY, password="", api_key="")
    assert not sends.accept(sqlite_store, replace(config, legacy=only_name)).answer.result
    (*_, event) = sends.rows(sqlite_store, "SELECT errors FROM events ORDER BY id")
    assert json.loads(event.errors) == {
        "credentials": ["[legacy] has neither password nor api_key, so nobody may send by it."]
    }


@pytest.mark.parametrize("changes", [{"password": ""}, {"api_key": ""}, {"user_name": ""}])
def test_credentials_that_are_not_configured_are_not_asked_for(config: Config, changes: dict[str, str]) -> None:
    config = replace(config, legacy=replace(sends.LEGACY, **changes))
    missing = {"username" if name == "user_name" else name: value for name, value in changes.items()}
    validate.authenticate(replace(sends.AUTH, **missing), config)
    for name in {"username", "password", "api_key"} - missing.keys():
        for wrong in ("", WRONG, "half a pair \ud800"):
            with pytest.raises(validate.CallRefused):
                validate.authenticate(replace(sends.AUTH, **missing | {name: wrong}), config)


def test_the_operator_needs_none(sqlite_store: Store, config: Config) -> None:
    accepted = sends.accept(
        sqlite_store, replace(config, legacy=None), source="command", auth=CallCredentials(code="12345")
    )
    assert accepted.answer.result and sends.entry(sqlite_store).origin == "command"


def test_a_reason_for_the_operator_alone(sqlite_store: Store, config: Config) -> None:
    answer = sends.accept(sqlite_store, config, status_url="http://10.0.0.5/status.php").answer
    assert "10.0.0.5" not in answer.message
    (event,) = sends.rows(sqlite_store, "SELECT errors FROM events")
    assert "a private network" in json.loads(event.errors)["status_url"][0]


def test_a_status_url_of_an_allowed_network(tmp_path: Path, sqlite_store: Store, config: Config) -> None:
    from ipaddress import ip_network

    config = replace(config, allow_networks=(ip_network("10.0.0.0/8"),))
    assert sends.accept(sqlite_store, config, status_url="http://10.0.0.5/status.php?id=1").answer.result
    assert sends.entry(sqlite_store).status_url == "http://10.0.0.5/status.php?id=1"


def test_a_template_is_filled_for_each(sqlite_store: Store, config: Config) -> None:
    config = replace(config, templates={"welcome": "{name}, {title}: {code} {{x y}} {{ phone }}"})
    recipients = (
        Recipient(phone="15162065515", values={"name": "Zoë"}),
        Recipient(phone="15162065516", values={}),
    )
    sends.accept(
        sqlite_store, config, name="sendTemplateMessage", text="welcome", recipients=recipients, values={"name": "you"}
    )
    bodies = [json.loads(row.body)["message"] for row in sends.rows(sqlite_store, "SELECT body FROM deliveries")]
    assert bodies == [
        "Zoë, Acme alerts: 12345 {x y} 15162065515",
        "you, Acme alerts: 12345 {x y} 15162065516",
    ]


def test_a_template_knows_the_number_and_the_call(config: Config) -> None:
    config = replace(config, templates={"welcome": "{title}|{group}|{code}|{phone}|{keyword}|{custom_ticket}"})
    auth = replace(sends.AUTH, keyword="JOIN")
    checked = validate.check(sends.call(name="sendTemplateMessage", text=" welcome ", auth=auth), config)
    assert checked.texts == {sends.PHONE: f"Acme alerts|Acme|12345|{sends.PHONE}|JOIN|order-7"}


def test_placeholders_without_a_value_are_named(sqlite_store: Store, config: Config) -> None:
    config = replace(config, templates={"welcome": "{name} {town}"})
    answer = sends.accept(sqlite_store, config, name="sendTemplateMessage", text="welcome", values={"town": "x"}).answer
    assert "name" in answer.message and "town" not in answer.message


def test_who_has_opted_out_is_refused(store: Store, config: Config) -> None:
    store.writer.write(lambda conn: record_opt_out(conn, sends.NUMBER, sends.PHONE, "STOP", 1.0, out=True))
    accepted = sends.accept(store, config)
    answer = accepted.answer
    assert (answer.result, answer.error_code, answer.custom_ticket) == (False, ErrorCode.OPTED_OUT, "order-7")
    assert sends.entries(store) == [] and sends.rows(store, "SELECT * FROM deliveries") == []
    (event,) = sends.rows(store, "SELECT * FROM events")
    assert (event.id, event.state, event.number) == (accepted.event_id, "refused", sends.NUMBER)
    assert json.loads(event.errors) == {"recipients": [ErrorCode.OPTED_OUT.sentence]}


def test_among_others_he_is_left_out(store: Store, config: Config) -> None:
    """The others get their texts; the status of the one who has opted out is final, and posted once."""
    store.writer.write(lambda conn: record_opt_out(conn, sends.NUMBER, sends.PHONE, "STOP", 1.0, out=True))
    nobody = "nobody " * 20
    accepted = sends.accept(store, config, sends.PHONE, "15162065516", nobody)
    ticket = accepted.answer.ticket
    assert accepted.answer.result
    assert accepted.answer.message == "Left out: 2 of the recipients; their status tells."
    assert [one.reason for one in sends.entries(store)] == [
        "",
        ErrorCode.OPTED_OUT.sentence,
        "This is no phone number.",
    ]
    assert set(accepted.endpoints) == {"@carrierx", "page", "app"}
    assert sends.posts(store) == [(sends.PHONE, "failed", ticket), (nobody[:50], "failed", ticket)]
    found = statuses(StatusQuery(auth=sends.AUTH, ticket=ticket), config, store)
    assert found == [
        _queued("15162065516"),
        StatusRow(phone=sends.PHONE, status_code=110, status_message="opted out", result=False),
        StatusRow(phone=nobody[:50], status_code=200, status_message="failed", result=False),
    ]


def test_the_custom_ticket_comes_back_in_the_next_keyword_callback(store: Store, config: Config) -> None:
    from gateway.inbound import accept as inbound
    from gateway.inbound.callback import Callback

    sends.accept(store, config)
    text = Callback(format="carrierx", body=acme.text(), content_type=None, remote="", now=acme.NOW)
    assert inbound.accept(text, config, store).state == "accepted"
    (page,) = sends.rows(store, "SELECT body FROM deliveries WHERE endpoint = 'page'")
    assert b"custom_ticket=order-7" in bytes(page.body)


@pytest.mark.parametrize(("name", "notes"), [("sendMessage", ["The call sendMessage could not be read."]), ("", [])])
def test_what_cannot_be_read_is_kept_as_refused(sqlite_store: Store, name: str, notes: list[str]) -> None:
    faults = {"body": ("Not XML.",)}
    malformed(name, faults, b"<x", "text/xml", "192.0.2.7", acme.NOW, sqlite_store)
    (event,) = sends.rows(sqlite_store, "SELECT * FROM events")
    assert (event.source, event.state, event.direction) == ("legacy-send", "refused", "outbound")
    assert (event.content_type, bytes(event.body), event.remote) == ("text/xml", b"<x", "192.0.2.7")
    assert event.received_at == sends.AT
    assert (json.loads(event.errors), json.loads(event.notes)) == ({"body": ["Not XML."]}, notes)


def test_a_keyword_of_the_call_is_kept(sqlite_store: Store, config: Config) -> None:
    sends.accept(sqlite_store, config, auth=replace(sends.AUTH, keyword="JOIN"))
    assert [row.keyword for row in sends.rows(sqlite_store, "SELECT keyword FROM events")] == ["JOIN"]


@pytest.mark.parametrize(("wrong", "may_keep", "kept"), [(True, False, 0), (True, True, 1), (False, False, 1)])
def test_calls_with_wrong_credentials_need_not_be_kept(
    sqlite_store: Store, config: Config, wrong: bool, may_keep: bool, kept: int
) -> None:
    """Anybody can make one, and so fill the disk."""
    call = sends.call(auth=replace(sends.AUTH, api_key=WRONG) if wrong else replace(sends.AUTH, code="99999"))
    accepted = accept(call, config, sqlite_store, lambda: may_keep)
    assert not accepted.answer.result and bool(accepted.event_id) == bool(kept)
    assert len(sends.rows(sqlite_store, "SELECT * FROM events")) == kept


def test_a_full_disk_takes_nothing(sqlite_store: Store, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_store, "has_room", lambda: False)
    with pytest.raises(StoreUnavailable):
        sends.accept(sqlite_store, config)


def test_order_of_one_conversation(store: Store, config: Config) -> None:
    for text in ("one", "two"):
        sends.accept(store, config, text=text)
    queue_position = [
        row.queue_position for row in sends.rows(store, "SELECT queue_position FROM deliveries ORDER BY id")
    ]
    assert queue_position == ["head", "behind"]
