"""Metrics of all processes of one machine, counted, and exposed to Prometheus with prometheus_client.

    metrics = Metrics(config.data)
    metrics.count(CALLBACKS_KEPT, "carrierx", "accepted")
    text(metrics.collect())                          # for /metrics: every process of the machine, added up

Each process counts in a file of its own in ``data/metrics``, in memory that is mapped to it: a killed process loses
nothing. A process takes over the file of one that has ended and counts on from there, so there are never more files
than processes at a time, and no counter goes backwards when a process dies.

The file is prometheus_client's. The rest of its multiprocess mode is not used: an environment variable names the folder
for the whole process; files are named by process id, pile up, and are all read by each scrape; one that was just
created, or was cut off by a power failure, fails every scrape; and files have holes, at which a full disk ends the
process by SIGBUS.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import sys
import threading
import weakref
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.registry import Collector

from gateway.config.model import STATUS_URLS, is_url

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _try_lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
FOLDER_NAME = "metrics"
FIRST_BYTES = 65_536  # size of a new file, doubled when it is full
MAX_FILES = 256
BROKEN = (RuntimeError, ValueError, struct.error)
"""Raised by reading a file that a power failure cut off, or that is just being created."""

FAMILIES: dict[str, Family] = {}  # by name, as they are declared below


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """A counter, or a histogram where it has buckets. The name is a contract: dashboards use it."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()  # upper bounds in seconds, but for the last one, which has none

    def __post_init__(self) -> None:
        FAMILIES[self.name] = self

    @property
    def parts(self) -> tuple[str, ...]:
        """The numbers of one series: a histogram has its sum, then a count for each bucket."""
        return ("sum", *(f"{bound:g}" for bound in self.buckets), "+Inf") if self.buckets else ("",)


