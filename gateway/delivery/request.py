"""One attempt of a delivery as a request: the kept bytes, and what must never be kept.

Credentials, passwords, signatures and an endpoint's own headers come from today's configuration and are put on
here, for each attempt; the store has none of them.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from gateway.config import Config, Endpoint
from gateway.delivery.signing import sign
from gateway.safe_http.models import Request
from schemas import credentials

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointPost:
    """What is owed, as the outbox keeps it, and which attempt this is."""

    wire_format: str
    content_type: str
    headers: Headers
    data: bytes
    delivery_id: str
    attempt: int
    test: bool = False


def request_for(
    endpoint: Endpoint,
    post: EndpointPost,
    config: Config,
    now: datetime,
    own: frozenset[tuple[str, int]] = frozenset(),
    *,
    free_form: bool = False,
    capture: bool = False,
) -> Request:
    """The request of one attempt. `own`: where we listen ourselves, never to be called.

    `free_form`: the URL came with a request, as that of an endpoint does which nobody configured.
    """
    fixed = _fixed(endpoint)
    data = (
        post.data
        if post.wire_format == "carrierx" or not fixed.trio
        else b"&".join(filter(None, (post.data, fixed.trio)))
    )
    signature = sign(endpoint.secret, post.delivery_id, int(now.timestamp()), data) if endpoint.secret else ()
    return Request(
        endpoint.url,
        data,
        (
            ("Content-Type", post.content_type),
            ("X-Delivery-Id", post.delivery_id),
            ("X-Delivery-Attempt", str(post.attempt)),
            *(_TEST if post.test else ()),
            *post.headers,
            *signature,
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
        capture,
    )


_TEST = (("X-Test", "1"),)


@dataclass(frozen=True, slots=True)
class _Fixed:
    """What is put on every request of one endpoint."""

    endpoint: Endpoint
    trio: bytes = field(repr=False)
    """The credentials as they stand in a form; empty: there are none."""
    headers: Headers = field(repr=False)


_known: dict[str, _Fixed] = {}
_MANY = 10_000


def _fixed(endpoint: Endpoint) -> _Fixed:
    """Made once for each endpoint as it is configured now; a stranger's has nothing of ours."""
    if endpoint.free_form:
        return _Fixed(endpoint, b"", ())
    known = _known.get(endpoint.name)
    # By identity: a changed configuration has new objects, and so has a test post with credentials of its own.
    if known is None or known.endpoint is not endpoint:
        if len(_known) >= _MANY:
            _known.clear()
        known = _known[endpoint.name] = _Fixed(endpoint, _trio(endpoint), tuple(_own_headers(endpoint)))
    return known


def _trio(endpoint: Endpoint) -> bytes:
    if endpoint.credentials is None:
        return b""
    trio = {name: getattr(endpoint.credentials, name) for name in credentials.CREDENTIALS}
    return credentials.append(b"", trio, endpoint.format_options)


def _own_headers(endpoint: Endpoint) -> Iterator[tuple[str, str]]:
    if endpoint.username or endpoint.password:
        # Always sent at once: old pages answer 401 to a post, and the text is gone.
        token = b64encode(f"{endpoint.username}:{endpoint.password}".encode()).decode("ascii")
        yield "Authorization", f"Basic {token}"
    yield from endpoint.headers
