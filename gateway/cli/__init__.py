"""The command `gateway`, and those of its commands that only need the configuration."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from gateway.config import Config, ConfigError, Number, default_path, load, sample
from gateway.routing.explain import Explanation, explain
from gateway.safe_http.ssrf import mask_url

KNOWN_SHOWN = 20
"""Numbers that are listed where one is not known."""


# Commands that need more than the configuration have modules of their own, which use `config_option` and `read` of
# this one. They are loaded when they are asked for: `gateway check` needs no web, no database, no libcurl.
ELSEWHERE = {
    "serve": "gateway.cli.serve:serve",
    "web": "gateway.cli.serve:web",
    "worker": "gateway.cli.serve:worker",
    "sandbox": "gateway.cli.sandbox_commands:sandbox",
    "sandbox-page": "gateway.cli.serve:page",
    "translate": "gateway.cli.messages:translate",
    "replay": "gateway.cli.messages:replay",
    "point": "gateway.cli.carrierx:point",
    "send": "gateway.cli.sending:send",
    "sends": "gateway.cli.sending:sends",
    "opt-outs": "gateway.cli.opt_outs:main",
    "test-callback": "gateway.cli.trial_commands:test_callback",
    "test-status": "gateway.cli.trial_commands:test_status",
}


class _Commands(click.Group):
    """The commands of this module, and those `ELSEWHERE`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *ELSEWHERE})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        module, name = ELSEWHERE[cmd_name].split(":")
        command: click.Command = getattr(import_module(module), name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """The gateway between the old keyword platforms for SMS and CarrierX."""


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option ``--config``: the path of the configuration, as the argument `path`."""
    return click.option(
        "--config",
        "path",
        type=click.Path(path_type=Path),
        default=default_path,
        show_default="$GATEWAY_CONFIG, else gateway.toml",
        help="The configuration.",
    )(command)


def read(path: Path) -> Config:
    """The configuration for a command that cannot go on without: with a mistake in it, all are printed, and exit 1."""
    try:
        return load(path)
    except ConfigError as error:
        click.echo(error, err=True)
        sys.exit(1)


@main.command()
@config_option
def check(path: Path) -> None:
    """Read the configuration and print every mistake in it."""
    try:
        config = load(path)
    except ConfigError as error:
        click.echo(error)
        _print_warnings(error.warnings)
        click.echo(f"{_count(len(error.faults), 'mistake')}, {_count(len(error.warnings), 'warning')}.")
        sys.exit(1)
    _print_warnings(config.warnings)
    click.echo("\n".join(_summary(config, path)))


def _print_warnings(warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        click.echo(f"Warning: {warning}")


def _summary(config: Config, path: Path) -> Iterator[str]:
    counted = (
        _count(len(config.endpoints), "endpoint"),
        _count(len(config.numbers), "number"),
        _count(sum(len(number.keywords) for number in config.numbers), "keyword"),
        _count(len(config.warnings), "warning"),
    )
    yield f"{path}: no mistake. {', '.join(counted)}."
    unset = [name for name in ("keys", "password") if not getattr(config, name)]
    if unset:
        yield f"Not set: {' and '.join(unset)}. The first start makes what is missing, under {config.data}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number or 'no'} {noun}s"


@main.command(name="explain")
@click.option("--to", required=True, metavar="NUMBER", help="The number or short code that is texted.")
@click.argument("text", nargs=-1, required=True)
@config_option
def explain_(to: str, text: tuple[str, ...], path: Path) -> None:
    """Say which keyword TEXT matches, why, and where it would go."""
    config = read(path)
    number = config.number_for(to)
    if number is None:
        click.echo(f"{to} is no number or short code of {path}. {_known(config)}", err=True)
        sys.exit(1)
    click.echo("\n".join(_explained(explain(" ".join(text), number, config))))


def _known(config: Config) -> str:
    if not config.numbers:
        return "It has none at all: add a [[number]]."
    more = ", …" if len(config.numbers) > KNOWN_SHOWN else ""
    return f"Known: {', '.join(_number(number) for number in config.numbers[:KNOWN_SHOWN])}{more}"


def _number(number: Number) -> str:
    facts = [f"short code {number.shortcode}"] if number.shortcode != number.number else []
    facts += [number.title] if number.title else []
    return f"{number.number} ({', '.join(facts)})" if facts else number.number


def _explained(found: Explanation) -> Iterator[str]:
    yield f"Number   {_number(found.number)}"
    if found.match:
        yield f"Keyword  {found.match.matched}: {found.match.why}"
    else:
        yield "Keyword  none matches: the text goes to the number's own callback"
    yield from (f"Perhaps  {sentence}" for sentence in found.perhaps)
    yield from _ways(found)
    for loser in found.losers:
        match = loser.match
        yield f"Also     {match.matched} ({match.keyword.match}): {match.why}; but {loser.why}"


def _ways(found: Explanation) -> Iterator[str]:
    if not found.endpoints:
        yield "Goes to  no endpoint: the text is kept as unrouted"
    width = max((len(endpoint.name) for endpoint in found.endpoints), default=0)
    for endpoint in found.endpoints:
        yield f"Goes to  {endpoint.name:{width}}  {endpoint.format:8}  {mask_url(endpoint.url)}"


@main.command()
@config_option
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def init(path: Path, force: bool) -> None:
    """Write a commented configuration to start from."""
    try:
        _write(path, sample().encode(), force)
    except FileExistsError:
        raise click.ClickException(f"{path} is there already; --force writes over it.") from None
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}.") from None
    click.echo(f"Wrote {path}. Put your numbers and endpoints into it, then: gateway check, gateway serve.")


def _write(path: Path, content: bytes, force: bool) -> None:
    """The whole file or none of it, readable by its owner alone: secrets may be written into it."""
    if path.exists() and not force:
        raise FileExistsError(path)
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(draft).replace(path)
    finally:
        Path(draft).unlink(missing_ok=True)
