"""Group commit: the work of many in one transaction, one sync of the disk for all.

A piece of work may be run more than once, each time in a fresh transaction; only its last run counts. So it does
nothing but talk to its connection, and never swallows what the database says.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection, Engine

from gateway.store.errors import Blame, StoreUnavailable, classify, reason
from gateway.store.ordering import hold_first
from gateway.store.wakeup import PgNotifier, take_marked

MAX_TRIES = 5
"""At work of which the database says that another transaction stood in its way."""


class WriteLock(Protocol):
    """A lock that one can do without waiting for."""

    def enter_now(self) -> bool: ...

    def step_back(self) -> None: ...

    def leave(self) -> None: ...


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
    """The commit itself failed: done or not, nobody knows."""


class GroupCommitter:
    """Commits groups over one connection, which it keeps, and replaces when it is broken. For one thread.

    `is_current` tells whether a kept connection is still good: asked before each transaction, so it is quick.
    """

    def __init__(
        self, engine: Engine, is_current: Callable[[Connection], bool], notifier: PgNotifier | None = None
    ) -> None:
        self._engine = engine
        self._notifier = notifier
        self._owed: set[str] = set()
        self._is_current = is_current
        self._conn: Connection | None = None

    def commit(self, group: Sequence[WriteOperation]) -> list[WriteResult]:
        """What became of each, in order. Never raises; work that is wrong spoils nobody else's."""
        try:
            return self._together(group)
        except BaseException as error:
            failure = error
        if classify(failure) is Blame.WORK and len(group) > 1:
            try:
                return self._apart(group)
            except BaseException as error:
                failure = error
        if classify(failure) is Blame.CONFLICT or (classify(failure) is Blame.WORK and len(group) > 1):
            return self._one_by_one(group)
        return [_failed(failure) for _ in group]

    def notify_workers(self) -> None:
        """Tells workers of other machines what was committed. To be called when those who wait for it are told."""
        owed, self._owed = self._owed, set()
        if owed and self._notifier is not None:
            self._notifier.notify(owed)

    def close(self) -> None:
        if self._notifier is not None:
            self._notifier.close()
        conn, self._conn = self._conn, None
        if conn is not None:
            with contextlib.suppress(Exception):
                conn.close()

    def _together(self, group: Sequence[WriteOperation]) -> list[WriteResult]:
        conn = self._begin(group)
        try:
            done = [WriteResult(work.run(conn)) for work in group]
        except BaseException as error:
            self._abandon(conn, error)
            raise
        self._finish(conn)
        return done

    def _apart(self, group: Sequence[WriteOperation]) -> list[WriteResult]:
        """Still one commit, but each behind a savepoint of its own."""
        conn = self._begin(group)
        try:
            done = [_saved(conn, work) for work in group]
        except BaseException as error:
            self._abandon(conn, error)
            raise
        self._finish(conn)
        return done

    def _one_by_one(self, group: Sequence[WriteOperation]) -> list[WriteResult]:
        """Nobody waits here for a second lock with a first in hand, so sooner or later each gets through."""
        done: list[WriteResult] = []
        for work in group:
            done.append(self._alone(work))
            if isinstance(done[-1].error, StoreUnavailable):
                return done + [_failed(done[-1].error) for _ in group[len(done) :]]
        return done

    def _alone(self, work: WriteOperation) -> WriteResult:
        for _ in range(MAX_TRIES):
            try:
                return self._together([work])[0]
            except BaseException as error:
                if classify(error) is not Blame.CONFLICT:
                    return _failed(error)
        return WriteResult(error=StoreUnavailable(f"other transactions stood in the way {MAX_TRIES} times"))

    def _begin(self, group: Sequence[WriteOperation]) -> Connection:
        conn = self._connection()
        try:
            conn.begin()
            hold_first(conn, {ordering_key for work in group for ordering_key in work.ordering_keys})
        except BaseException as error:
            self._abandon(conn, error)
            raise
        return conn

    def _connection(self) -> Connection:
        if self._conn is not None and not self._is_current(self._conn):
            self._drop()
        if self._conn is None:
            self._conn = self._engine.connect()
        return self._conn

    def _finish(self, conn: Connection) -> None:
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


def _saved(conn: Connection, work: WriteOperation) -> WriteResult:
    savepoint = conn.begin_nested()
    try:
        answer = work.run(conn)
        savepoint.commit()
    except BaseException as error:
        if classify(error) is not Blame.WORK:
            raise
        savepoint.rollback()
        return WriteResult(error=error)
    return WriteResult(answer)


def _failed(error: BaseException) -> WriteResult:
    """Each waiter raises its error in its own thread, so each gets one of its own."""
    if classify(error) is Blame.WORK:
        return WriteResult(error=error)
    return WriteResult(error=(OutcomeUnknown if isinstance(error, OutcomeUnknown) else StoreUnavailable)(reason(error)))


class ImmediateCommitter:
    """Commits in the caller's own thread, if nobody else writes just now. `group`'s connection waits for no lock."""

    def __init__(self, group: GroupCommitter, guard: WriteLock) -> None:
        self._group, self._guard = group, guard

    def commit(self, works: Sequence[WriteOperation]) -> list[WriteResult] | None:
        """What became of each; None: not now, and nothing was done."""
        try:
            if not self._guard.enter_now():
                return None
        except OSError:
            return None
        try:
            done = self._group.commit(works)
        finally:
            self._guard.leave()
        later = all(
            isinstance(one.error, StoreUnavailable) and not isinstance(one.error, OutcomeUnknown) for one in done
        )
        return None if later else done

    def give_up(self) -> None:
        """It will not be tried again soon."""
        self._guard.step_back()

    def close(self) -> None:
        self._group.close()
