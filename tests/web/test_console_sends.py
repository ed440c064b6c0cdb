"""The console's pages about what is sent: search, one send, decisions, opt-outs."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from flask import Flask
from structlog.testing import capture_logs

from gateway.outbound.accept import accept
from gateway.outbound.model import CallCredentials, Recipient, SendCall
from gateway.sender import settle
from gateway.store import leases, ledger, message_status
from gateway.store.ledger import LedgerEntry
from tests.acme import text, update
from tests.visitor import Visitor, console
from tests.web.test_console import CONFIG, HOSTILE, call, store_of, words

SID = "5f4c0b36-0a2c-4b39-8f0e-9e8f6b1c1f11"
STATUS_URL = "https://canary-user:canary-pass@status.example.com/page.php?key=canary-query"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    with console(tmp_path, CONFIG) as made:
        yield made


@pytest.fixture
def visitor(app: Flask) -> Visitor:
    made = Visitor(app)
    made.log_in()
    return made


def send(app: Flask, *phones: str, **fields: str) -> list[LedgerEntry]:
    """A call, as the command makes it; its rows."""
    values = {"text": "hello there", "custom_ticket": "order-7", "status_url": ""} | fields
    out = SendCall(
        name="send",
        auth=CallCredentials(code="12345"),
        recipients=tuple(Recipient(phone=phone) for phone in phones or ("15162065515",)),
        source="command",
        body=b'{"text": "hello"}',
        content_type="application/json",
        now=datetime.now(UTC),
        **values,  # type: ignore[arg-type]
    )
    kept = accept(out, app.extensions["gateway"].settings.current, store_of(app))
    with store_of(app).reader() as connection:
        return ledger.of_event(connection, kept.event_id)


def entry_of(app: Flask, entry: LedgerEntry) -> LedgerEntry:
    with store_of(app).reader() as connection:
        found = ledger.of_send(connection, entry.send_id)
    assert found
    return found


def end(app: Flask, entry: LedgerEntry, outcome: str) -> None:
    """What the Sender does: ``sent``, ``refused``, ``undecided``."""
    store, now, config = store_of(app), time.time(), app.extensions["gateway"].settings.current
    room = {ledger.ENDPOINT: leases.ClaimLimit(9)}
    work = partial(leases.claim, owner="sender", limits=room, now=now, lease_seconds={ledger.ENDPOINT: 30.0})
    [claimed] = [one for one in store.writer.write(work) if one.delivery_id == entry.send_id]
    settled = leases.SettledDelivery(
        claimed=claimed,
        outcome="succeeded" if outcome == "sent" else "dead",
        finished_at=now,
        sentence="" if outcome == "sent" else "The answer was lost.",
    )
    store.writer.write(partial(ledger.mark_submitting, send_id=entry.send_id, now=now, uncertain_until=now + 15))
    ending = partial(leases.settle_all, owner="sender", settled=[settled], now=now)
    store.writer.write(ending, ordering_keys=[claimed.ordering_key])
    if outcome == "sent":
        answer = (
            b'{"message_sid": "%s", "direction": "outbound", "status": "queued", "from": "15162065919", "to": "%s"}'
        )
        answer = answer % (SID.encode(), entry.phone.encode())
        store.writer.write(partial(settle.sent, entry=entry, answer=answer, config=config, now=now))
    else:
        work = settle.refused if outcome == "refused" else settle.undecided
        store.writer.write(partial(work, entry=entry, reason="The answer was lost.", config=config, now=now))


def page_of(entry: LedgerEntry) -> str:
    return f"/sends/{entry.send_id}"


# The search


def test_the_search(app: Flask, visitor: Visitor) -> None:
    [one] = send(app)
    two, three = send(app, "15165550001", "15165550002", custom_ticket="")
    end(app, one, "sent")
    for query, found in (
        ("", 3),
        (f"ticket={one.ticket}", 1),
        (f"ticket={two.ticket_number}", 2),
        ("custom_ticket=order-7", 1),
        ("phone=%2B1+(516)+555-0001", 1),
        ("number=12345", 3),
        ("number=15162065919&phone=15165550002", 1),
        (f"message_sid={SID}", 1),
        ("state=sent", 1),
        ("state=owed", 2),
        ("state=undecided", 0),
        ("state=nonsense", 3),
        ("status=queued", 1),
        ("since=2020-01-01T00:00", 3),
        ("until=2020-01-01T00:00", 0),
        ("unknown=1&_scheme=evil", 3),
    ):
        page = visitor.get(f"/sends?{query}")
        assert page.status_code == 200
        assert len(set(re.findall(r'href="(/sends/[0-9a-f-]{36})"', page.text))) == found, query
    assert three.phone in words(visitor.get("/sends"))
    assert f"<code>{three.ticket_shown[:8]}…</code>" in visitor.get("/sends").text
    assert visitor.get("/sends?since=x").status_code == 400
    assert visitor.get("/sends?offset=99999999999999999999").status_code == 200


def test_pages(app: Flask, visitor: Visitor) -> None:
    send(app, *(f"1516555{turn:04}" for turn in range(51)))
    first = visitor.get("/sends?number=12345")
    (older,) = re.findall(r'href="([^"]+)" rel="next"', first.text)
    assert html.unescape(older) == "/sends?number=12345&offset=50"
    second = visitor.get(html.unescape(older))
    assert 'rel="prev"' in second.text and 'rel="next"' not in second.text


# One send


def test_one_send_whole(app: Flask, visitor: Visitor) -> None:
    [entry] = send(app, status_url=STATUS_URL.replace("canary-user:canary-pass@", ""))
    said = words(visitor.get(page_of(entry)))
    assert "Send to 15162065515 owed" in said and "It waits for its turn" in said and "hello there" in said
    assert f"as a number {entry.ticket_number}" in said and "order-7" in said and "the command gateway send" in said
    assert "status goes to https://status.example.com/page.php" in said
    assert "None are owed so far." in said and "updates are matched by message_sid" in said

    end(app, entry, "sent")
    assert call(app, update(message_sid=SID, status="delivered", **{"from": "15162065919", "to": entry.phone})) == 200
    page = visitor.get(page_of(entry))
    said = words(page)
    assert "sent delivered" in said and "CarrierX has it." in said and f"message_sid {SID}" in said
    assert re.search(r"Updates received .* delivered accepted", said)
    assert said.count("https://status.example.com/page.php?key=[hidden] legacy-status pending") == 2, (
        "queued, delivered"
    )
    assert "canary" not in page.text
    event = visitor.get(f"/events/{entry.ticket_number}")
    assert entry.send_id in event.text and "a command to send" in words(event) and "canary" not in event.text
    for path in ("/", "/events", "/sends", f"/events/{entry.ticket_number + 1}", "/deliveries?state=succeeded"):
        assert "canary" not in visitor.get(path).text, path
    assert "CarrierX (sending)" in words(visitor.get("/deliveries?state=succeeded"))


def test_posts_of_one_recipient_are_not_anothers(app: Flask, visitor: Visitor) -> None:
    store_of(app).writer.write(
        partial(message_status.record_opt_out, number="15162065919", phone="15165550001", word="STOP", at=1.0, out=True)
    )
    entries = {entry.phone: entry for entry in send(app, "15165550001", "15165550002")}
    out, other = entries["15165550001"], entries["15165550002"]
    said = words(visitor.get(page_of(out)))
    assert "refused failed" in said and "opted out" in said and "page legacy-status pending" in said
    assert "it was refused with the call" in said
    assert "None are owed so far." in words(visitor.get(page_of(other)))


def test_everything_is_text(app: Flask, visitor: Visitor) -> None:
    [entry] = send(app, text=HOSTILE, custom_ticket=HOSTILE)
    end(app, entry, "undecided")
    for path in (
        page_of(entry),
        "/sends",
        f"/sends?phone={HOSTILE}&ticket={HOSTILE}",
        f"/events/{entry.ticket_number}",
    ):
        page = visitor.get(path)
        assert page.status_code == 200
        assert "<script" not in page.text and "<img" not in page.text and str(7331**3) not in page.text
    assert "&lt;script&gt;alert(1)" in visitor.get(page_of(entry)).text


@pytest.mark.parametrize("path", ["/sends/x", f"/sends/{SID}", f"/sends/{SID}/sent", "/sends/1"])
def test_a_send_that_is_not_there(visitor: Visitor, path: str) -> None:
    assert visitor.get(path).status_code in (404, 405)


# Decisions


def undecided(app: Flask) -> LedgerEntry:
    [entry] = send(app)
    end(app, entry, "undecided")
    return entry


def test_an_undecided_one_is_explained(app: Flask, visitor: Visitor) -> None:
    entry = undecided(app)
    said = words(visitor.get(page_of(entry)))
    assert "The gateway cannot tell, and does not guess. The answer was lost." in said
    for button in ("It was sent", "Send it again", "Give it up"):
        assert button in said
    [fine] = send(app, "15165550002")
    assert "Give it up" not in words(visitor.get(page_of(fine)))


@pytest.mark.parametrize(
    ("what", "said", "state", "decision"),
    [
        ("sent", "It is not sent again.", "sent", "sent"),
        ("again", "It will be sent again.", "owed", "again"),
        ("given-up", "Given up: its sender is told", "refused", "given up"),
    ],
)
def test_a_decision_is_confirmed_and_made_once(
    app: Flask, visitor: Visitor, what: str, said: str, state: str, decision: str
) -> None:
    entry = undecided(app)
    path = page_of(entry)
    with capture_logs() as logs:
        visitor.post(f"{path}/{what}", page=path)
        assert "Nothing was done" in words(visitor.get(path)) and entry_of(app, entry).state == "undecided"
        answer = visitor.post(f"{path}/{what}", page=path, confirmed="yes")
        assert (answer.status_code, answer.headers["Location"]) == (303, path)
        assert said in words(visitor.get(path)) and entry_of(app, entry).state == state
        for again in ("sent", "again", "given-up"):
            visitor.post(f"{path}/{again}", page="/opt-outs", confirmed="yes")
            assert f"it is {state}" in words(visitor.get(path)) and entry_of(app, entry).state == state
    line = {"event": "send_decided", "log_level": "info", "send": entry.send_id, "decision": decision}
    assert [one for one in logs if one["event"] == "send_decided"] == [line]


def test_with_its_message_sid_it_is_known_from_then_on(app: Flask, visitor: Visitor) -> None:
    entry = undecided(app)
    path = page_of(entry)
    visitor.post(f"{path}/sent", page=path, confirmed="yes", message_sid=f" {SID} ")
    assert entry_of(app, entry).message_sid == SID
    assert visitor.post(f"{path}/sent", page="/opt-outs", confirmed="yes", message_sid="\0").status_code == 400


@pytest.mark.parametrize("path", [f"/sends/{SID}/{what}" for what in ("sent", "again", "given-up")] + ["/opt-outs"])
def test_changes_are_posts_with_a_token_of_somebody_who_is_logged_in(app: Flask, visitor: Visitor, path: str) -> None:
    assert visitor.raw_post(path, {}, **{"Sec-Fetch-Site": "same-origin"}).status_code == 400
    data = {"csrf_token": visitor.token("/")}
    assert visitor.raw_post(path, data, **{"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert Visitor(app).get("/sends").headers["Location"].startswith("/login")


# Replays


def test_nothing_is_texted_twice_by_a_replay(app: Flask, visitor: Visitor) -> None:
    [sent] = send(app)
    end(app, sent, "sent")
    [refused] = send(app, "15165550002")
    end(app, refused, "refused")
    lost = undecided_to(app, "15165550003")
    for entry in (sent, lost):
        assert "Replay" not in words(visitor.get(f"/events/{entry.ticket_number}"))
        assert "Send again" not in words(visitor.get(f"/events/{entry.ticket_number}"))
        visitor.post(f"/deliveries/{entry.send_id}/replay", page="/")
        assert "No text is sent twice" in words(visitor.get("/"))
    visitor.post("/deliveries/replay", page="/", state="succeeded", to="@carrierx")
    assert "Put back 0 deliveries." in words(visitor.get("/"))
    assert "Replay" in words(visitor.get(f"/events/{refused.ticket_number}"))
    visitor.post(f"/deliveries/{refused.send_id}/replay", page="/")
    assert "Put back 1 delivery." in words(visitor.get("/"))
    assert [entry_of(app, one).state for one in (sent, refused, lost)] == ["sent", "owed", "undecided"]


def undecided_to(app: Flask, phone: str) -> LedgerEntry:
    [entry] = send(app, phone)
    end(app, entry, "undecided")
    return entry


# Overview, events


def test_the_overview(app: Flask, visitor: Visitor) -> None:
    said = words(visitor.get("/"))
    assert "Sends owed 0 Sends undecided 0 Updates waiting 0 Orphans in 24 h 0" in said
    undecided(app)
    send(app, "15165550002", status_url=STATUS_URL.replace("canary-user:canary-pass@", ""))
    page = visitor.get("/")
    assert "Sends owed 1 Sends undecided 1" in words(page) and '<div class="bad">' in page.text
    assert "CarrierX (sending) working" in words(page)


def test_pages_that_calls_named_stand_together(app: Flask, visitor: Visitor) -> None:
    for turn in range(3):
        [entry] = send(app, f"1516555000{turn}", status_url=f"https://status.example.com/{turn}?key=canary-{turn}")
        end(app, entry, "refused")
    page = visitor.get("/")
    assert re.search(r"status_url of calls working none yet 3 ", words(page)) and "canary" not in page.text


def test_events_of_sends(app: Flask, visitor: Visitor) -> None:
    [entry] = send(app)
    call(app, text())
    said = words(visitor.get("/events?source=command"))
    assert "send command 15162065515 15162065919 The call send" in said and entry.phone in said
    assert "text carrierx" not in said
    for state in ("waiting", "orphan"):
        assert visitor.get(f"/events?state={state}").status_code == 200


def test_the_figures(app: Flask, visitor: Visitor) -> None:
    undecided(app)
    for turn in range(2):
        send(app, f"1516555000{turn}", status_url=f"https://status.example.com/{turn}?key=canary-{turn}")
    with store_of(app).reader() as connection:
        [refused] = ledger.of_event(connection, 3)
    store, config = store_of(app), app.extensions["gateway"].settings.current
    work = partial(settle.refused, entry=refused, reason="400", config=config, now=time.time())
    store.writer.write(work)
    store.writer.write(partial(message_status.record_opt_out, number="1", phone="2", word="STOP", at=1.0, out=True))
    said = visitor.get("/metrics").text
    for line in (
        'gateway_sends_open{state="owed"} 1.0',
        'gateway_sends_open{state="sending"} 0.0',
        'gateway_sends_open{state="undecided"} 1.0',
        "gateway_updates_waiting 0.0",
        "gateway_opt_outs 1.0",
        'gateway_deliveries_owed{endpoint="@status_url"} 1.0',
        'gateway_deliveries_owed{endpoint="@carrierx"} 2.0',
    ):
        assert f"\n{line}\n" in said, line
    assert "canary" not in said and "status.example.com" not in said
