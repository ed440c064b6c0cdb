"""What the tests of the legacy calls share: a gateway that may be sent by, and calls to it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text as sql
from werkzeug.test import TestResponse

from gateway.store import Store
from gateway.web.context import WebContext
from tests import acme

SECRETS = {"username": "acme-user", "password": "canary password", "api_key": "canary-key"}
AUTH = SECRETS | {"code": "12345", "keyword": "JOIN"}
PHONES = ("15162065515", "15162065516")
TEXT = "é 🎉 &<>\nx"
LEGACY = """
[legacy]
user_name = "acme-user"
password = "canary password"
api_key = "canary-key"

[template.welcome]
text = "Hello {name}, from {code}"
"""
TOML = acme.TOML.format(database="sqlite:///data/gateway.db") + LEGACY
XML = "text/xml; charset=utf-8"
SOAP = "/legacy/webservices/"
SOAP_11 = "http://schemas.xmlsoap.org/soap/envelope/"
ENVELOPES = sorted((Path(__file__).parent / "soap").glob("*.xml"))


def elements(said: dict[str, Any]) -> str:
    """``{"a": {"b": ["1", "2"]}}`` as XML."""
    parts = []
    for name, value in said.items():
        for one in value if isinstance(value, list) else [value]:
            parts.append(f"<{name}>{elements(one) if isinstance(one, dict) else escape(str(one))}</{name}>")
    return "".join(parts)


def envelope(name: str, version: str = SOAP_11, /, **said: Any) -> str:
    inner = f"<n:{name} xmlns:n='urn:test'>{elements(said)}</n:{name}>"
    return f"<s:Envelope xmlns:s='{version}'><s:Body>{inner}</s:Body></s:Envelope>"


def recipients(*phones: str) -> dict[str, Any]:
    return {"recipients": [{"sendTo": phone, "type": 1} for phone in phones]}


def send(**changes: Any) -> str:
    """An envelope that is accepted."""
    said = {
        "auth": AUTH,
        "message": TEXT,
        "recipientList": recipients(*PHONES),
        "custom_ticket": "ct",
        "status_url": "",
    }
    return envelope("sendMessage", **said | changes)


def soap(client: FlaskClient, body: str | bytes, content_type: str | None = XML) -> TestResponse:
    return client.post(SOAP, data=body, content_type=content_type)


def values(answer: TestResponse | str) -> dict[str, str]:
    """The simple elements of an answer; of those that come again the last."""
    text = answer if isinstance(answer, str) else answer.text
    return dict(re.findall(r"<([\w:]+)[^<>]*>([^<>]*)</\1>", text))


def store_of(app: Flask) -> Store:
    here: WebContext = app.extensions["gateway"]
    return here.store


def rows(app: Flask, query: str) -> list[Any]:
    with store_of(app).reader() as connection:
        return list(connection.execute(sql(query)))


def events(app: Flask) -> list[Any]:
    return rows(app, "SELECT * FROM events ORDER BY id")


def owed(app: Flask) -> list[dict[str, Any]]:
    """The requests that CarrierX is owed, as it will get them."""
    return [
        json.loads(row.body)
        for row in rows(app, "SELECT body FROM deliveries WHERE endpoint = '@carrierx' ORDER BY id")
    ]


def leaked(app: Flask) -> bool:
    """Whether a secret stands anywhere in the database."""
    with store_of(app).reader() as connection:
        tables = [row.name for row in connection.execute(sql("SELECT name FROM sqlite_master WHERE type = 'table'"))]
        said = [repr(row) for table in tables for row in connection.execute(sql(f'SELECT * FROM "{table}"'))]
    return any("canary" in one or "acme-user" in one for one in said)
