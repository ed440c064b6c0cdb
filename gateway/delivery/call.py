"""One attempt of a delivery as a request: the kept bytes, and what must never be kept.

Credentials, passwords, signatures and an endpoint's own headers come from today's configuration and are put on
here, for each attempt; the store has none of them.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from gateway.config import Config, Endpoint
from gateway.delivery.signing import sign
from gateway.delivery.transport import Request
from schemas import credentials

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """What is owed, as the outbox keeps it, and which attempt this is."""

    kind: str
    content_type: str
    headers: Headers
    data: bytes
    delivery_id: str
    attempt: int
    test: bool = False


def request_for(
    endpoint: Endpoint,
    post: Post,
    config: Config,
    now: datetime,
    own: frozenset[tuple[str, int]] = frozenset(),
    *,
    free_form: bool = False,
    capture: bool = False,
) -> Request:
    """The request of one attempt. `own`: where we listen ourselves, never to be called."""
    data = _with_credentials(endpoint, post)
    return Request(
        url=endpoint.url,
        headers=(*_headers(post), *_signature(endpoint, post, data, now), *_own_headers(endpoint)),
        body=data,
        timeout=endpoint.timeout,
        connect_timeout=endpoint.connect_timeout,
        verify_tls=endpoint.verify_tls,
        tls_min=endpoint.tls_min,
        free_form=free_form,
        allow_networks=config.allow_networks,
        egress_proxy=config.egress_proxy,
        own_addresses=own,
        capture=capture,
    )


def _with_credentials(endpoint: Endpoint, post: Post) -> bytes:
    if endpoint.credentials is None or post.kind == "carrierx":
        return post.data
    trio = {name: getattr(endpoint.credentials, name) for name in credentials.CREDENTIALS}
    return credentials.append(post.data, trio, endpoint.manners)


def _headers(post: Post) -> Iterator[tuple[str, str]]:
    yield "Content-Type", post.content_type
    yield "X-Delivery-Id", post.delivery_id
    yield "X-Delivery-Attempt", str(post.attempt)
    if post.test:
        yield "X-Test", "1"
    yield from post.headers


def _signature(endpoint: Endpoint, post: Post, data: bytes, now: datetime) -> Headers:
    return tuple(sign(endpoint.secret, post.delivery_id, int(now.timestamp()), data)) if endpoint.secret else ()


def _own_headers(endpoint: Endpoint) -> Iterator[tuple[str, str]]:
    if endpoint.username or endpoint.password:
        # Always sent at once: old pages answer 401 to a post, and the text is gone.
        token = b64encode(f"{endpoint.username}:{endpoint.password}".encode()).decode("ascii")
        yield "Authorization", f"Basic {token}"
    yield from endpoint.headers
