"""The sandbox as a newcomer meets it: `gateway serve` in an empty folder, a browser, and the README's own commands."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient
from jinja2 import StrictUndefined

from gateway import create_app
from gateway.config import Settings
from gateway.sandbox import sample_config
from gateway.sandbox.carrierx.faults import DELIVERED
from gateway.sandbox.legacy_app import MAX_RECORDS, make_legacy_app
from gateway.sandbox.pages import HandsetText, carrierx_callbacks, keyword_callback
from gateway.store import Store
from gateway.web.context import utc_now
from schemas import FORMATS, FormatOptions, ReceiveContext
from tests.prepared import migrate
from tests.running import HOST, ROOT, Process, free_port, until

HOSTILE = 'JOIN <script>alert(1)</script> & "é" 😀 =1+1 %2B\nline two'
TEXT = HandsetText(handset="15162065515", number="15162065919", text=HOSTILE, id="87a1ee29-1954-4a22-a243-be21711f28dd")


@dataclass(slots=True)
class Sandbox:
    folder: Path
    process: Process
    browser: requests.Session

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.process.port}"

    def told(self, pattern: str) -> str:
        """What the start said to people."""
        found = until(lambda: re.search(pattern, self.process.log.read_text()), pattern)
        return found.group(1)

    @property
    def page(self) -> str:
        return self.told(r"Stand-in for your pages +(http://\S+?)/\n")

    @property
    def carrierx(self) -> str:
        return self.told(r"Stand-in for CarrierX +(http://\S+?)/\n")

    def standing(self, what: str) -> list[dict[str, Any]]:
        """What the stand-in for CarrierX has."""
        found: list[dict[str, Any]] = requests.get(f"{self.carrierx}/sandbox/{what}", timeout=10).json()[what]
        return found

    def send(self, kind: str, text: str, phone: str = TEXT.handset) -> str:
        """Fills in the form; the path of the page that tells what became of it."""
        token = re.search('name="csrf_token" value="([^"]+)"', self.browser.get(f"{self.url}/sandbox").text)
        assert token is not None
        form = {"csrf_token": token.group(1), "phone": phone, "number": TEXT.number, "text": text}
        answer = self.browser.post(f"{self.url}/sandbox/{kind}", form, allow_redirects=False)
        assert answer.status_code == 303
        return answer.headers["Location"]

    def story(self, path: str, deliveries: int) -> str:
        """That page, once all is delivered."""

        def settled() -> str | None:
            page = self.browser.get(self.url + path)
            assert page.status_code == 200
            return page.text if page.text.count(">succeeded<") == 2 * deliveries else None

        return until(settled, f"{deliveries} deliveries succeeded") or ""

    def records(self, path: str, text: str) -> list[dict[str, Any]]:
        found = requests.get(f"{self.page}/records", timeout=10).json()["records"]
        return [one["read"] for one in found if one["path"] == path and one["read"].get("message", text) == text]


def taken_port() -> socket.socket:
    """Somebody who listens; the port before his is free."""
    while True:
        taken = socket.socket()
        try:
            taken.bind((HOST, free_port() + 1))
            with closing(socket.socket()) as before:
                before.bind((HOST, taken.getsockname()[1] - 1))
            taken.listen(1)
            return taken
        except OSError:
            taken.close()


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder = tmp_path_factory.mktemp("sandbox")
    # Another program has the port that the stand-in would take: it must find one of its own.
    with closing(taken_port()) as taken, requests.Session() as browser:
        port = taken.getsockname()[1] - 1
        serve = ["env", "--chdir", str(folder), "--unset", "GATEWAY_CONFIG", sys.executable, "-m", "gateway", "serve"]
        process = Process([*serve, "--port", str(port)], folder / "log", port)
        try:
            process.start()
            made = Sandbox(folder, process, browser)
            made.browser.get(made.told(r"Try it .*(http://\S+)"), timeout=10).raise_for_status()
            yield made
            assert process.stop() == 0
        finally:
            process.kill()


def test_one_click_logs_in(sandbox: Sandbox) -> None:
    link = sandbox.told(r"Try it .*(http://\S+)")
    with requests.Session() as browser:
        landed = browser.get(link, timeout=10)
        assert landed.url == f"{sandbox.url}/sandbox" and "Text this gateway as a handset would" in landed.text
    with requests.Session() as stranger:
        assert stranger.get(link[:-3], timeout=10).status_code == 403
        assert "/login" in stranger.get(f"{sandbox.url}/sandbox", timeout=10).url


def test_no_process_leaves_its_memory_in_a_core_file(sandbox: Sandbox) -> None:
    limits = [Path(f"/proc/{process}/limits").read_text() for process in sandbox.process.processes()]
    assert len(limits) == 4  # the supervisor (`env` became it), web, worker, stand-ins
    assert all(re.search("^Max core file size +0 +0 ", each, re.MULTILINE) for each in limits)


def test_the_stand_ins_name_types_that_are_not_to_be_guessed(sandbox: Sandbox) -> None:
    for url in (sandbox.url, f"{sandbox.url}/nowhere", sandbox.page, sandbox.carrierx, f"{sandbox.carrierx}/nowhere"):
        assert requests.get(url, timeout=10).headers["X-Content-Type-Options"] == "nosniff"


def test_a_form_of_another_site_is_refused(sandbox: Sandbox) -> None:
    assert sandbox.browser.post(f"{sandbox.url}/sandbox/text", {"text": "JOIN"}).status_code == 400


def test_a_text_goes_all_the_way_round(sandbox: Sandbox) -> None:
    story = sandbox.story(sandbox.send("text", HOSTILE), deliveries=2)
    assert "<script>" not in story and "Refresh" not in story
    shown = unescape(story)
    for piece in (
        '"direction": "inbound"',
        "title=Summer+sign-up&code=12345",
        "it is on disk",
        "/callback.php",
        "/app",
    ):
        assert piece in shown
    (read,) = sandbox.records("/callback.php", HOSTILE)
    assert read == {
        "title": "Summer sign-up",
        "code": "12345",
        "shortcode": "12345",
        "message": HOSTILE,
        "phone": "15162065515",
        "carrier": "T-Mobile US",
        "keyword": "JOIN",
        "group": "Acme",
        "custom_ticket": "",
        "default_keyword": "ACME1234",
    }
    (message,) = sandbox.records("/app", HOSTILE)
    assert message["direction"] == "inbound" and message["from_did"] == "15162065515"


def test_the_keyword_platforms_form_becomes_a_message(sandbox: Sandbox) -> None:
    story = unescape(sandbox.story(sandbox.send("keyword", "JOIN through the keyword platform"), deliveries=2))
    assert "custom_ticket=sandbox-" in story and '"legacy": {' in story
    (message,) = sandbox.records("/app", "JOIN through the keyword platform")
    assert (message["from_did"], message["to_did"]) == ("15162065515", "15162065919")


def test_updates_of_a_message(sandbox: Sandbox) -> None:
    story = sandbox.story(sandbox.send("status", "Welcome!"), deliveries=6)
    assert [story.find(f"{word} <span") > 0 for word in DELIVERED] == [True] * 3
    ticket = next(one["ticket"] for one in sandbox.records("/status.php", ""))
    posts = [one for one in sandbox.records("/status.php", "") if one["ticket"] == ticket]
    assert [one["status"] for one in reversed(posts)] == list(DELIVERED)


def test_a_text_is_sent_as_a_legacy_application_would(sandbox: Sandbox) -> None:
    page = unescape(sandbox.browser.get(f"{sandbox.url}/sandbox", timeout=10).text)
    assert f'<a href="{sandbox.carrierx}/">' in page
    assert page.count('name="phone" value="15162065515"') == 3 and page.count('name="phone" value="15162060001"') == 1
    path = sandbox.send("send", HOSTILE, phone="15165550003")

    def ended() -> str | None:
        story = sandbox.browser.get(sandbox.url + path, timeout=10)
        return None if "Refresh" in story.headers else story.text

    story = until(ended, "the message timed out") or ""
    assert "<script>" not in story
    for piece in ('"result": true', "The call", "message=JOIN", "queued", "sent", "timed_out", "/status.php"):
        assert piece in unescape(story)
    ticket = path.rpartition("/")[2]
    posts = [one for one in sandbox.records("/status.php", "") if one["custom_ticket"] == ticket]
    assert [one["status"] for one in reversed(posts)] == ["queued", "sent", "timed_out"]
    assert f"<td><code>{posts[0]['ticket']}</code></td>" in story
    assert {one["sendTo"] for one in posts} == {"15165550003"} and {one["code"] for one in posts} == {"12345"}
    (message,) = [one for one in sandbox.standing("messages") if one["to"] == "15165550003"]
    assert (message["from"], message["message"]) == (TEXT.number, HOSTILE)
    assert message["acknowledged"] == ["queued", "sent", "timed_out"]


def test_a_handset_of_the_stand_in_texts(sandbox: Sandbox) -> None:
    body = {"from": "15165550044", "to": TEXT.number, "message": "JOIN by the stand-in"}
    requests.post(f"{sandbox.carrierx}/sandbox/inbound", json=body, timeout=10).raise_for_status()
    until(lambda: sandbox.records("/callback.php", "JOIN by the stand-in"), "the text")


def test_the_page_of_the_stand_in(sandbox: Sandbox) -> None:
    sandbox.story(sandbox.send("text", HOSTILE), deliveries=2)
    page = requests.get(f"{sandbox.page}/", timeout=10)
    assert "POST <code>/callback.php</code>" in page.text and "<script>" not in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert requests.get(f"{sandbox.page}/console.css", timeout=10).headers["Content-Type"].startswith("text/css")


def commands() -> list[tuple[str, str]]:
    """The README's commands with what they print, in order."""
    block = re.search(r"<!-- tried by .*? -->\n```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block is not None
    found: list[tuple[str, str]] = []
    for line in block.group(1).splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif line:
            found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
    return [(command, output) for command, output in found if not command.startswith("#")]


def test_the_commands_of_the_readme(sandbox: Sandbox) -> None:
    tried = commands()
    assert len(tried) >= 8
    for command, output in tried:
        here = command.replace("http://127.0.0.1:8080", sandbox.url).replace("http://127.0.0.1:8081", sandbox.page)
        patient = re.sub("^sleep [0-9]+; ", "", here)
        script = f"KEY=$(cat data/keys); {patient}"

        def printed(script: str = script) -> str:
            ran = subprocess.run(
                ["bash", "-c", script], cwd=sandbox.folder, capture_output=True, text=True, timeout=30, check=False
            )
            return ran.stdout

        if patient == here:
            assert printed() == output, command
        else:
            until(lambda printed=printed, output=output: output in printed(), command)


# In this process, where nothing is delivered.


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlaskClient]:
    monkeypatch.chdir(tmp_path)
    settings = Settings(sample_config(f"http://{HOST}:{free_port()}"))
    with Store(settings.current.database) as store:
        migrate(store)
        app = create_app(settings, store, login_token="let me in")
        app.config["OWN_URL"] = f"http://{HOST}:{free_port()}"
        # A name that nothing has any more would be shown as nothing.
        app.jinja_env.undefined = StrictUndefined
        with app.test_client() as client:
            assert client.get("/login?token=let+me+in").status_code == 303
            yield client


