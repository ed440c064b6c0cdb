"""`gateway opt-outs`: who wants no texts, as a table, out as CSV, in from CSV."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import click

from gateway.cli import config_option, read
from gateway.cli.sending import opened
from gateway.config import Config
from gateway.store import Connection, Store, message_status
from gateway.store.message_status import OptOut
from schemas.fields import number as normalised

COLUMNS = ("number", "phone", "state", "word", "at")
STATES = {"out": True, "in": False}
PIECE = 300
"""Rows read, or written, in one transaction."""
_NUMBER = re.compile(r"[0-9]{3,15}")


@click.group(name="opt-outs")
def main() -> None:
    """Who wants no texts: list, export, import."""


@main.command(name="list")
@click.option("--number", default="", help="Only of this number or short code of yours.")
@click.option("--phone", default="", help="Only of this phone.")
@config_option
def list_(number: str, phone: str, path: Path) -> None:
    """Print them as a table: also those who came back."""
    config = read(path)
    ours, theirs = _number_of(number, config), normalised(phone, config.prefix)
    with opened(config) as store:
        for one in _all(store):
            if ours in ("", one.number) and theirs in ("", one.phone):
                click.echo(f"{one.number:15}  {one.phone:15}  {_state(one):3}  {_moment(one.at)[:19]}  {one.word}")


@main.command()
@config_option
def export(path: Path) -> None:
    """Print them as CSV, which `gateway opt-outs import` reads again: number,phone,state,word,at (UTC)."""
    with opened(read(path)) as store:
        click.echo(_row(COLUMNS), nl=False)
        for one in _all(store):
            click.echo(_row((one.number, one.phone, _state(one), one.word, _moment(one.at))), nl=False)


def _all(store: Store) -> Iterator[OptOut]:
    """In pieces: nobody is held up by a long list."""
    after = ("", "")
    while True:
        with store.reader() as conn:
            found = message_status.opt_outs_after(conn, after, PIECE)
        yield from found
        if len(found) < PIECE:
            return
        after = found[-1].number, found[-1].phone


def _state(one: OptOut) -> str:
    return "out" if one.out else "in"


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def _row(values: Sequence[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(values)
    return out.getvalue()


class BadLine(Exception):
    """What is wrong with a line."""


@dataclass(frozen=True, slots=True)
class ParsedLines:
    """A file that was read."""

    good: Sequence[OptOut]
    bad: Sequence[str]
    """One sentence each, with the number of its line."""
    strange: frozenset[str]
    """Numbers that are not configured."""


@main.command(name="import")
@click.argument("file", type=click.File("rb"))
@click.option("--number", default="", metavar="NUMBER", help="Of lines that have none.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--skip-bad", is_flag=True, help="Import the good lines though there are bad ones.")
@config_option
def import_(file: BinaryIO, number: str, dry_run: bool, skip_bad: bool, path: Path) -> None:
    """Read FILE (`-`: stdin), CSV whose first line names its columns in any order: number, phone, and perhaps state
    (out or in; else out), word, at (else now). Of two words of one phone the later counts, whichever came first."""
    config = read(path)
    lines = _lines(file.read(), number, config, datetime.now(UTC))
    for fault in lines.bad:
        click.echo(fault, err=True)
    for one in sorted(lines.strange):
        click.echo(f"Note: {one} is no number of {path}.", err=True)
    if lines.bad and not skip_bad:
        click.echo(
            f"Nothing was imported: {len(lines.bad)} bad. --skip-bad imports the other {len(lines.good)}.", err=True
        )
        sys.exit(1)
    click.echo(f"{len(lines.good)} would be imported." if dry_run else _imported(lines.good, config))


def _imported(good: Sequence[OptOut], config: Config) -> str:
    with opened(config) as store:
        pieces = [good[start : start + PIECE] for start in range(0, len(good), PIECE)]
        noted = sum(store.writer.write(_Piece(piece)) for piece in pieces)
    older = f"; of {len(good) - noted} a later word is known" if noted < len(good) else ""
    return f"Imported {noted}{older}."


@dataclass(frozen=True, slots=True)
class _Piece:
    rows: Sequence[OptOut]

    def __call__(self, conn: Connection) -> int:
        return sum(
            message_status.record_opt_out(conn, one.number, one.phone, one.word, one.at, out=one.out)
            for one in self.rows
        )


def _lines(data: bytes, number: str, config: Config, now: datetime) -> ParsedLines:
    try:
        rows = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        names = [(name or "").strip().casefold() for name in rows.fieldnames or ()]
    except (UnicodeDecodeError, csv.Error) as error:
        raise click.ClickException(f"This is no CSV in UTF-8: {error}.") from None
    missing = [name for name in ("phone", "number") if name not in names and not (name == "number" and number)]
    if missing:
        raise click.ClickException(f"The first line must name the columns; {' and '.join(missing)} is missing.")
    rows.fieldnames = names
    return _read(rows, number, config, now)


def _read(rows: csv.DictReader[str], number: str, config: Config, now: datetime) -> ParsedLines:
    good: list[OptOut] = []
    bad: list[str] = []
    try:
        for row in rows:
            try:
                good.append(_opt_out(row, number, config, now))
            except BadLine as fault:
                bad.append(f"line {rows.line_num}: {fault}")
    except csv.Error as error:
        raise click.ClickException(f"line {rows.line_num}: from here on it is no CSV: {error}.") from None
    known = {each.number for each in config.numbers}
    return ParsedLines(good, bad, frozenset(one.number for one in good) - known)


def _opt_out(row: Mapping[str, str | None], number: str, config: Config, now: datetime) -> OptOut:
    if None in row:
        raise BadLine("it has more fields than the first line names")
    of = {name: row.get(name) or "" for name in COLUMNS}
    ours, phone = _number_of(of["number"].strip() or number, config), normalised(of["phone"], config.prefix)
    for name, found in (("number", ours), ("phone", phone)):
        if not _NUMBER.fullmatch(found):
            raise BadLine(f"{name}: {of[name]!r} is no phone number")
    state = of["state"].strip().casefold() or "out"
    if state not in STATES:
        raise BadLine(f"state: {of['state']!r} is neither out nor in")
    return OptOut(ours, phone, STATES[state], of["word"] or "import", _at(of["at"].strip(), now))


def _at(text: str, now: datetime) -> float:
    try:
        moment = datetime.fromisoformat(text) if text else now
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        if moment > now:
            raise BadLine(f"at: {text!r} is yet to come")
        return moment.timestamp()
    except (ValueError, OverflowError, OSError):
        raise BadLine(f"at: {text!r} is no time like 2026-11-20T08:00:00Z") from None


def _number_of(text: str, config: Config) -> str:
    """As it is stored: people may write a short code."""
    number = config.number_for(text) if text.strip() else None
    return number.number if number else normalised(text, config.prefix)
