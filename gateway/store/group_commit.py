"""Group commit: the operations of many callers in one transaction, one sync of the disk for all.

An operation may be run more than once, each time in a fresh transaction; only its last run counts. So it does nothing
but talk to its connection, and never swallows an error of the database.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine

from gateway.store.errors import Blame, StoreUnavailable, classify, reason
from gateway.store.outbox import hold_first
from gateway.store.sqlite import FileLock
from gateway.store.wakeup import PgNotifier, take_marked

MAX_TRIES = 5  # of an operation that the database says is in conflict with another transaction


@dataclass(frozen=True, slots=True)
class WriteOperation:
    run: Callable[[Connection], Any]
    ordering_keys: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class WriteResult:
    """Committed, with an answer; or not, with an error."""

    answer: Any = None
    error: BaseException | None = None


class OutcomeUnknown(StoreUnavailable):
    """The commit itself failed: nobody knows whether it was done."""


class GroupCommitter:
    """Commits groups over one connection, which it keeps, and replaces when it is broken. For one thread.
    `is_current` tells whether a kept connection is still good: it is asked before each transaction, so it is quick."""

    def __init__(
        self, engine: Engine, is_current: Callable[[Connection], bool], notifier: PgNotifier | None = None
    ) -> None:
        self._engine = engine
        self._notifier = notifier
        self._owed: set[str] = set()
        self._is_current = is_current
        self._conn: Connection | None = None

    def commit(self, group: Sequence[WriteOperation]) -> list[WriteResult]:
        """Returns the result of each operation, in order. Never raises; a wrong operation spoils no other."""
        try:
            return self._together(group)
        except BaseException as error:
            failure = error
        if classify(failure) is Blame.WORK and len(group) > 1:
            try:
                return self._together(group, savepoints=True)
            except BaseException as error:
                failure = error
        if classify(failure) is Blame.CONFLICT or (classify(failure) is Blame.WORK and len(group) > 1):
            return self._one_by_one(group)
        return [_failed(failure) for _ in group]

    def notify_workers(self) -> None:
        """Tells workers of other machines what was committed. To be called after the callers have their results."""
        owed, self._owed = self._owed, set()
        if owed and self._notifier is not None:
            self._notifier.notify(owed)

    def close(self) -> None:
        if self._notifier is not None:
            self._notifier.close()
        self._drop()

    def _together(self, group: Sequence[WriteOperation], *, savepoints: bool = False) -> list[WriteResult]:
        """Runs all in one transaction; with `savepoints` one commit still, but each can fail alone."""
        if self._conn is not None and not self._is_current(self._conn):
            self._drop()
        if self._conn is None:
            self._conn = self._engine.connect()
        conn = self._conn
        try:
            conn.begin()
            hold_first(conn, {key for operation in group for key in operation.ordering_keys})
            if savepoints:
                results = [_behind_savepoint(conn, operation) for operation in group]
            else:
                results = [WriteResult(operation.run(conn)) for operation in group]
        except BaseException as error:
            self._abandon(conn, error)
            raise
        owed = take_marked(conn)
        try:
            conn.commit()
        except BaseException as error:
            self._abandon(conn, error)
            if classify(error) is Blame.CONFLICT:
                raise
            # It must not be run again, and its callers must not be told that it is kept.
            raise OutcomeUnknown(f"commit: {reason(error)}") from None
        self._owed |= owed
        return results

    def _one_by_one(self, group: Sequence[WriteOperation]) -> list[WriteResult]:
        """No transaction waits here for a second lock with a first in hand, so sooner or later each gets through."""
        results: list[WriteResult] = []
        for operation in group:
            result = WriteResult(error=StoreUnavailable(f"in conflict with other transactions {MAX_TRIES} times"))
            for _ in range(MAX_TRIES):
                try:
                    result = self._together([operation])[0]
                    break
                except BaseException as error:
                    if classify(error) is not Blame.CONFLICT:
                        result = _failed(error)
                        break
            results.append(result)
            if isinstance(result.error, StoreUnavailable):
                return results + [_failed(result.error) for _ in group[len(results) :]]
        return results

    def _abandon(self, conn: Connection, error: BaseException) -> None:
        if not conn.invalidated:
            take_marked(conn)
        try:
            conn.rollback()
        except Exception:
            self._drop()
        if classify(error) is Blame.STORE:
            self._drop()

    def _drop(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            with contextlib.suppress(Exception):
                conn.invalidate()
                conn.close()


def _behind_savepoint(conn: Connection, operation: WriteOperation) -> WriteResult:
    savepoint = conn.begin_nested()
    try:
        answer = operation.run(conn)
        savepoint.commit()
    except BaseException as error:
        if classify(error) is not Blame.WORK:
            raise
        savepoint.rollback()
        return WriteResult(error=error)
    return WriteResult(answer)


def _failed(error: BaseException) -> WriteResult:
    """Every caller raises its error in its own thread, so each gets one of its own."""
    if classify(error) is Blame.WORK:
        return WriteResult(error=error)
    return WriteResult(error=(OutcomeUnknown if isinstance(error, OutcomeUnknown) else StoreUnavailable)(reason(error)))


class ImmediateCommitter:
    """Commits in the caller's own thread, if nobody else writes just now. `group`'s connection waits for no lock."""

    def __init__(self, group: GroupCommitter, lock: FileLock) -> None:
        self._group, self._lock = group, lock

    def commit(self, operations: Sequence[WriteOperation]) -> list[WriteResult] | None:
        """Returns the result of each operation; None: not now, and nothing was done."""
        try:
            if not self._lock.try_acquire():
                return None
        except OSError:
            return None
        try:
            results = self._group.commit(operations)
        finally:
            self._lock.release()
        return results if any(type(result.error) is not StoreUnavailable for result in results) else None

    def give_up_turn(self) -> None:
        """Lets others go first, as it will not be tried again soon."""
        self._lock.give_up_turn()

    def close(self) -> None:
        self._group.close()
