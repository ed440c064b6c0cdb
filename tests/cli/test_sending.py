"""`gateway send`, `gateway sends`, `gateway opt-outs`."""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.__main__ import main
from gateway.config import Config, load
from gateway.safe_http.ssrf import mask_url
from gateway.sender import settle
from gateway.store import Store, ledger, message_status, search
from gateway.store.wakeup import WakeupSocket
from tests import acme

SID = "5f4c0b36-0a2c-4b39-8f0e-9e8f6b1c1f11"
PHONE = "15551234567"
STOPPED = 1_700_000_000.123456


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "gateway.toml"
    file.write_text(acme.TOML.format(database="sqlite:///data/gateway.db"), encoding="utf-8")
    return file


def gateway(path: Path, *arguments: str, given: bytes = b"") -> Result:
    return CliRunner().invoke(main, [*arguments, "--config", str(path)], input=given)


def done(path: Path, *arguments: str, given: bytes = b"") -> str:
    result = gateway(path, *arguments, given=given)
    assert result.exit_code == 0, result.output
    return result.output


def config_of(path: Path) -> Config:
    return load(path, {})


def entries(path: Path) -> list[ledger.LedgerEntry]:
    with Store(config_of(path).database) as store, store.reader() as conn:
        return ledger.of_event(conn, 1)


def send(path: Path, *more: str) -> str:
    """Its ticket."""
    said = done(path, "send", "--from", "12345", "--to", "+1 (555) 123-4567", *more, "hello", "there")
    found = re.search(r"^Ticket ([0-9a-f-]{36})$", said, re.MULTILINE)
    assert found, said
    return found[1]


def known_at_carrierx(store: Store, config: Config, entry: ledger.LedgerEntry) -> None:
    answer = json.dumps({"message_sid": SID, "status": "queued"}).encode()
    store.writer.write(partial(settle.sent, entry=entry, answer=answer, config=config, now=acme.NOW.timestamp()))


# send


def test_a_database_that_cannot_be_used_is_told_in_a_sentence(path: Path) -> None:
    database = path.parent / "data" / "gateway.db"
    send(path)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    for said in ("made by a newer version of the gateway", "The store cannot be used: "):
        result = gateway(path, "sends", "none")
        assert result.exit_code == 1 and isinstance(result.exception, SystemExit) and said in result.stderr
        database.write_bytes(b"no database at all" * 100)


def test_a_text_is_owed_and_its_ticket_said(path: Path) -> None:
    ticket = send(path, "--custom-ticket", "order-7", "--media", "https://example.com/a.png", "--to", "15550000002")
    one, two = entries(path)
    assert (one.phone, two.phone, one.number, one.code) == (PHONE, "15550000002", "15162065919", "12345")
    assert {(each.ticket, each.custom_ticket, each.origin, each.state) for each in (one, two)} == {
        (ticket, "order-7", "command", "owed")
    }
    with Store(config_of(path).database) as store, store.reader() as conn:
        whole = search.load_event(conn, 1)
    assert whole and whole.event.source == "command" and json.loads(whole.event.body)["message"] == "hello there"
    assert json.loads(whole.deliveries[0].body)["media_urls"] == ["https://example.com/a.png"]


def test_the_worker_is_woken(path: Path) -> None:
    bell = WakeupSocket(config_of(path).data)
    try:
        send(path)
        assert ledger.ENDPOINT in bell.drain()
    finally:
        bell.close()


def test_what_cannot_be_sent_is_said(path: Path) -> None:
    for arguments, said in (
        (("--from", "999", "--to", PHONE, "hi"), "code"),
        (("--from", "12345", "--to", "x", "hi"), "recipient"),
        (("--from", "12345", "--to", PHONE), "message is empty"),
        (("--from", "12345", "--to", PHONE, "--status-url", "http://127.0.0.1/", "hi"), "status_url"),
    ):
        result = gateway(path, "send", *arguments)
        assert result.exit_code == 1 and "Nothing is sent" in result.output and said in result.output, result.output
    note(path, PHONE)
    result = gateway(path, "send", "--from", "12345", "--to", PHONE, "hi")
    assert result.exit_code == 1 and "opted out" in result.output


@pytest.mark.parametrize(
    "url",
    [
        "http://alice:s3cret@pages.example.com/status.php",
        "http://pages.example.com:22/status.php?key=s3cret&mode=s3cret",
        "http://pages.example.com:22/?s3cret#s3cret",
        "http://alice:a/s3cret@pages.example.com/",
        "http://[alice:s3cret@",
        "alice:s3cret@pages.example.com",
    ],
)
def test_a_secret_of_a_status_url_that_is_refused_is_kept_nowhere(path: Path, url: str) -> None:
    result = gateway(path, "send", "--from", "12345", "--to", PHONE, "--status-url", url, "hi")
    assert result.exit_code == 1 and "status_url cannot be called" in result.output and result.exception
    with Store(config_of(path).database) as store, store.reader() as conn:
        event = search.load_event(conn, 1)
    assert event and event.event.state == "refused" and json.loads(event.event.body)["message"] == "hi"
    assert json.loads(event.event.body)["status_url"] == mask_url(url)
    kept = b"".join(file.read_bytes() for file in config_of(path).data.rglob("*") if file.is_file())
    assert b"s3cret" not in kept and "s3cret" not in result.output


