"""Commands about messages: `translate` one, `replay` deliveries, `send` some and see what became of `sends`, post a
test (`test-callback`, `test-status`)."""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from gateway.cli import config_option, open_store, parse_time, printable, record
from gateway.config import load
from gateway.inbound.accept import reroute_all
from gateway.outbound.accept import OPERATOR, accept
from gateway.outbound.model import CallCredentials, Recipient, SendCall
from gateway.routing.route import dump_message, load_message
from gateway.safe_http.ssrf import mask_url, origin_of
from gateway.store import Store, ledger
from gateway.store.replay import REPLAY_INTERVAL_SECONDS, ReplayFilter, count_blanked, replay_all
from gateway.store.wakeup import WorkerNotifier
from gateway.test_posts import TestPost, TestPostResult, send_test_post
from schemas import FORMATS, BadCallback, CannotSay, FormatOptions, ReceiveContext

POLL_INTERVAL_SECONDS = 0.1  # between two looks at a text that the command waits for
STATES = {
    "owed": "it waits to be sent",
    "sending": "it is on its way to CarrierX",
    "sent": "CarrierX has it",
    "refused": "it was not sent",
    "undecided": "nobody can tell whether it was sent: decide in the console",
}


def _by_field(errors: Mapping[str, Sequence[str]]) -> str:
    """A line for each mistake, with the field's name."""
    return "\n".join(f"{name}: {sentence}" for name, sentences in errors.items() for sentence in sentences)


@click.command()
@click.option("--from", "source", type=click.Choice(list(FORMATS)), required=True, help="The format of stdin.")
@click.option("--to", "target", type=click.Choice(list(FORMATS)), required=True, help="The format of stdout.")
@click.option("--content-type", help="The Content-Type that the body came with, if it matters.")
@config_option
def translate(source: str, target: str, content_type: str | None, path: Path) -> None:
    """Translate one body from stdin to stdout, with the numbers and keywords of the configuration.

    A group's status update becomes several posts, one a line. Decisions that the translation took are on stderr.
    """
    config = load(path)
    context = ReceiveContext(now=datetime.now(UTC), sid=str(uuid.uuid4()), prefix=config.prefix)
    try:
        message, _ = load_message(sys.stdin.buffer.read(), content_type, source, context, config)
        bodies = dump_message(message, target, FormatOptions(prefix=config.prefix))
    except BadCallback as error:
        raise click.ClickException(_by_field(error.errors)) from None
    except CannotSay as error:
        raise click.ClickException(str(error)) from None
    for note in (*message.notes, *(note for body in bodies for note in body.notes)):
        click.echo(f"Note: {note}", err=True)
    sys.stdout.buffer.write(b"\n".join(body.data for body in bodies))
    sys.stdout.buffer.flush()


@click.command()
@click.option("--endpoint", help="Only deliveries to this endpoint.")
@click.option(
    "--since", metavar="TIME", callback=parse_time, help="Only what ended (unrouted: came) since: 6h, 2026-11-20T08:00."
)
@click.option(
    "--state",
    type=click.Choice(["dead", "succeeded", "unrouted"]),
    default="dead",
    show_default=True,
    help="What to put back; unrouted texts are routed by today's configuration.",
)
@config_option
def replay(endpoint: str | None, since: float | None, state: str, path: Path) -> None:
    """Put deliveries back into the outbox, paced. They keep their ids and their bytes.

    Texts to phones only with --endpoint @carrierx, and of these only those that were refused: nothing is sent twice.
    """
    config = load(path)
    if endpoint not in (None, ledger.ENDPOINT) and config.endpoint(endpoint or "") is None:
        raise click.ClickException(f"{endpoint} is no endpoint of {path}. Known: {', '.join(config.endpoints)}")
    if endpoint is not None and state == "unrouted":
        raise click.ClickException("Unrouted texts have no endpoint yet: leave --endpoint out.")
    with open_store(config) as store:
        action = "reroute" if state == "unrouted" else "replay"
        record(store, action, mask_url(origin_of(endpoint or "every")), state=state, since=since)
        if state == "unrouted":
            routed, left, blanked = reroute_all(config, store, since)
            click.echo(f"Routed {routed}; {left} still go nowhere.")
            if blanked:
                click.echo(f"{blanked} cannot be routed: their texts are deleted after their retention.", err=True)
        else:
            which = ReplayFilter(state="succeeded" if state == "succeeded" else "dead", endpoint=endpoint, since=since)
            count = replay_all(store, which, datetime.now(UTC).timestamp())
            click.echo(f"Put back {count}, one every {REPLAY_INTERVAL_SECONDS:g} s.")
            with store.reader() as conn:
                blanked = count_blanked(conn, which)
            if blanked:
                click.echo(f"{blanked} cannot be sent again: their bodies are deleted after their retention.", err=True)
    WorkerNotifier(config.data).notify()


