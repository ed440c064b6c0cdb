"""The start of `gateway serve`: where it listens, which processes it has, and what it prints when they are up."""

from __future__ import annotations

import errno
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.config import Config, OperatorError
from gateway.serve.supervisor import Child
from gateway.store import Store

LOOK_INTERVAL_SECONDS = 0.05  # from one look whether the web half listens to the next
SANDBOX_HOST = "127.0.0.1"
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104
"""Listens on all addresses → the one by which this machine reaches it."""

# The environment by which children are told what the command line, which everybody sees, need not or must not say:
LOGIN_TOKEN = "GATEWAY_LOGIN_TOKEN"  # noqa: S105
LISTEN = "GATEWAY_LISTEN"  # address of the web half, ``127.0.0.1:8080``: the worker must not deliver to it
SANDBOX_PAGE = "GATEWAY_SANDBOX_PAGE"
"""URL of the stand-in for applications; where it is set, the process is one of the sandbox."""
SANDBOX_CARRIERX = "GATEWAY_SANDBOX_CARRIERX"  # URL of the stand-in for CarrierX
SANDBOX_CALLBACK = "GATEWAY_SANDBOX_CALLBACK"  # URL to which that one posts its callbacks; has a key in it


class PortTaken(OperatorError):
    """Nobody can listen there."""


def listen_probe(host: str, *, shared: bool = False) -> socket.socket:
    """A socket with the options of one that listens, to try whether it can be bound. `shared`: web processes share
    their port."""
    probe = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    if sys.platform == "win32":
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        # Connections of a gateway that has just ended are no reason to wait for minutes.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return probe


def check_free(host: str, port: int, option: str = "--port") -> None:
    """Raises `PortTaken` where nobody could listen. `option` of the command chooses another port.
    Web processes share their port: without this, a second gateway would share it with the first in silence."""
    with listen_probe(host) as probe:
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            text = f"Cannot listen on {host} port {port}: {error.strerror or error}."
            if error.errno == errno.EADDRINUSE:
                text = f"Port {port} on {host} is taken: something else listens there."
                text += f" Stop it, or choose another with {option}."
            elif error.errno == errno.EACCES:
                text = f"Port {port} on {host} may not be used by this user. Choose one from 1024 up with {option}."
            raise PortTaken(text) from None


def free_port(host: str, wanted: int) -> int:
    """`wanted`, or any other port that is free."""
    try:
        check_free(host, wanted)
    except (PortTaken, OverflowError):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
            return int(probe.getsockname()[1])
    return wanted


def url_of(host: str, port: int) -> str:
    """``http://127.0.0.1:8080``, as a browser on this machine takes it."""
    name = ANY_ADDRESS.get(host, host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def parse_address(text: str) -> tuple[str, int] | None:
    """``127.0.0.1:8080`` → its two parts; None where it is none."""
    host, _, port = text.rpartition(":")
    return (host.strip("[]"), int(port)) if port.isdecimal() and 0 < int(port) < 65_536 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServePlan:
    """The processes to start. The ports of the stand-ins are None outside of the sandbox."""

    config: Config
    host: str
    port: int
    workers: int = 1
    legacy_app_port: int | None = None
    carrierx_port: int | None = None
    login_token: str = field(default="", repr=False)
    keys_are_kept: bool = False  # under ``data/``, and not in the configuration

    @property
    def legacy_app_url(self) -> str:
        return f"http://{SANDBOX_HOST}:{self.legacy_app_port}"

    @property
    def carrierx_url(self) -> str:
        return f"http://{SANDBOX_HOST}:{self.carrierx_port}"

    @property
    def console_url(self) -> str:
        return url_of(self.host, self.port)


def prepare_store(config: Config) -> None:
    """Brings the store up to date before the processes start, so that none of them waits for it."""
    with Store(config.database) as store:
        store.migrate()


def children(plan: ServePlan) -> list[Child]:
    both = {LISTEN: f"{plan.host}:{plan.port}"}
    if plan.legacy_app_port is None:
        return [*web_children(plan, both), Child("worker", ["worker", *_config_option(plan.config)], both)]
    both |= {SANDBOX_PAGE: plan.legacy_app_url, SANDBOX_CARRIERX: plan.carrierx_url}
    callback = {SANDBOX_CALLBACK: f"{plan.console_url}/carrierx/callback/{plan.config.keys[0]}"}
    ports = ["--port", str(plan.legacy_app_port), "--carrierx-port", str(plan.carrierx_port)]
    page = Child("sandbox-page", ["sandbox-page", *ports], callback)
    return [page, *web_children(plan, both | {LOGIN_TOKEN: plan.login_token}), Child("worker", ["worker"], both)]


def web_children(plan: ServePlan, environ: Mapping[str, str]) -> list[Child]:
    arguments = ["web", *_config_option(plan.config), "--host", plan.host, "--port", str(plan.port)]
    names = ["web"] if plan.workers == 1 else [f"web-{number + 1}" for number in range(plan.workers)]
    return [Child(name, arguments, environ) for name in names]


def _config_option(config: Config) -> list[str]:
    # By its name: without, a child would look for the file itself, and might find another one later.
    return ["--config", str(config.path)] if config.path is not None and not config.sandbox else []


def welcome(plan: ServePlan) -> str:
    """The text that says what there is to look at, and where the platforms call."""
    lines = ["The SMS gateway is up. Ctrl-C stops it.", *(f"Warning: {warning}" for warning in plan.config.warnings)]
    lines += ["", f"  Console                  {plan.console_url}/"]
    if plan.legacy_app_port is not None:
        lines = [
            "The SMS gateway is up, as a sandbox: no gateway.toml is here, so all data are samples. Ctrl-C stops it.",
            "",
            f"  Try it (logs you in)     {plan.console_url}/login?token={plan.login_token}",
            f"  Stand-in for your pages  {plan.legacy_app_url}/",
            f"  Stand-in for CarrierX    {plan.carrierx_url}/",
        ]
    callbacks = plan.config.public_url or plan.console_url
    key = f"in {plan.config.data / 'keys'}" if plan.keys_are_kept else "one of the keys in the configuration"
    lines += [
        f"  Callbacks go to          {callbacks}/carrierx/callback/KEY",
        f"                           {callbacks}/legacy/callback/KEY",
        f"                           {callbacks}/legacy/status/KEY",
        f"  KEY                      {key}",
        "",
    ]
    return "\n".join(lines)


def when_listening(plan: ServePlan, call: Callable[[], None]) -> None:
    """Calls `call` in a thread as soon as the web half listens."""

    def look() -> None:
        address = ANY_ADDRESS.get(plan.host, plan.host), plan.port
        while True:
            try:
                socket.create_connection(address, timeout=1.0).close()
                break
            except OSError:
                time.sleep(LOOK_INTERVAL_SECONDS)
        call()

    threading.Thread(target=look, name="look", daemon=True).start()