def test_urls_are_masked_in_the_event_and_whole_where_they_are_used(path: Path) -> None:
    page, media = (
        "https://pages.example.com/status.php?key=s3cret",
        "https://me:s3cret@files.example.com/a.png?sig=s3cret",
    )
    send(path, "--status-url", page, "--media", media)
    with Store(config_of(path).database) as store, store.reader() as conn:
        whole = search.load_event(conn, 1)
    assert whole and entries(path)[0].status_url == page
    assert json.loads(whole.deliveries[0].body)["media_urls"] == [media]
    kept = json.loads(whole.event.body)
    assert kept["status_url"] == "https://pages.example.com/status.php?key=[hidden]"
    assert kept["media_urls"] == ["https://[hidden]@files.example.com/a.png?sig=[hidden]"]


def test_without_an_account_it_waits_and_that_is_said(path: Path) -> None:
    assert "it waits until there is one" in gateway(path, "send", "--from", "12345", "--to", PHONE, "hi").stderr


def test_waiting_ends_with_the_time(path: Path) -> None:
    result = gateway(path, "send", "--from", "12345", "--to", PHONE, "--wait", "0", "hi")
    assert result.exit_code == 1 and f"{PHONE}  it waits to be sent" in result.output


@pytest.mark.parametrize(("ends", "said", "code"), [("sent", f"queued  {SID}", 0), ("refused", "not sent  (400)", 1)])
def test_waiting_ends_when_carrierx_has_it_or_refused_it(path: Path, ends: str, said: str, code: int) -> None:
    config, seen = config_of(path), threading.Event()
    bell = WakeupSocket(config.data)

    def carrierx() -> None:
        """As the worker: it is rung, and settles."""
        with Store(config.database) as store:
            while not bell.drain():
                seen.wait(0.01)
            with store.reader() as conn:
                [entry] = ledger.of_event(conn, 1)
            if ends == "sent":
                known_at_carrierx(store, config, entry)
            else:
                now = acme.NOW.timestamp()
                store.writer.write(partial(settle.refused, entry=entry, reason="400", config=config, now=now))

    worker = threading.Thread(target=carrierx)
    worker.start()
    try:
        result = gateway(path, "send", "--from", "12345", "--to", PHONE, "--wait", "20", "hi")
    finally:
        worker.join()
        bell.close()
    assert result.exit_code == code and said in result.output, result.output


# sends


def test_what_became_of_each_recipient(path: Path) -> None:
    ticket = send(path, "--custom-ticket", "order-7", "--to", "15550000002")
    config = config_of(path)
    with Store(config.database) as store:
        known_at_carrierx(store, config, entries(path)[0])
    for name in (ticket, ticket.upper(), "1", "order-7"):
        said = done(path, "sends", name)
        assert f"{PHONE}  queued  {SID}" in said and "15550000002  it waits to be sent" in said
    assert "There is no send" in gateway(path, "sends", "order-8").output


# replay


def test_a_replay_texts_nobody_twice(path: Path) -> None:
    send(path, "--to", "15550000002")
    undecided, refused = entries(path)
    config, now = config_of(path), acme.NOW.timestamp()
    with Store(config.database) as store:
        work = partial(settle.undecided, entry=undecided, reason="lost", config=config, now=now)
        store.writer.write(work)
        store.writer.write(partial(settle.refused, entry=refused, reason="400", config=config, now=now))
        dead = "UPDATE deliveries SET state = 'dead', queue_position = NULL, due = NULL, settled_at = 1"
        store.writer.write(lambda conn: conn.exec_driver_sql(f"{dead} WHERE endpoint = '@carrierx'"))
    assert "Put back 0" in done(path, "replay", "--state", "succeeded")
    assert "Put back 0" in done(path, "replay", "--endpoint", "page")
    assert "Put back 1" in done(path, "replay", "--endpoint", "@carrierx")
    assert [entry.state for entry in entries(path)] == ["undecided", "owed"]
    assert "Put back 0" in done(path, "replay")


# opt-outs


def note(path: Path, phone: str, word: str = "STOP", at: float = STOPPED, *, out: bool = True) -> None:
    with Store(config_of(path).database) as store:
        store.migrate()
        work = partial(message_status.record_opt_out, number="15162065919", phone=phone, word=word, at=at, out=out)
        store.writer.write(work)


def known(path: Path) -> list[message_status.OptOut]:
    with Store(config_of(path).database) as store:
        store.migrate()
        with store.reader() as conn:
            return message_status.opt_outs_after(conn)


