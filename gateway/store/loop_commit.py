"""Work of one event loop's errands: what was handed in during one turn of the loop is committed together.

On the loop's own thread, where the lock is free at once: no other thread has to be woken, and none fights for the
interpreter. Where it is not free, the loop looks again soon, and goes on meanwhile; where it stays so (a stranger has
locked the file, the disk stands still), the writer's thread takes over, which can be left waiting.
"""

from __future__ import annotations

import time
from asyncio import AbstractEventLoop
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from gateway.store.errors import StoreUnavailable
from gateway.store.greenlets import RequestGreenlet
from gateway.store.group_commit import WriteOperation, WriteResult
from gateway.store.ordering import MAX_KEYS_PER_TRANSACTION as MOST_ORDERING_KEYS

MAX_OPERATIONS = 64
"""Pieces of work in one transaction: while it lasts, the loop stands still."""
MAX_WAITING = 4096
COMPANY = 0.004
"""Seconds for which a commit may be put off."""
LOOKS = 0.05
"""Seconds for which the lock is looked at, before the writer's thread takes over."""
DOZE = 0.0001


class Quick(Protocol):
    def commit(self, works: Sequence[WriteOperation]) -> list[WriteResult] | None:
        """None: not now, and nothing was done."""

    def give_up(self) -> None: ...

    def close(self) -> None: ...


class Slow(Protocol):
    def submit(self, work: Any, ordering_keys: Any = ()) -> Future[Any]: ...


@dataclass(slots=True, eq=False)
class _Item:
    work: WriteOperation
    errand: RequestGreenlet
    timeout: float
    told: bool = False

    def tell(self, done: WriteResult) -> None:
        if not self.told:
            self.told = True
            self.errand.switch(done)


class LoopCommitter:
    """For one event loop."""

    def __init__(self, loop: AbstractEventLoop, quick: Quick | None, slow: Slow, grace: float) -> None:
        self._loop, self._quick, self._slow, self._grace = loop, quick, slow, grace
        self._items: list[_Item] = []
        self._since = 0.0
        """When the lock was not free first; 0: it was, last time."""
        self._waited = self._seen = 0
        self._first = 0.0
        """When the first of the items came."""
        self._scheduled = False

    def write(self, work: WriteOperation, errand: RequestGreenlet, timeout: float) -> Any:
        """The work's answer, after its commit; as `Writer.write`."""
        if len(self._items) >= MAX_WAITING:
            raise StoreUnavailable(f"{MAX_WAITING} pieces of work wait already")
        if not self._items:
            self._first, self._seen = time.monotonic(), 0
        self._items.append(_Item(work, errand, timeout))
        self._flush_soon()
        done: WriteResult = errand.wait()
        if done.error is not None:
            raise done.error
        return done.answer

    def _flush_soon(self) -> None:
        if self._items and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        if self._is_growing():
            self._flush_soon()
            return
        items = self._take()
        done = self._quick.commit([item.work for item in items]) if self._quick else None
        if done is not None:
            self._since = 0.0
            for item, what in zip(items, done, strict=True):
                item.tell(what)
        elif self._is_worth_another_look(len(items)):
            self._items[:0] = items
        else:
            self._since = 0.0
            for item in items:
                self._hand_over(item)
        self._flush_soon()

    def _is_growing(self) -> bool:
        """A commit costs as much as the work of five: while every turn of the loop brings more, it is put off a bit."""
        before, self._seen = self._seen, len(self._items)
        return before < self._seen < MAX_OPERATIONS and time.monotonic() - self._first < COMPANY

    def _is_worth_another_look(self, waiting: int) -> bool:
        """The loop goes on meanwhile; where it has nothing to do, it dozes instead of turning as fast as it can."""
        if self._quick is None:
            return False
        now = time.monotonic()
        self._since = self._since or now
        if now - self._since > LOOKS:
            self._quick.give_up()
            return False
        if waiting == self._waited:
            time.sleep(DOZE)
        self._waited = waiting
        return True

    def _take(self) -> list[_Item]:
        count = ordering_keys = 0
        for item in self._items[:MAX_OPERATIONS]:
            ordering_keys += len(item.work.ordering_keys)
            if count and ordering_keys > MOST_ORDERING_KEYS:
                break
            count += 1
        items, self._items = self._items[:count], self._items[count:]
        return items

    def _hand_over(self, item: _Item) -> None:
        try:
            future = self._slow.submit(item.work.run, item.work.ordering_keys)
        except StoreUnavailable as error:
            item.tell(WriteResult(error=error))
            return
        future.add_done_callback(lambda future: self._loop.call_soon_threadsafe(_ended, item, future))
        self._loop.call_later(item.timeout, self._too_late, item, future)

    def _too_late(self, item: _Item, future: Future[Any]) -> None:
        if not item.told and not future.cancel():
            unknown = StoreUnavailable(f"not committed within {item.timeout + self._grace:g} s")
            self._loop.call_later(self._grace, partial(item.tell, WriteResult(error=unknown)))


def _ended(item: _Item, future: Future[Any]) -> None:
    if future.cancelled():
        item.tell(WriteResult(error=StoreUnavailable(f"waited {item.timeout:g} s for the writer")))
    elif error := future.exception():
        item.tell(WriteResult(error=error))
    else:
        item.tell(WriteResult(future.result()))