CALLBACKS_KEPT = Family(
    "gateway_callbacks_kept_total",
    "Callbacks that are on disk, by wire format, state (accepted, duplicate, stale, unrouted, refused, waiting or"
    " orphan) and name of the key.",
    ("format", "state", "key"),
)
CALLBACKS_TURNED_AWAY = Family(
    "gateway_callbacks_turned_away_total",
    "Callbacks that were answered without being kept, by wire format, reason and name of the key, where that is known:"
    " key and scope (403; scope: it is not for this format), encoding (415), size (413), budget (refused, and the key"
    " has as many of them today as are kept), store or fault, which is ours (503: the platform sends them again).",
    ("format", "reason", "key"),
)
CALLBACK_SECONDS = Family(
    "gateway_callback_seconds",
    "From a callback whose body is there to its answer, the commit between them, by wire format.",
    ("format",),
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
ORPHAN_UPDATES = Family(
    "gateway_orphan_updates_total",
    "Status updates that say something new of messages that this gateway did not send, by reason. number: sent from"
    " a number that is not configured, kept as unrouted. endpoints: the number is ours and has no status endpoints,"
    " nobody hears of it, kept as orphan. message: told to the status endpoints of the number.",
    ("reason",),
)
SENDS = Family(
    "gateway_sends_total",
    "Messages that the gateway was to send and that came to their end here, by origin (legacy, command, reply,"
    " opt-out) and outcome: sent (CarrierX has it), refused, undecided (for a person).",
    ("origin", "outcome"),
)
CALLS = Family(
    "gateway_calls_total",
    "Legacy calls by name (unknown: it had none of ours) and outcome: accepted, answered (a query), refused,"
    " malformed (400), encoding (415), size (413), store or fault, which is ours (503: it is to be sent again).",
    ("call", "outcome"),
)
ATTEMPTS = Family(
    "gateway_attempts_total",
    "Attempts that have ended, by endpoint and outcome: succeeded, again (it is tried again later), dead.",
    ("endpoint", "outcome"),
)
DELIVERIES_SUCCEEDED = Family(
    "gateway_deliveries_succeeded_total", "Deliveries that their endpoint took, by endpoint.", ("endpoint",)
)
ENDPOINT_ATTEMPT_SECONDS = Family(
    "gateway_endpoint_attempt_seconds_total",
    "How long the attempts of an endpoint took together, by endpoint; divided by gateway_attempts_total, their mean.",
    ("endpoint",),
)
# With a label for the endpoint, 5,000 endpoints would make 115,000 series of the two histograms.
ATTEMPT_SECONDS = Family(
    "gateway_attempt_seconds",
    "How long attempts took, whatever came of them, of all endpoints together.",
    buckets=(0.005, 0.025, 0.1, 0.5, 2, 5, 15, 60),
)
DELIVERY_SECONDS = Family(
    "gateway_delivery_seconds",
    "From a callback's acceptance to its endpoint's success, every wait between them, of all endpoints together.",
    buckets=(0.003, 0.005, 0.015, 0.05, 0.25, 1, 10, 60, 600, 3600),
)
BREAKER_CHANGES = Family(
    "gateway_breaker_changes_total",
    "Changes of an endpoint's breaker, by endpoint and the new state.",
    ("endpoint", "state"),
)
SERVER_REFUSALS = Family(
    "gateway_server_refusals_total",
    "Requests and connections that the HTTP server ended by itself, by reason. Requests: head (400: two readings, or"
    " none), size (413), late (408), cut_off (the sender went away), chunks (400: too many small ones), memory and"
    " client (503: too many bodies under way, in all or of one client), stopping (503). Connections: silent (for two"
    " minutes), address (too many of one), full (too many in all).",
    ("reason",),
)
PROCESS_STARTS = Family(
    "gateway_process_starts_total", "Processes that started: web, worker. More than usual: they die.", ("process",)
)


class Metrics:
    """Counts for this process, from any of its threads, and collects what all processes of the machine counted.
    The file is opened by the first count: in the process that counts, not in one that forks it. Where there is none to
    be had (a full disk, a folder of another user) the process counts in memory, which no scrape sees, and logs that
    once: metrics are never a reason not to work. Without a data folder there is nothing but that memory."""

    def __init__(self, data: Path | None = None) -> None:
        self._folder = data and data / FOLDER_NAME
        self._file: CounterFile | None = None
        self._failed = False
        self._places: dict[tuple[Family, tuple[str, ...]], tuple[memoryview[float], Sequence[int]]] = {}
        self._lock = threading.Lock()

    def count(self, family: Family, *labels: str, amount: float = 1.0) -> None:
        """Adds to a counter."""
        with self._lock:
            numbers, at = self._places.get((family, labels)) or self._place(family, labels)
            numbers[at[0]] += amount

    def observe(self, family: Family, seconds: float, *labels: str) -> None:
        """Adds a time to a histogram."""
        bucket = 1 + bisect_left(family.buckets, seconds)
        with self._lock:
            numbers, at = self._places.get((family, labels)) or self._place(family, labels)
            numbers[at[0]] += seconds
            numbers[at[bucket]] += 1.0

    def attempt(self, endpoint: str, outcome: str, seconds: float, since_owed: float) -> None:
        """An attempt ended: ``succeeded``, ``again`` or ``dead``, `seconds` after it began.
        `endpoint`: a name of the configuration, or a URL as it came with a call. `since_owed`: seconds from the moment
        at which the delivery was owed to the attempt's end."""
        endpoint = STATUS_URLS if is_url(endpoint) else endpoint
        self.count(ATTEMPTS, endpoint, outcome)
        self.count(ENDPOINT_ATTEMPT_SECONDS, endpoint, amount=seconds)
        self.observe(ATTEMPT_SECONDS, seconds)
        if outcome == "succeeded":
            self.count(DELIVERIES_SUCCEEDED, endpoint)
            self.observe(DELIVERY_SECONDS, since_owed)

    def breaker(self, endpoint: str, state: str) -> None:
        """A breaker became ``closed``, ``open``, ``half_open`` or ``ramp``. `endpoint`: as above, or a URL's origin."""
        self.count(BREAKER_CHANGES, STATUS_URLS if is_url(endpoint) else endpoint, state)

    def _place(self, family: Family, labels: tuple[str, ...]) -> tuple[memoryview[float], Sequence[int]]:
        """Finds where the numbers of a series are: in the file, or in memory alone."""
        place: tuple[memoryview[float], Sequence[int]]
        place = memoryview(bytearray(8 * len(family.parts))).cast("d"), range(len(family.parts))
        try:
            if self._file is None and self._folder is not None and not self._failed:
                self._file = CounterFile(self._folder)
                weakref.finalize(self, self._file.close)
            if self._file is not None:
                tail = "".join("\t" + label.replace("\t", " ") for label in labels)
                place = self._file.place([f"{family.name}\t{part}{tail}" for part in family.parts])
        except OSError as error:
            if not self._failed:
                structlog.get_logger().warning("metrics_not_kept", reason=error.strerror or str(error))
            self._failed = True
        return self._places.setdefault((family, labels), place)

    def collect(self) -> Iterator[Metric]:
        """Adds up the files. The last few counts of a process that runs may or may not be in it."""
        totals = defaultdict[str, float](float)
        for path in self._folder.glob("*.db") if self._folder else ():
            with contextlib.suppress(OSError, *BROKEN):
                for key, value, _, _ in MmapedDict.read_all_values_from_file(path):
                    totals[key] += value
        counters = {
            name: CounterMetricFamily(name, family.help, labels=family.labels)
            for name, family in FAMILIES.items()
            if not family.buckets
        }
        histograms = {name: dict[tuple[str, ...], dict[str, float]]() for name in FAMILIES.keys() - counters}
        for key, total in totals.items():
            name, *rest = key.split("\t")
            # An earlier version of the gateway may have counted something else.
            if name in FAMILIES and len(rest) == len(FAMILIES[name].labels) + 1:
                if name in counters:
                    counters[name].add_metric(rest[1:], total)
                else:
                    histograms[name].setdefault(tuple(rest[1:]), {})[rest[0]] = total
        for name, family in FAMILIES.items():
            yield counters[name] if name in counters else _histogram(family, histograms[name])


def _histogram(family: Family, found: Mapping[tuple[str, ...], Mapping[str, float]]) -> HistogramMetricFamily:
    """Adds the smaller buckets to each, as Prometheus wants it; the files hold each by itself."""
    metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    for labels, numbers in found.items():
        if numbers.keys() == set(family.parts):
            count, buckets = 0.0, []
            for bound in family.parts[1:]:
                count += numbers[bound]
                buckets.append((bound, count))
            metric.add_metric(labels, buckets, numbers["sum"])
    return metric


class Gauge(GaugeMetricFamily):
    """A number that is looked up for each scrape. `values`: the labels' values → the number."""

    def __init__(self, name: str, help: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]) -> None:
        super().__init__(name, help, labels=labels)
        for key, value in values.items():
            self.add_metric(key, value)


