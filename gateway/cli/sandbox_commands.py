"""The command `gateway sandbox`: the stand-in for CarrierX by itself, for whoever has no account."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from gateway.sandbox.carrierx import CarrierXStub, Misbehaviour, Setup
from gateway.sandbox.carrierx.engine import SHAPES
from gateway.sandbox.carrierx.faults import PROBABILITIES
from gateway.sandbox.carrierx.scenarios import scenario_table
from gateway.serve import logging, roles
from gateway.serve.startup import check_listen_address, exit_on_error

HOST = "127.0.0.1"
PORT = 8090


def _misbehaviour(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds an option for each probability."""
    for name, meaning in reversed(PROBABILITIES.items()):
        option = f"--{name.replace('_', '-')}"
        text = f"How often: {meaning}"
        command = click.option(option, type=click.FloatRange(0, 1), default=0.0, metavar="0..1", help=text)(command)
    return command


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=PORT, show_default=True)
@click.option("--callback", default="", metavar="URL", help="Where texts and updates are posted.  [default: nowhere]")
@click.option("--token", default="sandbox", show_default=True, help="The one to log in with; empty: anybody may.")
@click.option("--number", "numbers", multiple=True, help="A number of the account; again for more.  [default: all]")
@click.option("--pace", type=click.FloatRange(min=0), default=0.5, show_default=True, help="Seconds between updates.")
@click.option("--attempts", type=click.IntRange(1, 100), default=8, show_default=True, help="Posts of one callback.")
@click.option("--shape", type=click.Choice(SHAPES), default="asked", show_default=True, help="Of Message objects.")
@click.option("--oldest-first", is_flag=True, help="Lists begin with the oldest message.")
@click.option("--seed", type=int, default=1, show_default=True, help="For what goes wrong by chance.")
@_misbehaviour
def sandbox(port: int, oldest_first: bool, seed: int, **given: Any) -> None:
    """A stand-in of CarrierX, to try applications and a gateway.toml without an account, until Ctrl-C.

    The last four digits of a handset's number choose what becomes of a message. What goes wrong by chance is chosen by
    the options that say how often, from 0 to 1; of the answers, one at most happens to a request.
    """
    logging.set_up("sandbox")
    chances = {name: given.pop(name) for name in PROBABILITIES}
    try:
        setup = Setup(misbehaviour=Misbehaviour(seed=seed, **chances), newest_first=not oldest_first, **given)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    check_listen_address(HOST, port, workers=1)
    with exit_on_error():
        standin = CarrierXStub(setup, HOST, port)
        click.echo(welcome(standin, setup))
        roles.run_carrierx_stub(standin)


def welcome(standin: CarrierXStub, setup: Setup) -> str:
    """How a gateway comes to use it, and what the numbers do."""
    return "\n".join(
        [
            "A stand-in of CarrierX is up. Ctrl-C stops it. In gateway.toml:",
            "",
            "  [carrierx]",
            f'  base_url = "{standin.url}"',
            f'  token = "{setup.token}"',
            f'  partner_sid = "{setup.partner_sid}"',
            "",
            *_callbacks(setup),
            "Text the gateway as a handset would:",
            "",
            f"  curl {standin.address}/sandbox/inbound -H 'Content-Type: application/json' \\",
            '       -d \'{"from": "15162065515", "to": "NUMBER", "message": "JOIN"}\'',
            "",
            "Handsets whose numbers end so; all others get what they are sent:",
            "",
            scenario_table(),
            "",
        ]
    )


def _callbacks(setup: Setup) -> list[str]:
    if setup.callback:
        return ["Its callbacks go to the URL that you gave, unless a PATCH of a DID or DID group says otherwise.", ""]
    return [
        "It posts no callbacks yet: give --callback http://127.0.0.1:8080/carrierx/callback/KEY, or set one by",
        "PATCH /partners/SID, as at CarrierX.",
        "",
    ]
