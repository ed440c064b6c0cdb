"""What is sent, by whom and by which words: templates, replies, the account, and who may send by legacy calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.config.errors import Findings
from gateway.config.places import Place
from gateway.config.schema import NAME, RESPONSE
from gateway.config.validate import Table

_WAITS = "has answers that wait until [carrierx] has an account: token, or login and password"


def check_sending(tables: Mapping[str, Any], findings: Findings) -> None:
    """All tables, as they could be read."""
    carrierx: Table = tables["carrierx"]
    account = bool(carrierx.get("token") or carrierx.get("login"))
    legacy: Table = tables["legacy"]
    if account and not (legacy.get("password") or legacy.get("api_key")):
        findings.warn(("legacy",), "has neither password nor api_key: sends by legacy calls are refused")
    for name in tables["template"]:
        if not NAME.fullmatch(name):
            findings.fault(("template", name), "may have letters, digits and - _ . in its ID, 64 at most")
    _check_responses(tables["number"], tables["endpoint"], findings)
    if not account:
        for place in _replies(tables["gateway"], tables["number"]):
            findings.warn(place, _WAITS)


def _check_responses(numbers: Sequence[Table], endpoints: Mapping[str, Table], findings: Findings) -> None:
    for here, number, keyword in _keywords(numbers):
        names = keyword.get("callback", number.get("callback"))
        if keyword.get("reply") != RESPONSE or names is None:
            continue
        if not names:
            findings.fault((*here, "reply"), f'is "{RESPONSE}", but there is no endpoint in callback that could answer')
        elif endpoints.get(names[0], {}).get("format") == "carrierx":
            text = 'and the first endpoint has format = "carrierx": its answer counts all the same if it is text/plain'
            findings.warn((*here, "reply"), f'is "{RESPONSE}", {text}')


def _replies(gateway: Table, numbers: Sequence[Table]) -> Iterator[Place]:
    """Every place that has something answered."""
    if gateway.get("opt_out") == "reply":
        yield ("gateway", "opt_out")
    for index, number in enumerate(numbers):
        if number.get("opt_out") == "reply":
            yield ("number", index, "opt_out")
    for here, _, keyword in _keywords(numbers):
        if keyword.get("reply"):
            yield (*here, "reply")


def _keywords(numbers: Sequence[Table]) -> Iterator[tuple[Place, Table, Table]]:
    """(place, number, keyword)"""
    for nth, number in enumerate(numbers):
        for index, keyword in enumerate(number.get("keyword", ())):
            yield ("number", nth, "keyword", index), number, keyword
