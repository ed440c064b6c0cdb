"""What `gateway serve` does before and around its processes: checks, secrets, and what it says when all is up."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import NoReturn

import click

from gateway.config import Config, ConfigError, Settings
from gateway.serve import roles
from gateway.serve.addresses import PortTaken, check_free, near, url_of
from gateway.serve.supervisor import Child, Supervisor
from gateway.store import Store, StoreUnavailable, WrongDatabase

LOOK_EVERY = 0.05
"""Seconds between two looks whether the web half listens."""
PAGE_HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServePlan:
    """Which processes there are to be. `page_port`, `carrierx_port`: of the sandbox's stand-ins; None outside of it."""

    config: Config
    host: str
    port: int
    workers: int = 1
    page_port: int | None = None
    carrierx_port: int | None = None
    token: str = field(default="", repr=False)
    keys_are_kept: bool = False
    """Under ``data/``, and not in the configuration."""

    @property
    def page(self) -> str:
        return f"http://{PAGE_HOST}:{self.page_port}"

    @property
    def carrierx(self) -> str:
        return f"http://{PAGE_HOST}:{self.carrierx_port}"

    @property
    def console(self) -> str:
        return url_of(self.host, self.port)


@contextmanager
def exit_on_error() -> Iterator[None]:
    """What the operator must mend is said in a sentence, with exit code 1, not with a traceback."""
    try:
        yield
    except (ConfigError, PortTaken, WrongDatabase) as error:
        fail(str(error))
    except StoreUnavailable as error:
        fail(f"The database cannot be used: {error}.")
    except OSError as error:
        fail(f"{error.strerror or error}.")


def fail(text: str) -> NoReturn:
    click.echo(text, err=True)
    sys.exit(1)


def settings_for(path: Path | None) -> Settings:
    """Of the file that counts; with a mistake in it, all are printed, and the command ends."""
    try:
        return roles.settings_for(path)
    except ConfigError as error:
        fail(str(error))


def check_listen_address(host: str, port: int, workers: int) -> str:
    """The address to listen on, free to be used."""
    if workers > 1 and sys.platform == "win32":
        raise click.BadParameter("on Windows there is one web process", param_hint="--workers")
    with exit_on_error():
        address = _address(host)
        check_free(address, port)
    return address


def _address(host: str) -> str:
    try:
        return str(ip_address(host.strip("[]")))
    except ValueError:
        pass
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError:
        raise click.BadParameter(f"{host} is no address of this machine", param_hint="--host") from None


def prepare_store(config: Config) -> None:
    """Brings the store up to date before the others start, so that none of them waits for it."""
    with exit_on_error(), Store(config.database) as store:
        store.migrate()


def children(plan: ServePlan) -> list[Child]:
    both = {roles.LISTEN: f"{plan.host}:{plan.port}"}
    if plan.page_port is None:
        return [*web_children(plan, both), Child("worker", ["worker", *_config(plan.config)], both)]
    both |= {roles.SANDBOX_PAGE: plan.page, roles.SANDBOX_CARRIERX: plan.carrierx}
    callback = {roles.SANDBOX_CALLBACK: f"{plan.console}/carrierx/callback/{plan.config.keys[0]}"}
    ports = ["--port", str(plan.page_port), "--carrierx-port", str(plan.carrierx_port)]
    page = Child("sandbox-page", ["sandbox-page", *ports], callback)
    return [page, *web_children(plan, both | {roles.LOGIN_TOKEN: plan.token}), Child("worker", ["worker"], both)]


def web_children(plan: ServePlan, environ: Mapping[str, str]) -> list[Child]:
    arguments = ["web", *_config(plan.config), "--host", plan.host, "--port", str(plan.port)]
    names = ["web"] if plan.workers == 1 else [f"web-{number + 1}" for number in range(plan.workers)]
    return [Child(name, arguments, environ) for name in names]


def _config(config: Config) -> Sequence[str]:
    # By its name: without, a child would look for the file itself, and might find another one later.
    return ["--config", str(config.path)] if config.path is not None and not config.sandbox else []


def say_secrets(settings: Settings) -> None:
    """Those that this start made: once, and never again."""
    found = settings.secrets
    if found is None:
        return
    if "keys" in found.made:
        click.echo(f"A key was made, for the platforms' callbacks: {found.keys[0]}")
    if "password" in found.made:
        click.echo(f"A password was made, for the console: {found.password}")
    if found.made:
        click.echo(f"They are kept in {settings.current.data}, and not shown again.")


def welcome(plan: ServePlan) -> str:
    """What there is to look at, and where the platforms call."""
    callbacks = plan.config.public_url or plan.console
    lines = ["The SMS gateway is up. Ctrl-C stops it.", *(f"Warning: {warning}" for warning in plan.config.warnings)]
    if plan.page_port is not None:
        lines = [
            "The SMS gateway is up, as a sandbox: no gateway.toml is here, so all data are samples. Ctrl-C stops it.",
            "",
            f"  Try it (logs you in)     {plan.console}/login?token={plan.token}",
            f"  Stand-in for your pages  {plan.page}/",
            f"  Stand-in for CarrierX    {plan.carrierx}/",
        ]
    return "\n".join(
        [
            *lines,
            *(["", f"  Console                  {plan.console}/"] if plan.page_port is None else []),
            f"  Callbacks go to          {callbacks}/carrierx/callback/KEY",
            f"                           {callbacks}/legacy/callback/KEY",
            f"                           {callbacks}/legacy/status/KEY",
            f"  KEY                      {_where_key(plan)}",
            "",
        ]
    )


def _where_key(plan: ServePlan) -> str:
    return f"in {plan.config.data / 'keys'}" if plan.keys_are_kept else "one of `keys` in the configuration"


def when_up(supervisor: Supervisor, plan: ServePlan, say: Callable[[], None]) -> None:
    """Tell the supervisor, and the operator, as soon as the web half listens."""

    def look() -> None:
        while not _listens(plan.host, plan.port):
            time.sleep(LOOK_EVERY)
        supervisor.ready()
        say()

    threading.Thread(target=look, name="look", daemon=True).start()


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((near(host), port), timeout=1.0):
            return True
    except OSError:
        return False
