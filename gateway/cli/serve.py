"""The commands that run for as long as the gateway does."""

from __future__ import annotations

import secrets
import socket
import sys
from pathlib import Path

import click

from gateway.config import Settings
from gateway.metrics import forget_ended
from gateway.serve import logging, roles, startup
from gateway.serve.startup import SANDBOX_HOST, ServePlan
from gateway.serve.supervisor import HEARTBEAT_TIMEOUT_SECONDS, Supervisor

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
_heartbeat_timeout = click.option(
    "--patience",
    "heartbeat_timeout",
    type=click.FloatRange(min=1.0),
    default=HEARTBEAT_TIMEOUT_SECONDS,
    show_default=True,
    envvar="GATEWAY_PATIENCE",
    help="Seconds without a sign of life after which a process counts as hung, is killed and started again.",
)
_lifeline = click.option("--lifeline", is_flag=True, hidden=True)
"""The supervisor holds standard input: when it is closed, the process ends."""


def check_listen_address(host: str, port: int, workers: int = 1, option: str = "") -> str:
    """The IP address of `host`. Raises `PortTaken` where nobody could listen there.
    `option`: the option that names both, if they did not come by --host and --port."""
    if workers > 1 and sys.platform == "win32":
        raise click.BadParameter("on Windows there is one web process", param_hint="--workers")
    try:
        address = str(socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError):
        raise click.BadParameter(f"{host} is no address of this machine", param_hint=option or "--host") from None
    startup.check_free(address, port, option or "--port")
    return address


def _echo_secrets(settings: Settings) -> None:
    """Prints the secrets that this start made: once, and never again."""
    if not (found := settings.secrets) or not found.made:
        return
    if "keys" in found.made:
        click.echo(f"A key was made, for the platforms' callbacks: {found.keys[0]}")
    if "password" in found.made:
        click.echo(f"A password was made, for the console: {found.password}")
    click.echo(f"They are kept in {settings.current.data}, and not shown again.")


@click.command()
@_config
@_host
@_port
@_workers
@_heartbeat_timeout
def serve(path: Path | None, host: str, port: int, workers: int, heartbeat_timeout: float) -> None:
    """Take callbacks and deliver them, until Ctrl-C or SIGTERM.

    Without a configuration it runs the sandbox: sample data, and stand-ins for everybody else.
    """
    logging.set_up("serve")
    settings = roles.settings_for(path)
    sandbox = settings.current.sandbox
    plan = ServePlan(
        config=settings.current,
        host=check_listen_address(host, port, workers),
        port=port,
        workers=workers,
        legacy_app_port=startup.free_port(SANDBOX_HOST, port + 1) if sandbox else None,
        carrierx_port=startup.free_port(SANDBOX_HOST, port + 2) if sandbox else None,
        login_token=secrets.token_urlsafe(24) if sandbox else "",
        keys_are_kept=bool(settings.secrets and settings.secrets.keys),
    )
    startup.prepare_store(plan.config)
    # Counters start from zero, and endpoints that are no more are not shown.
    forget_ended(plan.config.data)
    _echo_secrets(settings)
    supervisor = Supervisor(startup.children(plan), heartbeat_timeout=heartbeat_timeout)

    def ready() -> None:
        supervisor.ready()
        click.echo(startup.welcome(plan))

    startup.when_listening(plan, ready)
    sys.exit(supervisor.run())


@click.command()
@_config
@_host
@_port
@_workers
@_heartbeat_timeout
@_lifeline
def web(path: Path | None, host: str, port: int, workers: int, heartbeat_timeout: float, lifeline: bool) -> None:
    """The web half alone: takes callbacks, shows the console."""
    logging.set_up("web")
    settings = roles.settings_for(path)
    if not lifeline:
        host = check_listen_address(host, port, workers)
        _echo_secrets(settings)
    if workers == 1:
        roles.run_web(settings, host, port, lifeline=lifeline)
        return
    startup.prepare_store(settings.current)
    plan = ServePlan(config=settings.current, host=host, port=port, workers=workers)
    sys.exit(Supervisor(startup.web_children(plan, {}), heartbeat_timeout=heartbeat_timeout).run())


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
    settings = roles.settings_for(path)
    if not lifeline:
        _echo_secrets(settings)
    address = None
    if metrics is not None:
        address = startup.parse_address(metrics)
        if address is None:
            raise click.BadParameter(f"{metrics} is no HOST:PORT", param_hint="--metrics")
        address = check_listen_address(*address, option="--metrics"), address[1]
    roles.run_worker(settings, lifeline=lifeline, metrics_address=address)


@click.command(hidden=True)
@_port
@click.option("--carrierx-port", type=click.IntRange(1, 65535), required=True)
@_lifeline
def sandbox_page(port: int, carrierx_port: int, lifeline: bool) -> None:
    """The sandbox's stand-ins for the applications that are called, and for CarrierX."""
    logging.set_up("sandbox-page")
    roles.run_sandbox_page(SANDBOX_HOST, port, carrierx_port, lifeline=lifeline)
