"""Commands about CarrierX: `point` has it call this gateway, `sandbox` runs a stand-in for it.

Three objects at CarrierX can have a callback. For a message the first that is set counts:

    1  the DID's            PATCH /phonenumber/dids/SID        {"callback_url": URL}
    2  its DID group's      PATCH /phonenumber/did_groups/SID  {"callback_url": URL}
    3  the partner's        PATCH /partners/SID                {"callbacks": {"sms": URL}}
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import click
from jinja2 import Template

from gateway.carrierx import CoreAPI
from gateway.carrierx.errors import AnswerLost, CarrierXError, Forbidden, NotAuthorized, NotFound
from gateway.carrierx.responses import JsonObject
from gateway.cli import config_option, open_store, record
from gateway.cli.serve import check_listen_address
from gateway.config import Config, kept_keys, load
from gateway.safe_http.ssrf import mask_url
from gateway.sandbox.carrierx import PARTNER, CarrierXStub, Misbehaviour, Setup
from gateway.sandbox.carrierx.engine import SHAPES
from gateway.sandbox.carrierx.faults import PROBABILITIES, scenario_table
from gateway.serve import logging, roles

PATH = "/carrierx/callback"
LEVELS = {"did": "DID", "did_group": "DID group", "partner": "partner"}
"""Objects with a callback, by their names in CarrierX's API: that of an earlier one wins."""
PRECEDENCE = "CarrierX calls the first that is set: the DID's callback, else its DID group's, else the partner's."
MAX_LISTED = 20  # DIDs and groups that are listed by name
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
    [level], config = levels, load(path)
    account = config.carrierx
    keys = tuple(value for key in config.all_keys if "carrierx" in key.wire_formats for value in key.value)
    keys = keys if config.all_keys else kept_keys(config.data)
    sid = sid or (account.partner_sid if level == "partner" else "")
    hint = "or set partner_sid under [carrierx]" if level == "partner" else "after the option"
    needed = {
        "There is no account: set token, or login and password, under [carrierx].": account.is_set,
        f"There is no SID: name the {LEVELS[level]}, {hint}.": sid,
        "CarrierX must be told a URL: set public_url under [gateway] to this gateway's.": show or config.public_url,
        "There is no key yet: set keys under [gateway], or start the gateway once, which makes one.": show or keys,
    }
    if missing := [sentence for sentence, value in needed.items() if not value]:
        click.echo("\n".join(missing), err=True)
        sys.exit(1)
    try:
        options = {name: getattr(account, name) for name in ("token", "login", "password", "timeout")}
        api = CoreAPI(account.base_url, **options)
    except ValueError as error:
        raise click.ClickException(f"[carrierx] cannot be used: {error}") from None
    with api:
        try:
            if not show:
                with open_store(config) as store:
                    record(store, "point", f"{level} {sid}")
            CallbackSetting(api=api, config=config, keys=keys, level=level, sid=sid).show_or_set(show)
        except CarrierXError as error:
            hints = [hint.format(LEVELS[level]) for kind, hint in HINTS.items() if isinstance(error, kind)]
            raise click.ClickException("\n".join([str(error), *hints])) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackSetting:
    """The callback of a DID, a DID group or a partner."""

    api: CoreAPI
    config: Config
    keys: tuple[str, ...] = field(repr=False)
    level: str  # a name of `LEVELS`
    sid: str

    def show_or_set(self, show: bool) -> None:
        """Prints what is set and what that means; unless `show`, has CarrierX call us with our first key before."""
        before = after = self._read(self.level, self.sid)
        click.echo(f"{LEVELS[self.level]} {_name_of(before, self.sid)}")
        click.echo(f"  {'is' if show else 'was'}   {self._shown(_url_of(self.level, before))}")
        if not show:
            self.api.set_callback(f"{self.config.public_url}{PATH}/{self.keys[0]}", **{self.level: self.sid})
            # Read again: what counts is what CarrierX has, not what it was asked.
            after = self._read(self.level, self.sid)
            click.echo(f"  is    {self._shown(_url_of(self.level, after))}")
            old, new = _callbacks(before), _callbacks(after)
            if changed := sorted(name for name, url in old.items() if name != "sms" and url and new.get(name) != url):
                listed = ", ".join(changed)
                click.echo(f"Callbacks for other things have changed, set them again in the portal: {listed}.")
        click.echo(f"\n{PRECEDENCE}")
        try:
            for line in self._explain_did(after) if self.level == "did" else self._explain_overrides(after):
                click.echo(line)
        except CarrierXError as error:
            click.echo(f"Other callbacks that may win could not be found out: {error}")

    def _read(self, level: str, sid: str) -> JsonObject:
        found: JsonObject = getattr(self.api, level)(sid)
        return found

    def _shown(self, url: str) -> str:
        """A callback without secrets. Which of our keys it has may be shown, by its place among them."""
        if not url:
            return "not set"
        shown, mark, query = mask_url(url).partition("?")
        before, path, key = shown.rpartition(f"{PATH}/")
        if path and key:
            key = f"[key {self.keys.index(key) + 1}]" if key in self.keys else "[a key that is not ours]"
        return f"{before}{path}{key}{mark}{query}"

    def _explain_did(self, did: JsonObject) -> Iterator[str]:
        """The callbacks that count for a DID, and which of them is called."""
        urls = {"did": _url_of("did", did)}
        for level in ("did_group", "partner"):
            sid = did.get(f"{level}_sid") or (self.config.carrierx.partner_sid if level == "partner" else "")
            urls[level] = _url_of(level, self._read(level, str(sid))) if sid else ""
        winner = next((level for level, url in urls.items() if url), None)
        for place, (level, url) in enumerate(urls.items(), 1):
            mark = "   <- this one is called" if level == winner else ""
            yield f"  {place}  {LEVELS[level]:9}  {self._shown(url)}{mark}"
        if winner is None:
            yield "None is set: CarrierX calls nobody for this DID."
        else:
            yield f"For this DID the {LEVELS[winner]}'s wins."

    def _explain_overrides(self, found: JsonObject) -> Iterator[str]:
        """The callbacks that win over that of a group or a partner."""
        dids = list(self.api.every_did())
        if self.level == "did_group":
            dids = [did for did in dids if did.get("did_group_sid") == self.sid]
        winners = [(did, "did") for did in dids if _url_of("did", did)]
        if self.level == "partner":
            winners += [(group, "did_group") for group in self.api.every_did_group() if _url_of("group", group)]
        if not _url_of(self.level, found):
            yield f"This {LEVELS[self.level]} has none, so it takes part in nothing."
        elif not winners:
            yield f"No {'DID or DID group' if self.level == 'partner' else 'DID of this group'} has one of its own."
        else:
            yield f"These have one of their own, which wins over this {LEVELS[self.level]}'s:"
        # The gateway's own numbers first: these are what the reader asks about. The sort keeps the order otherwise.
        for winner, level in sorted(winners, key=lambda each: not self._is_ours(each[0]))[:MAX_LISTED]:
            sid = str(winner.get(f"{level}_sid") or "")
            note = "   one of this gateway's numbers" if self._is_ours(winner) else ""
            yield f"  {LEVELS[level]:9}  {_name_of(winner, sid)}  {self._shown(_url_of(level, winner))}{note}"
        if len(winners) > MAX_LISTED:
            yield f"  and {len(winners) - MAX_LISTED} more"

    def _is_ours(self, found: JsonObject) -> bool:
        number = found.get("phonenumber")
        return isinstance(number, str) and self.config.number_for(number) is not None


def _url_of(level: str, found: JsonObject) -> str:
    """The callback in an object of CarrierX's; empty where there is none."""
    url = _callbacks(found).get("sms") if level == "partner" else found.get("callback_url")
    return url.strip() if isinstance(url, str) else ""


def _callbacks(partner: JsonObject) -> JsonObject:
    callbacks = partner.get("callbacks")
    return callbacks if isinstance(callbacks, dict) else {}


def _name_of(found: JsonObject, sid: str) -> str:
    name = found.get("phonenumber") or found.get("name") or found.get("company_name")
    return f"{name} ({sid})" if isinstance(name, str) and name.isprintable() and name != "N/A" else sid


def _misbehaviour_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for name, meaning in reversed(PROBABILITIES.items()):
        option, text = f"--{name.replace('_', '-')}", f"How often: {meaning}"
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
    check_listen_address(SANDBOX_HOST, port)
    stub = CarrierXStub(setup, SANDBOX_HOST, port)
    welcome = resources.files("gateway.sandbox").joinpath("templates", "welcome.txt").read_text("utf-8")
    click.echo(Template(welcome).render(stub=stub, setup=setup, partner=PARTNER, scenarios=scenario_table()))
    roles.run_carrierx_stub(stub)
