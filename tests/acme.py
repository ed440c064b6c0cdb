"""One configuration that many tests share: a number with keywords, one endpoint of each format."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from gateway.config import Config, Settings, loads

NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
KEY = "key-of-the-tests"

TOML = """
[gateway]
database = "{database}"
keys = ["key-of-the-tests", "the-next-key"]
password = "password-of-the-tests"

[carrierx]
partner_sid = "66352290-bd20-4ed0-a403-8c00792f15b8"

[endpoint.page]
url = "http://127.0.0.1:9999/page.php"

[endpoint.app]
url = "http://127.0.0.1:9999/app"
format = "carrierx"

[[number]]
number = "15162065919"
shortcode = "12345"
title = "Acme alerts"
group = "Acme"
default_keyword = "ACME1234"
callback = ["app"]
status = ["page", "app"]

  [[number.keyword]]
  word = "JOIN"
  aliases = ["SIGNUP"]
  title = "Summer sign-up"
  callback = ["page", "app"]

[[number]]
number = "15162065900"

  [[number.keyword]]
  word = "NOWHERE"
"""


def config(folder: Path, database: str = "sqlite:///data/gateway.db", more: str = "") -> Config:
    return loads(TOML.format(database=database) + more, path=folder / "gateway.toml", environ={})


def settings(folder: Path, database: str = "sqlite:///data/gateway.db", more: str = "") -> Settings:
    return Settings(config(folder, database, more))


def text(**changes: Any) -> bytes:
    """CarrierX's callback for a text that came in."""
    said: dict[str, Any] = {
        "date_created": "2026-11-20T09:29:59.517Z",
        "date_status_changed": "2026-11-20T09:29:59.517Z",
        "direction": "inbound",
        "from_did": "15162065515",
        "mcc": 310,
        "message": "join é 🎉 &=+%",
        "message_segments": 1,
        "message_sid": "87a1ee29-1954-4a22-a243-be21711f28dd",
        "mnc": 260,
        "partner_sid": "cee93bf3-5746-43fe-a1a2-822c05fef687",
        "price": 0,
        "status": "received",
        "to_did": "15162065919",
    }
    return json.dumps(said | changes).encode()


def update(**changes: Any) -> bytes:
    """CarrierX's callback for what became of a message that went out."""
    said: dict[str, Any] = {
        "date_created": "2026-11-20T09:29:50.000Z",
        "direction": "outbound",
        "from": "15162065919",
        "message": "Welcome",
        "message_sid": "f6ac6e90-4c38-4ba1-a8ce-25a911a422db",
        "status": "sent",
        "to": "15162065515",
        "user_data": "order-7",
    }
    return json.dumps(said | changes).encode()


def keyword_callback(**changes: str) -> bytes:
    said = {
        "title": "Summer sign-up",
        "code": "12345",
        "shortcode": "12345",
        "message": "join é 🎉 &=+%",
        "phone": "15162065515",
        "carrier": "T-Mobile US",
        "keyword": "JOIN",
        "group": "Acme",
        "custom_ticket": "order-7",
        "default_keyword": "ACME1234",
    }
    return urlencode(said | changes).encode()


def status_post(**changes: str) -> bytes:
    said = {
        "code": "12345",
        "sendTo": "15162065515",
        "status": "sent",
        "ticket": "T-1",
        "custom_ticket": "order-7",
    }
    return urlencode(said | changes).encode()
