"""Commands about CarrierX: `point` has it call this gateway, `sandbox` runs a stand-in for it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from gateway.carrierx import CoreAPI
from gateway.carrierx.errors import AnswerLost, CarrierXError, Forbidden, NotAuthorized, NotFound
from gateway.cli import config_option, read_config
from gateway.cli.callback_setup import LEVELS, CallbackSetting, changed_callbacks, url_of
from gateway.cli.serve import check_listen_address, exit_on_error
from gateway.config import Config, kept_keys
from gateway.sandbox.carrierx import PARTNER, CarrierXStub, Misbehaviour, Setup
from gateway.sandbox.carrierx.engine import SHAPES
from gateway.sandbox.carrierx.faults import PROBABILITIES
from gateway.sandbox.carrierx.scenarios import scenario_table
from gateway.serve import logging, roles

HINTS: dict[type[CarrierXError], str] = {
    NotAuthorized: "The token, or login and password, under [carrierx] are not valid.",
    Forbidden: "This account may not read or change this {}.",
    NotFound: "CarrierX knows no {} by this SID.",
    AnswerLost: "It is not known whether it was done: look with --show.",
}
SANDBOX_HOST, SANDBOX_PORT = "127.0.0.1", 8090


@click.command()
@click.option("--partner", is_flag=True, help="For all numbers of a partner.")
@click.option("--did", is_flag=True, help="For one rented number.")
@click.option("--group", "did_group", is_flag=True, help="For a group of rented numbers.")
@click.argument("sid", required=False)
@click.option("--show", is_flag=True, help="Only show what is set.")
@config_option
def point(partner: bool, did: bool, did_group: bool, sid: str | None, show: bool, path: Path) -> None:
    """Have CarrierX call this gateway, at the partner, DID or DID group SID.

    SID is CarrierX's id of it; without one, --partner takes carrierx.partner_sid. Where several are set, the DID's
    callback wins, then its DID group's, then the partner's.
    """
    levels = [level for level, chosen in (("partner", partner), ("did", did), ("did_group", did_group)) if chosen]
    if len(levels) != 1:
        raise click.UsageError("Say whose callback, one of --partner, --did SID and --group SID.")
    [level], config = levels, read_config(path)
    try:
        keys = config.keys or kept_keys(config.data)
    except (OSError, UnicodeDecodeError):
        keys = ()
    sid = sid or (config.carrierx.partner_sid if level == "partner" else "")
    if missing := list(_missing(config, keys, level, sid, show)):
        click.echo("\n".join(missing), err=True)
        sys.exit(1)
    account = config.carrierx
    try:
        api = CoreAPI(
            account.base_url,
            token=account.token,
            login=account.login,
            password=account.password,
            timeout=account.timeout,
        )
    except ValueError as error:
        raise click.ClickException(f"[carrierx] cannot be used: {error}") from None
    with api:
        try:
            _show_or_set(CallbackSetting(api=api, config=config, keys=keys, level=level, sid=sid), show)
        except CarrierXError as error:
            hints = [hint.format(LEVELS[level]) for kind, hint in HINTS.items() if isinstance(error, kind)]
            raise click.ClickException("\n".join([str(error), *hints])) from None


def _missing(config: Config, keys: tuple[str, ...], level: str, sid: str, show: bool) -> Iterator[str]:
    if not config.carrierx.is_set:
        yield "There is no account: set token, or login and password, under [carrierx]."
    if not sid:
        hint = "or set partner_sid under [carrierx]" if level == "partner" else "after the option"
        yield f"There is no SID: name the {LEVELS[level]}, {hint}."
    if not show and not config.public_url:
        yield "CarrierX must be told a URL: set public_url under [gateway] to where others reach this gateway."
    if not show and not keys:
        yield "There is no key yet: set keys under [gateway], or start the gateway once, which makes one."


def _show_or_set(setting: CallbackSetting, show: bool) -> None:
    before = after = setting.read()
    click.echo(setting.title(before))
    click.echo(f"  {'is' if show else 'was'}   {setting.shown(url_of(setting.level, before))}")
    if not show:
        setting.set()
        # Read again: what counts is what CarrierX has, not what it was asked.
        after = setting.read()
        click.echo(f"  is    {setting.shown(url_of(setting.level, after))}")
        if others := changed_callbacks(before, after):
            click.echo(f"Callbacks for other things have changed, set them again in the portal: {', '.join(others)}.")
    click.echo()
    for line in setting.explain(after):
        click.echo(line)


def _misbehaviour_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for name, meaning in reversed(PROBABILITIES.items()):
        option = f"--{name.replace('_', '-')}"
        text = f"How often: {meaning}"
        command = click.option(option, type=click.FloatRange(0, 1), default=0.0, metavar="0..1", help=text)(command)
    return command


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=SANDBOX_PORT, show_default=True)
@click.option("--callback", default="", metavar="URL", help="Where texts and updates are posted.  [default: nowhere]")
@click.option("--token", default="sandbox", show_default=True, help="The one to log in with; empty: anybody may.")
@click.option("--number", "numbers", multiple=True, help="A number of the account; again for more.  [default: all]")
@click.option("--pace", type=click.FloatRange(min=0), default=0.5, show_default=True, help="Seconds between updates.")
@click.option("--attempts", type=click.IntRange(1, 100), default=8, show_default=True, help="Posts of one callback.")
@click.option("--shape", type=click.Choice(SHAPES), default="asked", show_default=True, help="Of Message objects.")
@click.option("--oldest-first", is_flag=True, help="Lists begin with the oldest message.")
@click.option("--seed", type=int, default=1, show_default=True, help="For what goes wrong by chance.")
@_misbehaviour_options
def sandbox(port: int, oldest_first: bool, seed: int, **given: Any) -> None:
    """A stand-in for CarrierX, to try applications and a gateway.toml without an account, until Ctrl-C.

    The last four digits of a handset's number choose what becomes of a message. The options from 0 to 1 make things go
    wrong by chance; a request gets at most one fault in its answer.
    """
    logging.set_up("sandbox")
    chances = {name: given.pop(name) for name in PROBABILITIES}
    try:
        setup = Setup(misbehaviour=Misbehaviour(seed=seed, **chances), newest_first=not oldest_first, **given)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    with exit_on_error():
        check_listen_address(SANDBOX_HOST, port)
        stub = CarrierXStub(setup, SANDBOX_HOST, port)
        click.echo(_sandbox_welcome(stub, setup))
        roles.run_carrierx_stub(stub)


def _sandbox_welcome(stub: CarrierXStub, setup: Setup) -> str:
    """How a gateway comes to use it, and what the numbers do."""
    callbacks = (
        "Its callbacks go to the URL that you gave, unless a PATCH of a DID or DID group says otherwise."
        if setup.callback
        else "It posts no callbacks yet: give --callback http://127.0.0.1:8080/carrierx/callback/KEY, or set one by\n"
        "PATCH /partners/SID, as at CarrierX."
    )
    return f"""\
A stand-in for CarrierX is up. Ctrl-C stops it. In gateway.toml:

  [carrierx]
  base_url = "{stub.url}"
  token = "{setup.token}"
  partner_sid = "{PARTNER}"

{callbacks}

Text the gateway as a handset would:

  curl {stub.address}/sandbox/inbound -H 'Content-Type: application/json' \\
       -d '{{"from": "15162065515", "to": "NUMBER", "message": "JOIN"}}'

Handsets with these last digits; all others get what they are sent:

{scenario_table()}
"""
