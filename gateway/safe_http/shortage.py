"""When it is this process that has no file descriptors or memory left, and no fault of an endpoint's."""

from __future__ import annotations

import errno
import os
import socket
import sys
from typing import Any

if sys.platform != "win32":
    import resource

KIND = "resources"
"""Of `Failure`: the request was never begun, for want of something of our own."""
RESERVE = 16
"""Descriptors that connections to endpoints leave alone: name servers, CA files and the store need some too."""
_SHORT = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, getattr(errno, "WSAEMFILE", 0), 10055} - {0}
)
"""10055 is WSAENOBUFS, which `errno` does not name everywhere."""


def of(error: OSError) -> str:
    """In words, if that is what it says; else empty. An error of name servers has other numbers: see `now`."""
    return _said(error.errno or 0) if not isinstance(error, socket.gaierror) and error.errno in _SHORT else ""


def now() -> str:
    """In words, if no socket can be had just now; else empty. For failures that do not tell why."""
    try:
        socket.socket().close()
    except OSError as error:
        return of(error)
    return ""


def reaches(descriptor: int) -> str:
    """In words, if this one, the lowest that was free, belongs to the reserve; else empty."""
    if sys.platform == "win32":  # sockets are not counted there
        return ""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return "" if limit == resource.RLIM_INFINITY or descriptor < limit - RESERVE else _said(errno.EMFILE)


def _said(number: int) -> str:
    return f"this machine is short of something: {os.strerror(number)}"


class DescriptorShortage:
    """For a while nothing more is claimed; that it is so is logged now and then, not for each delivery."""

    REST = 1.0
    """Seconds without claims."""
    PUT_OFF = 5.0
    """Seconds after which a delivery is due again."""
    EVERY = 60.0
    """Seconds between two lines in the log."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._until = 0.0
        self._say_at = 0.0
        self._count = 0

    def lasts(self, steady: float) -> bool:
        """`steady`: seconds of the clock that nobody sets."""
        return steady < self._until

    def met(self, steady: float, sentence: str) -> None:
        """A delivery could not leave."""
        self._until = steady + self.REST
        self._count += 1
        if steady >= self._say_at:
            self._log.error("resources_short", reason=sentence, put_off=self._count)
            self._say_at, self._count = steady + self.EVERY, 0
