"""Numbers, their keywords and where they lead: what contradicts itself, and what can never happen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import phonenumbers
from marshmallow import ValidationError

from gateway import keywords, patterns
from gateway.config.errors import Findings
from gateway.config.fields import compiled
from gateway.config.places import Place, spelled
from gateway.config.spelling import shown, unknown
from gateway.config.validate import SLOW, Table
from schemas.fields import number as normalised

_SHORT_CODE = range(3, 7)


def check_numbers(numbers: Sequence[Table], endpoints: Mapping[str, Any], prefix: str, findings: Findings) -> None:
    """All of ``[[number]]``, with the names of all endpoints, good or not."""
    _check_spellings(numbers, prefix, findings)
    routed: set[str | None] = set()
    for index, number in enumerate(numbers):
        _check_ways(("number", index), number, findings)
        _check_keywords(("number", index, "keyword"), number.get("keyword", ()), findings)
        for place, names in _lists(("number", index), number):
            routed.update(names)
            _check_names(place, names, endpoints, findings)
    for name in endpoints:
        if name not in routed:
            findings.warn(("endpoint", name), "is called by no number and no keyword")
    if not numbers:
        findings.warn((), "there is no [[number]]: every text is kept as unrouted")


def _lists(here: Place, number: Table) -> Iterator[tuple[Place, list[str | None]]]:
    """Every list of endpoints of a number, with its place."""
    for name in ("callback", "status"):
        yield (*here, name), number.get(name, [])
    for index, keyword in enumerate(number.get("keyword", ())):
        yield (*here, "keyword", index, "callback"), keyword.get("callback", [])


def _check_names(here: Place, names: list[str | None], endpoints: Mapping[str, Any], findings: Findings) -> None:
    for index, name in enumerate(names):
        if name is None:
            continue
        if name not in endpoints:
            findings.fault((*here, index), unknown(name, endpoints, "an endpoint"))
        elif name in names[:index]:
            findings.warn((*here, index), "is named twice: it is called once all the same")


def _check_spellings(numbers: Sequence[Table], prefix: str, findings: Findings) -> None:
    """Nothing that people text to may be two numbers."""
    owners: dict[str, tuple[int, str]] = {}
    for index, number in enumerate(numbers):
        for name in ("number", "shortcode"):
            here: Place = ("number", index, name)
            digits = normalised(number.get(name, ""), prefix)
            if number.get(name) and not digits:
                findings.fault(here, "has no digits")
                continue
            owner = owners.setdefault(digits, (index, name)) if digits else (index, name)
            if owner[0] != index:
                findings.fault(here, f"is {spelled(('number', *owner))} already")
            elif digits and _is_odd(digits):
                findings.warn(here, "does not look like a number that can be texted; it is taken as it is")


def _is_odd(digits: str) -> bool:
    if not digits.isdigit():
        return True
    if len(digits) in _SHORT_CODE:
        return False
    try:
        return not phonenumbers.is_valid_number(phonenumbers.parse(f"+{digits}"))
    except phonenumbers.NumberParseException:
        return True


def _check_ways(here: Place, number: Table, findings: Findings) -> None:
    own = number.get("callback")
    rows = number.get("keyword", ())
    if own == [] and not rows:
        findings.warn(here, "has no callback and no keyword: texts to it are kept as unrouted")
    for index, keyword in enumerate(rows):
        if keyword.get("callback", own) == []:
            findings.warn((*here, "keyword", index), "has no callback: texts that match it are kept as unrouted")


def _check_keywords(here: Place, rows: Sequence[Table], findings: Findings) -> None:
    good = {}
    for index, row in enumerate(rows):
        forms = list(_forms((*here, index), row))
        if row.get("match") == "regex":
            forms = [(place, form) for place, form in forms if _is_pattern(place, form, findings)]
        for place, form in forms:
            if reason := keywords.never(row.get("match", ""), form):
                findings.warn(place, f"can never match: it {reason}")
        if "word" in row and "match" in row:
            good[index] = forms
    _check_clashes(rows, good, findings)


def _forms(here: Place, row: Table) -> Iterator[tuple[Place, str]]:
    if "word" in row:
        yield (*here, "word"), row["word"]
    for index, alias in enumerate(row.get("aliases", ())):
        if alias is not None:
            yield (*here, "aliases", index), alias


def _is_pattern(here: Place, form: str, findings: Findings) -> bool:
    try:
        compiled(form)
    except ValidationError as error:
        findings.faults(here, error.messages)
        return False
    if patterns.may_hang(form):
        findings.warn(here, SLOW)
    return True


def _check_clashes(rows: Sequence[Table], good: Mapping[int, list[tuple[Place, str]]], findings: Findings) -> None:
    """One word must not be two keywords; `good`: the words by the keyword's index, with their places."""
    owners: dict[tuple[str, str], Place] = {}
    for index, forms in good.items():
        how = rows[index]["match"]
        for place, form in forms:
            compared = keywords.compared(how, form)
            owner = owners.setdefault((how, compared), place) if compared else place
            if owner == place:
                continue
            if owner[:4] == place[:4]:
                findings.warn(place, f"says the same as {spelled(owner)}: case and punctuation do not count")
            else:
                text = f'{shown(form)} is {spelled(owner)} already, with match = "{how}" too'
                findings.fault(place, text)