def test_the_list(path: Path) -> None:
    note(path, PHONE)
    note(path, "15550000002", "START", out=False)
    said = done(path, "opt-outs", "list")
    assert "15162065919      15551234567      out  2023-11-14T22:13:20  STOP" in said
    assert "in   2023-11-14T22:13:20  START" in said
    assert done(path, "opt-outs", "list", "--phone", "+1 555 000 0002", "--number", "12345").count("\n") == 1
    assert done(path, "opt-outs", "list", "--phone", "1") == ""


def test_what_was_exported_is_imported_again_to_the_letter(path: Path, tmp_path: Path) -> None:
    note(path, PHONE)
    note(path, "15550000002", 'START, "please"\r\nnow é', STOPPED + 1, out=False)
    note(path, "15550000003", "=1+1", 1_700_000_000.0)
    exported = gateway(path, "opt-outs", "export").stdout_bytes
    assert exported.startswith(
        b'number,phone,state,word,at\n15162065919,15550000002,in,"START, ""please""\r\nnow \xc3\xa9",'
    )
    before = known(path)
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "gateway.toml"
    other.write_bytes(path.read_bytes())
    assert "Imported 3." in done(other, "opt-outs", "import", "-", given=exported)
    assert known(other) == before
    assert gateway(other, "opt-outs", "export").stdout_bytes == exported
    assert "Imported 3." in done(other, "opt-outs", "import", "-", given=exported), "twice is once"
    assert known(other) == before


def test_columns_in_any_order_with_what_people_write(path: Path) -> None:
    given = b"\xef\xbb\xbf Phone ,AT,Number\r\n +1 (555) 123-4567 ,2026-11-20T08:00:00Z, 12345\r\n\r\n5550000002,,\r\n"
    assert "Imported 2." in done(path, "opt-outs", "import", "-", "--number", "12345", given=given)
    first, second = known(path)
    assert (first.phone, second.phone) == ("15550000002", PHONE)
    assert {(one.number, one.out, one.word) for one in (first, second)} == {("15162065919", True, "import")}
    assert second.at == 1_795_161_600.0 and first.at > second.at


def test_a_later_word_is_not_undone(path: Path) -> None:
    note(path, PHONE, "START", STOPPED + 100, out=False)
    given = f"number,phone,at\n15162065919,{PHONE},2023-11-14T00:00\n15162065919,15550000002,2023-11-14\n".encode()
    assert "Imported 1; of 1 a later word is known." in done(path, "opt-outs", "import", "-", given=given)
    assert [one.out for one in known(path)] == [True, False]


BAD = b"""number,phone,state,at
15162065919,15551234567,out,
15162065919,call me,out,
,15551234568,out,
15162065919,15551234569,perhaps,
15162065919,15551234560,out,yesterday
15162065919,15551234561,out,2999-01-01
15162065919,15551234562,out,,one,more
15162065919,15551234563,in,2020-01-01
"""


def test_every_bad_line_is_named_and_nothing_is_written(path: Path) -> None:
    result = gateway(path, "opt-outs", "import", "-", given=BAD)
    assert result.exit_code == 1 and known(path) == []
    for line, said in ((3, "phone: 'call me'"), (4, "number: ''"), (5, "state: 'perhaps'"), (6, "at: 'yesterday'"),
                       (7, "is yet to come"), (8, "more fields")):  # fmt: skip
        assert re.search(f"^line {line}: .*{re.escape(said)}", result.stderr, re.MULTILINE), result.stderr
    assert "Nothing was imported: 6 bad. --skip-bad imports the other 2." in result.stderr


def test_bad_lines_may_be_skipped_and_a_dry_run_writes_nothing(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_bytes(BAD)
    assert "2 would be imported." in done(path, "opt-outs", "import", str(file), "--skip-bad", "--dry-run")
    assert known(path) == []
    assert "Imported 2." in done(path, "opt-outs", "import", str(file), "--skip-bad")
    assert [one.phone for one in known(path)] == ["15551234563", PHONE]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"", "phone and number is missing"),
        (b"15162065919,15551234567\n", "is missing"),
        (b"phone\n15551234567\n", "number is missing"),
        (b"number,phone\n1,\xff\n", "no CSV in UTF-8"),
        (b'number,phone\n15162065919,"1555\n', "it is no CSV"),
    ],
)
def test_what_is_no_table(path: Path, given: bytes, said: str) -> None:
    result = gateway(path, "opt-outs", "import", "-", "--skip-bad", given=given)
    assert result.exit_code == 1 and said in result.output and known(path) == []


def test_a_number_that_is_not_configured_is_kept_and_said(path: Path) -> None:
    given = f"number,phone\n19995550000,{PHONE}\n".encode()
    assert "Note: 19995550000 is no number of" in gateway(path, "opt-outs", "import", "-", given=given).stderr
    assert [one.number for one in known(path)] == ["19995550000"]


def test_a_long_list_goes_in_pieces(path: Path) -> None:
    rows = "".join(f"15162065919,1555{turn:07}\n" for turn in range(700))
    assert "Imported 700." in done(path, "opt-outs", "import", "-", given=f"number,phone\n{rows}".encode())
    assert done(path, "opt-outs", "export").count("\n") == 701
