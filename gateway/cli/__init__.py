"""The command `gateway`, and those of its commands that need nothing but the configuration."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.config import Config, ConfigError, Number, OperatorError, default_path, load, sample
from gateway.config.secrets import draft_of
from gateway.routing.explain import Explanation
from gateway.routing.explain import explain as explain_text
from gateway.safe_http.ssrf import mask_url

if TYPE_CHECKING:
    from gateway.store import Store

MAX_LISTED_NUMBERS = 20  # configured numbers that are listed where one is not known
_AGO = re.compile(r"(\d{1,6})\s*([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

# A command that needs more is in a module of its own, which is imported when the command is asked for: `gateway check`
# needs no web, no database, no libcurl.
_MODULES = {
    "carrierx": ("point", "sandbox"),
    "messages": ("translate", "replay", "send", "sends", "test-callback", "test-status"),
    "operators": ("operators", "audit"),
    "phones": ("opt-outs", "forget", "export"),
    "serve": ("serve", "web", "worker", "sandbox-page"),
}
LAZY_COMMANDS = {command: f"gateway.cli.{module}" for module, commands in _MODULES.items() for command in commands}


class _Commands(click.Group):
    """The commands of this module, and the `LAZY_COMMANDS`."""

    def invoke(self, ctx: click.Context) -> Any:
        """Where somebody must mend something, ends the command with a sentence in place of a traceback, and with 1."""
        try:
            return super().invoke(ctx)
        except (BrokenPipeError, click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except OperatorError as error:
            text = str(error)
        except OSError as error:
            text = f"{error.strerror or error}."
        except Exception as error:
            from gateway.store import StoreUnavailable

            if not isinstance(error, StoreUnavailable):
                raise
            text = f"The store cannot be used: {error}."
        click.echo(text, err=True)
        sys.exit(1)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *LAZY_COMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in LAZY_COMMANDS:
            return super().get_command(ctx, cmd_name)
        command: click.Command = getattr(import_module(LAZY_COMMANDS[cmd_name]), cmd_name.replace("-", "_"))
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """The gateway between the old keyword platforms for SMS and CarrierX."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # memory holds secrets and texts; children inherit it


config_option = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default=default_path,
    show_default="$GATEWAY_CONFIG, else gateway.toml",
    help="The configuration.",
)


@contextmanager
def open_store(config: Config) -> Iterator[Store]:
    """The store, up to date."""
    from gateway.store import Store

    with Store(config.database) as store:
        store.migrate()
        yield store


def write_new_file(path: Path, content: bytes) -> None:
    """Writes a file that only its owner can read, and over none that is there."""
    with cannot_be_written(path), open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(content)


@contextmanager
def cannot_be_written(path: Path) -> Iterator[None]:
    """Names the file where an OSError says why it cannot be written."""
    try:
        yield
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}.") from None


def record(store: Store, action: str, subject: str = "", **details: object) -> None:
    """Records what a command does: it is the system's user who acts."""
    from gateway.store import audit

    try:
        import pwd

        user = pwd.getpwuid(os.getuid()).pw_name
    except ImportError:  # Windows
        user = os.getlogin()
    except KeyError:  # a container without names
        user = str(os.getuid())
    at, who = datetime.now(UTC).timestamp(), user + audit.COMMAND
    entry = audit.AuditEntry(at=at, who=who, action=action, subject=subject, details=details)
    store.writer.write(lambda conn: audit.record(conn, entry))


def parse_time(ctx: click.Context, param: click.Parameter, text: str | None) -> float | None:
    """A time: ``2026-11-20T08:00`` (UTC unless it has an offset), or how long ago: ``90m``, ``6h``, ``2d``."""
    if text is None:
        return None
    try:
        if ago := _AGO.fullmatch(text.strip()):
            return (datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})).timestamp()
        moment = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        raise click.BadParameter("write 2026-11-20T08:00, or 90m, 6h, 2d for how long ago", ctx, param) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def printable(text: str) -> str:
    """Text of strangers for a terminal, which it must not control: line ends and tabs are all that is left."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


@main.command()
@config_option
def check(path: Path) -> None:
    """Read the configuration and print every mistake in it."""
    try:
        config = load(path)
    except ConfigError as error:
        click.echo("\n".join([str(error), *(f"Warning: {warning}" for warning in error.warnings)]))
        click.echo(f"{_count(len(error.faults), 'mistake')}, {_count(len(error.warnings), 'warning')}.")
        sys.exit(1)
    for warning in config.warnings:
        click.echo(f"Warning: {warning}")
    counts = (
        _count(len(config.endpoints), "endpoint"),
        _count(len(config.numbers), "number"),
        _count(sum(len(number.keywords) for number in config.numbers), "keyword"),
        _count(len(config.warnings), "warning"),
    )
    click.echo(f"{path}: no mistake. {', '.join(counts)}.")
    needed = {"keys": config.all_keys, "password": config.password}
    if unset := [name for name, value in needed.items() if not value]:
        click.echo(f"Not set: {' and '.join(unset)}. The first start makes what is missing, under {config.data}.")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number or 'no'} {noun}s"


@main.command()
@click.option("--to", required=True, metavar="NUMBER", help="The number or short code that is texted.")
@click.argument("text", nargs=-1, required=True)
@config_option
def explain(to: str, text: tuple[str, ...], path: Path) -> None:
    """Say which keyword TEXT matches, why, and which endpoints get it."""
    config = load(path)
    number = config.number_for(to)
    if number is None:
        known = [_describe(number) for number in config.numbers[:MAX_LISTED_NUMBERS]]
        more = ", …" if len(config.numbers) > MAX_LISTED_NUMBERS else ""
        hint = f"Known: {', '.join(known)}{more}" if known else "It has none at all: add a [[number]]."
        click.echo(f"{to} is no number or short code of {path}. {hint}", err=True)
        sys.exit(1)
    click.echo("\n".join(_explanation_lines(explain_text(" ".join(text), number, config))))


def _describe(number: Number) -> str:
    """``15162065919 (short code 12345, Acme)``"""
    details = [f"short code {number.shortcode}"] if number.shortcode != number.number else []
    details += [number.title] if number.title else []
    return f"{number.number} ({', '.join(details)})" if details else number.number


def _explanation_lines(found: Explanation) -> Iterator[str]:
    yield f"Number   {_describe(found.number)}"
    if found.match:
        yield f"Keyword  {found.match.keyword.word}: {found.match.why}"
    else:
        yield "Keyword  none matches: the text goes to the number's own callback"
    yield from (f"Perhaps  {sentence}" for sentence in found.perhaps)
    if not found.endpoints:
        yield "Goes to  no endpoint: the text is kept as unrouted"
    width = max((len(endpoint.name) for endpoint in found.endpoints), default=0)
    for endpoint in found.endpoints:
        yield f"Goes to  {endpoint.name:{width}}  {endpoint.format:8}  {mask_url(endpoint.url)}"
    for match, why in found.losers:
        yield f"Also     {match.keyword.word} ({match.keyword.match}): {match.why}; but {why}"


@main.command()
@config_option
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def init(path: Path, force: bool) -> None:
    """Write a commented configuration to start from."""
    if path.exists() and not force:
        raise click.ClickException(f"{path} is there already; --force writes over it.")
    with cannot_be_written(path), draft_of(path, sample().encode()) as draft:
        draft.replace(path)
    click.echo(f"Wrote {path}. Put your numbers and endpoints into it, then: gateway check, gateway serve.")
