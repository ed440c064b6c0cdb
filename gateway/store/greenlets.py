"""Requests that wait for their commit without a thread, and the commits that they share.

Each request runs in a greenlet on the event loop's thread, and while it waits the loop goes on with others. To hand a
request to a thread and back costs several switches of threads, and threads that all want the interpreter at once cost
still more: at 32 requests side by side, more than all the rest of a callback (measured). A request is plain code, such
as a WSGI application; the store's writer, which makes it wait, asks for the `current` greenlet.

Operations that are handed in during one turn of the loop are committed together, on the loop's own thread, where the
lock is free at once: no other thread has to be woken, and none competes for the interpreter. Where the lock is not
free, the loop tries again soon, and goes on meanwhile; where it stays so (another program has locked the file, the disk
hangs), the writer's thread takes over, which can be left waiting.
"""

from __future__ import annotations

import time
from asyncio import AbstractEventLoop
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from greenlet import getcurrent, greenlet

from gateway.store.errors import StoreUnavailable
from gateway.store.group_commit import ImmediateCommitter, WriteOperation, WriteResult
from gateway.store.outbox import MAX_KEYS_PER_TRANSACTION

MAX_SPARE_GREENLETS = 256
"""Greenlets that are kept for later requests: a new one costs 10 µs, most of it for its stack."""
MAX_OPERATIONS = 64  # in one transaction: while it lasts, the loop stands still
MAX_WAITING = 4096
MAX_DELAY_SECONDS = 0.004  # the longest delay of a commit while more operations come
MAX_TRYING_SECONDS = 0.05  # how long the loop tries to get the lock, before the writer's thread takes over
IDLE_SLEEP_SECONDS = 0.0001
GRACE_SECONDS = 5.0  # how much longer a caller waits for an operation under way: soon it will know

Work = Callable[[], object]


class RequestGreenlet(greenlet):
    """Runs one request after another. Each may wait, but not for what another request on this loop has to release."""

    def __init__(self, pool: GreenletPool) -> None:
        super().__init__(self._run)
        self._pool = pool
        self.loop = pool.loop

    def wait(self) -> Any:
        """Lets the loop go on, and returns what the next `switch` is given. To be called within the request."""
        return cast(greenlet, self.parent).switch()

    def _run(self, work: Work) -> NoReturn | None:
        while True:
            work()
            if len(self._pool.spare) >= MAX_SPARE_GREENLETS:
                return None
            self._pool.spare.append(self)
            work = self.wait()


class GreenletPool:
    """The greenlets of one event loop; not thread-safe."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.loop = loop
        self.spare: list[RequestGreenlet] = []

    def run(self, work: Work) -> None:
        """Runs it until it ends, or has to wait."""
        if current() is not None:
            # That request goes on to its end first: its greenlet would never be resumed if this one waited.
            self.loop.call_soon(self.run, work)
            return
        idle = self.spare.pop() if self.spare else RequestGreenlet(self)
        idle.switch(work)


def current() -> RequestGreenlet | None:
    """Returns the greenlet that calls; None where a thread may block."""
    found = getcurrent()
    return found if isinstance(found, RequestGreenlet) else None


@dataclass(slots=True, eq=False)
class _Waiting:
    operation: WriteOperation
    greenlet: RequestGreenlet
    timeout: float
    is_resumed: bool = False

    def resume(self, result: WriteResult) -> None:
        if not self.is_resumed:
            self.is_resumed = True
            self.greenlet.switch(result)

    def take(self, future: Future[Any]) -> None:
        """Resumes with the result of the writer's thread."""
        if future.cancelled():
            self.resume(WriteResult(error=StoreUnavailable(f"waited {self.timeout:g} s for the writer")))
        else:
            error = future.exception()
            self.resume(WriteResult(error=error) if error else WriteResult(future.result()))


class LoopCommitter:
    """Commits for one event loop. `immediate`: None where every commit has to wait. `submit`: the writer's."""

    def __init__(
        self, loop: AbstractEventLoop, immediate: ImmediateCommitter | None, submit: Callable[..., Future[Any]]
    ) -> None:
        self._loop, self._immediate, self._submit = loop, immediate, submit
        self._waiting: list[_Waiting] = []
        self._first_at = 0.0  # when the first of them came
        self._count_before = 0  # how many there were a turn ago
        self._refused_since: float | None = None  # when the lock was first not free; None: it was free last time
        self._refused_count = 0
        self._is_scheduled = False

    def write(self, operation: WriteOperation, greenlet: RequestGreenlet, timeout: float) -> Any:
        """Returns the operation's answer, after its commit; as `Writer.write`."""
        if len(self._waiting) >= MAX_WAITING:
            raise StoreUnavailable(f"{MAX_WAITING} operations wait already")
        if not self._waiting:
            self._first_at, self._count_before = time.monotonic(), 0
        self._waiting.append(_Waiting(operation, greenlet, timeout))
        self._schedule()
        result: WriteResult = greenlet.wait()
        if result.error is not None:
            raise result.error
        return result.answer

    def _schedule(self) -> None:
        if self._waiting and not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_scheduled = False
        before, self._count_before = self._count_before, len(self._waiting)
        # A commit costs as much as five operations: while every turn of the loop brings more, it is put off a bit.
        if before < self._count_before < MAX_OPERATIONS and time.monotonic() - self._first_at < MAX_DELAY_SECONDS:
            self._schedule()
            return
        group = self._take_group()
        results = self._immediate.commit([waiting.operation for waiting in group]) if self._immediate else None
        if results is not None:
            self._refused_since = None
            for waiting, result in zip(group, results, strict=True):
                waiting.resume(result)
        elif self._immediate and self._is_worth_another_try(self._immediate, len(group)):
            self._waiting[:0] = group
        else:
            self._refused_since = None
            for waiting in group:
                self._hand_over(waiting)
        self._schedule()

    def _take_group(self) -> list[_Waiting]:
        count = keys = 0
        for waiting in self._waiting[:MAX_OPERATIONS]:
            keys += len(waiting.operation.ordering_keys)
            if count and keys > MAX_KEYS_PER_TRANSACTION:
                break
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        return group

    def _is_worth_another_try(self, immediate: ImmediateCommitter, count: int) -> bool:
        now = time.monotonic()
        self._refused_since = self._refused_since or now
        if now - self._refused_since > MAX_TRYING_SECONDS:
            immediate.give_up_turn()
            return False
        if count == self._refused_count:  # nothing came meanwhile: sleep, instead of spinning
            time.sleep(IDLE_SLEEP_SECONDS)
        self._refused_count = count
        return True

    def _hand_over(self, waiting: _Waiting) -> None:
        """Leaves the commit to the writer's thread."""
        try:
            future = self._submit(waiting.operation.run, waiting.operation.ordering_keys)
        except StoreUnavailable as error:
            waiting.resume(WriteResult(error=error))
            return
        future.add_done_callback(lambda future: self._loop.call_soon_threadsafe(waiting.take, future))
        self._loop.call_later(waiting.timeout, self._cancel, waiting, future)

    def _cancel(self, waiting: _Waiting, future: Future[Any]) -> None:
        if not waiting.is_resumed and not future.cancel():
            unknown = StoreUnavailable(f"not committed within {waiting.timeout + GRACE_SECONDS:g} s")
            self._loop.call_later(GRACE_SECONDS, waiting.resume, WriteResult(error=unknown))
