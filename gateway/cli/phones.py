"""Commands about phones: those that want no texts (`opt-outs`), what is kept of one (`forget` it, `export` it)."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import click

from gateway.cli import config_option, open_store, record, write_new_file
from gateway.config import Config, load
from gateway.delivery.redaction import EndpointRedaction
from gateway.safe_http.ssrf import mask_url
from gateway.store import Connection, Store, ledger, message_status, person, search
from gateway.store.message_status import OptOut
from schemas.fields import number as normalize_number

COLUMNS = ("number", "phone", "state", "word", "at")
BATCH_ROWS = 300  # rows read, or written, in one transaction: a long list must not block other writers
_NUMBER = re.compile(r"[0-9]{3,15}")
_OF_THE_OUTBOX = ("ordering_key", "queue_position", "due", "owner", "attempts_since_replay")


@click.group(name="opt-outs")
def opt_outs() -> None:
    """Phones that want no texts: list, export, import."""


@opt_outs.command(name="list")
@click.option("--number", default="", help="Only of this number or short code of yours.")
@click.option("--phone", default="", help="Only of this phone.")
@config_option
def list_(number: str, phone: str, path: Path) -> None:
    """Print them as a table, with those who came back."""
    config = load(path)
    ours, theirs = config.stored_number(number), normalize_number(phone, config.prefix)
    with open_store(config) as store:
        for number, phone, state, word, at in _rows(store):
            if ours in ("", number) and theirs in ("", phone):
                click.echo(f"{number:15}  {phone:15}  {state:3}  {at[:19]}  {word}")


@opt_outs.command(name="export")
@config_option
def export_opt_outs(path: Path) -> None:
    """Print them as CSV, which `gateway opt-outs import` reads again: number,phone,state,word,at (UTC)."""
    with open_store(load(path)) as store:
        record(store, "export", "opt-outs")
        rows = csv.writer(sys.stdout, lineterminator="\n")
        rows.writerow(COLUMNS)
        rows.writerows(_rows(store))


def _rows(store: Store) -> Iterator[tuple[str, str, str, str, str]]:
    """All of them, as texts in the order of `COLUMNS`."""
    after = ("", "")
    while True:
        with store.reader() as conn:
            batch = message_status.opt_outs_after(conn, after, BATCH_ROWS)
        for each in batch:
            at = datetime.fromtimestamp(each.at, UTC).isoformat()
            yield each.number, each.phone, "out" if each.out else "in", each.word, at
        if not batch:
            return
        after = batch[-1].number, batch[-1].phone


@opt_outs.command(name="import")
@click.argument("file", type=click.File("rb"))
@click.option("--number", default="", metavar="NUMBER", help="Of lines that have none.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--skip-bad", is_flag=True, help="Import the good lines though there are bad ones.")
@config_option
def import_(file: BinaryIO, number: str, dry_run: bool, skip_bad: bool, path: Path) -> None:
    """Read FILE (`-`: stdin), CSV whose first line names its columns in any order: number, phone, and perhaps state
    (out or in; else out), word, at (else now). Of two words of one phone the later counts, whichever came first."""
    config = load(path)
    good, bad = _read_csv(file.read(), number, config)
    for mistake in bad:
        click.echo(mistake, err=True)
    for unknown in sorted({row.number for row in good} - {known.number for known in config.numbers}):
        click.echo(f"Note: {unknown} is no number of {path}.", err=True)
    if bad and not skip_bad:
        click.echo(f"Nothing was imported: {len(bad)} bad. --skip-bad imports the other {len(good)}.", err=True)
        sys.exit(1)
    if dry_run:
        click.echo(f"{len(good)} would be imported.")
        return
    with open_store(config) as store:
        record(store, "opt-outs imported", Path(getattr(file, "name", "stdin")).name, rows=len(good))
        batches = (good[start : start + BATCH_ROWS] for start in range(0, len(good), BATCH_ROWS))
        imported = sum(store.writer.write(partial(_import_rows, rows=rows)) for rows in batches)
    older = f"; of {len(good) - imported} a later word is known" if imported < len(good) else ""
    click.echo(f"Imported {imported}{older}.")


def _import_rows(conn: Connection, rows: Sequence[OptOut]) -> int:
    """How many of the rows count: no later word is known of their phones."""
    return sum(message_status.record_opt_out(conn, **asdict(row)) for row in rows)


def _read_csv(data: bytes, number: str, config: Config) -> tuple[list[OptOut], list[str]]:
    """The good lines, and a sentence about each bad one. `number`: that of lines that have none."""
    good: list[OptOut] = []
    bad: list[str] = []
    line, now = 1, datetime.now(UTC)
    try:
        rows = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        rows.fieldnames = names = [(name or "").strip().casefold() for name in rows.fieldnames or ()]
        if missing := [name for name in ("phone", *([] if number else ["number"])) if name not in names]:
            raise click.ClickException(f"The first line must name the columns; {' and '.join(missing)} is missing.")
        for row in rows:
            line = rows.line_num
            try:
                good.append(_read_row(row, number, config, now))
            except ValueError as error:
                bad.append(f"line {line}: {error}")
    except (UnicodeDecodeError, csv.Error) as error:
        raise click.ClickException(f"Behind line {line} it is no CSV in UTF-8: {error}.") from None
    return good, bad


def _read_row(row: Mapping[str, str | None], number: str, config: Config, now: datetime) -> OptOut:
    """Raises ValueError with the reason why a line cannot be imported."""
    if None in row:
        raise ValueError("it has more fields than the first line names")
    values = {name: row.get(name) or "" for name in COLUMNS}
    ours = config.stored_number(values["number"].strip() or number)
    phone = normalize_number(values["phone"], config.prefix)
    for name, found in (("number", ours), ("phone", phone)):
        if not _NUMBER.fullmatch(found):
            raise ValueError(f"{name}: {values[name]!r} is no phone number")
    state = values["state"].strip().casefold() or "out"
    if state not in ("out", "in"):
        raise ValueError(f"state: {values['state']!r} is neither out nor in")
    at = values["at"].strip()
    try:
        moment = datetime.fromisoformat(at) if at else now
        timestamp = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"at: {at!r} is no time like 2026-11-20T08:00:00Z") from None
    if timestamp > now.timestamp():
        raise ValueError(f"at: {at!r} is yet to come")
    return OptOut(ours, phone, state == "out", values["word"] or "import", timestamp)


def _phone_of(text: str, config: Config) -> str:
    """The phone as it is kept."""
    phone = normalize_number(text, config.prefix)
    if not _NUMBER.fullmatch(phone):
        raise click.ClickException(f"{text} is no phone number.")
    if config.number_for(phone):
        raise click.ClickException(f"{text} is one of your own numbers.")
    return phone


@click.command()
@click.argument("phone")
@click.option("--dry-run", is_flag=True, help="Say what would be erased, and do nothing.")
@config_option
def forget(phone: str, dry_run: bool, path: Path) -> None:
    """Erase what is kept of PHONE, but for its opt-outs. Exit 1 where something is owed or undecided, and stays."""
    config = load(path)
    digits = _phone_of(phone, config)
    with open_store(config) as store:
        if dry_run:
            with store.reader() as conn:
                found = left = person.find(conn, digits)
        else:
            found, left = person.erase(store, digits, datetime.now(UTC).timestamp())
        own, shared = (len(set(ids) - left.kept.keys()) for ids in (found.own, found.shared))
        if not dry_run:
            record(store, "forget", f"…{digits[-4:]}", events=own, blanked=shared, kept=len(left.kept))
    would = "Would erase" if dry_run else "Erased"
    click.echo(f"{would} {own} events of this phone alone; blanked in {shared} events of several people.")
    for event_id, reasons in left.kept.items():
        said = ", ".join(f"{kind} {mask_url(word)}" for kind, word in reasons)
        click.echo(f"Event {event_id} stays: {said}.", err=True)
    if left.kept:
        click.echo("Run it again when these are settled; the console can decide what is undecided.", err=True)
        sys.exit(1)


@click.command()
@click.argument("phone")
@click.option("--to", "file", type=click.Path(path_type=Path), help="A new file, for you alone; else stdout.")
@config_option
def export(phone: str, file: Path | None, path: Path) -> None:
    """Write all that is kept of PHONE as one JSON document. Of events of several people only its own part."""
    config = load(path)
    digits = _phone_of(phone, config)
    with open_store(config) as store:
        with store.reader() as conn:
            found = person.find(conn, digits)
            document = {
                "phone": digits,
                "at": datetime.now(UTC).isoformat(),
                "events": [_event(detail, config) for id_ in found.own if (detail := search.load_event(conn, id_))],
                "events_of_several_people": found.shared,
                "sends": [_send(conn, send, config) for id_ in found.sends if (send := ledger.of_send(conn, id_))],
                "opt_outs": [asdict(each) for each in message_status.opt_outs_of_phone(conn, digits)],
            }
        record(store, "export", f"…{digits[-4:]}", events=len(found.own), sends=len(found.sends))
    text = json.dumps(document, indent=2, default=_readable) + "\n"
    if file:
        write_new_file(file, text.encode())
    else:
        click.echo(text, nl=False)


def _event(detail: search.EventDetail, config: Config) -> dict[str, Any]:
    deliveries = [_delivery(each, config) for each in detail.deliveries if each.endpoint != ledger.ENDPOINT]
    return {**asdict(detail.event), "deliveries": deliveries}


def _send(conn: Connection, entry: ledger.LedgerEntry, config: Config) -> dict[str, Any]:
    delivery = search.load_delivery(conn, entry.send_id)
    posted = _delivery(delivery, config) if delivery else None
    return {**asdict(entry), "status_url": mask_url(entry.status_url), "delivery": posted}


def _delivery(delivery: search.Delivery, config: Config) -> dict[str, Any]:
    """A delivery with its attempts, as people may see it: no secret of its endpoint, nor of a URL that a call named."""
    endpoint = config.endpoint(delivery.endpoint)
    redaction = EndpointRedaction.of(endpoint) if endpoint else EndpointRedaction.none()
    shown = asdict(delivery)
    for each in (shown, *shown["attempts"]):
        each["endpoint"] = mask_url(each["endpoint"])
    for attempt in shown["attempts"]:
        attempt["answer_headers"] = redaction.headers(attempt["answer_headers"])
        attempt["answer_body"] = redaction.body(attempt["answer_body"])
    return {name: value for name, value in shown.items() if name not in _OF_THE_OUTBOX}


def _readable(data: bytes) -> object:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}
