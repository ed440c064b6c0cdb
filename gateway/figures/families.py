"""Every figure that is counted, by the name that Prometheus knows it under. A contract: dashboards name them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Family:
    help: str
    bounds: tuple[float, ...] = ()
    """Of a histogram's buckets, in seconds, without the last one, which has none. A counter has no buckets."""

    @property
    def kind(self) -> str:
        return "histogram" if self.bounds else "counter"

    @property
    def cells(self) -> int:
        """Numbers that one series takes: a histogram has its sum, and a count for each bucket."""
        return len(self.bounds) + 2 if self.bounds else 1


FAMILIES = {
    "gateway_callbacks_kept_total": Family(
        "Callbacks that are on disk, by wire format and state: accepted, duplicate, stale, unrouted,"
        " refused, waiting or orphan."
    ),
    "gateway_callbacks_turned_away_total": Family(
        "Callbacks that were answered without being kept, by wire format and reason:"
        " key (403), encoding (415), size (413), store or fault, which is ours (503: the platform sends them again)."
    ),
    "gateway_callback_seconds": Family(
        "From a callback whose body is there to its answer, the commit between them, by wire format.",
        (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
    ),
    "gateway_orphan_updates_total": Family(
        "Status updates that say something new of messages that this gateway did not send, by reason. number: sent from"
        " a number that is not configured, kept as unrouted. endpoints: the number is ours and has no status endpoints,"
        " nobody hears of it, kept as orphan. message: told to the status endpoints of the number."
    ),
    "gateway_sends_total": Family(
        "Messages that the gateway was to send and that came to their end here, by origin (legacy, command, reply,"
        " opt-out) and outcome: sent (CarrierX has it), refused, undecided (for a person)."
    ),
    "gateway_calls_total": Family(
        "Legacy calls by name (unknown: it had none of ours) and outcome: accepted, answered (a query), refused,"
        " malformed (400), encoding (415), size (413), store or fault, which is ours (503: it is to be sent again)."
    ),
    "gateway_attempts_total": Family(
        "Attempts that have ended, by endpoint and outcome: succeeded, again (it is tried again later), dead."
    ),
    "gateway_deliveries_succeeded_total": Family("Deliveries that their endpoint took, by endpoint."),
    "gateway_attempt_seconds": Family(
        "How long attempts took, whatever came of them, by endpoint.", (0.005, 0.025, 0.1, 0.5, 2, 5, 15, 60)
    ),
    "gateway_delivery_seconds": Family(
        "From a callback's acceptance to its endpoint's success, every wait between them, by endpoint.",
        (0.003, 0.005, 0.015, 0.05, 0.25, 1, 10, 60, 600, 3600),
    ),
    "gateway_breaker_changes_total": Family("Changes of an endpoint's breaker, by endpoint and the new state."),
    "gateway_process_starts_total": Family("Processes that started: web, worker. More than usual: they die."),
}
