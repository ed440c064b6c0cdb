"""Applications that send by the platform's web service, unchanged but for the host: through `gateway serve` to the
stand-in for CarrierX, and the status all the way back to a PHP page."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from gateway.carrierx import CoreAPI
from gateway.sandbox.carrierx import CarrierXStub, Setup
from gateway.sandbox.carrierx.model import PARTNER
from tests.e2e.applications import Page
from tests.running import KEY, Gateway, running_gateway, until

CLIENTS = Path(__file__).parent / "clients"
CONFIG = """
allow_networks = ["127.0.0.0/8"]

[carrierx]
base_url = "{carrierx}"
token = "sandbox"

[legacy]
user_name = "acme-user"
password = "password & <more>"
api_key = "key-é"

[[number]]
number = "15162065919"
shortcode = "12345"
"""
TEXT = "é ü 🎉 &amp; &<>\"' ]]>\nsecond line"
PHONES = ("15162065515", "15162065516", "15162065517")
KNOWN = {"queued": "99", "sent": "101", "delivered": "100"}
"""What becomes of a message, in this order."""
PATIENCE = 60
ENVIRON = {**os.environ, "LC_ALL": "C.UTF-8"}


def program(name: str, package: str) -> str:
    found = shutil.which(name)
    assert found, (
        f"{name} is missing: the tests run real clients. Install {package} (Debian: apt-get install {package})."
    )
    return found


def run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=ENVIRON, capture_output=True, timeout=PATIENCE, encoding="utf-8")
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
    return done.stdout


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of client: how it is called, and what it takes: the WSDL's address, or that of the service."""

    command: Sequence[str]
    address: str

    def send(self, text: str, custom_ticket: str, status_url: str, *phones: str) -> dict[str, list[str]]:
        """What it was answered: name → values, in their order."""
        said: dict[str, list[str]] = defaultdict(list)
        for line in run(*self.command, self.address, text, custom_ticket, status_url, *phones).splitlines():
            name, _, value = line.partition("=")
            said[name].append(value)
        return said


@dataclass(frozen=True, slots=True)
class World:
    gateway: Gateway
    page: Page
    carrierx: CarrierXStub

    def sent(self, text: str) -> list[tuple[str, str]]:
        """What the stand-in was asked to send, from whom to whom."""
        messages = [one.request for one in self.carrierx.engine.messages.all()]
        return sorted((one.sender, one.to) for one in messages if one.message == text)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("clients")
    with ExitStack() as stack:
        carrierx = stack.enter_context(CarrierXStub(Setup(pace=0.02)))
        page = Page(folder, "page")
        stack.callback(page.kill)
        page.start()
        gateway = stack.enter_context(running_gateway(folder / "gateway", CONFIG.format(carrierx=carrierx.url)))
        with CoreAPI(carrierx.url, token="sandbox") as api:
            api.set_callback(partner=PARTNER, url=f"{gateway.url}/carrierx/callback/{KEY}")
        yield World(gateway, page, carrierx)


@pytest.fixture(scope="module", params=["php", "php without a WSDL", "zeep", "dotnet"])
def family(request: pytest.FixtureRequest, world: World, tmp_path_factory: pytest.TempPathFactory) -> Family:
    address = f"{world.gateway.url}/legacy/webservices/"
    wsdl = f"{address}?version=2.0.0&wsdl"
    if request.param == "zeep":
        return Family([sys.executable, str(CLIENTS / "send_zeep.py")], wsdl)
    if request.param == "dotnet":
        return Family([program("mono", "mono-devel"), str(compiled(wsdl, tmp_path_factory.mktemp("dotnet")))], address)
    how = "wsdl" if request.param == "php" else "plain"
    assert "soap" in run(program("php", "php-cli"), "-m").split(), "PHP lacks soap (Debian: apt-get install php-soap)"
    return Family([program("php", "php-cli"), str(CLIENTS / "send.php"), how], wsdl)


def compiled(wsdl: str, folder: Path) -> Path:
    """The C# application with what mono's `wsdl` makes of ours."""
    run(program("wsdl", "mono-devel"), wsdl, "-out:Webservices.cs", cwd=folder)
    sources = ["Webservices.cs", str(CLIENTS / "Send.cs")]
    run(program("mcs", "mono-mcs"), "-r:System.Web.Services", "-out:Send.exe", *sources, cwd=folder)
    return folder / "Send.exe"


@pytest.mark.parametrize("count", [1, 3])
def test_an_unchanged_client(world: World, family: Family, count: int) -> None:
    """It gets a ticket, asks what became of it, and its status page hears everything, in order."""
    own, phones = f"order {uuid.uuid4()} é&", PHONES[:count]
    text = f"{TEXT} {own}"
    said = family.send(text, own, f"{world.page.url}/status.php", *phones)
    assert said["result"] == ["true"] and said["error_code"] == ["0"] and said["message"] == [""]
    assert said["custom_ticket"] == [own] and uuid.UUID(said["ticket"][0])
    assert [row.split()[0] for row in said["row"]] == list(phones)
    assert {" ".join(row.split()[1:]) for row in said["row"]} <= {f"{KNOWN[word]} {word} true" for word in KNOWN}
    assert said["refused"] == ["false 105"], "an answer, and no exception"
    assert said["fault"][0].endswith("Client")

    heard = status_posts(world, said["ticket"][0], 3 * count)
    for phone in phones:
        assert [one["status"] for one in heard if one["sendTo"] == phone] == list(KNOWN)
    assert {(one["code"], one["custom_ticket"]) for one in heard} == {("12345", own)}
    assert world.sent(text) == [("15162065919", phone) for phone in phones]


def test_a_form_post(world: World) -> None:
    """For those who have no SOAP: curl, as the guide shows it."""
    own = f"form {uuid.uuid4()}"
    fields = {"username": "acme-user", "password": "password & <more>", "api_key": "key-é", "code": "12345"}
    fields |= {"sendTo": ",".join(PHONES), "message": f"{TEXT} {own}", "custom_ticket": own}
    fields |= {"status_url": f"{world.page.url}/status.php"}
    given = [part for name, value in fields.items() for part in ("--data-urlencode", f"{name}={value}")]
    said = dict(parse_qsl(run(program("curl", "curl"), "-sS", f"{world.gateway.url}/legacy/sendMessage", *given)))
    assert (said["result"], said["custom_ticket"]) == ("1", own)
    heard = status_posts(world, said["ticket"], 9)
    assert all([one["status"] for one in heard if one["sendTo"] == phone] == list(KNOWN) for phone in PHONES)
    assert world.sent(f"{TEXT} {own}") == [("15162065919", phone) for phone in PHONES]


def status_posts(world: World, ticket: str, count: int) -> list[dict[str, str]]:
    """What PHP read of that ticket, as soon as it is so much."""

    def of_this() -> list[dict[str, str]]:
        return [one["fields"] for one in world.page.records("/status.php") if one["fields"]["ticket"] == ticket]

    return until(lambda: found if len(found := of_this()) >= count else [], f"{count} status posts")


def test_nobody_finds_the_credentials(world: World) -> None:
    folder = world.gateway.folder
    everything = [*folder.rglob("*.log"), *(folder / "data").rglob("*.db*")]
    assert len(everything) > 1
    for secret in ("acme-user", "password & <more>", "key-é", "password &amp; "):
        assert not [path.name for path in everything if secret.encode() in path.read_bytes()]
