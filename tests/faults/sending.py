"""A gateway that sends: callers before it, the stand-in for CarrierX behind it, a status page that hears of all."""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.callers import CODE, PASSWORD, Caller, Callers
from tests.faults.conftest import Report
from tests.faults.endpoint import Endpoint
from tests.faults.ledger import Ledger, Row
from tests.faults.sends import Book, post_of
from tests.faults.world import World, told
from tests.running import BASE, HOST, KEY, Gateway, Process, free_port

NUMBER = "15162065919"
TOKEN, WRONG = "token-of-the-tests", "token-of-somebody-else"
SOON: dict[str, dict[str, object]] = {
    "worker": {
        "gateway.delivery.batch.LEASE_MARGIN_SECONDS": 1.5,
        "gateway.delivery.result.RETRY_SECONDS": [0.2, 0.3, 0.5, 1, 1, 1, 1, 1, 1],
        "gateway.sender.submit.START_SECONDS": 1.0,
        "gateway.sender.submit.EXTEND_SECONDS": 0.7,
        "gateway.sender.outcome.FIRST_LOOKUP_SECONDS": 0.3,
        "gateway.sender.poll_status.IDLE_SECONDS": 1.0,
        "gateway.sender.poll_status.BUSY_SECONDS": 0.2,
        "gateway.sender.outcome.MIN_PAUSE_SECONDS": 0.1,
        "gateway.sender.outcome.MAX_PAUSE_SECONDS": 1.0,
        "gateway.sender.settle.STALE_UPDATE_SECONDS": 2.0,
    },
    "serve": {"gateway.serve.supervisor.MAX_PAUSE_SECONDS": 0.3},
}
EVERYTHING = {
    **{"conflict": 0.04, "too_many": 0.01, "error_before": 0.03, "lost_before": 0.03, "error_after": 0.03},
    **{"lost_after": 0.03, "broken_json": 0.03, "slow": 0.03, "reads": 0.1},
    **{"duplicate": 0.1, "late": 0.05, "out_of_order": 0.1, "early": 0.1},
    **{"slow_for": 1.3, "late_by": 1.5, "retry_after": 0, "seed": 7},
}
CONFIG = f"""allow_networks = ["127.0.0.0/8"]

[carrierx]
base_url = "{{base}}"
token = "{TOKEN}"
timeout = 1
doubt = 2
missing_after = 1

[legacy]
password = "{PASSWORD}"

[endpoint.page]
url = "{{page}}"
timeout = 5
concurrency = 16

[[number]]
number = "{NUMBER}"
shortcode = "{CODE}"
callback = ["page"]
status = ["page"]
"""


class StatusPage(Endpoint):
    """Hears of all messages, on every path of it."""

    def __init__(self, book: Book) -> None:
        super().__init__("page")
        self.book = book

    def _write_down(self, request: bytes, taken: bool) -> None:
        at, (head, body) = time.monotonic(), request.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self.book.post(post_of(first.split(" ")[1], headers, body, at, taken))


class Standing:
    """`gateway sandbox`: the stand-in, a process of its own that nothing happens to."""

    def __init__(self, folder: Path, gateway: int, shape: str) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "gateway", "sandbox", "--port", str(self.port), "--token", TOKEN]
        command += ["--number", NUMBER, "--pace", "0.05", "--shape", shape]
        command += ["--callback", f"http://{HOST}:{gateway}/carrierx/callback/{KEY}"]
        self.process = Process(command, folder / "standin.log", self.port)
        self.base = f"http://{HOST}:{self.port}/core/v2"

    @property
    def pid(self) -> int:
        assert self.process.process is not None
        return self.process.process.pid

    def misbehave(self, **values: object) -> None:
        """From now on, and well but for this."""
        self._call("POST", "/sandbox/misbehave", json.dumps({"calm": True, **values}).encode())

    def next(self, *answers: str) -> None:
        """The next requests are answered with these."""
        self._call("POST", "/sandbox/misbehave", json.dumps({"next": answers}).encode())

    def sent(self) -> list[dict[str, Any]]:
        """What it was told to send, the oldest first."""
        found: list[dict[str, Any]] = self._call("GET", "/sandbox/messages?direction=outbound")["messages"]
        return found

    def _call(self, method: str, path: str, body: bytes | None = None) -> Any:
        with closing(http.client.HTTPConnection(HOST, self.port, timeout=60)) as connection:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            said = answer.read()
            assert answer.status == 200, said
            return json.loads(said)


