"""The Sender's rounds with the store, one after another: what is to be written is kept here meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as TooLate
from dataclasses import replace
from typing import Any

from gateway.config import Config
from gateway.sender.batch import SubmitBatch, SubmitBatchResult
from gateway.sender.outcome import Submission, SubmissionResult
from gateway.store import Store, StoreUnavailable
from gateway.store.health import BreakerState

STORE_WAIT = 10.0
"""Seconds after which a round that the store has not begun is taken back."""
LOOK = 0.25
"""Seconds between two looks whether the store has written."""
REST = 1.0
"""Seconds without a round after one that came to nothing."""
MOST = 64
"""Sends settled in one transaction."""


class SubmitBatchWriter:
    """`alive` is called while the store is waited for."""

    def __init__(self, store: Store, owner: str, log: Any, alive: Callable[[], None]) -> None:
        self._store, self._owner, self._log, self._alive = store, owner, log, alive
        self._is_away = self._is_doubtful = self._is_odd = False
        self._rest_until = 0.0
        self.ended: list[SubmissionResult] = []
        """What came back, and is not known to be written down."""
        self.give_up_at = float("inf")
        """Steady seconds after which the store is not waited for any more."""

    def rest(self, steady: float) -> float:
        """Seconds until there may be a round."""
        return max(0.0, self._rest_until - steady)

    def run(
        self,
        config: Config,
        now: float,
        room: int,
        held: Sequence[Submission],
        known: set[int],
        tidies: bool,
        states: Sequence[BreakerState],
    ) -> tuple[SubmitBatch, SubmitBatchResult] | None:
        """Writes what there is to write. None: there was nothing, or it came to nothing."""
        round_ = SubmitBatch(
            owner=self._owner,
            config=config,
            now=now,
            ended=tuple(self.ended[: 1 if self._is_odd else MOST]),
            room=room,
            held=held,
            is_doubtful=self._is_doubtful,
            known=known | {one.departure.claimed.id for one in self.ended} if self._is_doubtful else (),
            tidies=tidies,
            states=states,
        )
        written = self._write(round_) if round_ else None
        return None if written is None else (round_, written)

    def _write(self, round_: SubmitBatch) -> SubmitBatchResult | None:
        try:
            written = self._written(round_)
        except StoreUnavailable as error:
            self._is_doubtful = True
            self.unavailable(error)
            return None
        except Exception as error:
            self._odd(round_, error)
            return None
        del self.ended[: len(round_.ended)]
        self._is_doubtful = self._is_odd = False
        self._back()
        return written

    def _written(self, round_: SubmitBatch) -> SubmitBatchResult:
        future = self._store.writer.submit(round_.write, ordering_keys=round_.ordering_keys)
        began = time.monotonic()
        while True:
            self._alive()
            try:
                return future.result(LOOK)
            except TooLate:
                steady = time.monotonic()
                gives_up = steady > self.give_up_at
                if gives_up or (steady - began > STORE_WAIT and future.cancel()):
                    future.cancel()
                    raise StoreUnavailable("the writer does not come to it") from None

    def _odd(self, round_: SubmitBatch, error: Exception) -> None:
        """One of them cannot be settled as it should. It is found, and what we know of it is kept all the same."""
        if not round_.ended or all(one.word == "noted" for one in round_.ended):
            raise error
        self._log.error("send_not_settled", error=type(error).__name__, sends=len(round_.ended))
        if len(round_.ended) == 1:
            self.ended[0] = replace(self.ended[0], word="noted")
        self._is_odd = True

    def unavailable(self, error: StoreUnavailable) -> None:
        """What came back is kept here until the store is there again."""
        self._log.error("store_unavailable", reason=str(error))
        self._is_away, self._rest_until = True, time.monotonic() + REST

    def _back(self) -> None:
        if self._is_away:
            self._is_away = False
            self._log.info("store_back")
