"""Platforms that call: several at once, each ordering key's texts one after another, and again until they are taken."""

from __future__ import annotations

import http.client
import itertools
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from types import TracebackType

from tests.e2e.callbacks import FORM, JSON, NEW, OLD
from tests.faults.ledger import Ledger
from tests.running import HOST, KEY, until

TIMEOUT = 20.0
"""Seconds until a platform gives an answer up; the gateway says 503 before."""
SOON = 0.05
"""Seconds until it sends again."""


@dataclass(frozen=True, slots=True)
class Lane:
    """A phone that writes to a number, and the platform that tells us of it."""

    phone: str
    number: tuple[str, str] = OLD
    """As CarrierX and as the keyword platform know it."""
    legacy: bool = False

    @property
    def name(self) -> str:
        return f"{self.phone} to {self.number[0]}"

    def call(self, sid: str) -> tuple[str, bytes, str]:
        """Path, body, content type of the callback with this text."""
        if self.legacy:
            form = f"shortcode={self.number[1]}&phone={self.phone}&message=JOIN+{sid}&keyword=JOIN&custom_ticket="
            return "/legacy/callback", form.encode(), FORM
        date = "2026-03-01T12:00:00.250Z"
        said = (
            f'{{"message_sid": "{sid}", "direction": "inbound", "status": "received", "message": "JOIN {sid}", '
            f'"from_did": "{self.phone}", "to_did": "{self.number[0]}", "date_created": "{date}", '
            f'"date_status_changed": "{date}", "message_segments": 1}}'
        )
        return "/carrierx/callback", said.encode(), JSON


def ordering_keys(count: int) -> list[Lane]:
    """Of the usual two applications: every second ordering key is a keyword callback for the new one."""
    both = itertools.cycle(((OLD, False), (NEW, True)))
    return [Lane(f"1516207{at:04d}", *next(both)) for at in range(count)]


def new_sid() -> str:
    return f"sid-{uuid.uuid4().hex}"


class Platform:
    """One connection to the gateway, kept as long as it lives. `ports`: where else to try when nobody is there."""

    def __init__(self, ledger: Ledger, ports: Sequence[int], stopped: threading.Event) -> None:
        self._ledger, self._ports, self._stopped = ledger, itertools.cycle(ports), stopped
        self._connection: http.client.HTTPConnection | None = None

    def send(self, ordering_key: Lane) -> bool:
        """One text, sent again as platforms do; whether it was taken.

        What CarrierX sends has an id by which it is known again. A keyword callback has none: it is sent once only,
        unless nobody was there to hear it.
        """
        sid, heard = new_sid(), False
        while not self._stopped.is_set():
            status = self._post(*ordering_key.call(sid))
            if status == 200:
                self._ledger.accept(sid, ordering_key.name)
                return True
            if status is not None and status != 503:
                self._ledger.answered_wrongly(f"{status} for {sid}")
                return False
            heard = heard or self._connected
            if heard:
                self._ledger.not_answered(sid)
                if ordering_key.legacy:
                    return False
            self._stopped.wait(SOON)
        return False

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _post(self, path: str, body: bytes, content_type: str) -> int | None:
        """The status; None where there was no answer. `_connected`: it may have been heard."""
        self._connected = self._connection is not None
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(HOST, next(self._ports), timeout=TIMEOUT)
                self._connection.connect()
                self._connected = True
            self._connection.request("POST", f"{path}/{KEY}", body, {"Content-Type": content_type})
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            return None
        if answer.status == 503:
            self._ledger.put_off(answer.getheader("Retry-After"))
        if answer.will_close:
            self.close()
        return answer.status


class Load:
    """Platforms side by side from `__enter__` to `__exit__`, a hundred texts a second at most."""

    def __init__(
        self, ledger: Ledger, ports: Sequence[int], through: Sequence[Lane], platforms: int = 4, pause: float = 0.03
    ) -> None:
        self._ledger, self._pause = ledger, pause
        self._stopped = threading.Event()
        shares = [through[at::platforms] for at in range(platforms)]
        self._threads = [threading.Thread(target=self._run, args=(share, ports), daemon=True) for share in shares]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(TIMEOUT + 10)
            assert not thread.is_alive(), "a callback has no answer, and no end"

    def go_on(self, count: int) -> None:
        """Returns when so many more were accepted."""
        enough = len(self._ledger.accepted) + count
        self.wait(lambda: len(self._ledger.accepted) >= enough, f"{count} more accepted")

    def wait(self, happened: Callable[[], object], what: str) -> None:
        until(happened, what)

    def _run(self, through: Sequence[Lane], ports: Sequence[int]) -> None:
        with closing(Platform(self._ledger, ports, self._stopped)) as platform:
            for ordering_key in itertools.cycle(through):
                if self._stopped.wait(self._pause):
                    return
                platform.send(ordering_key)
