"""Commands about texts that go out: `send` some, see what became of `sends`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click

from gateway.cli import config_option, read
from gateway.config import Config
from gateway.outbound.accept import OPERATOR, AcceptedCall, accept
from gateway.outbound.model import CallCredentials, Recipient, SendCall
from gateway.safe_http.ssrf import mask_url
from gateway.store import Store, StoreUnavailable, ledger
from gateway.store.ledger import LedgerEntry
from gateway.store.wakeup import WorkerNotifier

LOOK = 0.1
"""Seconds between two looks at what becomes of a text that somebody waits for."""
ENDED = frozenset(("sent", "refused", "undecided"))
WORDS = {
    "owed": "it waits to be sent",
    "sending": "it is on its way to CarrierX",
    "sent": "CarrierX has it",
    "refused": "it was not sent",
    "undecided": "nobody can tell whether it was sent: decide in the console",
}


@contextmanager
def opened(config: Config) -> Iterator[Store]:
    """The store, up to date. What is wrong with it is said, and exit 1."""
    with Store(config.database) as store:
        try:
            store.migrate()
            yield store
        except StoreUnavailable as error:
            raise click.ClickException(f"The store cannot be used: {error}.") from None


@click.command()
@click.option("--from", "code", required=True, metavar="NUMBER", help="The number or short code to send from.")
@click.option("--to", "phones", required=True, multiple=True, metavar="PHONE", help="Several: a text for each.")
@click.option("--media", multiple=True, metavar="URL", help="Sent along, as an MMS.")
@click.option("--custom-ticket", default="", metavar="ID", help="Of your own; status posts carry it.")
@click.option("--status-url", default="", metavar="URL", help="Where status posts go; else the number's endpoints.")
@click.option("--wait", type=click.FloatRange(0), metavar="SECONDS", help="Until CarrierX has it, or refused it.")
@click.argument("text", nargs=-1)
@config_option
def send(
    code: str,
    phones: Sequence[str],
    media: Sequence[str],
    custom_ticket: str,
    status_url: str,
    wait: float | None,
    text: Sequence[str],
    path: Path,
) -> None:
    """Send TEXT, as a call of the legacy web service would. A running worker sends it; its ticket is printed."""
    config = read(path)
    call = SendCall(
        name="send",
        auth=CallCredentials(code=code),
        text=" ".join(text),
        recipients=tuple(Recipient(phone=phone) for phone in phones),
        custom_ticket=custom_ticket,
        status_url=status_url,
        media_urls=tuple(media),
        source=OPERATOR,
        content_type="application/json",
        now=datetime.now(UTC),
    )
    with opened(config) as store:
        found = _accepted(call, config, store)
        _say(found, config, path)
        if wait is not None and not _waited(found, store, wait):
            sys.exit(1)


def _accepted(call: SendCall, config: Config, store: Store) -> AcceptedCall:
    found = accept(replace(call, body=_body(call)), config, store)
    if not found.answer.result:
        raise click.ClickException(f"Nothing is sent (error {found.answer.error_code}): {found.answer.message}")
    WorkerNotifier(config.data).notify(found.endpoints)
    return found


def _body(call: SendCall) -> bytes:
    """What was asked for, as the event keeps it: for people, so without what may be a secret."""
    said = {
        "from": call.auth.code,
        "to": [one.phone for one in call.recipients],
        "message": call.text,
        "media_urls": [mask_url(url) for url in call.media_urls],
        "custom_ticket": call.custom_ticket,
        "status_url": mask_url(call.status_url),
    }
    kept = {name: value for name, value in said.items() if value}
    return json.dumps(kept, ensure_ascii=False).encode("utf-8", "replace")


def _say(found: AcceptedCall, config: Config, path: Path) -> None:
    click.echo(f"Ticket {found.answer.ticket}")
    if found.answer.message:
        click.echo(found.answer.message)
    if not config.carrierx.is_set:
        click.echo("No account at CarrierX is configured ([carrierx] token): it waits until there is one.", err=True)
    named = "" if path == Path("gateway.toml") else f" --config {path}"
    click.echo(f"What becomes of it: gateway sends {found.answer.ticket}{named}")


def _waited(found: AcceptedCall, store: Store, seconds: float) -> bool:
    """Whether CarrierX has all of them by then."""
    until = time.monotonic() + seconds
    entries = _of_call(found, store)
    while any(entry.state not in ENDED for entry in entries) and time.monotonic() < until:
        time.sleep(LOOK)
        entries = _of_call(found, store)
    click.echo("\n".join(_table(entries)))
    return all(entry.state == "sent" for entry in entries)


def _of_call(found: AcceptedCall, store: Store) -> list[LedgerEntry]:
    with store.reader() as conn:
        return ledger.of_event(conn, found.event_id)


@click.command()
@click.argument("ticket")
@config_option
def sends(ticket: str, path: Path) -> None:
    """Say what became of a call: TICKET as it was told, its number, or a custom ticket. One line a recipient."""
    with opened(read(path)) as store, store.reader() as conn:
        found = (*ledger.of_ticket(conn, ticket), *ledger.of_custom_ticket(conn, ticket))
    entries = list({entry.send_id: entry for entry in found}.values())
    if not entries:
        raise click.ClickException(f"There is no send with the ticket {ticket}, or not any more.")
    click.echo("\n".join(_table(entries)))


def _table(entries: Sequence[LedgerEntry]) -> Iterator[str]:
    width = max(len(entry.phone) for entry in entries)
    for entry in entries:
        said = entry.status if entry.state == "sent" and entry.status else WORDS.get(entry.state, entry.state)
        facts = (said, entry.message_sid, f"({entry.reason})" if entry.reason else "")
        at = datetime.fromtimestamp(entry.changed_at, UTC)
        yield f"{at:%Y-%m-%d %H:%M:%S}  {entry.phone:{width}}  {'  '.join(fact for fact in facts if fact)}"
