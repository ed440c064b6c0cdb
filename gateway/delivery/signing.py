"""Signatures as Standard Webhooks say (https://www.standardwebhooks.com), so that endpoints can use its libraries.

Pure. On the wire::

    webhook-id: 0f9f6e0a-…                what is delivered: the same on every attempt
    webhook-timestamp: 1700000000         when this attempt was made, seconds
    webhook-signature: v1,K5oZfzN95Z9U…=  HMAC-SHA256 of "id.timestamp.body", base64
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from functools import lru_cache

PREFIX = "whsec_"


def sign(secret: str, delivery_id: str, timestamp: int, body: bytes) -> tuple[tuple[str, str], ...]:
    """The three headers. `secret`: ``whsec_`` and base64, or the bytes themselves as text. ValueError: bad base64."""
    signed = f"{delivery_id}.{timestamp}.".encode() + body
    digest = hmac.digest(_key(secret), signed, hashlib.sha256)
    return (
        ("webhook-id", delivery_id),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", f"v1,{b64encode(digest).decode('ascii')}"),
    )


@lru_cache(1024)
def _key(secret: str) -> bytes:
    if not secret.startswith(PREFIX):
        return secret.encode()
    return b64decode(secret.removeprefix(PREFIX), validate=True)
