"""What the worker counts of its attempts and breakers, and of the messages that it sends."""

from __future__ import annotations

from gateway.figures.counting import Figures, Histogram, Series

STATUS_URLS = "@status_url"
"""The endpoint of all pages that calls named: anybody who sends may name some, with secrets in their addresses."""


class Endpoints:
    """The worker's `Tally`; one look into a dictionary for each figure."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self._outcomes: dict[tuple[str, str], Series] = {}
        self._times: dict[str, tuple[Histogram, Histogram, Series]] = {}

    def attempt(self, endpoint: str, outcome: str, seconds: float, since_owed: float) -> None:
        """One that has ended. `seconds`: it took; `since_owed`: since the callback was accepted."""
        if "://" in endpoint:
            endpoint = STATUS_URLS
        counted = self._outcomes.get((endpoint, outcome)) or self._of_outcome(endpoint, outcome)
        took, since, succeeded = self._times.get(endpoint) or self._of(endpoint)
        counted.inc()
        took.observe(seconds)
        if outcome == "succeeded":
            succeeded.inc()
            since.observe(since_owed)

    def breaker(self, endpoint: str, state: str) -> None:
        """It has changed to that state."""
        if "://" in endpoint:
            endpoint = STATUS_URLS
        self._figures.series("gateway_breaker_changes_total", endpoint=endpoint, state=state).inc()

    def _of_outcome(self, endpoint: str, outcome: str) -> Series:
        made = self._figures.series("gateway_attempts_total", endpoint=endpoint, outcome=outcome)
        return self._outcomes.setdefault((endpoint, outcome), made)

    def _of(self, endpoint: str) -> tuple[Histogram, Histogram, Series]:
        made = (
            self._figures.histogram("gateway_attempt_seconds", endpoint=endpoint),
            self._figures.histogram("gateway_delivery_seconds", endpoint=endpoint),
            self._figures.series("gateway_deliveries_succeeded_total", endpoint=endpoint),
        )
        return self._times.setdefault(endpoint, made)


class Sends:
    """The Sender's `Tally`."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self._series: dict[tuple[str, str], Series] = {}

    def send(self, origin: str, outcome: str) -> None:
        """One message came to its end here: it is ``sent``, ``refused`` or ``undecided``."""
        known = self._series.get((origin, outcome))
        if known is None:
            known = self._figures.series("gateway_sends_total", origin=origin, outcome=outcome)
            self._series[origin, outcome] = known
        known.inc()
