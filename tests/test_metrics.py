"""`/metrics` of real processes: what one of them counted is seen by asking any, and the store's figures are true."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from gateway.metrics import FAMILIES, Metrics
from gateway.serve import roles
from tests import acme
from tests.running import BASE, HOST, ROOT, Gateway, Process, free_port, running_gateway, until
from tests.serve.test_serve import pids
from tests.servers import Server, answer, ok, replying
from tests.test_metrics_files import samples

CONFIG = """
[endpoint.good]
url = "{good}"
format = "carrierx"

[endpoint.bad]
url = "{bad}"
format = "carrierx"

[[number]]
number = "15162065919"
callback = ["good"]

  [[number.keyword]]
  word = "JOIN"
  callback = ["good", "bad"]

  [[number.keyword]]
  word = "Früh \\"x\\""
  callback = ["good"]
"""
CANARY = "canary-text-of-nobody"
Samples = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]


@contextmanager
def gateway_and_endpoints(folder: Path, *arguments: str) -> Iterator[Gateway]:
    with Server(replying(ok())) as good, Server(replying(answer(500))) as bad:
        gateway = Gateway(folder, BASE + CONFIG.format(good=good.url(), bad=bad.url()))
        gateway.process.command += arguments
        try:
            gateway.start()
            yield gateway
            assert gateway.stop() == 0
        finally:
            gateway.kill()


def scrape(gateway: Gateway) -> Samples:
    said = gateway.call("GET", "/metrics")
    assert said.status == 200 and said.headers["content-type"].startswith("text/plain; version=0.0.4")
    return samples(said.body.decode())


KEPT = "gateway_callbacks_kept_total"


def value(found: Samples, name: str, **labels: str) -> float:
    return found.get((name, tuple(sorted(labels.items()))), 0.0)


def send(gateway: Gateway, sid: str, **changes: str) -> int:
    return gateway.post("/carrierx/callback", acme.text(message_sid=sid, **changes)).status


def delivered(gateway: Gateway) -> float:
    return value(scrape(gateway), "gateway_deliveries_succeeded_total", endpoint="good")


def test_what_was_sent_is_what_it_says(tmp_path: Path) -> None:
    with gateway_and_endpoints(tmp_path) as gateway:
        for number in range(3):
            assert send(gateway, f"join-{number}", message=f"join {CANARY}", from_did=f"1516206551{number}") == 200
        assert send(gateway, "join-0", message=f"join {CANARY}") == 200  # a duplicate
        assert send(gateway, "other", message=CANARY) == 200
        assert send(gateway, "nowhere", to_did="19995550000") == 200
        assert gateway.post("/carrierx/callback", b"{").status == 400
        assert gateway.call("POST", "/carrierx/callback/wrong", b"{}").status == 403
        assert (
            gateway.post("/carrierx/callback", acme.update(**{"from": "19995550000"}, message_sid="u1")).status == 200
        )
        assert gateway.post("/carrierx/callback", acme.update(message_sid="u2")).status == 200
        until(lambda: delivered(gateway) == 4, "all that can be is delivered")
        until(lambda: value(scrape(gateway), "gateway_attempts_total", endpoint="bad", outcome="again"), "tried")
        # The state of the store is looked up every five seconds: the first may come before the worker has one.
        until(lambda: ("gateway_worker_heartbeat_seconds", ()) in scrape(gateway), "the worker's heartbeat is seen")
        found = scrape(gateway)

        states = {state: value(found, KEPT, format="carrierx", state=state, key="keys[0]") for state in STATES}
        assert states == {"accepted": 4, "duplicate": 1, "unrouted": 2, "refused": 1, "stale": 0, "orphan": 1}
        assert value(found, "gateway_callbacks_turned_away_total", format="carrierx", reason="key", key="") == 1
        assert value(found, "gateway_callback_seconds_count", format="carrierx") == 10
        assert value(found, "gateway_orphan_updates_total", reason="number") == 1
        assert value(found, "gateway_orphan_updates_total", reason="endpoints") == 1
        assert value(found, "gateway_attempts_total", endpoint="good", outcome="succeeded") == 4
        assert value(found, "gateway_delivery_seconds_count") == 4
        assert 0 < value(found, "gateway_delivery_seconds_sum") < 240
        assert value(found, "gateway_attempt_seconds_count") >= 5
        assert value(found, "gateway_endpoint_attempt_seconds_total", endpoint="bad") > 0
        assert value(found, "gateway_process_starts_total", process="web") == 1
        assert value(found, "gateway_process_starts_total", process="worker") == 1
        for name in ("gateway_store_ready", "gateway_store_has_room"):
            assert value(found, name) == 1
        assert value(found, "gateway_configuration_refused") == 0
        assert ("gateway_oldest_event_seconds", ()) in found

        owed = {"bad": 3, "good": 0}
        until(
            lambda: {name: value(scrape(gateway), "gateway_deliveries_owed", endpoint=name) for name in owed} == owed,
            "the cache is renewed",
        )
        found = scrape(gateway)
        assert value(found, "gateway_oldest_owed_seconds", endpoint="bad") > 0
        assert ("gateway_breaker_state", (("endpoint", "bad"),)) in found
        silence = {dict(labels)["keyword"] for name, labels in found if name == "gateway_keyword_silent_seconds"}
        assert silence == {"JOIN", 'Früh "x"'}

        said = gateway.call("GET", "/metrics").body.decode() + gateway.process.log.read_text()
        assert CANARY not in said and "key-of-the-tests" not in said and "password-of-the-tests" not in said
        assert not re.search(r"1?516206551\d", said), "a phone stands in the metrics or the log"


STATES = ("accepted", "duplicate", "unrouted", "refused", "stale", "orphan")


SENDING = """
[carrierx]
base_url = "{carrierx}"
token = "canary-token"

