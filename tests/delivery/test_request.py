"""A kept body as a request: what is added for the endpoint, and its signature, tried by the library of endpoints."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from gateway.config import Config, Credentials, Endpoint, loads
from gateway.delivery import request as requests
from gateway.delivery.request import request_for, sign
from gateway.safe_http.models import Request
from schemas import Body, carrierx, wire

NOW = datetime(2026, 5, 12, 10, 11, 12, tzinfo=UTC)
CREDENTIALS = Credentials(user_name="acme user", password="p&ss", api_key="k=y")
PLAIN = Endpoint(name="app", url="http://10.0.0.5/a.php")
POST = Body(content_type="application/x-www-form-urlencoded", headers=(("X-Message-Sid", "sid"),), data=b"message=join")
USUAL = (
    ("Content-Type", "application/x-www-form-urlencoded"),
    ("X-Delivery-Id", "0f9f"),
    ("X-Delivery-Attempt", "3"),
    ("X-Message-Sid", "sid"),
)


@pytest.fixture(scope="module")
def config() -> Config:
    return loads('[gateway]\nallow_networks = ["10.0.0.0/8"]\negress_proxy = "http://10.0.0.9:3128"\n')


def made(config: Config, endpoint: Endpoint = PLAIN, body: Body = POST) -> Request:
    return request_for(endpoint, body, config, NOW, frozenset(), "0f9f", attempt=3)


def test_nothing_but_what_was_kept(config: Config) -> None:
    request = made(config)
    assert (request.url, request.body, request.headers) == (PLAIN.url, POST.data, USUAL)
    assert not request.free_form and not request.capture and request.own_addresses == frozenset()


def test_every_setting_has_its_place(config: Config) -> None:
    endpoint = replace(PLAIN, timeout=7.0, connect_timeout=3.0, verify_tls="/ca.pem", tls_min="1.3")
    own = frozenset({("0.0.0.0", 8080)})
    request = request_for(endpoint, POST, config, NOW, own, "0f9f", attempt=3, free_form=True, test=True)
    assert request == Request(
        url=PLAIN.url,
        body=POST.data,
        headers=(*USUAL[:3], ("X-Test", "1"), *USUAL[3:]),
        timeout=7.0,
        connect_timeout=3.0,
        verify_tls="/ca.pem",
        tls_min="1.3",
        free_form=True,
        allow_networks=(ip_network("10.0.0.0/8"),),
        egress_proxy="http://10.0.0.9:3128",
        own_addresses=own,
        capture=True,
    )


@pytest.mark.parametrize(
    ("content_type", "data", "body"),
    [
        (wire.FORM, b"message=join", b"message=join&user_name=acme+user&password=p%26ss&api_key=k%3Dy"),
        (f"{wire.FORM}; charset=windows-1252", b"", b"user_name=acme+user&password=p%26ss&api_key=k%3Dy"),
        (carrierx.CONTENT_TYPE, b'{"a":1}', b'{"a":1}'),
    ],
)
def test_the_credentials_stand_behind_a_form(config: Config, content_type: str, data: bytes, body: bytes) -> None:
    endpoint = replace(PLAIN, credentials=CREDENTIALS)
    assert made(config, endpoint, replace(POST, content_type=content_type, data=data)).body == body


def test_the_signature_is_of_all_that_goes_out(config: Config) -> None:
    request = made(config, replace(PLAIN, credentials=CREDENTIALS, secret=("whsec_c2VjcmV0",)))
    signature = sign(("whsec_c2VjcmV0",), "0f9f", int(NOW.timestamp()), request.body)
    assert request.headers == (*USUAL, *signature)


def test_own_headers_stand_at_the_end(config: Config) -> None:
    endpoint = replace(PLAIN, username="me", password="é", headers=(("X-Tenant", "7"),), secret=("key",))
    *first, authorization, tenant = request_for(endpoint, POST, config, NOW, frozenset(), "0f9f", test=True).headers
    assert first[2:5] == [("X-Delivery-Attempt", "1"), ("X-Test", "1"), ("X-Message-Sid", "sid")] and len(first) == 8
    assert authorization == ("Authorization", f"Basic {b64encode('me:é'.encode()).decode()}")
    assert tenant == ("X-Tenant", "7")


@pytest.mark.parametrize(("username", "password"), [("me", "é"), ("me", ""), ("", "key")])
def test_a_user_name_or_a_password_is_enough_for_basic(config: Config, username: str, password: str) -> None:
    *_, authorization = made(config, replace(PLAIN, username=username, password=password)).headers
    assert authorization == ("Authorization", f"Basic {b64encode(f'{username}:{password}'.encode()).decode()}")


def test_a_strangers_url_gets_nothing_of_ours(config: Config) -> None:
    configured = replace(PLAIN, credentials=CREDENTIALS, username="me", password="p", headers=(("X-Tenant", "7"),))
    request = made(config, replace(configured, free_form=True))
    assert (request.body, request.headers, request.free_form) == (POST.data, USUAL, True)


def test_what_is_fixed_is_worked_out_once(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    worked_out: list[object] = []

    def append(body: bytes, given: Mapping[str, str], options: object) -> bytes:
        worked_out.append(given)
        return b"given"

    monkeypatch.setattr("gateway.delivery.request.credentials.append", append)
    endpoint = replace(PLAIN, credentials=CREDENTIALS)
    for _ in range(3):
        assert made(config, endpoint).body == b"message=join&given"
    assert worked_out == [{"user_name": "acme user", "password": "p&ss", "api_key": "k=y"}]


def test_nothing_stays_of_an_endpoint_as_it_was(config: Config) -> None:
    """What is fixed for an endpoint is worked out once; of one that was changed, or is another, it is not."""
    one = replace(PLAIN, credentials=CREDENTIALS, headers=(("X-Tenant", "7"),))
    for endpoint in (one, replace(one, headers=()), replace(one, credentials=None), PLAIN, one, replace(one, name="b")):
        for _ in range(2):
            request = made(config, endpoint)
            assert request.headers == (*USUAL, *endpoint.headers)
            assert (b"password=" in request.body) == (endpoint.credentials is not None)


def test_what_is_remembered_has_an_end(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.delivery.request.MAX_FIXED_PARTS", 3)
    for number in range(10):
        endpoint = replace(PLAIN, name=f"app-{number}", headers=(("X-Number", str(number)),))
        assert made(config, endpoint).headers[-1] == ("X-Number", str(number))
        assert len(requests._remembered) <= 3


KEYS = st.binary(min_size=1, max_size=64)


def encoded(key: bytes) -> str:
    return "whsec_" + b64encode(key).decode()


@given(key=KEYS, text=st.text(), delivery_id=st.uuids().map(str))
def test_the_library_believes_us(key: bytes, text: str, delivery_id: str) -> None:
    body, now = json.dumps({"message": text}), int(time.time())  # the library takes nothing older than five minutes
    headers = dict(sign((encoded(key),), delivery_id, now, body.encode()))
    assert Webhook(encoded(key)).verify(body, headers) == {"message": text}
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == (delivery_id, str(now))


def test_while_a_secret_is_renewed_either_is_right() -> None:
    new, old, now = encoded(b"new" * 10), "the old one, as text", int(time.time())
    headers = dict(sign((new, old), "id", now, b"{}"))
    for secret in (new, encoded(old.encode())):
        assert Webhook(secret).verify("{}", headers) == {}
    assert headers["webhook-signature"].split(" ")[0] == dict(sign((new,), "id", now, b"{}"))["webhook-signature"]


def test_a_known_signature() -> None:
    body = b'{"event_type":"ping","data":{"success":true}}'
    assert sign(("whsec_plJ3nmyCDGBKInavdOK15jsl",), "msg_loFOjxBNrRLzqYUf", 1731705121, body) == (
        ("webhook-id", "msg_loFOjxBNrRLzqYUf"),
        ("webhook-timestamp", "1731705121"),
        ("webhook-signature", "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="),
    )


@given(body=st.binary())
def test_a_body_need_be_no_text(body: bytes) -> None:
    assert len(dict(sign(("key",), "id", 1, body))["webhook-signature"]) == len("v1,") + 44


def test_a_secret_without_the_prefix_is_the_bytes_themselves() -> None:
    raw = "correct horse é"
    assert sign((raw,), "id", 1, b"x") == sign((encoded(raw.encode()),), "id", 1, b"x")


@pytest.mark.parametrize("secret", ["whsec_!!!", "whsec_abc", "whsec_ab c="])
def test_bad_base64(secret: str) -> None:
    with pytest.raises(ValueError, match="."):
        sign((secret,), "id", 1, b"")