@click.command()
@click.option("--from", "code", required=True, metavar="NUMBER", help="The number or short code to send from.")
@click.option("--to", "phones", required=True, multiple=True, metavar="PHONE", help="Several: a text for each.")
@click.option("--media", "media_urls", multiple=True, metavar="URL", help="Sent along, as an MMS.")
@click.option("--custom-ticket", default="", metavar="ID", help="An id of your own; status posts carry it.")
@click.option("--status-url", default="", metavar="URL", help="Where status posts go; else the number's endpoints.")
@click.option("--wait", type=click.FloatRange(0), metavar="SECONDS", help="Until CarrierX has it, or refused it.")
@click.argument("text", nargs=-1)
@config_option
def send(code: str, phones: Sequence[str], wait: float | None, text: Sequence[str], path: Path, **given: Any) -> None:
    """Send TEXT, as a call of the legacy web service would. A running worker sends it; its ticket is printed."""
    config = load(path)
    call = SendCall(
        name="send",
        auth=CallCredentials(code=code),
        text=" ".join(text),
        recipients=tuple(Recipient(phone=phone) for phone in phones),
        source=OPERATOR,
        content_type="application/json",
        now=datetime.now(UTC),
        **given,
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
            click.echo("[carrierx] has no account, token or login: it waits until there is one.", err=True)
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
        if all(entry.state not in ("owed", "sending") for entry in entries) or time.monotonic() >= until:
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


def _table(entries: Sequence[ledger.LedgerEntry]) -> Iterator[str]:
    width = max(len(entry.phone) for entry in entries)
    for entry in entries:
        state = entry.status if entry.state == "sent" and entry.status else STATES.get(entry.state, entry.state)
        facts = (state, entry.message_sid, f"({entry.reason})" if entry.reason else "")
        at = datetime.fromtimestamp(entry.changed_at, UTC)
        yield f"{at:%Y-%m-%d %H:%M:%S}  {entry.phone:{width}}  {'  '.join(fact for fact in facts if fact)}"


def _fields(ctx: click.Context, param: click.Parameter, texts: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE``, several."""
    pairs = [text.partition("=") for text in texts]
    if not all(name and equals for name, equals, _ in pairs):
        raise click.BadParameter("write NAME=VALUE", ctx, param)
    return {name: value for name, _, value in pairs}


def _test_command(kind: str, title: str) -> click.Command:
    @click.command(f"test-{kind}", help=f"Post one {title} like a delivery, and show the result. Exit 1 if it failed.")
    @click.argument("where", metavar="ENDPOINT_OR_URL")
    @click.option(
        "--field", "fields", metavar="NAME=VALUE", multiple=True, callback=_fields, help="Replaces the sample's value."
    )
    @click.option("--json", "as_json", is_flag=True, help="Print the JSON that the console's form gives programs.")
    @config_option
    def post_test(where: str, fields: dict[str, str], as_json: bool, path: Path) -> None:
        config, is_url = load(path), "://" in where
        if not is_url and where not in config.endpoints:
            near = get_close_matches(where, config.endpoints, 1)
            known = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(config.endpoints) or 'none'}."
            raise click.ClickException(f"{where} is neither a URL nor an endpoint of the configuration. {known}")
        post = TestPost(kind=kind, url=where if is_url else "", endpoint="" if is_url else where, fields=fields)
        try:
            result = send_test_post(post, config, datetime.now(UTC))
        except BadCallback as error:
            raise click.ClickException(_by_field(error.errors)) from None
        text = json.dumps(result.as_json(), indent=2) if as_json else printable("\n".join(_result_lines(result)))
        click.echo(text)
        sys.exit(0 if result.ok else 1)

    return post_test


test_callback = _test_command("callback", "keyword callback")
test_status = _test_command("status", "status update")


def _result_lines(result: TestPostResult) -> Iterator[str]:
    yield f"{'Succeeded' if result.ok else 'Failed'} ({result.verdict})"
    yield from (f"  {sentence}" for sentence in result.diagnosis)
    yield f"\nSent to {result.request.url}"
    yield from (f"  {name}: {value}" for name, value in result.request.headers)
    yield f"\n{result.request.body}"
    if result.response:
        yield f"\nAnswered {result.response.status}"
        yield from (f"  {name}: {value}" for name, value in result.response.headers)
        yield f"\n{result.response.body}"
    times = result.times
    yield (
        f"\nMilliseconds: name {times.name:.1f}, connect {times.connect:.1f}, tls {times.tls:.1f}, "
        f"first byte {times.first_byte:.1f}, total {times.total:.1f}"
    )
