"""A credential is blanked however its name is spelled."""

from __future__ import annotations

import json

import pytest

from schemas.credentials import CREDENTIALS, scrub_object


def escaped(name: str, at: int) -> str:
    return f"{name[:at]}\\u{ord(name[at]):04x}{name[at + 1 :]}"


@pytest.mark.parametrize("name", [*CREDENTIALS, *map(str.upper, CREDENTIALS)])
def test_a_name_in_json_with_any_letter_as_its_number(name: str) -> None:
    for at in range(len(name)):
        body = f'{{"message": "JOIN", "{escaped(name, at)}": "hunter2 \\" canary", "to": "12345"}}'
        kept = scrub_object(body.encode())
        assert b"canary" not in kept
        assert json.loads(kept) == {"message": "JOIN", name: "", "to": "12345"}


def test_a_text_that_speaks_of_one_is_a_text() -> None:
    body = rb'{"message": "my \"password\": \"x\" \u0041", "to": "12345"}'
    assert scrub_object(body) == body
