"""`gateway opt-outs`: phones that want no texts, as a table, to CSV, from CSV."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO

import click

from gateway.cli import config_option, open_store, record
from gateway.config import Config, load
from gateway.store import Connection, Store, message_status
from gateway.store.message_status import OptOut
from schemas.fields import number as normalize_number

COLUMNS = ("number", "phone", "state", "word", "at")
STATES = {"out": True, "in": False}
BATCH_ROWS = 300  # rows read, or written, in one transaction: a long list must not block other writers
_NUMBER = re.compile(r"[0-9]{3,15}")


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
    ours, theirs = _our_number(number, config), normalize_number(phone, config.prefix)
    with open_store(config) as store:
        for found in _all(store):
            if ours in ("", found.number) and theirs in ("", found.phone):
                state, at = "out" if found.out else "in", _iso_time(found.at)[:19]
                click.echo(f"{found.number:15}  {found.phone:15}  {state:3}  {at}  {found.word}")


@opt_outs.command()
@config_option
def export(path: Path) -> None:
    """Print them as CSV, which `gateway opt-outs import` reads again: number,phone,state,word,at (UTC)."""
    with open_store(load(path)) as store:
        record(store, "export", "opt-outs")
        rows = csv.writer(sys.stdout, lineterminator="\n")
        rows.writerow(COLUMNS)
        for found in _all(store):
            state = "out" if found.out else "in"
            rows.writerow((found.number, found.phone, state, found.word, _iso_time(found.at)))


def _all(store: Store) -> Iterator[OptOut]:
    after = ("", "")
    while True:
        with store.reader() as conn:
            batch = message_status.opt_outs_after(conn, after, BATCH_ROWS)
        yield from batch
        if len(batch) < BATCH_ROWS:
            return
        after = batch[-1].number, batch[-1].phone


def _iso_time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


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
        imported = sum(store.writer.write(partial(_record, rows=rows)) for rows in batches)
    older = f"; of {len(good) - imported} a later word is known" if imported < len(good) else ""
    click.echo(f"Imported {imported}{older}.")


def _record(conn: Connection, rows: Sequence[OptOut]) -> int:
    """How many of the rows count: no later word is known of their phones."""
    return sum(
        message_status.record_opt_out(conn, row.number, row.phone, row.word, row.at, out=row.out) for row in rows
    )


def _read_csv(data: bytes, number: str, config: Config) -> tuple[list[OptOut], list[str]]:
    """The good lines, and a sentence about each bad one. `number`: that of lines that have none."""
    try:
        rows = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        names = [(name or "").strip().casefold() for name in rows.fieldnames or ()]
    except (UnicodeDecodeError, csv.Error) as error:
        raise click.ClickException(f"This is no CSV in UTF-8: {error}.") from None
    missing = [name for name in ("phone", "number") if name not in names and not (name == "number" and number)]
    if missing:
        raise click.ClickException(f"The first line must name the columns; {' and '.join(missing)} is missing.")
    rows.fieldnames = names
    good: list[OptOut] = []
    bad: list[str] = []
    now = datetime.now(UTC)
    try:
        for row in rows:
            try:
                good.append(_read_row(row, number, config, now))
            except ValueError as error:
                bad.append(f"line {rows.line_num}: {error}")
    except csv.Error as error:
        raise click.ClickException(f"line {rows.line_num}: from here on it is no CSV: {error}.") from None
    return good, bad


def _read_row(row: Mapping[str, str | None], number: str, config: Config, now: datetime) -> OptOut:
    """Raises ValueError with the reason why a line cannot be imported."""
    if None in row:
        raise ValueError("it has more fields than the first line names")
    values = {name: row.get(name) or "" for name in COLUMNS}
    ours = _our_number(values["number"].strip() or number, config)
    phone = normalize_number(values["phone"], config.prefix)
    for name, found in (("number", ours), ("phone", phone)):
        if not _NUMBER.fullmatch(found):
            raise ValueError(f"{name}: {values[name]!r} is no phone number")
    state = values["state"].strip().casefold() or "out"
    if state not in STATES:
        raise ValueError(f"state: {values['state']!r} is neither out nor in")
    at = values["at"].strip()
    try:
        moment = datetime.fromisoformat(at) if at else now
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        is_future, timestamp = moment > now, moment.timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"at: {at!r} is no time like 2026-11-20T08:00:00Z") from None
    if is_future:
        raise ValueError(f"at: {at!r} is yet to come")
    return OptOut(ours, phone, STATES[state], values["word"] or "import", timestamp)


def _our_number(text: str, config: Config) -> str:
    """A number as it is stored; people may write a short code."""
    number = config.number_for(text) if text.strip() else None
    return number.number if number else normalize_number(text, config.prefix)
