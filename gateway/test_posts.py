"""A test post: what the test forms and the commands `test-callback` and `test-status` do.

The fields become a message as a platform's post would, that message a body as a delivery's would, and the body
goes out by the delivery's own request and transport: one attempt, marked ``X-Test: 1``, never repeated, in no store.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from gateway.config import Config, Credentials, Endpoint
from gateway.delivery.diagnosis import diagnose
from gateway.delivery.redaction import EndpointRedaction
from gateway.delivery.request import EndpointPost, request_for
from gateway.delivery.result import judge
from gateway.routing.route import load_message
from gateway.routing.route import wire_format as kind_for
from gateway.safe_http.client import post
from gateway.safe_http.error_pages import FAILURE_BODY
from gateway.safe_http.models import Request, Response
from gateway.safe_http.ssrf import NO_ADDRESSES, OwnAddresses, mask_url
from gateway.trial_result import ShownRequest, TestPostResult, shown_request, shown_response
from schemas import FORMATS, BadCallback, Body, CannotSay, FormatOptions, Message, ReceiveContext, legacy, wire
from schemas.credentials import CREDENTIALS

FIELDS: Mapping[str, tuple[str, ...]] = {"callback": legacy.CALLBACK_FIELDS, "status": legacy.STATUS_FIELDS}
"""The two kinds of test, and the fields of their format in the documented order."""
FREE_FORM = ""
"""The name of the endpoint that a free-form URL is made into."""


class InvalidTestPost(ValueError):
    """The caller must act. `errors` names every fault: ``{"endpoint": ["…"]}``."""

    def __init__(self, errors: Mapping[str, Sequence[str]]) -> None:
        self.errors = {name: list(faults) for name, faults in errors.items()}
        super().__init__("; ".join(f"{name}: {' '.join(faults)}" for name, faults in errors.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class TestPost:
    """What is to be sent, and where: an endpoint of the configuration or a URL, one of the two."""

    kind: str
    """``callback`` or ``status``."""
    endpoint: str = ""
    url: str = field(default="", repr=False)
    fields: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Fields of the format; those that are absent are the sample's. Credentials stand in for the endpoint's own."""


def samples(kind: str, config: Config) -> dict[str, str]:
    """Every field of the format with a value that could have come: of the first number that is configured."""
    number = config.numbers[0] if config.numbers else None
    keyword = number.keywords[0] if number and number.keywords else None
    named = keyword or number
    code = number.shortcode if number else "12345"
    word = keyword.word if keyword and keyword.match != "regex" else "JOIN"
    known = {
        "title": (named and named.title) or "Summer sign-up",
        "code": code,
        "shortcode": code,
        "message": f"{word} a test, with é and 🎉",
        "phone": "15162065515",
        "carrier": "",
        "keyword": word,
        "group": (named and named.group) or "Acme",
        "custom_ticket": "test-1",
        "default_keyword": (number and number.default_keyword) or "ACME1234",
        "sendTo": "15162065515",
        "status": "delivered",
        "ticket": "f6ac6e90-4c38-4ba1-a8ce-25a911a422db",
    }
    return {name: known[name] for name in FIELDS[kind]}


def send_test_post(trial: TestPost, config: Config, now: datetime, own: OwnAddresses = NO_ADDRESSES) -> TestPostResult:
    """Post once and say what came of it. Raises `InvalidTestPost`; a refused address is a result.

    `own`: where this gateway listens, never to be called. Blocks for the endpoint's timeout at most.
    """
    endpoint = _with_credentials(_endpoint(trial, config), trial)
    message = _message(trial, config, now)
    how = kind_for(endpoint, message)
    try:
        body = FORMATS[how].dump(message, endpoint.format_options)
    except CannotSay as error:
        shown = ShownRequest(url=_shown_url(trial, endpoint))
        return TestPostResult(ok=False, verdict="dead", diagnosis=[str(error)], request=shown)
    request = request_for(
        endpoint, _post(how, body), config, now, own, free_form=endpoint.name == FREE_FORM, capture=True
    )
    return _result(trial, endpoint, request, post(request), body, now)


def _endpoint(trial: TestPost, config: Config) -> Endpoint:
    if bool(trial.endpoint) == bool(trial.url):
        raise InvalidTestPost({"endpoint": ["Give either an endpoint or a URL."]})
    if trial.url:
        return Endpoint(
            name=FREE_FORM,
            url=trial.url.strip(),
            format_options=FormatOptions(prefix=config.prefix),
            failure_body=FAILURE_BODY,
        )
    if trial.endpoint not in config.endpoints:
        raise InvalidTestPost({"endpoint": ["No endpoint of the configuration has this name."]})
    return config.endpoints[trial.endpoint]


def _with_credentials(endpoint: Endpoint, trial: TestPost) -> Endpoint:
    given = {name: trial.fields[name] for name in CREDENTIALS if trial.fields.get(name)}
    return replace(endpoint, credentials=replace(endpoint.credentials or Credentials(), **given)) if given else endpoint


def _message(trial: TestPost, config: Config, now: datetime) -> Message:
    """The fields as the platform would post them, read as its post would be."""
    names = FIELDS[trial.kind]
    if unknown := sorted(set(trial.fields).difference(names, CREDENTIALS)):
        raise InvalidTestPost({name: ["Not a field of this format."] for name in unknown})
    sample = samples(trial.kind, config)
    data, _ = wire.write_form([(name, trial.fields.get(name, sample[name])) for name in names])
    receipt = ReceiveContext(now=now, sid=str(uuid.uuid4()), prefix=config.prefix)
    try:
        message, _way = load_message(data, f"{wire.FORM}; charset=utf-8", f"legacy-{trial.kind}", receipt, config)
    except BadCallback as error:
        raise InvalidTestPost(error.errors) from None
    return message


def _post(how: str, body: Body) -> EndpointPost:
    return EndpointPost(
        wire_format=how,
        content_type=body.content_type,
        headers=body.headers,
        data=body.data,
        delivery_id=str(uuid.uuid4()),
        attempt=1,
        test=True,
    )


def _result(
    trial: TestPost, endpoint: Endpoint, request: Request, answer: Response, body: Body, now: datetime
) -> TestPostResult:
    verdict = judge(answer, endpoint, now.timestamp())
    secrets = EndpointRedaction.of(endpoint)
    said = dict.fromkeys((*diagnose(request, answer, endpoint), *body.notes))
    return TestPostResult(
        ok=verdict.outcome == "succeeded",
        verdict=verdict.outcome,
        diagnosis=[secrets.text(sentence) for sentence in said],
        request=shown_request(request, answer, _shown_url(trial, endpoint), secrets),
        response=shown_response(answer, secrets),
        times=answer.times,
        address=answer.address,
    )


def _shown_url(trial: TestPost, endpoint: Endpoint) -> str:
    """What somebody typed they may see again; what was configured may hold a secret in its query."""
    return trial.url.strip() if trial.url else mask_url(endpoint.url)
