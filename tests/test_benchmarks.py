"""The benchmark's own arithmetic, and one short run of the whole of it. No figure of speed is judged here."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import actors, machine, plot, processes, summary, table, traffic
from benchmarks.actors import Receiver
from benchmarks.percentiles import Latency, latency
from benchmarks.report import Report, Settings
from benchmarks.runs import Ledger, Run
from schemas import FORMATS, ReceiveContext

ROOT = Path(__file__).resolve().parent.parent
ALWAYS = 2**63


def test_a_sid_says_when_and_where_it_was_posted() -> None:
    sid = traffic.write_sid(123_456_789_012_345, 31, 7)
    assert sid == "00007048-860d-df79-001f-000000000007"
    assert traffic.read_sid(sid) == traffic.read_sid(sid.encode()) == (123_456_789_012_345, 31, 7)
    with pytest.raises(ValueError, match="not a message_sid"):
        traffic.read_sid("f6ac6e90")


def test_each_connection_has_phones_of_its_own() -> None:
    shares = [traffic.phones(one, 32) for one in range(32)]
    assert len({phone for share in shares for phone in share}) == sum(map(len, shares)) == traffic.PHONES


@pytest.mark.parametrize("at", range(len(traffic.TEXTS)))
def test_what_is_posted_is_a_callback_of_carrierx(at: int) -> None:
    sid = traffic.write_sid(1, 2, 3)
    request = traffic.moulds("127.0.0.1", 8080, "/callback")[at].filled(b"19175550001", sid.encode())
    head, _mark, body = request.partition(b"\r\n\r\n")
    assert f"\r\nContent-Length: {len(body)}".encode() in head
    receipt = ReceiveContext(now=datetime(2026, 11, 1, tzinfo=UTC), sid="unused")
    message = FORMATS["carrierx"].load(body, "application/json", receipt)
    assert (message.message, message.phone, message.message_sid) == (traffic.TEXTS[at], "19175550001", sid)


def test_percentiles_are_by_nearest_rank() -> None:
    assert latency([]) == Latency()
    assert latency([5_000_000]) == Latency(1, 5.0, 5.0, 5.0)
    assert latency([n * 1_000_000 for n in range(100, 0, -1)]) == Latency(100, 50.0, 99.0, 100.0)


def test_processes_are_counted_with_their_children() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        found = processes.tree(os.getpid())
        assert found.keys() >= {os.getpid(), child.pid}
        assert found[child.pid].command[-1] == "input()"
        assert processes.resident([child.pid]) > 0
        child.communicate(b"\n")
    assert processes.tree(child.pid) == {}
    assert processes.resident([child.pid]) == 0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with actors.receiver() as one:
        yield one


def _post(sid: str, text: str = "JOIN", phone: str = "19175550001") -> bytes:
    body = f"message={text}&phone={phone}".encode()
    return f"POST / HTTP/1.1\r\nX-Message-Sid: {sid}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _answered(connection: socket.socket, data: bytes) -> bytes:
    connection.sendall(data)
    return connection.recv(4096)


def test_the_receiver_keeps_the_ledger(receiver: Receiver) -> None:
    first, second, third = (traffic.write_sid(1000, 0, number) for number in (1, 2, 3))
    with closing(socket.create_connection(("127.0.0.1", receiver.port), timeout=10)) as connection:
        for sid in (first, third, third, second):
            assert _answered(connection, _post(sid)).startswith(b"HTTP/1.1 200 OK\r\n")
        assert _answered(connection, b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert receiver.unique() == 3
    taken = receiver.take(0, ALWAYS, [second, traffic.write_sid(9, 9, 9)])
    assert (taken.posts, taken.unique, taken.doubled, taken.unknown, taken.out_of_order) == (5, 3, 1, 1, 1)
    assert (taken.in_time, taken.among, taken.endpoint.count) == (3, 1, 3)
    assert [sample.partition("\r\n\r\n")[2] for sample in taken.samples] == ["message=JOIN&phone=19175550001"]
    assert receiver.take(0, ALWAYS, []).posts == 0


def test_the_receiver_reads_what_comes_in_pieces(receiver: Receiver) -> None:
    whole = _post(traffic.write_sid(1000, 0, 1)) + _post(traffic.write_sid(1000, 0, 2))
    with closing(socket.create_connection(("127.0.0.1", receiver.port), timeout=10)) as connection:
        connection.sendall(whole[:20])
        connection.sendall(whole[20:-3])
        assert connection.recv(4096).count(b"HTTP/1.1 200 OK") == 1
        assert _answered(connection, whole[-3:]).count(b"HTTP/1.1 200 OK") == 1
    assert receiver.unique() == 2


def _run(rate: float, **more: Any) -> Run:
    ledger = Ledger(
        posted=10,
        accepted=9,
        unanswered=0,
        answers={"200": 9, "503": 1},
        delivered=8,
        lost=1,
        doubled=0,
        out_of_order=0,
        wrong=0,
        looked_at=1,
    )
    figures: dict[str, Any] = {
        "ledger": ledger,
        "accepted_rate": rate,
        "delivered_rate": rate,
        "drain_seconds": 0.0,
        "accept": Latency(9, 1.0, 2.0, 3.0),
        "endpoint": Latency(8, 2.0, 4.0, 6.0),
        "cpu": {"web": 190.0, "worker": 70.0, "supervisor": 0.0},
        "memory": {"web": 80.0, "worker": 60.0, "supervisor": 20.0},
        "restarted": False,
        "load_share": 0.1,
        "receiver_share": 0.1,
        "foreign_share": 0.0,
        "steal_share": 0.0,
    }
    return Run(**{**figures, **more})


@pytest.fixture
def runs() -> dict[str, list[Run]]:
    return {
        summary.GATEWAY: [_run(3000), _run(5000), _run(4000)],
        summary.PACED: [_run(500)],
        summary.BARE: [_run(10_000)],
        summary.RELAY: [_run(500)],
    }


def test_medians_are_quoted_and_losses_are_added_up(runs: dict[str, list[Run]]) -> None:
    quoted = summary.quote(runs[summary.GATEWAY])
    assert (quoted.accepted_rate, quoted.accepted_least, quoted.accepted_most) == (4000, 3000, 5000)
    assert (quoted.accepted, quoted.delivered, quoted.lost, quoted.refused) == (27, 24, 3, 3)
    assert quoted.cpu == 260


def test_targets_are_judged(runs: dict[str, list[Run]]) -> None:
    judged = summary.targets({name: summary.quote(some) for name, some in runs.items()})
    assert [(one.value, one.met) for one in judged] == [
        (0.4, False),
        (8, True),
        (2.0, True),
        (4.0, True),
        (190, True),
        (70, False),
        (3, False),
    ]
    assert {one.met for one in summary.targets({})} == {None}


def test_tables_and_plot_hold_every_contestant(runs: dict[str, list[Run]], tmp_path: Path) -> None:
    report = Report(Settings(1, 3, 2, 1, 500), machine.facts(tmp_path), runs)
    report.write(tmp_path)
    page = (tmp_path / "latest.md").read_text(encoding="utf-8")
    drawn = ElementTree.fromstring((tmp_path / "latest.svg").read_text(encoding="utf-8"))
    said = "".join(drawn.itertext())
    for name in (summary.GATEWAY, summary.BARE, summary.RELAY):
        assert name in page
        assert name in said
    assert "MISSED" in page
    for part in (table.results(report.quoted), table.conditions(report.quoted)):
        assert len({len(line) for line in part.splitlines()}) == 1


def test_a_plot_of_one_contestant_leaves_the_rest_out(runs: dict[str, list[Run]]) -> None:
    drawn = plot.svg({summary.BARE: summary.quote(runs[summary.BARE])}, "one & only")
    assert "one & only" in "".join(ElementTree.fromstring(drawn).itertext())


def test_the_store_is_put_on_a_real_disk() -> None:
    place = machine.disk()
    assert place.is_dir()
    assert machine.file_system(Path("/proc")) == "proc"
    assert machine.sync_us(place) > 0


def test_a_short_run_of_everything_balances(tmp_path: Path) -> None:
    command = [
        "-m",
        "benchmarks",
        "--seconds",
        "0.5",
        "--rounds",
        "1",
        "--connections",
        "3",
        "--results",
        str(tmp_path),
    ]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads((tmp_path / "latest.json").read_text(encoding="utf-8"))
    names = {summary.GATEWAY, summary.PACED, summary.BARE, summary.RELAY, summary.SESSION_RELAY}
    assert said["runs"].keys() == names
    for name in names:
        ledger, run = said["runs"][name][0]["ledger"], said["runs"][name][0]
        assert ledger["accepted"] == ledger["posted"] > 0, name
        assert ledger["delivered"] == (0 if name == summary.BARE else ledger["accepted"]), name
        assert (ledger["lost"], ledger["doubled"], ledger["out_of_order"], ledger["wrong"]) == (0, 0, 0, 0), name
        assert not run["restarted"], name
    assert said["runs"][summary.GATEWAY][0]["cpu"].keys() >= {"web", "worker"}
    assert "lost" in done.stdout
    assert (tmp_path / "latest.svg").exists()
