"""`gateway forget` and `gateway export`: what is kept of one person, erased or handed over."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gateway.cli import config_option, open_store, record, write_new_file
from gateway.config import Config, load
from gateway.delivery.redaction import EndpointRedaction
from gateway.safe_http.ssrf import mask_url
from gateway.store import Connection, ledger, message_status, person, search
from schemas.fields import number as normalised

_PHONE = re.compile(r"[0-9]{3,15}")
_OF_THE_OUTBOX = ("ordering_key", "queue_position", "due", "owner", "attempts_since_replay")


def _phone_of(text: str, config: Config) -> str:
    """The phone as it is kept."""
    phone = normalised(text, config.prefix)
    if not _PHONE.fullmatch(phone):
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
                "opt_outs": [dataclasses.asdict(each) for each in message_status.opt_outs_of_phone(conn, digits)],
            }
        record(store, "export", f"…{digits[-4:]}", events=len(found.own), sends=len(found.sends))
    text = json.dumps(document, indent=2, default=_readable) + "\n"
    if file:
        write_new_file(file, text.encode())
    else:
        click.echo(text, nl=False)


def _event(detail: search.EventDetail, config: Config) -> dict[str, Any]:
    deliveries = [_delivery(each, config) for each in detail.deliveries if each.endpoint != ledger.ENDPOINT]
    return {**dataclasses.asdict(detail.event), "deliveries": deliveries}


def _send(conn: Connection, entry: ledger.LedgerEntry, config: Config) -> dict[str, Any]:
    delivery = search.load_delivery(conn, entry.send_id)
    posted = _delivery(delivery, config) if delivery else None
    return {**dataclasses.asdict(entry), "status_url": mask_url(entry.status_url), "delivery": posted}


def _delivery(delivery: search.Delivery, config: Config) -> dict[str, Any]:
    """A delivery with its attempts, as people may see it: no secret of its endpoint, nor of a URL that a call named."""
    endpoint = config.endpoint(delivery.endpoint)
    redaction = EndpointRedaction.of(endpoint) if endpoint else EndpointRedaction.none()
    shown = dataclasses.asdict(delivery)
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
