"""The one thread of a process that writes: callers hand in operations, and all that wait are committed together.

While one group is being synced to the disk the next one gathers: no operation waits for company, and the busier it is,
the more of them share a sync. The lock on the file is taken first and the group gathered after, so that it is as large
as can be.
"""

from __future__ import annotations

import contextlib
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import AbstractContextManager
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar, cast

from sqlalchemy import Connection

from gateway.store import greenlets
from gateway.store.errors import StoreUnavailable
from gateway.store.greenlets import GRACE_SECONDS, LoopCommitter
from gateway.store.group_commit import GroupCommitter, ImmediateCommitter, WriteOperation, WriteResult
from gateway.store.outbox import MAX_KEYS_PER_TRANSACTION

T = TypeVar("T")

MAX_OPERATIONS = 256  # in one transaction: with more the first would wait for the last, and gain nothing
MAX_WAITING = 4096  # operations; so many wait only where nothing moves, and their callers are gone


class _Queued(NamedTuple):
    operation: WriteOperation
    future: Future[Any]


class Writer:
    """Takes ``work(conn) -> answer``, see `gateway.store.group_commit`. `lock` is held around each transaction."""

    def __init__(
        self, group: GroupCommitter, lock: AbstractContextManager[object], immediate: ImmediateCommitter | None = None
    ) -> None:
        self._group, self._lock, self._immediate = group, lock, immediate
        self._loop_committers: dict[AbstractEventLoop, LoopCommitter] = {}
        self._queue: SimpleQueue[_Queued | None] = SimpleQueue()
        self._is_open = True
        self._submitting = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, work: Callable[[Connection], T], ordering_keys: Collection[str] = ()) -> Future[T]:
        """Hands in an operation; the future is done after its commit. `ordering_keys`: of all deliveries that it owes
        or settles.

        The future raises `StoreUnavailable` (not kept, or nobody knows), or what the work itself raised.
        """
        queued = _Queued(WriteOperation(work, ordering_keys), Future())
        with self._submitting:  # nothing may come in behind the mark of the end: nobody would ever look there
            if not self._is_open:
                raise StoreUnavailable("the store is closed")
            if self._queue.qsize() >= MAX_WAITING:
                raise StoreUnavailable(f"{MAX_WAITING} operations wait for the writer already")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
                self._thread.start()
            self._queue.put(queued)
        return queued.future

    def write(
        self, work: Callable[[Connection], T], timeout: float = 10.0, *, ordering_keys: Collection[str] = ()
    ) -> T:
        """Returns the work's answer, after its commit. `timeout`: seconds; an operation that is not begun by then is
        never done: a platform waits for its answer, and a callback that is not on disk by then is not accepted.

        An operation that was begun is given `GRACE_SECONDS` more; after that `StoreUnavailable` may stand for one that
        is kept.
        """
        greenlet = greenlets.current()
        if greenlet is not None:
            committer = self._loop_committers.get(greenlet.loop)
            if committer is None:
                committer = LoopCommitter(greenlet.loop, self._immediate, self.submit)
                self._loop_committers[greenlet.loop] = committer
            return cast(T, committer.write(WriteOperation(work, ordering_keys), greenlet, timeout))
        future = self.submit(work, ordering_keys)
        try:
            return future.result(timeout)
        except FutureTimeout:
            if future.cancel():
                raise StoreUnavailable(f"waited {timeout:g} s for the writer") from None
        try:
            return future.result(GRACE_SECONDS)
        except FutureTimeout:
            raise StoreUnavailable(f"not committed within {timeout + GRACE_SECONDS:g} s") from None

    def close(self, timeout: float = 10.0) -> None:
        """Takes no more, and finishes what it has. Operations not finished in time get `StoreUnavailable`."""
        with self._submitting:
            if self._is_open:
                self._is_open = False
                self._queue.put(None)
        if self._thread is not None:
            self._thread.join(timeout)
        rest: list[_Queued] = []
        while not self._queue.empty():
            with contextlib.suppress(Empty):
                queued = self._queue.get_nowait()
                rest += [queued] if queued else []
        self._queue.put(None)  # for a thread that hung, when it comes back
        for queued in _started(rest):
            queued.future.set_exception(StoreUnavailable("the store was closed before this was done"))
        if self._immediate is not None:
            self._immediate.close()

    def _run(self) -> None:
        try:
            while (first := self._queue.get()) is not None and self._commit_group(first):
                pass
        finally:
            self._group.close()

    def _commit_group(self, first: _Queued) -> bool:
        """Commits the first operation and all that wait. False: no more will come."""
        group, is_open = [first], True
        try:
            with self._lock:
                is_open = self._gather(group)
                group = _started(group)
                results = self._group.commit([queued.operation for queued in group]) if group else []
        except BaseException as error:  # of the lock: no room for its file, say
            group = _started(group)
            results = [WriteResult(error=StoreUnavailable(f"lock: {error}")) for _ in group]
        for queued, result in zip(group, results, strict=True):
            if result.error is not None:
                queued.future.set_exception(result.error)
            else:
                queued.future.set_result(result.answer)
        self._group.notify_workers()
        return is_open

    def _gather(self, group: list[_Queued]) -> bool:
        """Adds what waits to the group. False: no more will come."""
        keys = len(group[0].operation.ordering_keys)
        while len(group) < MAX_OPERATIONS and keys < MAX_KEYS_PER_TRANSACTION:
            try:
                queued = self._queue.get_nowait()
            except Empty:
                break
            if queued is None:
                return False
            group.append(queued)
            keys += len(queued.operation.ordering_keys)
        return True


def _started(group: Sequence[_Queued]) -> list[_Queued]:
    """Returns the operations whose callers have not given up; from here on they cannot."""
    return [queued for queued in group if queued.future.running() or queued.future.set_running_or_notify_cancel()]
