"""`gateway sandbox`: the stand-in for CarrierX as a process of its own."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from gateway.cli import main
from gateway.sandbox.carrierx import CarrierXStub
from gateway.sandbox.carrierx.faults import NAMES, PROBABILITIES, SCENARIOS
from gateway.serve import roles
from tests.running import HOST, ROOT, Process, free_port, until
from tests.sandbox.test_sandbox import taken_port
from tests.serve.test_serve import logging_again
from tests.servers import Server, ok, replying
from tests.standins import BEARER, HANDSET, NUMBER

__all__ = ["logging_again"]

# The command sets up the log for its whole process, which is that of the tests where it is run in here.
pytestmark = pytest.mark.usefixtures("logging_again")


@pytest.fixture
def taker() -> Iterator[Server]:
    with Server(replying(ok())) as server:
        yield server


def command(folder: Path, *options: str) -> Process:
    port = free_port()
    return Process([sys.executable, "-m", "gateway", "sandbox", "--port", str(port), *options], folder / "log", port)


def test_it_runs_until_it_is_stopped(tmp_path: Path, taker: Server) -> None:
    process = command(
        tmp_path, "--callback", taker.url("/hear"), "--token", "mine", "--pace", "0.01", "--duplicate", "1"
    )
    try:
        process.start()
        said = until(lambda: found if "…0023" in (found := process.log.read_text()) else "", "the welcome")
        address = re.search(r'base_url = "(\S+)"', said)
        assert address and 'token = "mine"' in said and taker.url("/hear") not in said
        body = {"from": NUMBER, "to": HANDSET, "message": "Welcome!"}
        url = f"{address[1]}/sms/messages"
        assert requests.post(url, json=body, headers=BEARER, timeout=30).status_code == 401
        assert requests.post(url, json=body, headers={"Authorization": "Bearer mine"}, timeout=30).status_code == 200
        taker.wait_for(6)
        assert process.stop() == 0
    finally:
        process.kill()


def test_without_a_callback_it_says_so(tmp_path: Path) -> None:
    process = command(tmp_path, "--number", NUMBER, "--number", HANDSET)
    try:
        process.start()
        until(lambda: "It posts no callbacks yet" in process.log.read_text(), "what to do about it")
        listed = requests.get(
            f"http://{HOST}:{process.port}/core/v2/phonenumber/dids", headers=BEARER, timeout=30
        ).json()
        assert [one["phonenumber"] for one in listed["items"]] == [NUMBER, HANDSET]
    finally:
        process.kill()


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["sandbox", *arguments])
    return result.exit_code, result.output


def test_a_port_that_is_taken() -> None:
    with closing(taken_port()) as taken:
        code, said = run("--port", str(taken.getsockname()[1]))
    assert code == 1 and "is taken" in said


def test_chances_that_are_too_many() -> None:
    code, said = run("--conflict", "0.6", "--lost-after", "0.6")
    assert code == 2 and "together at most 1" in said


@pytest.mark.parametrize(("options", "order"), [((), ["second", "first"]), (("--oldest-first",), ["first", "second"])])
def test_the_order_of_its_lists(monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], order: list[str]) -> None:
    listed: list[str] = []

    def ask(standin: CarrierXStub) -> None:
        url = f"{standin.url}/sms/messages"
        with standin:
            for message in ("first", "second"):
                requests.post(url, json={"from": NUMBER, "to": HANDSET, "message": message}, headers=BEARER, timeout=30)
            listed.extend(one["message"] for one in requests.get(url, headers=BEARER, timeout=30).json()["items"])

    monkeypatch.setattr(roles, "run_carrierx_stub", ask)
    code, said = run("--port", str(free_port()), *options)
    assert code == 0 and listed == order, said


def test_every_chance_has_its_option() -> None:
    code, said = run("--help")
    words = " ".join(said.split())
    for name, meaning in PROBABILITIES.items():
        assert f"--{name.replace('_', '-')} 0..1 How often: {meaning}" in words
    assert code == 0 and set(NAMES) - set(PROBABILITIES) == {"seed", "slow_for", "late_by", "retry_after"}


def test_the_documentation_has_every_number_and_setting() -> None:
    page = (ROOT / "docs" / "sandbox.md").read_text("utf-8")
    assert re.findall(r"^\| (\d{4}) \| (.*) \|$", page, re.MULTILINE) == [
        (one.ending, one.summary) for one in SCENARIOS
    ]
    assert all(f"`{name}`" in page or f'"{name}"' in page for name in NAMES)