def text(metrics: Iterable[Metric]) -> bytes:
    """Writes them as Prometheus reads them, in `CONTENT_TYPE`."""
    return generate_latest(_Collected(metrics))


@dataclass
class _Collected(Collector):
    metrics: Iterable[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.metrics


class CounterFile(MmapedDict):
    """A file with the numbers of one process, by key. Raises OSError where there is no room for it, or no right to it.
    It belongs to the process that holds the lock beside it; the system releases that when the process ends, however it
    ends. Files only ever grow, up to the number of series."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Takes the first file that no process counts in.
        for number in range(MAX_FILES):
            path = folder / f"{number}.db"
            self._locked = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                _try_lock(self._locked)
                break
            except OSError:
                os.close(self._locked)
        else:
            raise OSError(f"{MAX_FILES} processes count here already")
        try:
            try:
                list(self.read_all_values_from_file(path))
            except FileNotFoundError:
                pass
            except BROKEN:
                path.unlink()
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                _reserve(file, FIRST_BYTES)
            finally:
                os.close(file)
            super().__init__(str(path))
            self._used = max(8, self._used)  # less than the head of the file: broken, too, and there is nothing in it
        except BaseException:
            os.close(self._locked)
            raise

    def place(self, keys: Iterable[str]) -> tuple[memoryview[float], Sequence[int]]:
        """Finds or makes the numbers of these keys. They stay there: when the file grows, the mapping of before goes on
        to show the same pages."""
        for key in keys:
            self.read_value(key)  # makes it where there is none
        numbers = memoryview(self._m)[: self._capacity // 8 * 8].cast("d")
        return numbers, [self._positions[key] // 8 for key in keys]

    def _init_value(self, key: str) -> None:
        while self._used + len(key.encode()) + 32 > self._capacity:  # its length, padding, the number, a time
            _reserve(self._f.fileno(), 2 * self._capacity)
            self._capacity *= 2
            self._m = mmap.mmap(self._f.fileno(), self._capacity)
        super()._init_value(key)

    def close(self) -> None:
        """Releases the file; the mapping itself ends with the last view of it."""
        self._f.close()
        os.close(self._locked)


def _reserve(file: int, size: int) -> None:
    """Writes zeros, so that no page lacks a block: to touch such a page on a full disk ends the process by SIGBUS."""
    missing = size - os.fstat(file).st_size
    while missing > 0:
        missing -= os.write(file, bytes(missing))


def forget_ended(data: Path) -> None:
    """Deletes the files of processes that have ended: when the whole gateway starts, and counts from zero."""
    for path in (data / FOLDER_NAME).glob("*.lock"):
        with contextlib.suppress(OSError):
            lock = os.open(path, os.O_RDWR)
            try:
                _try_lock(lock)
                path.with_suffix(".db").unlink(missing_ok=True)
            finally:
                os.close(lock)
