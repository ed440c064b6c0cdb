"""Signatures, against the library that endpoints are told to use."""

from __future__ import annotations

import base64
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from gateway.delivery.signing import sign

KEYS = st.binary(min_size=1, max_size=64)


def encoded(key: bytes) -> str:
    return "whsec_" + base64.b64encode(key).decode()


@given(key=KEYS, text=st.text(), delivery_id=st.uuids().map(str))
def test_the_library_believes_us(key: bytes, text: str, delivery_id: str) -> None:
    body, now = json.dumps({"message": text}), int(time.time())  # the library takes nothing older than five minutes
    headers = dict(sign(encoded(key), delivery_id, now, body.encode()))
    assert Webhook(encoded(key)).verify(body, headers) == {"message": text}
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == (delivery_id, str(now))


def test_a_known_signature() -> None:
    body = b'{"event_type":"ping","data":{"success":true}}'
    assert sign("whsec_plJ3nmyCDGBKInavdOK15jsl", "msg_loFOjxBNrRLzqYUf", 1731705121, body) == (
        ("webhook-id", "msg_loFOjxBNrRLzqYUf"),
        ("webhook-timestamp", "1731705121"),
        ("webhook-signature", "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="),
    )


@given(body=st.binary())
def test_a_body_need_be_no_text(body: bytes) -> None:
    assert len(dict(sign("key", "id", 1, body))["webhook-signature"]) == len("v1,") + 44


def test_a_secret_without_the_prefix_is_the_bytes_themselves() -> None:
    raw = "correct horse é"
    assert sign(raw, "id", 1, b"x") == sign(encoded(raw.encode()), "id", 1, b"x")


@pytest.mark.parametrize("secret", ["whsec_!!!", "whsec_abc", "whsec_ab c="])
def test_bad_base64(secret: str) -> None:
    with pytest.raises(ValueError, match="."):
        sign(secret, "id", 1, b"")