[[number]]
number = "15162065919"
"""


def test_texts_that_go_out_are_counted(tmp_path: Path) -> None:
    said = ok(b'{"message_sid": "5f4c", "status": "queued"}', "Content-Type: application/json")
    with Server(replying(said)) as carrierx:
        text = SENDING.format(carrierx=carrierx.url().rstrip("/"))
        with running_gateway(tmp_path, text) as gateway:
            config = str(tmp_path / "gateway.toml")
            command = [sys.executable, "-m", "gateway", "send", "--config", config, "--from", "15162065919"]
            command += ["--to", "15162065515", "--wait", "30", CANARY]
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
            assert done.returncode == 0, done.stdout + done.stderr
            until(lambda: value(scrape(gateway), "gateway_sends_total", origin="command", outcome="sent") == 1, "sent")
            log = gateway.process.log.read_text()
            assert CANARY not in log and "canary-token" not in log and "15162065515" not in log


def test_every_web_process_knows_all(tmp_path: Path) -> None:
    with gateway_and_endpoints(tmp_path, "--workers", "2") as gateway:
        until(lambda: value(scrape(gateway), "gateway_process_starts_total", process="web") == 2, "both are up")
        for number in range(40):
            assert send(gateway, f"sid-{number}", message="hello") == 200
        until(lambda: delivered(gateway) == 40, "all is delivered")
        # Connections go to one process or the other, as the system likes.
        for _ in range(20):
            assert value(scrape(gateway), KEPT, format="carrierx", state="accepted", key="keys[0]") == 40


def settled(gateway: Gateway) -> int:
    return len(gateway.rows("SELECT 1 FROM deliveries WHERE state = 'succeeded'"))


@pytest.mark.parametrize("name", ["web", "worker"])
def test_nothing_goes_backwards_when_a_process_is_killed(tmp_path: Path, name: str) -> None:
    with gateway_and_endpoints(tmp_path) as gateway:
        assert send(gateway, "one", message="hello") == 200
        until(lambda: delivered(gateway) == 1, "it is delivered")
        until(lambda: settled(gateway) == 1, "and settled: or it would be sent again")
        os.kill(pids(gateway, name)[-1], signal.SIGKILL)
        until(lambda: len(pids(gateway, name)) == 2, "started again")
        until(gateway._is_ready, "ready")
        assert send(gateway, "two", message="hello") == 200
        until(lambda: delivered(gateway) == 2, "both are counted")
        found = scrape(gateway)
        assert value(found, KEPT, format="carrierx", state="accepted", key="keys[0]") == 2
        assert value(found, "gateway_process_starts_total", process=name) == 2
        assert len(list((tmp_path / "data" / "metrics").glob("*.db"))) == 2


def test_the_dashboard_names_what_there_is(tmp_path: Path) -> None:
    dashboard = json.loads((ROOT / "docs" / "grafana.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    named = {name for query in queries for name in re.findall(r"gateway_\w+", query)}
    documented = set(re.findall(r"`(gateway_\w+)[`{]", (ROOT / "docs" / "monitoring.md").read_text()))
    with running_gateway(tmp_path, '[[number]]\nnumber = "15162065919"\n') as gateway:
        said = gateway.call("GET", "/metrics").body.decode()
    types = dict(re.findall(r"# TYPE (\w+) (\w+)", said))
    ends = ("_bucket", "_sum", "_count")
    known = {*types, *(name + end for name, kind in types.items() for end in ends if kind == "histogram")}
    assert len(named) > 15 and named <= known
    assert set(types) <= documented
    assert dashboard["templating"]["list"][0]["type"] == "datasource"


def test_queries_ask_for_labels_that_there_are() -> None:
    """In the dashboard and the alarms; a label that a metric lacks finds nothing, without a word."""
    monitoring = (ROOT / "docs" / "monitoring.md").read_text()
    rows = re.findall(r"^\| `(gateway_\w+)` \|([^|]*)\|", monitoring, re.MULTILINE)
    labels = {name: set(re.findall(r"`(\w+)`", cell)) for name, cell in rows}
    assert labels.keys() > FAMILIES.keys()
    for name, family in FAMILIES.items():
        assert labels[name] == set(family.labels), name
    dashboard = json.loads((ROOT / "docs" / "grafana.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    queries += re.findall(r"^ +expr: (.*)$", monitoring, re.MULTILINE)
    for query in queries:
        grouped = names_of(r"by \(([\w, ]+)\)", query)
        for name, inside in re.findall(r"(gateway_\w+)(\{.*?\})?", query):
            family = name if name in labels else re.sub(r"_(bucket|sum|count)$", "", name)
            known = labels[family] | {"instance"} | ({"le"} if family != name else set())
            assert names_of(r"(\w+)[=!]", inside) | grouped <= known, query


def names_of(pattern: str, text: str) -> set[str]:
    return {name for found in re.findall(pattern, text) for name in re.split(r"[, ]+", found)}


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Process]:
    """One that tells its metrics itself; not started yet."""
    (tmp_path / "gateway.toml").write_text(BASE)
    port = free_port()
    command = [sys.executable, "-m", "gateway", "worker", "--config", str(tmp_path / "gateway.toml")]
    process = Process([*command, "--metrics", f"{HOST}:{port}"], tmp_path / "log", port)
    yield process
    process.kill()


def test_a_worker_alone(worker: Process) -> None:
    worker.start()
    starts = until(lambda: value(samples(told(worker)), "gateway_process_starts_total", process="worker"), "it counts")
    assert starts == 1
    with pytest.raises(urllib.error.HTTPError, match="404") as gone:
        read(f"http://{HOST}:{worker.port}/")
    assert gone.value.headers["X-Content-Type-Options"] == "nosniff"
    gone.value.close()
    assert worker.stop() == 0


def test_a_worker_cannot_answer_where_it_cannot_listen(worker: Process) -> None:
    with closing(socket.socket()) as taken:
        taken.bind((HOST, worker.port))
        taken.listen(1)
        for address, code, sentence in (
            ("here", 2, "Invalid value for --metrics: here is no HOST:PORT"),
            (f"{HOST}:70000", 2, f"Invalid value for --metrics: {HOST}:70000 is no HOST:PORT"),
            ("..:9100", 2, "Invalid value for --metrics: .. is no address of this machine"),
            (
                f"{HOST}:{worker.port}",
                1,
                "is taken: something else listens there. Stop it, or choose another with --metrics.",
            ),
        ):
            command = [*worker.command[:-1], address]
            ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
            assert ended.returncode == code and sentence in ended.stderr, ended.stderr


def test_a_worker_alone_can_be_stopped_from_its_first_answer_on(worker: Process) -> None:
    worker.start()
    until(lambda: told(worker), "it answers")
    assert worker.stop() == 0


def told(worker: Process) -> str:
    """Its metrics; nothing while it does not answer yet."""
    try:
        return read(f"http://{HOST}:{worker.port}/metrics")
    except OSError:
        # What listened was the command, which looks for a moment whether the port is free.
        return ""


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_who_asks_a_worker_and_says_nothing_is_hung_up_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    assert roles._MetricsHandler.timeout == 5
    monkeypatch.setattr(roles._MetricsHandler, "timeout", 0.1)
    port = free_port()
    with roles.serve_metrics(Metrics(tmp_path), host, port):
        with socket.create_connection((host, port), timeout=10) as silent:
            assert silent.recv(1) == b""
        assert "gateway_attempts_total counter" in read(f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics")


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        said: str = answer.read().decode()
        return said
