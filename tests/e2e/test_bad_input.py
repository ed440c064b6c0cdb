"""Every golden vector over the wire: each is answered as said, none with 5xx, and each is kept, without secrets."""

from __future__ import annotations

import http.client
import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

import pytest

from schemas import credentials
from tests.e2e.callbacks import FORM, JSON, OLD, PHONE, text_of_carrierx, text_of_platform
from tests.running import HOST, KEY, PATIENCE, Gateway, running_gateway
from tests.schemas.test_vectors import LOADS, http_of, told

PATHS = {"carrierx": "/carrierx/callback", "legacy-callback": "/legacy/callback", "legacy-status": "/legacy/status"}
FORMATS = sorted(PATHS)
MIB = 1 << 20
SECRET = "hunter2-canary"
CONFIG = f"""
[legacy]
user_name = "joe"
password = "{SECRET}"
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """With nobody to call: what is accepted is kept, that is all."""
    with running_gateway(tmp_path_factory.mktemp("bad"), "") as gateway:
        yield gateway


def refused(gateway: Gateway) -> int:
    return len(gateway.rows("SELECT 1 FROM events WHERE state = 'refused'"))


@pytest.mark.parametrize("name", FORMATS)
def test_vectors_over_the_wire(gateway: Gateway, name: str) -> None:
    """One test for all of them: what counts is that not one is lost among so many."""
    vectors = [path for path in LOADS if path.parent.name == name]
    good = [path for path in vectors if "message" in told(path)]
    bad = [path for path in vectors if "errors" in told(path)]
    before = gateway.rows("SELECT coalesce(max(id), 0) AS event FROM events")[0]["event"]
    assert len(good) > 40 and len(bad) > 8
    for path in (*good, *bad):
        headers, body = http_of(path.with_suffix(".http"))
        answer = gateway.post(PATHS[name], body, headers.get("Content-Type"))
        assert answer.status == (200 if path in good else 400), (path.name, answer)
        check_answer(name, answer.body, answer.headers["content-type"], sorted(told(path).get("errors", ())))
    rows = gateway.rows("SELECT source, state, body FROM events WHERE id > ? ORDER BY id", before)
    assert len(rows) == len(vectors) and {row["source"] for row in rows} == {name}
    for path, row in zip((*good, *bad), rows, strict=True):
        assert (row["state"] == "refused") == (path in bad), path.name
        assert row["body"] == kept(path), path.name


def check_answer(name: str, body: bytes, content_type: str, errors: list[str]) -> None:
    """JSON for CarrierX, lines of text for the keyword platform; every fault by its name."""
    if name == "carrierx":
        said = json.loads(body)
        assert content_type.startswith("application/json")
        assert sorted(said.get("errors", ())) == errors and (errors or said == {})
        return
    lines = body.decode().splitlines()
    assert content_type.startswith("text/plain") and sorted({line.partition(":")[0] for line in lines}) == errors


def kept(path: Path) -> bytes:
    """Every byte, but for the values of the trio."""
    body = http_of(path.with_suffix(".http"))[1]
    scrubbed = path.with_suffix(".scrubbed.http")
    if path.parent.name == "carrierx":
        return credentials.scrub_object(body) if "message" in told(path) else credentials.scrub_refused(body)
    return http_of(scrubbed)[1] if scrubbed.exists() else body


GOOD = {
    "carrierx": (text_of_carrierx("sid", "JOIN"), JSON),
    "legacy-callback": (text_of_platform("JOIN", ""), FORM),
    "legacy-status": (urlencode({"sendTo": PHONE, "status": "sent", "ticket": "t", "code": OLD[1]}).encode(), FORM),
}


@pytest.mark.parametrize("name", FORMATS)
def test_wrong_key(gateway: Gateway, name: str) -> None:
    before = refused(gateway)
    for key in ("wrong", KEY[:-1], KEY + "x", "%00", "%F0%9F%8E%89", KEY.upper()):
        assert gateway.call("POST", f"{PATHS[name]}/{key}", GOOD[name][0]).status == 403
    assert gateway.call("POST", PATHS[name], GOOD[name][0]).status == 403
    assert refused(gateway) == before, "nothing of a stranger is kept"


@pytest.mark.parametrize("name", FORMATS)
def test_wrong_key_is_refused_before_the_body_is_read(gateway: Gateway, name: str) -> None:
    with closing(http.client.HTTPConnection(HOST, gateway.process.port, timeout=PATIENCE)) as connection:
        connection.putrequest("POST", f"{PATHS[name]}/wrong")
        connection.putheader("Content-Length", "1000000")
        connection.endheaders(b"only the beginning")
        assert connection.getresponse().status == 403


@pytest.mark.parametrize("name", FORMATS)
def test_key_as_password_of_http_basic(gateway: Gateway, name: str) -> None:
    basic = {"Authorization": "Basic " + b64encode(f"anybody:{KEY}".encode()).decode()}
    assert gateway.call("POST", PATHS[name], GOOD[name][0], basic | {"Content-Type": GOOD[name][1]}).status == 200
    wrong = {"Authorization": "Basic " + b64encode(b"anybody:wrong").decode()}
    assert gateway.call("POST", PATHS[name], GOOD[name][0], wrong).status == 403


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_wrong_method(gateway: Gateway, name: str, method: str) -> None:
    assert gateway.call(method, f"{PATHS[name]}/{KEY}").status == 405


@pytest.mark.parametrize("name", FORMATS)
def test_too_large(gateway: Gateway, name: str) -> None:
    """1 MiB to the byte is read; what is one byte more is not."""
    first, content_type = GOOD[name]
    fill = (b" " if name == "carrierx" else b"&note=") + (b" " if name == "carrierx" else b"x") * MIB
    body = (first + fill)[:MIB]
    assert gateway.post(PATHS[name], body, content_type).status == 200
    assert gateway.post(PATHS[name], body + b" ", content_type).status == 413


@pytest.mark.parametrize("name", FORMATS)
def test_encoded_content(gateway: Gateway, name: str) -> None:
    headers = {"Content-Type": GOOD[name][1], "Content-Encoding": "gzip"}
    assert gateway.call("POST", f"{PATHS[name]}/{KEY}", GOOD[name][0], headers).status == 415
    assert (
        gateway.call("POST", f"{PATHS[name]}/{KEY}", GOOD[name][0], headers | {"Content-Encoding": "identity"}).status
        == 200
    )


def test_a_text_to_an_unknown_number_is_kept_as_unrouted(gateway: Gateway) -> None:
    assert gateway.post("/carrierx/callback", text_of_carrierx("sid-unrouted", "JOIN"), JSON).status == 200
    (row,) = gateway.rows("SELECT state, body FROM events WHERE message_sid = 'sid-unrouted'")
    assert (row["state"], row["body"]) == ("unrouted", text_of_carrierx("sid-unrouted", "JOIN"))


def test_credentials_are_checked_and_never_kept(tmp_path: Path) -> None:
    """Right, wrong, missing, in a body that is refused: in no file of the gateway is the secret to be found."""
    with running_gateway(tmp_path, CONFIG) as gateway:
        ten = GOOD["legacy-callback"][0]
        right, wrong = (
            f"&user_name=joe&password={word}&api_key={SECRET}".encode() for word in (SECRET, SECRET + "-not")
        )
        for body, status in ((ten + right, 200), (ten + wrong, 403), (ten, 403), (b"phone=" + right, 400)):
            assert gateway.post("/legacy/callback", body, FORM).status == status, body
        five = GOOD["legacy-status"][0]
        for body, status in ((five + right, 200), (five + wrong, 403), (five, 200)):
            assert gateway.post("/legacy/status", body, FORM).status == status, body
        misplaced = json.dumps({"password": SECRET, "legacy": {"api_key": SECRET}}).encode()
        assert gateway.post("/carrierx/callback", misplaced, JSON).status == 400
        assert gateway.rows("SELECT count(*) AS events FROM events")[0]["events"] == 8
        holding = [path.name for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert holding == ["gateway.toml"]
