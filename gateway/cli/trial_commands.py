"""The commands `gateway test-callback` and `gateway test-status`: the test forms, from the shell."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from gateway.cli import config_option, read
from gateway.config import Config
from gateway.test_posts import InvalidTestPost, TestPost, TestPostResult, send_test_post


class _Pair(click.ParamType[tuple[str, str]]):
    """``NAME=VALUE``."""

    name = "name=value"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        if not equals or not name:
            self.fail("write NAME=VALUE", param, ctx)
        return name, text


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.argument("where", metavar="ENDPOINT_OR_URL"),
        click.option("--field", "fields", type=_Pair(), multiple=True, help="A field's value in place of the sample."),
        click.option("--json", "as_json", is_flag=True, help="Print what the form answers to programs."),
        config_option,
    ):
        command = option(command)
    return command


@click.command("test-callback")
@_options
def test_callback(where: str, fields: Sequence[tuple[str, str]], as_json: bool, path: Path) -> None:
    """Post one keyword callback, as a delivery would, and say what came of it. Exit 1 if it failed."""
    _run("callback", where, fields, as_json, path)


@click.command("test-status")
@_options
def test_status(where: str, fields: Sequence[tuple[str, str]], as_json: bool, path: Path) -> None:
    """Post one status update, as a delivery would, and say what came of it. Exit 1 if it failed."""
    _run("status", where, fields, as_json, path)


def _run(kind: str, where: str, fields: Sequence[tuple[str, str]], as_json: bool, path: Path) -> None:
    config = read(path)
    try:
        result = send_test_post(_trial(kind, where, dict(fields), config), config, datetime.now(UTC))
    except InvalidTestPost as error:
        raise click.ClickException("\n".join(_faults(error))) from None
    click.echo(json.dumps(result.as_json(), indent=2) if as_json else _printable("\n".join(_told(result))))
    sys.exit(0 if result.ok else 1)


def _trial(kind: str, where: str, fields: dict[str, str], config: Config) -> TestPost:
    if "://" in where:
        return TestPost(kind=kind, url=where, fields=fields)
    if where not in config.endpoints:
        near = get_close_matches(where, config.endpoints, 1)
        known = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(config.endpoints) or 'none'}."
        raise click.ClickException(f"{where} is neither a URL nor an endpoint of the configuration. {known}")
    return TestPost(kind=kind, endpoint=where, fields=fields)


def _faults(error: InvalidTestPost) -> Iterator[str]:
    for name, faults in error.errors.items():
        yield from (f"{name}: {fault}" for fault in faults)


def _told(result: TestPostResult) -> Iterator[str]:
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


def _printable(text: str) -> str:
    """An answer must not drive the terminal: control characters but line ends and tabs are shown, not sent."""
    return "".join(each if each.isprintable() or each in "\n\t" else f"\\x{ord(each):02x}" for each in text)
