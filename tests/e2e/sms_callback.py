"""A customer's Flask application as CarrierX's guides tell to write it: it reads a few attributes of the JSON, and
answers an inbound message through the Core API with the status that it read.

`/sms` reads the older names of the SMS guide, `/mms` the newer ones of the MMS guide. CORE_API stands in for the
vendor's address; what comes in is appended to the file that RECORD names, one JSON object a line.

    FLASK_APP=sms_callback.py flask run
"""

from __future__ import annotations

import json
import os
from typing import Any

import requests
from flask import Flask, request

CORE_API = os.environ["CORE_API"]
RECORD = os.environ["RECORD"]

app = Flask(__name__)


def record(page: str, data: Any) -> None:
    line = json.dumps({"page": page, "headers": {k.lower(): v for k, v in request.headers}, "data": data})
    with open(RECORD, "a", encoding="utf-8") as file:
        file.write(line + "\n")


def answer(sender: str, receiver: str, status: str, names: tuple[str, str], kind: str) -> None:
    headers = {"Authorization": "Bearer token-of-the-tests", "Content-Type": "application/json"}
    payload = {names[0]: receiver, names[1]: sender, "message": f"The {kind} status is: {status}"}
    requests.post(f"{CORE_API}/sms/messages", data=json.dumps(payload), headers=headers, timeout=10)


def handle(page: str, names: tuple[str, str], kind: str) -> str:
    data = request.get_json()
    record(page, data)
    sender, receiver = data.get(names[0], ""), data.get(names[1], "")
    if data.get("direction", "") == "inbound":
        answer(sender, receiver, data.get("status", ""), names, kind)
    return ""


@app.route("/sms", methods=["POST"])
def sms() -> str:
    return handle("/sms", ("from_did", "to_did"), "SMS")


@app.route("/mms", methods=["POST"])
def mms() -> str:
    return handle("/mms", ("from", "to"), "MMS")
