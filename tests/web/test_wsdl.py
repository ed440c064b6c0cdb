"""The WSDL: what it says, where it is, and which address it names. That clients take it is shown in tests/e2e."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from lxml import etree

from tests.legacy_calls import TOML, XML
from tests.visitor import console

WSDL = "/legacy/webservices/?version=2.0.0&wsdl"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    with console(tmp_path, TOML) as made:
        yield made


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.mark.parametrize(
    "query", ["wsdl", "WSDL", "version=2.0.0&wsdl", "Wsdl&version=9", "wsdl=1", "version=2.0.0&wsdl="]
)
@pytest.mark.parametrize("path", ["/legacy/webservices", "/legacy/webservices/"])
def test_the_wsdl(client: FlaskClient, path: str, query: str) -> None:
    answer = client.get(f"{path}?{query}", headers={"Host": "evil.example"})
    assert answer.status_code == 200 and answer.content_type == XML
    read = etree.fromstring(answer.data)
    names = [one.get("name") for one in read.iterfind("{*}portType/{*}operation")]
    assert names == ["sendMessage", "sendTemplateMessage", "getTransactionStatus", "getCustomTransactionStatus"]
    assert "evil" not in answer.text and read.find(".//{*}address").get("location").endswith("/legacy/webservices/")


def test_the_address_is_public_url(tmp_path: Path) -> None:
    text = TOML.replace("[gateway]", '[gateway]\npublic_url = "https://sms.example.com/base/"')
    with console(tmp_path, text) as app:
        said = app.test_client().get(WSDL).text
    assert 'location="https://sms.example.com/base/legacy/webservices/"' in said


@pytest.mark.parametrize(("host", "shown"), [("192.0.2.7", "192.0.2.7"), ("::1", "[::1]")])
def test_without_it_it_is_the_servers_own(client: FlaskClient, host: str, shown: str) -> None:
    of_server = {"SERVER_NAME": host, "SERVER_PORT": "8081", "HTTP_HOST": "evil.example"}
    said = client.get(WSDL, environ_overrides=of_server).text
    assert f'location="http://{shown}:8081/legacy/webservices/"' in said


@pytest.mark.parametrize(
    ("peer", "location"), [("10.0.0.7", "https://sms.example.com:8443"), ("10.0.0.16", "http://192.0.2.7:8081")]
)
def test_behind_a_trusted_proxy_it_is_what_the_proxy_forwards(tmp_path: Path, peer: str, location: str) -> None:
    with console(tmp_path, TOML.replace("[gateway]", '[gateway]\ntrusted_proxies = ["10.0.0.0/28"]')) as app:
        of_server = {"SERVER_NAME": "192.0.2.7", "SERVER_PORT": "8081", "REMOTE_ADDR": peer}
        headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "sms.example.com:8443"}
        said = app.test_client().get(WSDL, environ_overrides=of_server, headers=headers).text
    assert f'location="{location}/legacy/webservices/"' in said
