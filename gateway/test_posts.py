"""A test post and its result, for the test pages and the commands `test-callback` and `test-status`.

The fields become a message as a platform's post would, that message a body as a delivery's would, and the body
is posted by the code of deliveries: one attempt, marked ``X-Test: 1``, never repeated, in no store.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from gateway.config import Config, Credentials, Endpoint
from gateway.config.model import free_form
from gateway.delivery.diagnosis import diagnose
from gateway.delivery.redaction import EndpointRedaction
from gateway.delivery.request import request_for
from gateway.delivery.result import judge
from gateway.routing.route import load_message, wire_format
from gateway.safe_http.client import post
from gateway.safe_http.models import Request, Response, Timings
from gateway.safe_http.ssrf import NO_ADDRESSES, OwnAddresses, mask_url
from schemas import FORMATS, BadCallback, CannotSay, Message, ReceiveContext, charsets, legacy, wire
from schemas.credentials import CREDENTIALS

FIELDS: Mapping[str, tuple[str, ...]] = {"callback": legacy.CALLBACK_FIELDS, "status": legacy.STATUS_FIELDS}
"""The two kinds of test, and the fields of their format in the documented order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestPost:
    """A form to send, and its target: an endpoint of the configuration or a URL, one of the two."""

    kind: str  # ``callback`` or ``status``
    endpoint: str = ""
    url: str = field(default="", repr=False)
    fields: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Fields of the format; absent ones are the sample's. Credentials replace the endpoint's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRequest:
    url: str
    headers: Sequence[tuple[str, str]] = ()  # as they went out; as they would have, where nothing did
    body: str = ""
    line: str = ""  # the first line of the bytes sent, for `url`; empty where none were


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownResponse:
    status: int
    headers: Sequence[tuple[str, str]]
    body: str  # at most the 64 KB that are read of a response


@dataclass(frozen=True, slots=True, kw_only=True)
class TestPostResult:
    """The outcome, without secrets: for the page, for programs, for the shell."""

    ok: bool  # a delivery would have succeeded
    verdict: str  # ``succeeded``; ``again`` (a delivery would be retried); ``dead`` (it would not)
    diagnosis: Sequence[str]
    request: ShownRequest
    response: ShownResponse | None = None
    times: Timings = field(default_factory=Timings)
    address: str = ""

    def as_json(self) -> dict[str, Any]:
        """The answer to programs: exactly the documented names. Times are milliseconds."""
        request = self.request
        return {
            "ok": self.ok,
            "verdict": self.verdict,
            "diagnosis": self.diagnosis,
            "request": {"method": "POST", "url": request.url, "headers": request.headers, "body": request.body},
            "response": self.response and asdict(self.response),
            "times": self.times.as_dict(),
        }


def samples(kind: str, config: Config) -> dict[str, str]:
    """Every field of the format with a plausible value: of the first number that is configured."""
    number = config.numbers[0] if config.numbers else None
    keyword = number.keywords[0] if number and number.keywords else None
    titled = keyword or number
    code = number.shortcode if number else "12345"
    word = keyword.word if keyword and keyword.match != "regex" else "JOIN"
    values = {
        "title": (titled and titled.title) or "Summer sign-up",
        "code": code,
        "shortcode": code,
        "message": f"{word} a test, with é and 🎉",
        "phone": "15162065515",
        "carrier": "",
        "keyword": word,
        "group": (titled and titled.group) or "Acme",
        "custom_ticket": "test-1",
        "default_keyword": (number and number.default_keyword) or "ACME1234",
        "sendTo": "15162065515",
        "status": "delivered",
        "ticket": "f6ac6e90-4c38-4ba1-a8ce-25a911a422db",
    }
    return {name: values[name] for name in FIELDS[kind]}


