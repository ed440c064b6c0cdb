"""Commands about texts that go out: `send` some, see what became of `sends`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click

from gateway.cli import config_option, open_store, record
from gateway.config import load
from gateway.outbound.accept import OPERATOR, accept
from gateway.outbound.model import CallCredentials, Recipient, SendCall
from gateway.safe_http.ssrf import mask_url
from gateway.store import Store, ledger
from gateway.store.ledger import LedgerEntry
from gateway.store.wakeup import WorkerNotifier

POLL_INTERVAL_SECONDS = 0.1  # between two looks at a text that the command waits for
ENDED = frozenset(("sent", "refused", "undecided"))
STATES = {
    "owed": "it waits to be sent",
    "sending": "it is on its way to CarrierX",
    "sent": "CarrierX has it",
    "refused": "it was not sent",
    "undecided": "nobody can tell whether it was sent: decide in the console",
}


@click.command()
@click.option("--from", "code", required=True, metavar="NUMBER", help="The number or short code to send from.")
@click.option("--to", "phones", required=True, multiple=True, metavar="PHONE", help="Several: a text for each.")
@click.option("--media", multiple=True, metavar="URL", help="Sent along, as an MMS.")
@click.option("--custom-ticket", default="", metavar="ID", help="An id of your own; status posts carry it.")
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
    config = load(path)
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
    with open_store(config) as store:
        record(store, "send", call.auth.code, recipients=len(phones))
        accepted = accept(replace(call, body=_event_body(call)), config, store)
        answer = accepted.answer
        if not answer.result:
            raise click.ClickException(f"Nothing is sent (error {answer.error_code}): {answer.message}")
        WorkerNotifier(config.data).notify(accepted.endpoints)
        click.echo(f"Ticket {answer.ticket}")
        if answer.message:
            click.echo(answer.message)
        if not config.carrierx.is_set:
            click.echo(
                "No account at CarrierX is configured ([carrierx] token): it waits until there is one.", err=True
            )
        option = "" if path == Path("gateway.toml") else f" --config {path}"
        click.echo(f"What becomes of it: gateway sends {answer.ticket}{option}")
        if wait is not None and not _wait_until_sent(store, accepted.event_id, wait):
            sys.exit(1)


def _event_body(call: SendCall) -> bytes:
    """The call as its event keeps it: for people, so without secrets."""
    values = {
        "from": call.auth.code,
        "to": [recipient.phone for recipient in call.recipients],
        "message": call.text,
        "media_urls": [mask_url(url) for url in call.media_urls],
        "custom_ticket": call.custom_ticket,
        "status_url": mask_url(call.status_url),
    }
    kept = {name: value for name, value in values.items() if value}
    return json.dumps(kept, ensure_ascii=False).encode("utf-8", "replace")


def _wait_until_sent(store: Store, event_id: int, seconds: float) -> bool:
    """Waits, then prints what became of each text. False if CarrierX does not have all of them."""
    until = time.monotonic() + seconds
    while True:
        with store.reader() as conn:
            entries = ledger.of_event(conn, event_id)
        if all(entry.state in ENDED for entry in entries) or time.monotonic() >= until:
            break
        time.sleep(POLL_INTERVAL_SECONDS)
    click.echo("\n".join(_table(entries)))
    return all(entry.state == "sent" for entry in entries)


@click.command()
@click.argument("ticket")
@config_option
def sends(ticket: str, path: Path) -> None:
    """Say what became of a call: TICKET, the number that stands for it, or a custom ticket. One line a recipient."""
    with open_store(load(path)) as store, store.reader() as conn:
        found = (*ledger.of_ticket(conn, ticket), *ledger.of_custom_ticket(conn, ticket))
    entries = list({entry.send_id: entry for entry in found}.values())
    if not entries:
        raise click.ClickException(f"There is no send with the ticket {ticket}, or not any more.")
    click.echo("\n".join(_table(entries)))


def _table(entries: Sequence[LedgerEntry]) -> Iterator[str]:
    width = max(len(entry.phone) for entry in entries)
    for entry in entries:
        state = entry.status if entry.state == "sent" and entry.status else STATES.get(entry.state, entry.state)
        facts = (state, entry.message_sid, f"({entry.reason})" if entry.reason else "")
        at = datetime.fromtimestamp(entry.changed_at, UTC)
        yield f"{at:%Y-%m-%d %H:%M:%S}  {entry.phone:{width}}  {'  '.join(fact for fact in facts if fact)}"