@dataclass(slots=True)
class Sending(World):
    """`page` is the status page."""

    standin: Standing = field(kw_only=True)
    book: Book = field(kw_only=True)

    def configure(self, old: str, new: str) -> None:
        """Of gateway.toml, while the gateway runs."""
        file = self.gateway.folder / "gateway.toml"
        text = file.read_text("utf-8")
        assert old in text
        draft = file.with_suffix(".draft")
        draft.write_text(text.replace(old, new), "utf-8")
        draft.replace(file)

    @property
    def is_paused(self) -> bool:
        """As the log says."""
        log = self.gateway.process.log.read_text()
        return log.rfind('"sending_paused"') > log.rfind('"sending_resumed"')

    def callers(self, count: int = 4, **manners: Any) -> Callers:
        return Callers(self.book, self.gateway.process.port, self.page.server.url(""), count, **manners)

    def caller(self) -> Caller:
        return Caller(self.book, self.gateway.process.port, self.page.server.url(""), threading.Event())

    def entries(self) -> list[dict[str, Any]]:
        return self.rows(
            "SELECT ledger.*, COALESCE(deliveries.attempts_since_replay, 0) AS attempts_since_replay FROM ledger "
            "LEFT JOIN deliveries ON deliveries.delivery_id = ledger.send_id ORDER BY ledger.id"
        )

    def under_way(self) -> str:
        """What is not at its end yet; empty when all is."""
        asked = {
            "sends": "SELECT COUNT(*) AS n FROM ledger WHERE state IN ('owed', 'sending') OR fetch_at IS NOT NULL",
            "posts": "SELECT COUNT(*) AS n FROM deliveries WHERE state = 'pending'",
            "updates": "SELECT COUNT(*) AS n FROM events WHERE state = 'waiting'",
        }
        found = {what: self.rows(query)[0]["n"] for what, query in asked.items()}
        return ", ".join(f"{count} {what}" for what, count in found.items() if count)

    def settle(self, within: float = 60.0) -> None:
        """Returns when nothing is under way any more. Short of that the balance tells what is."""
        end = time.monotonic() + within
        while self.under_way() and time.monotonic() < end:
            time.sleep(0.1)

    def weigh(self, fault: str, report: Report) -> Row:
        """Every message exactly once at CarrierX, every status once at its page; one line of the table."""
        entries = self.entries()
        row, wrong = self.book.balance(fault, entries, self.standin.sent())
        report(row)
        strange = self.rows(
            "SELECT state, message_sid, notes FROM events WHERE state IN ('waiting', 'orphan', 'unrouted')"
        )
        wrong += [f"an update of nothing that we sent: {one}" for one in strange]
        assert not wrong, f"{len(wrong)} are wrong:\n" + "\n".join(wrong[:20])
        assert not self.under_way()
        assert (row.lost, row.owed, row.doubled) == (0, 0, 0), row
        assert row.accepted and row.accepted <= row.delivered + row.dead, row
        return row


@contextmanager
def sending(
    folder: Path, *, database: str | None = None, clock: bool = False, shape: str = "newer"
) -> Iterator[Sending]:
    """Everything up, and all of it gone afterwards. `shape`: of CarrierX's objects; the older has no `user_data`."""
    book = Book()
    with ExitStack() as stack:
        page = stack.enter_context(StatusPage(book))
        gateway = Gateway(folder / "gateway", "", told(folder, SOON, clock))
        standin = Standing(folder, gateway.process.port, shape)
        stack.callback(standin.process.kill)
        standin.process.start()
        base = BASE.replace("sqlite:///data/gateway.db", database or "sqlite:///data/gateway.db")
        text = base + CONFIG.format(base=standin.base, page=page.url)
        (gateway.folder / "gateway.toml").write_text(text, "utf-8")
        stack.callback(gateway.kill)
        gateway.start()
        ledger = Ledger()
        ledger.faults = book.faults  # what `World` does to its processes
        yield Sending(folder, gateway, ledger, page, page, database, standin=standin, book=book)
        if gateway.process.process is not None:
            assert gateway.stop() == 0
