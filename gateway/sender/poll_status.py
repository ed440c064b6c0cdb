"""Asks CarrierX about messages of which nothing was heard for too long. What it says goes the way of a callback."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from gateway.carrierx.errors import CarrierXError, CoreError, NotAuthorized, NotSent, TooMany
from gateway.config import Config
from gateway.inbound import accept
from gateway.inbound.callback import Callback
from gateway.sender.outcome import Core, SubmitFault, throttled
from gateway.store import Connection, Store, StoreUnavailable, ledger
from schemas import BadCallback, wire

EVERY, SOON = 5.0, 1.0
"""Seconds between two looks: where there is nothing to ask, and where there may be more."""
MOST = 5
"""Messages that are asked about one after the other."""
FETCHED = "fetched"
"""What stands for the caller's address."""


class StatusPoller:
    """`ring`: wakes whoever delivers to these endpoints, from any thread."""

    def __init__(
        self, store: Store, clock: Callable[[], float], log: Any, ring: Callable[[Collection[str]], object]
    ) -> None:
        self._store, self._clock, self._log, self._ring = store, clock, log, ring
        self._at = 0.0
        self._thread: threading.Thread | None = None
        self._trouble: SubmitFault | None = None

    def trouble(self) -> SubmitFault | None:
        """What was met since the last time."""
        trouble, self._trouble = self._trouble, None
        return trouble

    def mind(self, core: Core, config: Config, steady: float) -> None:
        """Begins to ask, if it is time and there is something to ask. Raises `StoreUnavailable`."""
        if steady < self._at or (self._thread is not None and self._thread.is_alive()):
            return
        self._at = steady + EVERY
        with self._store.reader() as conn:
            found = ledger.without_status(conn, self._clock(), MOST)
        if found:
            self._at = steady + SOON
            self._thread = threading.Thread(target=self._run, args=(core, config), name="missing", daemon=True)
            self._thread.start()

    def _run(self, core: Core, config: Config) -> None:
        try:
            for entry in self._store.writer.write(lambda conn: self._take(conn, config)):
                self._ask(core, entry, config)
        except StoreUnavailable as error:
            self._log.error("store_unavailable", reason=str(error))
        except NotSent as error:
            self._trouble = SubmitFault(str(error))
        except CoreError as error:
            self._trouble = throttled(error) if isinstance(error, TooMany) else SubmitFault(str(error))

    def _take(self, conn: Connection, config: Config) -> Sequence[ledger.LedgerEntry]:
        """Noted as asked before it is: who dies in between asks later, and two do not ask the same."""
        now = self._clock()
        found = ledger.without_status(conn, now, MOST)
        for entry in found:
            ledger.record_poll(conn, entry, now, config.carrierx.missing_after)
        return found

    def _ask(self, core: Core, entry: ledger.LedgerEntry, config: Config) -> None:
        try:
            body = core.read_raw(entry.message_sid)
        except (NotSent, NotAuthorized, TooMany):
            raise
        except CarrierXError as error:
            self._log.info("message_not_shown", send=entry.send_id, reason=str(error))
            return
        status = _status(body)
        self._log.info("message_asked_for", send=entry.send_id, status=status, known=entry.status)
        if status != entry.status:
            now = datetime.fromtimestamp(self._clock(), UTC)
            callback = Callback(format="carrierx", body=body, content_type=None, remote=FETCHED, now=now)
            self._ring(accept.accept(callback, config, self._store).endpoints)


def _status(body: bytes) -> str:
    """Empty where it has none: then the intake says what is wrong."""
    try:
        status = wire.read_object(body).get("status")
    except BadCallback:
        return ""
    return status if isinstance(status, str) else ""