def test_what_is_under_way_is_looked_at_again(client: FlaskClient) -> None:
    [call] = carrierx_callbacks(TEXT, utc_now(), inbound=True)
    key = Path("data/keys").read_text().strip()
    assert client.post(f"{call.path}/{key}", data=call.body, content_type=call.content_type).status_code == 200
    story = client.get(f"/sandbox/text/{TEXT.id}")
    assert story.headers["Refresh"] == "1" and "Still on its way" in story.text and "No attempt yet." in story.text


def test_what_there_is_not(client: FlaskClient) -> None:
    assert client.get("/sandbox/text/never-sent").status_code == 404
    assert client.get("/sandbox/other/x").status_code == 404


def test_a_gateway_that_does_not_answer(client: FlaskClient) -> None:
    token = re.search('name="csrf_token" value="([^"]+)"', client.get("/sandbox").text)
    assert token is not None
    sent = client.post("/sandbox/text", data={"csrf_token": token.group(1), "text": "JOIN"}, follow_redirects=True)
    assert "The gateway answered nothing" in sent.text and "ConnectionError" in sent.text


def test_what_the_platforms_say_is_their_format() -> None:
    receipt = ReceiveContext(now=utc_now(), sid="unused")
    calls = carrierx_callbacks(TEXT, utc_now(), inbound=False)
    loaded = [FORMATS["carrierx"].load(call.body, call.content_type, receipt) for call in calls]
    assert [message.status for message in loaded] == list(DELIVERED)
    call = keyword_callback(TEXT, "12345", "JOIN")
    message = FORMATS["legacy-callback"].load(call.body, call.content_type, receipt)
    assert (message.message, message.custom_ticket) == (HOSTILE, TEXT.id)
    assert FORMATS["carrierx"].dump(message, FormatOptions()).data


