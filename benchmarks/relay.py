"""What people write by hand: a Flask route that reads the JSON and posts the form on before it answers.

`RELAY_URL` is where to. With `RELAY_SESSION=1` each thread keeps a `requests.Session`, which saves it a new connection
for every text: the kinder reading of "a relay with requests". Nothing is kept: what is on its way in a crash is lost.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import requests
from flask import Flask, Response, request

app = Flask(__name__)

_URL = os.environ.get("RELAY_URL", "")
_KEEPS_SESSION = os.environ.get("RELAY_SESSION") == "1"
_own = threading.local()


@app.post("/callback")
def callback() -> Response:
    message = request.get_json()
    answer = _post()(
        _URL,
        data={
            "title": "Acme alerts",
            "code": "12345",
            "shortcode": "12345",
            "message": message["message"] or "",
            "phone": message["from_did"],
            "carrier": "",
            "keyword": "JOIN" if (message["message"] or "").upper().startswith("JOIN") else "",
            "group": "Acme",
            "custom_ticket": "",
            "default_keyword": "ACME1234",
        },
        headers={"X-Message-Sid": message["message_sid"]},
        timeout=15,
    )
    return Response("{}", 200 if answer.ok else 502, mimetype="application/json")


def _post() -> Callable[..., requests.Response]:
    if not _KEEPS_SESSION:
        return requests.post
    if not hasattr(_own, "session"):
        _own.session = requests.Session()
    session: requests.Session = _own.session
    return session.post
