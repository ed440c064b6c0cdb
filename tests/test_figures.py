"""What processes count: nothing is lost when one of them dies, and Prometheus can read it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from gateway.figures import Figures, Gauge, forget, merged, text
from gateway.figures.counting import escaped, spelled
from gateway.figures.families import FAMILIES
from gateway.figures.slots import FIRST, Slot
from gateway.figures.tally import Endpoints, Sends
from tests.running import ROOT, until

KEPT = "gateway_callbacks_kept_total"
TOOK = "gateway_callback_seconds"


def samples(said: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """As Prometheus reads it: name and labels → value."""
    families = text_string_to_metric_families(said)
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for each in families for one in each.samples}


def kept(folder: Path, state: str = "accepted") -> float:
    return merged(folder).get(spelled(KEPT, {"format": "carrierx", "state": state}), [0.0])[0]


def test_what_several_processes_count_is_added_up(tmp_path: Path) -> None:
    one, other = Figures(tmp_path), Figures(tmp_path)
    for figures, times in ((one, 3), (other, 4)):
        for _ in range(times):
            figures.series(KEPT, format="carrierx", state="accepted").inc()
    other.series(KEPT, format="carrierx", state="stale").inc()
    assert kept(tmp_path) == 7 and kept(tmp_path, "stale") == 1


def test_the_next_process_counts_on_and_leaves_no_files_behind(tmp_path: Path) -> None:
    for count in range(1, 6):
        figures = Figures(tmp_path)
        figures.series(KEPT, format="carrierx", state="accepted").inc()
        assert kept(tmp_path) == count
        del figures
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.lock", "0.names", "0.numbers"]


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from gateway.figures import Figures\n"
        f"one = Figures(Path(sys.argv[1])).series({KEPT!r}, format='carrierx', state='accepted')\n"
        "while True: one.inc()"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        until(lambda: kept(tmp_path) > 1000, "it counts")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    left = kept(tmp_path)
    Figures(tmp_path).series(KEPT, format="carrierx", state="accepted").inc()
    assert kept(tmp_path) == left + 1


def test_a_line_that_was_not_finished_is_none(tmp_path: Path) -> None:
    slot = Slot(tmp_path)
    slot.cells[slot.place("a", 1)] = 5.0
    slot.close()
    with (tmp_path / "0.names").open("ab") as file:
        file.write(b"half of a na")
    slot = Slot(tmp_path)
    slot.cells[slot.place("b", 1)] = 7.0
    assert merged(tmp_path) == {"a": [5.0], "b": [7.0]}
    slot.close()


def test_it_grows(tmp_path: Path) -> None:
    slot = Slot(tmp_path)
    for number in range(FIRST + 10):
        at = slot.place(f"series-{number}", 1)
        slot.cells[at] += number
    found = merged(tmp_path)
    assert [found[f"series-{number}"] for number in (0, FIRST - 1, FIRST + 9)] == [[0.0], [FIRST - 1.0], [FIRST + 9.0]]
    slot.close()


def test_those_of_processes_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    one, other = Figures(tmp_path), Figures(tmp_path)
    for figures in (one, other):
        figures.series(KEPT, format="carrierx", state="accepted").inc()
    del one
    forget(tmp_path)
    assert kept(tmp_path) == 1
    other.series(KEPT, format="carrierx", state="accepted").inc()
    forget(tmp_path / "nowhere")
    assert kept(tmp_path) == 2


def test_without_a_place_it_counts_into_the_void(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    figures = Figures(tmp_path / "file")
    with capture_logs() as logs:
        figures.series(KEPT, format="carrierx", state="accepted").inc()
        figures.histogram(TOOK, format="carrierx").observe(3.0)
    reason = os.strerror(errno.EEXIST)
    assert logs == [{"event": "figures_not_kept", "log_level": "warning", "reason": reason}], "once"
    assert merged(tmp_path / "file") == {}


def test_histograms(tmp_path: Path) -> None:
    histogram = Figures(tmp_path).histogram(TOOK, format="carrierx")
    for seconds in (0.001, 0.0011, 0.2, 77.0):
        histogram.observe(seconds)
    found = samples(text(merged(tmp_path)))
    label = ("format", "carrierx")
    counts = {bound: found[f"{TOOK}_bucket", (label, ("le", bound))] for bound in ("0.001", "0.0025", "5", "+Inf")}
    assert counts == {"0.001": 1, "0.0025": 2, "5": 3, "+Inf": 4}
    assert found[f"{TOOK}_count", (label,)] == 4
    assert found[f"{TOOK}_sum", (label,)] == pytest.approx(77.2021)


def test_what_an_earlier_version_counted_is_not_told(tmp_path: Path) -> None:
    slot = Slot(tmp_path)
    slot.place("gateway_something_else", 1)
    slot.place(spelled(TOOK, {"format": "carrierx"}), 3)
    slot.close()
    assert samples(text(merged(tmp_path))) == {}


# Without characters at which the parser of prometheus_client cuts lines; Prometheus itself cuts them at \n alone.
@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1))
def test_any_label_can_be_read_back(value: str) -> None:
    gauges = [Gauge("one", "Help.", ("label",), {(value,): 1}), Gauge("two", "Help.", ("a", "b"), {("x", value): 2.5})]
    found = samples(text({}, gauges))
    assert found == {("one", (("label", value),)): 1, ("two", (("a", "x"), ("b", value))): 2.5}


def test_escapes() -> None:
    assert escaped('a"b\\c\nd') == 'a\\"b\\\\c\\nd'


def test_the_workers_tally(tmp_path: Path) -> None:
    tally = Endpoints(Figures(tmp_path))
    tally.attempt("page", "again", 0.2, 0.3)
    tally.attempt("page", "succeeded", 0.1, 6.0)
    tally.breaker("page", "open")
    found = samples(text(merged(tmp_path)))
    page = ("endpoint", "page")
    assert found["gateway_attempts_total", (page, ("outcome", "again"))] == 1
    assert found["gateway_attempts_total", (page, ("outcome", "succeeded"))] == 1
    assert found["gateway_deliveries_succeeded_total", (page,)] == 1
    assert found["gateway_attempt_seconds_count", (page,)] == 2
    assert found["gateway_delivery_seconds_count", (page,)] == 1
    assert found["gateway_delivery_seconds_sum", (page,)] == 6
    assert found["gateway_breaker_changes_total", (page, ("state", "open"))] == 1


def test_pages_that_calls_named_are_one(tmp_path: Path) -> None:
    tally = Endpoints(Figures(tmp_path))
    for turn in range(3):
        tally.attempt(f"https://status.example.com/{turn}?key=secret", "again", 0.2, 0.3)
        tally.breaker(f"https://status{turn}.example.com", "open")
    found = text(merged(tmp_path))
    assert samples(found)["gateway_attempts_total", (("endpoint", "@status_url"), ("outcome", "again"))] == 3
    assert samples(found)["gateway_breaker_changes_total", (("endpoint", "@status_url"), ("state", "open"))] == 3
    assert "secret" not in found and "example.com" not in found


def test_the_senders_tally(tmp_path: Path) -> None:
    tally = Sends(Figures(tmp_path))
    for outcome in ("sent", "sent", "undecided"):
        tally.send("legacy", outcome)
    found = samples(text(merged(tmp_path)))
    assert found["gateway_sends_total", (("origin", "legacy"), ("outcome", "sent"))] == 2
    assert found["gateway_sends_total", (("origin", "legacy"), ("outcome", "undecided"))] == 1


def test_names() -> None:
    """As Prometheus wants them: counters end in ``_total``, and buckets go up."""
    for name, family in FAMILIES.items():
        assert name.startswith("gateway_") and name.endswith("_total" if family.kind == "counter" else "_seconds")
        assert list(family.bounds) == sorted(set(family.bounds))
