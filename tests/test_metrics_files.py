"""What processes count: nothing is lost when one of them dies, no disk that is full ends one, and Prometheus can read
it."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from gateway.metrics import (
    CALLBACK_SECONDS,
    CALLBACKS_KEPT,
    FAMILIES,
    FIRST_BYTES,
    ORPHAN_UPDATES,
    SENDS,
    CounterFile,
    Gauge,
    Metrics,
    forget_ended,
    text,
)
from tests.faults.disk import small_disk
from tests.running import ROOT, until

KEPT = "gateway_callbacks_kept_total"
TOOK = "gateway_callback_seconds"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(said: str) -> Samples:
    """As Prometheus reads it: name and labels → value."""
    families = text_string_to_metric_families(said)
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for each in families for one in each.samples}


def read(metrics: Iterable[Metric]) -> Samples:
    return samples(text(metrics).decode())


def counted(data: Path) -> Samples:
    return read(Metrics(data).collect())


def kept(data: Path, state: str = "accepted") -> float:
    return counted(data).get((KEPT, (("format", "carrierx"), ("key", "crm"), ("state", state))), 0.0)


def counting(data: Path, script: str) -> subprocess.Popen[str]:
    """A process with `metrics` of its own, that runs a script."""
    start = "import sys, pathlib; from gateway.metrics import *; metrics = Metrics(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", f"{start}\n{script}", str(data)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, env=environ, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def test_what_several_processes_count_is_added_up(tmp_path: Path) -> None:
    one, other = Metrics(tmp_path), Metrics(tmp_path)
    for metrics, times in ((one, 3), (other, 4)):
        for _ in range(times):
            metrics.count(CALLBACKS_KEPT, "carrierx", "accepted", "crm")
    other.count(CALLBACKS_KEPT, "carrierx", "stale", "crm")
    assert kept(tmp_path) == 7 and kept(tmp_path, "stale") == 1
    assert sorted(path.name for path in (tmp_path / "metrics").glob("*.db")) == ["0.db", "1.db"]


def test_whoever_only_reads_leaves_no_file(tmp_path: Path) -> None:
    assert kept(tmp_path) == 0 and not list(tmp_path.iterdir())


def test_the_next_process_counts_on_and_leaves_no_files_behind(tmp_path: Path) -> None:
    for count in range(1, 6):
        metrics = Metrics(tmp_path)
        metrics.count(CALLBACKS_KEPT, "carrierx", "accepted", "crm")
        assert kept(tmp_path) == count
        del metrics
    assert sorted(path.name for path in (tmp_path / "metrics").iterdir()) == ["0.db", "0.lock"]


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    process = counting(tmp_path, "while True: metrics.count(CALLBACKS_KEPT, 'carrierx', 'accepted', 'crm')")
    try:
        until(lambda: kept(tmp_path) > 1000, "it counts")
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    left = kept(tmp_path)
    Metrics(tmp_path).count(CALLBACKS_KEPT, "carrierx", "accepted", "crm")
    assert kept(tmp_path) == left + 1


def _zeros_behind_the_first_page(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:4096] + bytes(FIRST_BYTES - 4096))


def _shorter(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _longer_than_it_is(path: Path) -> None:
    path.write_bytes(struct.pack("i", 2**30) + path.read_bytes()[4:])


def _no_utf8(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"reason-9", b"reason-\xff"))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(bytes(FIRST_BYTES)),
        lambda path: path.write_bytes(b"\xff" * FIRST_BYTES),
        _zeros_behind_the_first_page,
        _shorter,
        _longer_than_it_is,
        _no_utf8,
    ],
    ids=["empty", "zeros", "ones", "zeros behind the first page", "shorter", "longer than it is", "no UTF-8"],
)
def test_a_file_that_a_power_failure_spoiled(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    """A scrape shows what the other processes counted, and the next process counts in it."""
    whole, spoiled = Metrics(tmp_path), Metrics(tmp_path)
    whole.count(CALLBACKS_KEPT, "carrierx", "accepted", "crm")
    for number in range(100):
        spoiled.count(ORPHAN_UPDATES, f"reason-{number}")
    del spoiled
    spoil(tmp_path / "metrics" / "1.db")
    assert kept(tmp_path) == 1
    again = Metrics(tmp_path)
    for count in (2, 3):
        again.count(CALLBACKS_KEPT, "carrierx", "accepted", "crm")
        assert kept(tmp_path) == count
    del again
    assert kept(tmp_path) == 3 and not list((tmp_path / "metrics").glob("2.*"))


def test_it_grows(tmp_path: Path) -> None:
    """What was counted before it grew is counted on after it."""
    metrics = Metrics(tmp_path)
    for turn in (1.0, 2.0):
        for number in range(2_000):
            metrics.attempt(f"endpoint-{number}", "again", number, 0.0)
        found = counted(tmp_path)
        for number in (0, 1, 999, 1_999):
            label = ("endpoint", f"endpoint-{number}")
            assert found["gateway_attempts_total", (label, ("outcome", "again"))] == turn
            assert found["gateway_endpoint_attempt_seconds_total", (label,)] == turn * number
        assert found["gateway_attempt_seconds_count", ()] == 2_000 * turn
    assert (tmp_path / "metrics" / "0.db").stat().st_size >= 4 * FIRST_BYTES


def test_no_page_lacks_a_block(tmp_path: Path) -> None:
    """To touch such a page on a full disk ends the process."""
    metrics, path = Metrics(tmp_path), tmp_path / "metrics" / "0.db"
    for number in range(2_000):
        metrics.count(ORPHAN_UPDATES, f"reason-{number}")
        if number in (0, 1_999):
            with path.open("rb") as file:
                assert os.lseek(file.fileno(), 0, os.SEEK_HOLE) == path.stat().st_size


@pytest.mark.parametrize("before", [0, 1], ids=["at the start", "when the file is to grow"])
def test_a_full_disk_ends_no_process(tmp_path: Path, before: int) -> None:
    script = (
        "for number in range(int(input())): metrics.count(ORPHAN_UPDATES, f'before-{number}')\n"
        "print('full', flush=True); input()\n"
        "for turn in range(2):\n"
        "    for number in range(5_000): metrics.count(ORPHAN_UPDATES, f'reason-{number}')\n"
        "print('alive')"
    )
    with small_disk(tmp_path / "disk") as disk:
        process = counting(tmp_path / "disk" / "data", script)
        assert process.stdin and process.stdout
        process.stdin.write(f"{before}\n")
        process.stdin.flush()
        assert process.stdout.readline() == "full\n"
        disk.fill([process.pid])
        said, _ = process.communicate("go on\n")
        assert process.returncode == 0 and said.endswith("alive\n") and said.count("metrics_not_kept") == 1
        found = counted(tmp_path / "disk" / "data")
        assert found.get(("gateway_orphan_updates_total", (("reason", "before-0"),)), 0) == before
        assert found.get(("gateway_orphan_updates_total", (("reason", "reason-0"),)), 0) == 2 * before
        assert ("gateway_orphan_updates_total", (("reason", "reason-4999"),)) not in found
        disk.free([])


def test_those_of_processes_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    one, other = Metrics(tmp_path), Metrics(tmp_path)
    for metrics in (one, other):
        metrics.count(CALLBACKS_KEPT, "carrierx", "accepted", "crm")
    del one
    forget_ended(tmp_path)
    assert kept(tmp_path) == 1
    other.count(CALLBACKS_KEPT, "carrierx", "accepted", "crm")
    forget_ended(tmp_path / "nowhere")
    assert kept(tmp_path) == 2


def test_without_a_place_it_counts_in_memory_and_says_so_once(tmp_path: Path) -> None:
    (tmp_path / "metrics").write_text("not a folder")
    metrics = Metrics(tmp_path)
    with capture_logs() as logs:
        for _ in range(2):
            metrics.count(CALLBACKS_KEPT, "carrierx", "accepted", "crm")
            metrics.observe(CALLBACK_SECONDS, 3.0, "carrierx")
    assert [line["event"] for line in logs] == ["metrics_not_kept"] and logs[0]["reason"]
    assert counted(tmp_path) == {}


def test_without_a_folder_it_counts_for_nobody() -> None:
    metrics = Metrics()
    with capture_logs() as logs:
        metrics.attempt("page", "succeeded", 0.1, 6.0)
    assert not logs and read(metrics.collect()) == {}


def test_histograms(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    for seconds in (0.001, 0.0011, 0.2, 77.0):
        metrics.observe(CALLBACK_SECONDS, seconds, "carrierx")
    found = counted(tmp_path)
    label = ("format", "carrierx")
    counts = {bound: found[f"{TOOK}_bucket", (label, ("le", bound))] for bound in ("0.001", "0.0025", "5", "+Inf")}
    assert counts == {"0.001": 1, "0.0025": 2, "5": 3, "+Inf": 4}
    assert found[f"{TOOK}_count", (label,)] == 4
    assert found[f"{TOOK}_sum", (label,)] == pytest.approx(77.2021)


def test_what_an_earlier_version_counted_is_not_told(tmp_path: Path) -> None:
    file = CounterFile(tmp_path / "metrics")
    file.place(
        ["gateway_something_else\t\tx", f"{KEPT}\t\tcarrierx", f"{TOOK}\tsum\tcarrierx", f"{TOOK}\t+Inf\tcarrierx"]
    )
    file.close()
    assert counted(tmp_path) == {}


# Without characters at which the parser of prometheus_client cuts lines; Prometheus itself cuts them at \n alone.
LABELS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1)


@given(LABELS)
def test_any_label_of_a_gauge_can_be_read_back(value: str) -> None:
    gauges = [Gauge("one", "Help.", ("label",), {(value,): 1}), Gauge("two", "Help.", ("a", "b"), {("x", value): 2.5})]
    assert read(gauges) == {("one", (("label", value),)): 1, ("two", (("a", "x"), ("b", value))): 2.5}


@given(st.lists(LABELS, min_size=1, max_size=5, unique=True))
def test_any_label_that_was_counted_can_be_read_back(values: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        metrics = Metrics(Path(folder))
        for value in values:
            metrics.count(ORPHAN_UPDATES, value)
        assert counted(Path(folder)) == {("gateway_orphan_updates_total", (("reason", one),)): 1 for one in values}


def test_escapes(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    metrics.count(ORPHAN_UPDATES, 'a"b\\c\nd\te')
    assert 'reason="a\\"b\\\\c\\nd e"} 1.0\n' in text(metrics.collect()).decode()


def test_the_workers_metrics(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    metrics.attempt("page", "again", 0.2, 0.3)
    metrics.attempt("page", "succeeded", 0.1, 6.0)
    metrics.breaker("page", "open")
    found = counted(tmp_path)
    page = ("endpoint", "page")
    assert found["gateway_attempts_total", (page, ("outcome", "again"))] == 1
    assert found["gateway_attempts_total", (page, ("outcome", "succeeded"))] == 1
    assert found["gateway_deliveries_succeeded_total", (page,)] == 1
    assert found["gateway_endpoint_attempt_seconds_total", (page,)] == pytest.approx(0.3)
    assert found["gateway_attempt_seconds_count", ()] == 2
    assert found["gateway_delivery_seconds_count", ()] == 1
    assert found["gateway_delivery_seconds_sum", ()] == 6
    assert found["gateway_breaker_changes_total", (page, ("state", "open"))] == 1


def test_pages_that_calls_named_are_one(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    for turn in range(3):
        metrics.attempt(f"https://status.example.com/{turn}?key=secret", "again", 0.2, 0.3)
        metrics.breaker(f"https://status{turn}.example.com", "open")
    found = counted(tmp_path)
    assert found["gateway_attempts_total", (("endpoint", "@status_url"), ("outcome", "again"))] == 3
    assert found["gateway_breaker_changes_total", (("endpoint", "@status_url"), ("state", "open"))] == 3
    assert found["gateway_endpoint_attempt_seconds_total", (("endpoint", "@status_url"),)] == pytest.approx(0.6)
    said = text(metrics.collect()).decode()
    assert "secret" not in said and "example.com" not in said


def test_the_senders_metrics(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    for outcome in ("sent", "sent", "undecided"):
        metrics.count(SENDS, "legacy", outcome)
    found = counted(tmp_path)
    assert found["gateway_sends_total", (("origin", "legacy"), ("outcome", "sent"))] == 2
    assert found["gateway_sends_total", (("origin", "legacy"), ("outcome", "undecided"))] == 1


def test_names() -> None:
    """As Prometheus wants them: counters end in ``_total``, and buckets go up."""
    for name, family in FAMILIES.items():
        assert name.startswith("gateway_") and name.endswith("_seconds" if family.buckets else "_total")
        assert list(family.buckets) == sorted(set(family.buckets))


def test_a_histogram_has_no_label_for_the_endpoint() -> None:
    """Each endpoint would make twenty series: thousands of them are too much for a scrape."""
    assert not [name for name, family in FAMILIES.items() if family.buckets and "endpoint" in family.labels]
