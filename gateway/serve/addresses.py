"""Where we listen: is it free, how do we reach it ourselves, and what must never be called from here."""

from __future__ import annotations

import errno
import socket
import sys

ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104


class PortTaken(Exception):
    """The operator must act. One sentence."""


def check_free(host: str, port: int) -> None:
    """Raises `PortTaken` where nobody could listen there.

    Web processes share their port: without this, a second gateway would share it with the first in silence.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if sys.platform == "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            # Connections of a gateway that has just ended are no reason to wait for minutes.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            raise PortTaken(_sentence(host, port, error)) from None


def _sentence(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is taken: something else listens there. Stop it, or choose another with --port."
    if error.errno == errno.EACCES:
        return f"Port {port} on {host} may not be used by this user. Choose one from 1024 up with --port."
    return f"Cannot listen on {host} port {port}: {error.strerror or error}."


def free_port(host: str, wanted: int) -> int:
    """`wanted`, or any other that is free."""
    try:
        check_free(host, wanted)
    except (PortTaken, OverflowError):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
            return int(probe.getsockname()[1])
    return wanted


def near(host: str) -> str:
    """How this machine reaches what listens on `host`."""
    return ANY.get(host, host)


def url_of(host: str, port: int) -> str:
    """``http://127.0.0.1:8080``, as a browser on this machine takes it."""
    name = near(host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def listening(text: str) -> frozenset[tuple[str, int]]:
    """``127.0.0.1:8080``, as the supervisor tells it to the others → what the delivery must never call."""
    host, _, port = text.rpartition(":")
    return frozenset({(host.strip("[]"), int(port))}) if port.isdigit() else frozenset()
