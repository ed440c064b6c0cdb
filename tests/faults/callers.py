"""Applications that send by the legacy calls, several at once, each on a connection of its own."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import threading
from collections.abc import Sequence
from contextlib import closing
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

from tests.faults.load import TIMEOUT, new_sid
from tests.faults.sends import Book, Called
from tests.running import HOST, until

CODE, PASSWORD = "12345", "password-of-the-callers"
MAGIC = tuple(f"{at:04d}" for at in (*range(1, 16), *range(19, 24)))
"""Ends of phones to which something special happens, but for those that text back."""
PLAIN = tuple(f"{at:04d}" for at in range(1000, 1060))
PATHS = ("/page", *(f"/own/{at}" for at in range(4)))
"""The first is the number's own page, the others are given when sending."""


class Caller:
    """One connection of an application that sends, kept as long as it lives."""

    def __init__(self, book: Book, port: int, pages: str, stopped: threading.Event) -> None:
        self._book, self._port, self._pages, self._stopped = book, port, pages, stopped
        self._connection: http.client.HTTPConnection | None = None

    def call(self, phones: Sequence[str], path: str = PATHS[0]) -> bool:
        """One call. What is not answered is not made again: it has no id by which it could be known again."""
        sid = new_sid()
        self._book.call(Called(sid, tuple(phones), path))
        status, said = self._post(self._form(sid, phones, path))
        if status == 200 and said.get("result") is True:
            self._book.call(Called(sid, tuple(phones), path, said["ticket"]))
            return True
        if status not in (None, 503):
            self._book.answered_wrongly(f"{status} {said} for {sid}")
        return False

    def _form(self, sid: str, phones: Sequence[str], path: str) -> bytes:
        said = [("password", PASSWORD), ("code", CODE), ("message", f"Grüße 🎉 &=+% {sid}\n!")]
        said += [(f"recipientList[recipients][{at}][sendTo]", phone) for at, phone in enumerate(phones)]
        said += [("custom_ticket", sid), ("status_url", "" if path == PATHS[0] else self._pages + path)]
        return urlencode(said).encode()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _post(self, body: bytes) -> tuple[int | None, dict[str, Any]]:
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(HOST, self._port, timeout=TIMEOUT)
            self._connection.request("POST", "/legacy/sendMessage", body, headers)
            answer = self._connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            return None, {}
        if answer.status == 503:
            self._book.put_off(answer.getheader("Retry-After"))
        if answer.will_close:
            self.close()
        return answer.status, json.loads(said)


class Callers:
    """Applications side by side from `__enter__` to `__exit__`. `magic`: the share of phones that are special."""

    def __init__(
        self,
        book: Book,
        port: int,
        pages: str,
        count: int,
        *,
        pause: float = 0.02,
        magic: float = 0.0,
        most: int = 10**9,
    ) -> None:
        self._book, self._pause, self._magic, self._most = book, pause, magic, most
        self._stopped = threading.Event()
        callers = [Caller(book, port, pages, self._stopped) for _ in range(count)]
        self._threads = [threading.Thread(target=self._run, args=one, daemon=True) for one in enumerate(callers)]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(TIMEOUT + 10)
            assert not thread.is_alive(), "a call has no answer, and no end"

    def go_on(self, count: int, within: float = 60.0) -> None:
        """Returns when so many more messages were accepted."""
        enough = len(self._book.accepted) + count
        until(lambda: len(self._book.accepted) >= enough, f"{count} more accepted", within)

    def _run(self, at: int, caller: Caller) -> None:
        dice = random.Random(at)
        with closing(caller):
            for number in itertools.count(at):
                if self._stopped.wait(self._pause):
                    return
                phones = {self._phone(at, dice) for _ in range(dice.choice((1, 1, 1, 3, 5)))}
                if not caller.call(sorted(phones), PATHS[number % len(PATHS)] if number % 2 else PATHS[0]):
                    self._stopped.wait(0.1)

    def _phone(self, at: int, dice: random.Random) -> str:
        """A phone belongs to one caller, so that the order of its texts is known."""
        return f"15162{at:02d}{dice.choice(MAGIC if dice.random() < self._magic else PLAIN)}"
