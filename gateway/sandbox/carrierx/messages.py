"""All messages that the stand-in has, in memory, in the order in which they came; the oldest are forgotten."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from gateway.sandbox.carrierx import shapes
from gateway.sandbox.carrierx.shapes import Text

KEPT = 100_000


@dataclass(slots=True)
class Update:
    """One callback that is owed: these bytes, in this manner."""

    status: str
    body: bytes
    manners: frozenset[str] = frozenset()
    attempts: int = 0
    last: bool = False
    """Of its message."""


@dataclass(slots=True, eq=False)
class Message:
    """One message, and how far its updates are. Whoever changes it holds `turn`."""

    text: Text
    flow: tuple[str, ...]
    manners: tuple[frozenset[str], ...] = ()
    silent: bool = False
    reply: str = ""
    early: int = 0
    statuses: list[tuple[str, float]] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    """The statuses of callbacks that were answered 2xx, one for each answer."""
    given_up: int = 0
    """Callbacks that nobody took."""
    ended: int = 0
    """Updates that need no more post."""
    owed: deque[Update] = field(default_factory=deque)
    held: Update | None = None
    busy: bool = False
    """One of its updates is on its way: the others wait."""
    heard: threading.Event = field(default_factory=threading.Event)
    """The updates that are to come early were told."""
    turn: threading.Lock = field(default_factory=threading.Lock)
    _json: tuple[int, str] = (-1, "")
    """What was shown last, and after how many statuses."""

    @property
    def status(self) -> str:
        return self.statuses[-1][0] if self.statuses else self.flow[0]

    @property
    def changed(self) -> float | None:
        """When it got its status; None while it has only just come."""
        return self.statuses[-1][1] if self.statuses else None

    def becomes(self, status: str, at: float) -> Update:
        """The next status, and the callback that tells it."""
        step = len(self.statuses)
        self.statuses.append((status, at))
        manners = self.manners[step] if step < len(self.manners) else frozenset()
        body = shapes.as_json(self.text, status, at, step=step, told=True).encode()
        return Update(status, body, manners, last=step + 1 == len(self.flow))

    def as_json(self) -> str:
        """The Message object as it is now."""
        count = len(self.statuses)
        if self._json[0] != count:
            self._json = count, shapes.as_json(self.text, self.status, self.changed)
        return self._json[1]


class Messages:
    """`most`: how many are kept."""

    def __init__(self, most: int = KEPT) -> None:
        self._most = most
        self._turn = threading.Lock()
        self._order: list[Message] = []
        self._by_sid: dict[str, Message] = {}

    def add(self, message: Message) -> None:
        with self._turn:
            self._order.append(message)
            self._by_sid[message.text.sid] = message
            if len(self._order) > self._most + self._most // 10:
                self._forget(len(self._order) - self._most)

    def _forget(self, count: int) -> None:
        for message in islice(self._order, count):
            del self._by_sid[message.text.sid]
        del self._order[:count]

    def clear(self) -> None:
        with self._turn:
            self._forget(len(self._order))

    def get(self, sid: str) -> Message | None:
        return self._by_sid.get(sid)

    def page(self, limit: int, offset: int, *, newest_first: bool) -> tuple[Sequence[Message], int]:
        """So many from there on, and how many there are in all."""
        with self._turn:
            total = len(self._order)
            if newest_first:
                return self._order[max(0, total - offset - limit) : max(0, total - offset)][::-1], total
            return self._order[offset : offset + limit], total

    def all(self) -> list[Message]:
        """The oldest first."""
        with self._turn:
            return list(self._order)
