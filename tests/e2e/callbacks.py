"""What the platforms post in these tests: one text or update each, by its id."""

from __future__ import annotations

import json
from urllib.parse import urlencode

PHONE = "15162065515"
OLD, NEW = ("15162065919", "12345"), ("15162065920", "54321")
"""Numbers and short codes: whose applications are of the old kind, and whose are of the new."""
DATE = "2026-03-01T12:00:00.250Z"
FORM, JSON = "application/x-www-form-urlencoded", "application/json"

TEXTS = {
    "plain": "JOIN now",
    "accents": "Join café déjà vu ñ ß",
    "emoji": "join 🎉 👨‍👩‍👧 ❤️",
    "signs": "JOIN a&b=c+d%20e%&=+?#;:/\\\"'<b>~*",
    "newlines": "JOIN\none\r\ntwo\n\n\tthree\n",
    "long": "JOIN " + "0123456789 äöü 🎉 " * 100,
    "spaces": "  JOIN   us  ",
}
TEXTS["long"] = TEXTS["long"][:1600]


def text_of_carrierx(message_sid: str, text: str, mms: bool = False) -> bytes:
    """An inbound message in either shape."""
    suffix = "" if mms else "_did"
    return json.dumps(
        {
            "date_created": DATE,
            "date_status_changed": DATE,
            "direction": "inbound",
            f"from{suffix}": PHONE,
            "mcc": 310,
            "message": text,
            "message_segments": 1,
            "message_sid": message_sid,
            "mnc": 260,
            "partner_sid": "cee93bf3-5746-43fe-a1a2-822c05fef687",
            "price": 0.0075,
            "status": "received",
            f"to{suffix}": OLD[0],
        }
        | (
            {"date_changed": DATE, "type": "mms", "media_urls": [], "group_recipients": [], "user_data": None}
            if mms
            else {}
        )
    ).encode()


def update_of_carrierx(message_sid: str, status: str, user_data: str | None = None) -> bytes:
    said = json.loads(text_of_carrierx(message_sid, "Hello", mms=True))
    said |= {
        "direction": "outbound",
        "from": OLD[0],
        "to": PHONE,
        "status": status,
        "user_data": user_data,
        "type": "sms",
    }
    return json.dumps(said).encode()


def text_of_platform(text: str, custom_ticket: str, phone: str = PHONE) -> bytes:
    ten = {
        "title": "Sommer & Söhne",
        "code": NEW[1],
        "shortcode": NEW[1],
        "message": text,
        "phone": phone,
        "carrier": "T-Mobile US",
        "keyword": "JOIN",
        "group": "A + B",
        "custom_ticket": custom_ticket,
        "default_keyword": "NEW1234",
    }
    return urlencode(ten).encode()


def update_of_platform(ticket: str, status: str, custom_ticket: str = "") -> bytes:
    five = {"code": NEW[1], "sendTo": PHONE, "status": status, "ticket": ticket, "custom_ticket": custom_ticket}
    return urlencode(five).encode()
