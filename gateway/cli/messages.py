"""Commands about messages: `translate` one, `replay` what was not delivered."""

from __future__ import annotations

import re
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from gateway.cli import config_option, read
from gateway.config import Config
from gateway.inbound.accept import reroute_all
from gateway.routing.route import dump_message, load_message
from gateway.store import Store, StoreUnavailable, ledger
from gateway.store.replay import REPLAY_INTERVAL_SECONDS, ReplayFilter, replay_all
from gateway.store.wakeup import WorkerNotifier
from schemas import FORMATS, BadCallback, CannotSay, FormatOptions, ReceiveContext

_AGO = re.compile(r"(\d{1,6})\s*([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@click.command()
@click.option("--from", "source", type=click.Choice(list(FORMATS)), required=True, help="What stdin is.")
@click.option("--to", "target", type=click.Choice(list(FORMATS)), required=True, help="What stdout will be.")
@click.option("--content-type", help="The Content-Type that the body came with, if it matters.")
@config_option
def translate(source: str, target: str, content_type: str | None, path: Path) -> None:
    """Translate one body from stdin to stdout, with the numbers and keywords of the configuration.

    A group's status update becomes several posts, one a line. What had to be decided is said on stderr.
    """
    config = read(path)
    receipt = ReceiveContext(now=datetime.now(UTC), sid=str(uuid.uuid4()), prefix=config.prefix)
    try:
        message, _ = load_message(sys.stdin.buffer.read(), content_type, source, receipt, config)
        bodies = dump_message(message, target, FormatOptions(prefix=config.prefix))
    except BadCallback as error:
        raise click.ClickException("\n".join(_faults(error))) from None
    except CannotSay as error:
        raise click.ClickException(str(error)) from None
    for note in (*message.notes, *(note for body in bodies for note in body.notes)):
        click.echo(f"Note: {note}", err=True)
    sys.stdout.buffer.write(b"\n".join(body.data for body in bodies))
    sys.stdout.buffer.flush()


def _faults(error: BadCallback) -> Iterator[str]:
    for name, faults in error.errors.items():
        yield from (f"{name}: {fault}" for fault in faults)


class _Since(click.ParamType[float]):
    """A moment: ``2026-11-20T08:00`` (UTC unless it says), or how long ago: ``90m``, ``6h``, ``2d``."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        ago = _AGO.fullmatch(str(value).strip())
        if ago:
            return (datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})).timestamp()
        try:
            moment = datetime.fromisoformat(str(value).strip())
        except ValueError:
            self.fail("write 2026-11-20T08:00, or 90m, 6h, 2d for how long ago", param, ctx)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@click.command()
@click.option("--endpoint", help="Only deliveries to this endpoint.")
@click.option("--since", type=_Since(), help="Only what ended (unrouted: came in) since: 6h, 2026-11-20T08:00.")
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
    config = read(path)
    if endpoint not in (None, ledger.ENDPOINT) and config.endpoint(endpoint or "") is None:
        raise click.ClickException(f"{endpoint} is no endpoint of {path}. Known: {', '.join(config.endpoints)}")
    if endpoint is not None and state == "unrouted":
        raise click.ClickException("Unrouted texts have no endpoint yet: leave --endpoint out.")
    with Store(config.database) as store:
        try:
            store.migrate()
            click.echo(_replayed(store, config, endpoint, since, state))
        except StoreUnavailable as error:
            raise click.ClickException(f"The store cannot be used: {error}.") from None
    WorkerNotifier(config.data).notify()


def _replayed(store: Store, config: Config, endpoint: str | None, since: float | None, state: str) -> str:
    if state == "unrouted":
        routed, left = reroute_all(config, store, since)
        return f"Routed {routed}; {left} still go nowhere."
    which = ReplayFilter(state="succeeded" if state == "succeeded" else "dead", endpoint=endpoint, since=since)
    count = replay_all(store, which, datetime.now(UTC).timestamp())
    return f"Put back {count}, one every {REPLAY_INTERVAL_SECONDS:g} s."
