"""The command `gateway point`: have CarrierX call this gateway."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.carrierx.errors import AnswerLost, CarrierXError, Forbidden, NotAuthorized, NotFound
from gateway.cli import config_option, read
from gateway.cli.callback_setup import LEVELS, CallbackSetting, changed_callbacks
from gateway.config import Config, kept_keys

if TYPE_CHECKING:
    from gateway.carrierx import CoreAPI


@click.command()
@click.option("--partner", is_flag=True, help="For all numbers of a partner.")
@click.option("--did", is_flag=True, help="For one rented number.")
@click.option("--group", is_flag=True, help="For a group of rented numbers.")
@click.argument("sid", required=False)
@click.option("--show", is_flag=True, help="Only show what is set.")
@config_option
def point(partner: bool, did: bool, group: bool, sid: str | None, show: bool, path: Path) -> None:
    """Tell CarrierX to call this gateway, at the partner, DID or DID group SID.

    SID is CarrierX's id of it; without one, --partner takes carrierx.partner_sid. Where several are set, the DID's
    callback wins, then its DID group's, then the partner's.
    """
    given = {"partner": partner, "did": did, "group": group}
    if sum(given.values()) != 1:
        raise click.UsageError("Say whose callback, one of --partner, --did SID and --group SID.")
    _point(next(level for level, asked in given.items() if asked), sid, show, read(path))


def _point(level: str, sid: str | None, show: bool, config: Config) -> None:
    keys = _keys(config)
    sid = sid or (config.carrierx.partner_sid if level == "partner" else "")
    if missing := list(_missing(config, keys, level, sid, show)):
        click.echo("\n".join(missing), err=True)
        sys.exit(1)
    with _api(config) as api:
        try:
            _run(CallbackSetting(api=api, config=config, keys=keys, level=level, sid=sid), show)
        except CarrierXError as error:
            raise click.ClickException("\n".join(_failed(error, level))) from None


def _keys(config: Config) -> tuple[str, ...]:
    try:
        return config.keys or kept_keys(config.data)
    except (OSError, UnicodeDecodeError):
        return ()


def _missing(config: Config, keys: tuple[str, ...], level: str, sid: str, show: bool) -> Iterator[str]:
    if not config.carrierx.is_set:
        yield "There is no account: set token, or login and password, under [carrierx]."
    if not sid:
        yield f"There is no SID: name the {LEVELS[level]}" + (
            ", or set partner_sid under [carrierx]." if level == "partner" else " behind the option."
        )
    if not show and not config.public_url:
        yield "CarrierX must be told a URL: set public_url under [gateway] to where others reach this gateway."
    if not show and not keys:
        yield "There is no key yet: set keys under [gateway], or start the gateway once, which makes one."


def _api(config: Config) -> CoreAPI:
    # All commands are loaded by every process of the gateway; requests is for those that ask CarrierX something.
    from gateway.carrierx import CoreAPI

    account = config.carrierx
    try:
        return CoreAPI(
            account.base_url,
            token=account.token,
            login=account.login,
            password=account.password,
            timeout=account.timeout,
        )
    except ValueError as error:
        raise click.ClickException(f"[carrierx] cannot be used: {error}") from None


def _run(pointing: CallbackSetting, show: bool) -> None:
    before = after = pointing.read()
    click.echo(pointing.title(before))
    click.echo(f"  {'is' if show else 'was'}   {pointing.shown(before)}")
    if not show:
        pointing.aim()
        # Asked for again: what counts is what CarrierX has, not what it was told.
        after = pointing.read()
        click.echo(f"  is    {pointing.shown(after)}")
        if others := changed_callbacks(before, after):
            click.echo(f"Callbacks for other things have changed, set them again in the portal: {', '.join(others)}.")
    click.echo()
    for line in pointing.explained(after):
        click.echo(line)


def _failed(error: CarrierXError, level: str) -> Iterator[str]:
    yield str(error)
    if isinstance(error, NotAuthorized):
        yield "The token, or login and password, under [carrierx] are not good."
    elif isinstance(error, Forbidden):
        yield f"This account may not read or change this {LEVELS[level]}."
    elif isinstance(error, NotFound):
        yield f"CarrierX knows no {LEVELS[level]} by this SID."
    elif isinstance(error, AnswerLost):
        yield "Whether it was done is not known: look with --show."
