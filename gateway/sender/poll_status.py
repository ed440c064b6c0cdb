"""Asks CarrierX about messages that no update came for in too long a time. Its answer is accepted like a callback."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from gateway.carrierx import CoreAPI
from gateway.carrierx.errors import CarrierXError, CoreError, NotAuthorized, NotSent, TooMany
from gateway.config import Config
from gateway.inbound import accept
from gateway.inbound.callback import Callback
from gateway.sender.outcome import SubmitFault, throttled
from gateway.store import Connection, Store, StoreUnavailable, ledger
from schemas import BadCallback, wire

IDLE_SECONDS, BUSY_SECONDS = 5.0, 1.0
"""Time between two polls: where there was nothing to ask, and where there may be more."""
MAX_MESSAGES = 5  # messages that one poll asks about, one after the other
FETCHED = "fetched"  # stands for the caller's address in an event


class StatusPoller:
    """Polls in a thread of its own. `notify` is called there with endpoints that something is owed to."""

    def __init__(
        self, store: Store, clock: Callable[[], float], log: Any, notify: Callable[[Collection[str]], object]
    ) -> None:
        self._store, self._clock, self._log, self._notify = store, clock, log, notify
        self._poll_at = 0.0
        self._thread: threading.Thread | None = None
        self._fault: SubmitFault | None = None

    def take_fault(self) -> SubmitFault | None:
        """The fault that was met since the last call."""
        fault, self._fault = self._fault, None
        return fault

    def poll_if_due(self, api: CoreAPI, config: Config, monotonic: float) -> None:
        """Starts a poll, if it is time and there is something to ask. Raises `StoreUnavailable`."""
        if monotonic < self._poll_at or (self._thread is not None and self._thread.is_alive()):
            return
        self._poll_at = monotonic + IDLE_SECONDS
        with self._store.reader() as conn:
            found = ledger.without_status(conn, self._clock(), MAX_MESSAGES)
        if found:
            self._poll_at = monotonic + BUSY_SECONDS
            self._thread = threading.Thread(target=self._poll, args=(api, config), name="poll-status", daemon=True)
            self._thread.start()

    def _poll(self, api: CoreAPI, config: Config) -> None:
        def take(conn: Connection) -> Sequence[ledger.LedgerEntry]:
            """Records each question before it is asked: a process that dies asks later, and no two ask the same."""
            now = self._clock()
            found = ledger.without_status(conn, now, MAX_MESSAGES)
            for entry in found:
                ledger.record_poll(conn, entry, now, config.carrierx.missing_after)
            return found

        try:
            for entry in self._store.writer.write(take):
                self._ask(api, entry, config)
        except StoreUnavailable as error:
            self._log.error("store_unavailable", reason=str(error))
        except NotSent as error:
            self._fault = SubmitFault(str(error))
        except CoreError as error:
            self._fault = throttled(error) if isinstance(error, TooMany) else SubmitFault(str(error))

    def _ask(self, api: CoreAPI, entry: ledger.LedgerEntry, config: Config) -> None:
        try:
            body = api.read_raw(entry.message_sid)
        except (NotSent, NotAuthorized, TooMany):
            raise
        except CarrierXError as error:
            self._log.info("message_not_shown", send=entry.send_id, reason=str(error))
            return
        try:
            status = wire.read_object(body).get("status")
        except BadCallback:  # accepting it says what is wrong
            status = ""
        status = status if isinstance(status, str) else ""
        self._log.info("message_asked_for", send=entry.send_id, status=status, known=entry.status)
        if status != entry.status:
            now = datetime.fromtimestamp(self._clock(), UTC)
            callback = Callback(format="carrierx", body=body, content_type=None, remote=FETCHED, now=now)
            self._notify(accept.accept(callback, config, self._store).endpoints)
