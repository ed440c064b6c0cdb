"""Posts the callbacks: what is due, on a few threads, each with one connection that it keeps.

A message's status goes on by the clock, whether or not anybody hears of it. Its callbacks go out one after the other,
each when the one before was taken or given up; only misbehaviour changes that.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable

import requests

from gateway.sandbox.carrierx.messages import Message, Update

THREADS = 8
TIMEOUT = 20.0
"""Seconds for one callback."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 4.0
"""Seconds before a callback is posted again that was not taken; doubled each time."""
TRY_LATER = frozenset({408, 425, 429})

Work = Callable[[requests.Session], None]


class Posting:
    """`address_of`: where a message's callbacks go; `finished` is told of a message whose flow is at its end.

    pace: seconds between two statuses. attempts: how often a callback is posted at most.
    """

    def __init__(
        self,
        address_of: Callable[[Message], str | None],
        finished: Callable[[Message], None],
        *,
        pace: float,
        attempts: int,
        late_by: Callable[[], float],
        threads: int = THREADS,
    ) -> None:
        self._address_of, self._finished = address_of, finished
        self._pace, self._attempts, self._late_by, self._threads = pace, attempts, late_by, threads
        self._due: list[tuple[float, int, Work]] = []
        self._count = itertools.count()
        self._change = threading.Condition()
        self._in_hand = self._promised = 0
        self._running = self._closed = False
        self.acknowledged = self.given_up = self.attempted = 0

    def promise(self) -> None:
        """A message is there that is to begin."""
        with self._change:
            self._promised += 1

    def begin(self, message: Message) -> None:
        """Its first status, now. It was promised."""
        self._at(0.0, lambda session: self._go_on(message, session))
        with self._change:
            self._promised -= 1

    @property
    def outstanding(self) -> int:
        """Messages and callbacks of which something is still to come."""
        with self._change:
            return len(self._due) + self._in_hand + self._promised

    def close(self) -> None:
        """Nothing more is posted. Does not wait for what is on its way."""
        with self._change:
            self._closed = True
            self._due.clear()
            self._change.notify_all()

    def _at(self, after: float, work: Work) -> None:
        with self._change:
            if self._closed:
                return
            heapq.heappush(self._due, (time.monotonic() + after, next(self._count), work))
            if not self._running:
                self._start()
            self._change.notify()

    def _start(self) -> None:
        self._running = True
        for number in range(self._threads):
            threading.Thread(target=self._labour, name=f"callbacks-{number}", daemon=True).start()

    def _labour(self) -> None:
        with requests.Session() as session:
            session.trust_env = False
            session.headers["User-Agent"] = "CarrierX stand-in"
            while (work := self._take()) is not None:
                try:
                    work(session)
                finally:
                    with self._change:
                        self._in_hand -= 1

    def _take(self) -> Work | None:
        with self._change:
            while not self._closed:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    self._in_hand += 1
                    return heapq.heappop(self._due)[2]
                self._change.wait(wait)
        return None

    # On one of the threads.

    def _go_on(self, message: Message, session: requests.Session) -> None:
        """The next status of its flow."""
        with message.turn:
            update = message.becomes(message.flow[len(message.statuses)], time.time())
            message.owed.append(update)
        if not update.last:
            self._at(self._pace, lambda session: self._go_on(message, session))
        else:
            self._finished(message)
        self._next(message, session)

    def _next(self, message: Message, session: requests.Session) -> None:
        """Post what is owed, unless that is under way."""
        with message.turn:
            update = None if message.busy else _first(message)
            if update is None:
                return
            message.busy = True
        if "late" in update.manners and not update.attempts:
            self._at(self._late_by(), lambda session: self._post(message, update, session))
        else:
            self._post(message, update, session)

    def _post(self, message: Message, update: Update, session: requests.Session) -> None:
        address = None if message.silent else self._address_of(message)
        if address is not None:
            update.attempts += 1
            again = self._posted(message, update, address, session)
            if again and update.attempts < self._attempts:
                pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (update.attempts - 1))
                self._at(pause, lambda session: self._post(message, update, session))
                return
            if again and "duplicate" in update.manners:
                update.manners -= {"duplicate"}
        self._ended(message, update, session)

    def _posted(self, message: Message, update: Update, address: str, session: requests.Session) -> bool:
        """Whether it is to be posted again."""
        taken, later = _send(session, address, update.body)
        with self._change:
            self.attempted += 1
            self.acknowledged += taken
            self.given_up += not taken and (not later or update.attempts >= self._attempts)
        with message.turn:
            if taken:
                message.acknowledged.append(update.status)
            elif not later or update.attempts >= self._attempts:
                message.given_up += 1
        return later

    def _ended(self, message: Message, update: Update, session: requests.Session) -> None:
        with message.turn:
            message.busy = False
            if "duplicate" in update.manners:
                message.owed.appendleft(
                    Update(update.status, update.body, update.manners - {"duplicate", "late", "out_of_order"})
                )
            else:
                message.ended += 1
                if message.held is not None:
                    message.owed.appendleft(message.held)
                    message.held = None
                if message.ended >= message.early:
                    message.heard.set()
        self._next(message, session)


def _first(message: Message) -> Update | None:
    """What is to be posted next. One that is to come out of order steps behind the one that follows."""
    if not message.owed:
        return None
    update = message.owed.popleft()
    if "out_of_order" in update.manners and not update.last and message.held is None:
        update.manners -= {"out_of_order"}
        message.held = update
        return _first(message)
    return update


def _send(session: requests.Session, address: str, body: bytes) -> tuple[bool, bool]:
    """Whether it was taken; whether it may be another time."""
    try:
        answer = session.post(
            address,
            data=body,
            headers={"Content-Type": "application/json"},
            timeout=TIMEOUT,
            allow_redirects=False,
        )
    except requests.RequestException:
        return False, True
    return answer.ok and answer.status_code < 300, answer.status_code >= 500 or answer.status_code in TRY_LATER