def send_test_post(
    test_post: TestPost, config: Config, now: datetime, own: OwnAddresses = NO_ADDRESSES
) -> TestPostResult:
    """Posts once and returns the result. Raises `BadCallback` for what was typed; a refused address is a result.
    `own`: where this gateway listens, never to be called. Blocks for the endpoint's timeout at most."""
    endpoint = _endpoint(test_post, config)
    message = _message(test_post, config, now)
    target = wire_format(endpoint, message)
    # Users may see again what they typed; a configured URL may hold a secret in its query.
    url = test_post.url.strip() if test_post.url else mask_url(endpoint.url)
    try:
        body = FORMATS[target].dump(message, endpoint.format_options)
    except CannotSay as error:
        return TestPostResult(ok=False, verdict="dead", diagnosis=[str(error)], request=ShownRequest(url=url))
    is_free_form, delivery_id = bool(test_post.url), str(uuid.uuid4())
    request = request_for(endpoint, body, config, now, own, delivery_id, free_form=is_free_form, test=True)
    response = post(request)
    verdict = judge(response, endpoint, now.timestamp())
    secrets = EndpointRedaction.of(endpoint)
    sentences = dict.fromkeys((*diagnose(request, response, endpoint), *body.notes))
    shown_response = None
    if response.status is not None:
        shown_response = ShownResponse(
            status=response.status,
            headers=secrets.headers(response.headers),
            body=secrets.text(readable(response.body, response.header("Content-Type") or "")),
        )
    return TestPostResult(
        ok=verdict.outcome == "succeeded",
        verdict=verdict.outcome,
        diagnosis=[secrets.text(sentence) for sentence in sentences],
        request=_shown_request(request, response, url, secrets),
        response=shown_response,
        times=response.times,
        address=response.address,
    )


def _endpoint(test_post: TestPost, config: Config) -> Endpoint:
    """The endpoint to call, with the credentials that were typed."""
    if bool(test_post.endpoint) == bool(test_post.url):
        raise BadCallback({"endpoint": ["Give either an endpoint or a URL."]})
    if test_post.url:
        # Unlike a stranger's URL it gets credentials, those that were typed; and no name under which it is remembered.
        endpoint = replace(free_form(test_post.url.strip(), config.prefix), name="", free_form=False)
    elif test_post.endpoint in config.endpoints:
        endpoint = config.endpoints[test_post.endpoint]
    else:
        raise BadCallback({"endpoint": ["No endpoint of the configuration has this name."]})
    given = {name: test_post.fields[name] for name in CREDENTIALS if test_post.fields.get(name)}
    return replace(endpoint, credentials=replace(endpoint.credentials or Credentials(), **given)) if given else endpoint


def _message(test_post: TestPost, config: Config, now: datetime) -> Message:
    """Reads the fields as a post of the platform with them would be read."""
    names = FIELDS[test_post.kind]
    if unknown := sorted(set(test_post.fields).difference(names, CREDENTIALS)):
        raise BadCallback({name: ["Not a field of this format."] for name in unknown})
    sample = samples(test_post.kind, config)
    data, _ = wire.write_form([(name, test_post.fields.get(name, sample[name])) for name in names])
    context = ReceiveContext(now=now, sid=str(uuid.uuid4()), prefix=config.prefix)
    return load_message(data, f"{wire.FORM}; charset=utf-8", f"legacy-{test_post.kind}", context, config)[0]


def _shown_request(request: Request, response: Response, url: str, secrets: EndpointRedaction) -> ShownRequest:
    """The bytes that went out, read back; the planned ones where none did."""
    headers, body, line = [*request.headers], request.body, ""
    if response.request_bytes:
        parts = urlsplit(url)
        line = f"POST {urlunsplit(('', '', parts.path or '/', parts.query, ''))} HTTP/1.1"
        head, _, body = response.request_bytes.partition(b"\r\n\r\n")
        lines = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
        headers = [(name, value.strip()) for name, _, value in lines]
    content_type = {name.lower(): value for name, value in headers}.get("content-type", "")
    text = secrets.text(readable(body, content_type))
    return ShownRequest(url=url, headers=secrets.headers(headers), body=text, line=line)


def readable(body: bytes, content_type: str) -> str:
    """Bytes as text for people, in the charset that a form post with them would be read in."""
    charset, _ = charsets.choose(charsets.declared(content_type), [(b"", body)])
    return charsets.decoder(charset)(body)