def test_the_page_reads_as_php_does() -> None:
    """`empty("0")` is true in PHP: the vendor's own example loses it, and so does the stand-in."""
    page = make_legacy_app().test_client()
    assert page.post("/callback.php?group=query", data={"message": "0", "title": "a"}).data == b"ok"
    (record,) = page.get("/records").json["records"]
    assert (record["read"]["message"], record["read"]["title"], record["read"]["group"]) == ("", "a", "query")
    assert record["body"] == "message=0&title=a"


def test_the_page_remembers_the_last_hundred() -> None:
    page = make_legacy_app().test_client()
    for number in range(MAX_RECORDS + 5):
        page.post("/status.php", data={"ticket": str(number)}, headers={"X-Delivery-Id": str(number % 2)})
    records = page.get("/records").json["records"]
    assert (len(records), records[0]["read"]["ticket"], records[-1]["number"]) == (MAX_RECORDS, str(MAX_RECORDS + 4), 6)
    assert {one["delivery"] for one in page.get("/records?delivery=1").json["records"]} == {"1"}


@pytest.mark.parametrize(("body", "content_type"), [(b"{", "application/json"), (b"{}", "text/plain")])
def test_the_page_refuses_what_is_no_json(body: bytes, content_type: str) -> None:
    answer = make_legacy_app().test_client().post("/app", data=body, content_type=content_type)
    assert answer.status_code in (400, 415)


def test_the_sample_has_no_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = sample_config()
    assert (config.warnings, config.sandbox, config.data) == ((), True, tmp_path / "data")
    assert json.dumps(sorted(config.endpoints)) == '["json-app", "legacy-page", "legacy-status"]'
    assert not os.listdir(tmp_path)
