"""A credential is blanked however its name is spelled."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from schemas.credentials import (
    CREDENTIALS,
    SECRETS,
    append,
    read,
    scrub,
    scrub_call,
    scrub_head,
    scrub_object,
    scrub_refused,
)
from schemas.message import FormatOptions


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


SPELLINGS = ("{}", "auth[{}]", "call[auth][{}]", " {} ", "AUTH[{}]")


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", [*SECRETS, *map(str.title, SECRETS)])
def test_a_name_in_a_form_with_structure_and_in_any_case(name: str, spelling: str) -> None:
    spelled = spelling.format(name)
    for written in (spelled.replace(" ", "+"), quote(spelled), f"%{ord(spelled[0]):02x}{quote(spelled[1:])}"):
        kept = scrub_call(f"a=b&{written}=canary&message=my+password".encode(), None)
        assert kept == f"a=b&{written}=&message=my+password".encode()
    part = f'--b\r\nContent-Disposition: form-data; name="{spelled}"\r\n\r\n%s\r\n--b--\r\n'
    for how in (lambda body: scrub_call(body, "multipart/form-data; boundary=b"), scrub_refused):
        assert how((part % "canary").encode()) == (part % "").encode()


@pytest.mark.parametrize("name", ["usernames", "my_password", "[password", "auth[password][x]", "auth.password"])
def test_other_names_keep_their_values(name: str) -> None:
    body = f"{quote(name)}=x".encode()
    assert scrub_call(body, None) == (b"%5Bpassword=" if name == "[password" else body)


@pytest.mark.parametrize(
    "head",
    [
        b"name=" * 50_000 + b"[" * 200_000,
        b"name=" + b" " * 200_000 + b"x",
        b"name" + b" " * 200_000 + b"x",
        b'name="' + b"auth[" * 50_000 + b" " * 200_000 + b"x",
        b"name=password" + b" " * 200_000 + b"]" + b" " * 200_000 + b"x",
    ],
)
def test_many_names_in_one_head_take_no_long_time(head: bytes) -> None:
    """Each `name=` might begin one of the trio, and has nothing but brackets or spaces behind it."""
    part = b"--b\r\nContent-Disposition: form-data; " + head + b"\r\n\r\nx\r\n--b--\r\n"
    assert scrub(part, "multipart/form-data; boundary=b") == part
    assert scrub_call(part, "multipart/form-data; boundary=b") == scrub_refused(part) == part


@pytest.mark.parametrize("name", ["username", "Password", "auth[password]"])
def test_a_callback_has_the_trio_by_its_exact_names(name: str) -> None:
    """All other fields are kept, byte for byte."""
    part = f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\nx\r\n--b--\r\n'.encode()
    assert scrub(f"a=b&{name}=x".encode(), None) == f"a=b&{name}=x".encode()
    # Names in heads of parts are taken in any case, as ever: servers differ.
    blanked = scrub(part, "multipart/form-data; boundary=b") != part
    assert blanked == (name == "Password")


MULTIPART = "multipart/form-data; boundary=b"


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b"password=a=canary&a=b=c", b"password=&a=b=c"),
        (b"pass%00word=canary", b"pass%00word="),
        (b"pass\0word=canary", b"pass\0word="),
    ],
)
def test_all_of_a_value_is_blanked(body: bytes, kept: bytes) -> None:
    assert scrub(body, None) == kept


def test_a_part_is_blanked_up_to_the_boundary_and_only_by_its_name() -> None:
    """A line that begins with `--` is no boundary, and a text may speak of a name."""
    head = '--b\r\nContent-Disposition: form-data; name="{}"\r\n\r\n'
    body = f'{head.format("password")}hunter\r\n--canary\r\n{head.format("message")}name="password"\r\n--b--\r\n'
    wanted = f'{head.format("password")}\r\n{head.format("message")}name="password"\r\n--b--\r\n'
    assert scrub(body.encode(), MULTIPART) == wanted.encode()


@pytest.mark.parametrize(
    "name",
    [
        *('name="password"', 'name="pass\0word"', 'NAME=password; filename="x"', "name=password "),
        *(
            'name = "password"',
            '\r\n name="password"',
            "name=password\r\nX: 1",
            'x="y";name="password"',
        ),
    ],
)
def test_what_is_read_from_a_part_is_blanked_in_it(name: str) -> None:
    part = f"--b\r\nContent-Disposition: form-data; {name}\r\n\r\n%b\r\n--b--\r\n".encode()
    assert read(part % b"canary", MULTIPART) == {"password": "canary"}
    for blanked in (how(part % b"canary") for how in (lambda body: scrub(body, MULTIPART), scrub_refused)):
        assert blanked == part % b""


def test_a_body_that_begins_within_a_part() -> None:
    assert scrub_refused(b'name="password"\r\n\r\ncanary') == b'name="password"\r\n\r\n'


def test_credentials_are_read_from_pairs_by_their_exact_names() -> None:
    body = b"user_name=u&pass%77ord=p&password=2&API_KEY=k&api_key="
    assert read(body, None) == {"user_name": "u", "password": "p", "api_key": ""}
    assert read(b"a=b", None) == read(b"--b", MULTIPART) == {}


def test_a_boundary_that_no_header_can_hold_is_no_accident() -> None:
    assert scrub(b"a=b", "multipart/form-data; boundary=\u65e5") == b"a=b"


def test_the_trio_goes_out_as_the_other_fields_do() -> None:
    values = {"api_key": "k", "password": "p w", "user_name": ""}
    assert append(b"a=b", values, FormatOptions()) == b"a=b&password=p+w&api_key=k"
    twice = FormatOptions(encode_twice=frozenset({"password"}))
    assert append(b"", values, twice) == b"password=p%2Bw&api_key=k"
    assert append(b"a=b", {"password": "é"}, FormatOptions(charset="iso-8859-1")) == b"a=b&password=%E9"


@pytest.mark.parametrize("size", [0, 5, 15, 16, 17, 1_000])
def test_the_head_of_a_long_body(size: int) -> None:
    body = bytes(range(65, 91)) * 40
    assert scrub_head(body[:size], 4) == body[:size][:4]


def test_a_secret_that_ends_behind_the_head_is_not_in_it() -> None:
    """Blanking moves up what was behind: not as far as where the reading ended, perhaps in the middle of a name."""
    body = b"password=" + b"x" * 40 + b"&passwo"
    assert scrub_head(body + b"rd=canary", 14) == b"pa"
