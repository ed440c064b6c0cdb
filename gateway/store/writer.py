"""The one thread of a process that writes: everybody hands in work, whatever waits is committed together.

While one group is being synced to the disk the next one gathers: nobody waits for company, and the busier it is the
more share a sync. The lock on the file is taken first and the group gathered after, so that it is as large as can be.
"""

from __future__ import annotations

import contextlib
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLate
from contextlib import AbstractContextManager
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar, cast

from sqlalchemy import Connection

from gateway.store import greenlets
from gateway.store.errors import StoreUnavailable
from gateway.store.group_commit import GroupCommitter, WriteOperation, WriteResult
from gateway.store.loop_commit import LoopCommitter, Quick
from gateway.store.ordering import MAX_KEYS_PER_TRANSACTION as MOST_ORDERING_KEYS

T = TypeVar("T")

MAX_OPERATIONS = 256
"""Pieces of work in one transaction: with more the first would wait for the last, and gain nothing."""
MAX_WAITING = 4096
"""Pieces of work that may wait. As many can only be there when nothing moves, and those who handed them in are gone."""
GRACE_SECONDS = 5.0
"""Seconds that a waiter gives to work that has begun when his own time is up: soon he will know."""


class _Item(NamedTuple):
    work: WriteOperation
    future: Future[Any]


class Writer:
    """Work is ``work(conn) -> answer``, see `gateway.store.group_commit`. `guard` is held around each transaction."""

    def __init__(
        self, group: GroupCommitter, guard: AbstractContextManager[object], quick: Quick | None = None
    ) -> None:
        self._group = group
        self._guard = guard
        self._quick = quick
        self._gatherings: dict[AbstractEventLoop, LoopCommitter] = {}
        self._queue: SimpleQueue[_Item | None] = SimpleQueue()
        self._open = True
        self._gate = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """Pieces of work not begun yet."""
        return self._queue.qsize()

    def submit(self, work: Callable[[Connection], T], ordering_keys: Collection[str] = ()) -> Future[T]:
        """Hands in work; the future is done after its commit. `ordering_keys`: of all deliveries that it owes or
        settles.

        The future raises `StoreUnavailable` (not kept, or nobody knows), or what the work itself raised.
        """
        item = _Item(WriteOperation(work, ordering_keys), Future())
        with self._gate:  # nothing may come in behind the mark of the end: nobody would ever look there
            if not self._open:
                raise StoreUnavailable("the store is closed")
            if self._queue.qsize() >= MAX_WAITING:
                raise StoreUnavailable(f"{MAX_WAITING} pieces of work wait for the writer already")
            if self._thread is None:
                self._thread = threading.Thread(target=self._write, name="store-writer", daemon=True)
                self._thread.start()
            self._queue.put(item)
        return item.future

    def write(
        self, work: Callable[[Connection], T], timeout: float = 10.0, *, ordering_keys: Collection[str] = ()
    ) -> T:
        """The work's answer, after its commit. `timeout`: seconds; work not begun by then is never done.

        Work that was begun is given `GRACE_SECONDS` more; after that `StoreUnavailable` may stand for work that is
        kept."""
        here = greenlets.current()
        if here is not None:
            return cast(T, self._gathering(here).write(WriteOperation(work, ordering_keys), here, timeout))
        future = self.submit(work, ordering_keys)
        try:
            return future.result(timeout)
        except TooLate:
            if future.cancel():
                raise StoreUnavailable(f"waited {timeout:g} s for the writer") from None
        try:
            return future.result(GRACE_SECONDS)
        except TooLate:
            raise StoreUnavailable(f"not committed within {timeout + GRACE_SECONDS:g} s") from None

    def _gathering(self, here: greenlets.RequestGreenlet) -> LoopCommitter:
        found = self._gatherings.get(here.loop)
        if found is None:
            found = self._gatherings[here.loop] = LoopCommitter(here.loop, self._quick, self, GRACE_SECONDS)
        return found

    def close(self, timeout: float = 10.0) -> None:
        """Takes no more, and finishes what it has. What is not finished in time gets `StoreUnavailable`."""
        with self._gate:
            if self._open:
                self._open = False
                self._queue.put(None)
        if self._thread is not None:
            self._thread.join(timeout)
        self._refuse_rest()
        if self._quick is not None:
            self._quick.close()

    def _write(self) -> None:
        try:
            while (first := self._queue.get()) is not None and self._turn(first):
                pass
        finally:
            self._group.close()

    def _turn(self, first: _Item) -> bool:
        """One group. False when the end was met."""
        items, more = [first], True
        try:
            with self._guard:
                more = self._gather(items)
                items = _begun(items)
                done = self._group.commit([item.work for item in items]) if items else []
        except BaseException as error:  # of the guard: no room for its file, say
            items = _begun(items)
            done = [WriteResult(error=StoreUnavailable(f"lock: {error}")) for _ in items]
        for item, what in zip(items, done, strict=True):
            _tell(item.future, what)
        self._group.notify_workers()
        return more

    def _gather(self, items: list[_Item]) -> bool:
        ordering_keys = len(items[0].work.ordering_keys)
        while len(items) < MAX_OPERATIONS and ordering_keys < MOST_ORDERING_KEYS:
            try:
                item = self._queue.get_nowait()
            except Empty:
                break
            if item is None:
                return False
            items.append(item)
            ordering_keys += len(item.work.ordering_keys)
        return True

    def _refuse_rest(self) -> None:
        rest: list[_Item] = []
        while not self._queue.empty():
            with contextlib.suppress(Empty):
                item = self._queue.get_nowait()
                rest += [item] if item else []
        self._queue.put(None)  # for a thread that was stuck, when it comes back
        for item in _begun(rest):
            _tell(item.future, WriteResult(error=StoreUnavailable("the store was closed before this was done")))


def _begun(items: Sequence[_Item]) -> list[_Item]:
    """Those that nobody has given up; from here on nobody can."""
    return [item for item in items if item.future.running() or item.future.set_running_or_notify_cancel()]


def _tell(future: Future[Any], done: WriteResult) -> None:
    if done.error is not None:
        future.set_exception(done.error)
    else:
        future.set_result(done.answer)
