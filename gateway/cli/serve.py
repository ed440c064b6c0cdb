"""The commands that run for as long as the gateway does."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gateway.metrics import forget_ended
from gateway.serve import logging, roles
from gateway.serve.addresses import free_port, listening
from gateway.serve.startup import (
    PAGE_HOST,
    ServePlan,
    check_listen_address,
    children,
    exit_on_error,
    prepare_store,
    say_secrets,
    settings_for,
    web_children,
    welcome,
    when_up,
)
from gateway.serve.supervisor import PATIENCE, Supervisor

Command = Callable[..., Any]

_config = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    help="The configuration.  [default: $GATEWAY_CONFIG, else gateway.toml, else the sandbox's]",
)
_host = click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
_port = click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
_workers = click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Web processes that share the port (one on Windows).",
)
_patience = click.option(
    "--patience",
    type=click.FloatRange(min=1.0),
    default=PATIENCE,
    show_default=True,
    envvar="GATEWAY_PATIENCE",
    help="Seconds without a sign of life after which a process counts as hung, is killed and started again.",
)
_lifeline = click.option("--lifeline", is_flag=True, hidden=True)
"""The supervisor holds standard input: when it is closed, the process ends."""


@click.command()
@_config
@_host
@_port
@_workers
@_patience
def serve(path: Path | None, host: str, port: int, workers: int, patience: float) -> None:
    """Take callbacks and deliver them, until Ctrl-C or SIGTERM.

    Without a configuration it runs the sandbox: sample data, and stand-ins for everybody else.
    """
    logging.set_up("serve")
    settings = settings_for(path)
    address = check_listen_address(host, port, workers)
    sandbox = settings.current.sandbox
    plan = ServePlan(
        config=settings.current,
        host=address,
        port=port,
        workers=workers,
        page_port=free_port(PAGE_HOST, port + 1) if sandbox else None,
        carrierx_port=free_port(PAGE_HOST, port + 2) if sandbox else None,
        token=secrets.token_urlsafe(24) if sandbox else "",
        keys_are_kept=settings.secrets is not None and settings.current.keys == settings.secrets.keys,
    )
    prepare_store(plan.config)
    # Counters start from zero, and endpoints that are no more are not told.
    forget_ended(plan.config.data)
    say_secrets(settings)
    supervisor = Supervisor(children(plan), patience=patience)
    when_up(supervisor, plan, lambda: click.echo(welcome(plan)))
    sys.exit(supervisor.run())


@click.command()
@_config
@_host
@_port
@_workers
@_patience
@_lifeline
def web(path: Path | None, host: str, port: int, workers: int, patience: float, lifeline: bool) -> None:
    """The web half alone: takes callbacks, shows the console."""
    logging.set_up("web")
    settings = settings_for(path)
    if not lifeline:
        host = check_listen_address(host, port, workers)
        say_secrets(settings)
    if workers > 1:
        plan = ServePlan(config=settings.current, host=host, port=port, workers=workers)
        prepare_store(plan.config)
        sys.exit(Supervisor(web_children(plan, {}), patience=patience).run())
    with exit_on_error():
        roles.run_web(settings, host, port, lifeline=lifeline)


@click.command()
@_config
@click.option(
    "--metrics",
    metavar="HOST:PORT",
    help="Answer GET /metrics there; for a machine that has no web half.  [default: nowhere]",
)
@_lifeline
def worker(path: Path | None, metrics: str | None, lifeline: bool) -> None:
    """The delivering half alone."""
    logging.set_up("worker")
    settings = settings_for(path)
    if not lifeline:
        say_secrets(settings)
    with exit_on_error():
        roles.run_worker(settings, lifeline=lifeline, metrics_address=_metrics_address(metrics))


def _metrics_address(metrics: str | None) -> tuple[str, int] | None:
    if metrics is None:
        return None
    for host, port in listening(metrics):
        return check_listen_address(host, port, workers=1), port
    raise click.BadParameter(f"{metrics} is no HOST:PORT", param_hint="--metrics")


@click.command(hidden=True, name="sandbox-page")
@_port
@click.option("--carrierx-port", type=click.IntRange(1, 65535), required=True)
@_lifeline
def page(port: int, carrierx_port: int, lifeline: bool) -> None:
    """The sandbox's stand-ins for the applications that are called, and for CarrierX."""
    logging.set_up("sandbox-page")
    with exit_on_error():
        roles.run_sandbox_page(PAGE_HOST, port, carrierx_port, lifeline=lifeline)
