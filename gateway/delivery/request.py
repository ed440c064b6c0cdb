"""Builds the request of one attempt: the bytes that were kept, and what is never kept.

Credentials, passwords, signatures and an endpoint's own headers come from today's configuration and are added for each
attempt; none of them is in the store.

Signatures are those of Standard Webhooks (https://www.standardwebhooks.com), so that endpoints can use its libraries::

    webhook-id: 0f9f6e0a-…                what is delivered: unchanged on every attempt
    webhook-timestamp: 1700000000         when this attempt was made, seconds
    webhook-signature: v1,K5oZfzN95Z9U…=  HMAC-SHA256 of "id.timestamp.body", base64; one for each secret
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from gateway.config import Config, Endpoint
from gateway.safe_http.models import Headers, Request
from gateway.safe_http.ssrf import OwnAddresses
from schemas import Body, credentials
from schemas.wire import FORM

MAX_FIXED_PARTS = 10_000  # endpoints whose fixed parts are remembered


def request_for(
    endpoint: Endpoint,
    body: Body,
    config: Config,
    now: datetime,
    own: OwnAddresses,
    delivery_id: str,
    *,
    attempt: int = 1,
    free_form: bool = False,
    test: bool = False,
) -> Request:
    """The request of one attempt, `body` being what the outbox keeps.
    `own`: the addresses where the gateway itself listens, which it never calls. `free_form`: the URL came with a
    request, as that of an endpoint does which nobody configured. `test`: for a test post, which says so in a header,
    and shows the bytes that went out."""
    fixed, data = _fixed_parts(endpoint), body.data
    if fixed.credentials and body.content_type.startswith(FORM):
        data = data + b"&" + fixed.credentials if data else fixed.credentials
    return Request(
        endpoint.url,
        data,
        (
            ("Content-Type", body.content_type),
            ("X-Delivery-Id", delivery_id),
            ("X-Delivery-Attempt", str(attempt)),
            *((("X-Test", "1"),) if test else ()),
            *body.headers,
            *(sign(endpoint.secret, delivery_id, int(now.timestamp()), data) if endpoint.secret else ()),
            *fixed.headers,
        ),
        endpoint.timeout,
        endpoint.connect_timeout,
        endpoint.verify_tls,
        endpoint.tls_min,
        free_form or endpoint.free_form,
        config.allow_networks,
        config.egress_proxy,
        own,
        test,
    )


@dataclass(frozen=True, slots=True)
class _FixedParts:
    """Everything that is the same in each request to one endpoint."""

    endpoint: Endpoint
    credentials: bytes = field(repr=False)  # in the syntax of a form; empty: there are none
    headers: Headers = field(repr=False)


_remembered: dict[str, _FixedParts] = {}


def _fixed_parts(endpoint: Endpoint) -> _FixedParts:
    """Returns the parts of an endpoint as it is configured now; they are made once."""
    if endpoint.free_form:  # a stranger's URL gets nothing of ours
        return _FixedParts(endpoint, b"", ())
    known = _remembered.get(endpoint.name)
    # By identity: a changed configuration has new objects, and so has a test post with credentials of its own.
    if known is None or known.endpoint is not endpoint:
        if len(_remembered) >= MAX_FIXED_PARTS:
            _remembered.clear()
        form, headers = b"", endpoint.headers
        if endpoint.credentials is not None:
            given = {name: getattr(endpoint.credentials, name) for name in credentials.CREDENTIALS}
            form = credentials.append(b"", given, endpoint.format_options)
        if endpoint.username or endpoint.password:
            # Sent without being asked for: old pages answer 401 to a post, and the text is gone.
            token = b64encode(f"{endpoint.username}:{endpoint.password}".encode()).decode("ascii")
            headers = (("Authorization", f"Basic {token}"), *headers)
        known = _remembered[endpoint.name] = _FixedParts(endpoint, form, headers)
    return known


def sign(secrets: tuple[str, ...], delivery_id: str, timestamp: int, body: bytes) -> Headers:
    """The three headers, with a signature for each secret: whoever has one of them finds it right.
    A secret is ``whsec_`` and base64, or the key itself as text. Raises ValueError: bad base64."""
    signed = f"{delivery_id}.{timestamp}.".encode() + body
    digests = [hmac.digest(_key(secret), signed, hashlib.sha256) for secret in secrets]
    return (
        ("webhook-id", delivery_id),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", " ".join([f"v1,{b64encode(digest).decode('ascii')}" for digest in digests])),
    )


@lru_cache(1024)
def _key(secret: str) -> bytes:
    encoded = secret.removeprefix("whsec_")
    return secret.encode() if encoded == secret else b64decode(encoded, validate=True)
