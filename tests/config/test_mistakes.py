"""Every mistake in the file is told at once, each with its place; what is odd is told too."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import Config, ConfigError, load, loads, validate
from gateway.config.validate import fields_in_query
from tests.config_cases import GRAMMAR, IN_AN_ENDPOINT, KEY, MISTAKES, WARNINGS, endpoint

HERE = Path("/etc/sms/gateway.toml")


def read(text: str, environ: dict[str, str] | None = None) -> Config:
    return loads(text, path=HERE, environ=environ or {})


def faults(text: str, environ: dict[str, str] | None = None) -> list[str]:
    """Every mistake as ``line place: text``; a file without any is a mistake of the test."""
    with pytest.raises(ConfigError) as caught:
        read(text, environ)
    return [f"{fault.line} {fault.path}: {fault.text}" for fault in caught.value.faults]


def warnings(text: str) -> list[str]:
    return [warning.removeprefix(f"{HERE}:") for warning in read(text).warnings]


def test_every_mistake_is_told_at_once() -> None:
    text = """
[gateway]
retention_days = 0
contry = "US"
keys = ["a b", "${NOT_SET}"]

[endpoint.a]
timeout = "15"

[[number]]
number = "15162065919"
callback = ["b"]
  [[number.keyword]]
  word = "("
  match = "regex"
  aliases = [1]
"""
    assert faults(text) == [
        "3 gateway.retention_days: must be from 1 to 36500",
        '4 gateway.contry: "contry" is not a setting; did you mean "country"?',
        "5 gateway.keys[1]: the environment variable NOT_SET is not set",
        "5 gateway.keys[0]: is part of URLs, so it may have only letters, digits and - . _ ~",
        "7 endpoint.a.url: is missing",
        "8 endpoint.a.timeout: must be a number of seconds, without quotes, not text",
        '12 number[0].callback[0]: "b" is not an endpoint; known: a',
        "14 number[0].keyword[0].word: is not a regular expression: missing ), unterminated subpattern at character 1",
        "16 number[0].keyword[0].aliases[0]: must be text in quotes, not a whole number",
    ]


def test_mistakes_are_lines_to_click_on() -> None:
    with pytest.raises(ConfigError) as caught:
        read("[gateway]\nretention_days = true\n\nkeys = 1\n")
    assert str(caught.value).split("\n") == [
        "/etc/sms/gateway.toml:2: gateway.retention_days: must be a whole number, without quotes, not true or false",
        "/etc/sms/gateway.toml:4: gateway.keys: must be a list, not a whole number",
    ]


@pytest.mark.parametrize(("setting", "said"), IN_AN_ENDPOINT)
def test_a_mistake_in_an_endpoint(setting: str, said: str) -> None:
    assert faults(endpoint(setting)) == [f"3 endpoint.a.{said}"]


def test_authorization_is_made_from_one_thing() -> None:
    text = endpoint('username = "u"\nheaders = { authorization = "Bearer x" }')
    assert faults(text) == [
        "4 endpoint.a.headers.authorization: is what username and password make: give only one of them"
    ]


@pytest.mark.parametrize("name", [" ", "a b", "a/b", "x" * 65, "a\\nb", "\\u202e"])
def test_an_endpoints_name_can_stand_anywhere(name: str) -> None:
    (fault,) = faults(f'[endpoint."{name}"]\nurl = "http://a.example/"')
    assert fault.endswith("may have letters, digits and - _ . in its name, 64 at most")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://a.example/", "http:// or https://"),
        ("file:///etc/passwd", "http:// or https://"),
        ("a.example", "http:// or https://"),
        ("http://", "no host"),
        ("http://user:pw@a.example/", "user name or password"),
        ("http://a.example/a b", "a space"),
        ("http://a.example\\\\b", "backslash"),
        ("http://a.example:22/", "port 22"),
        ("http://a.example/" + "x" * 2048, "longer than 2048"),
        ("http://169.254.169.254/latest", "link-local"),
        ("http://[fe80::1]/", "link-local"),
        ("", "is empty"),
    ],
)
def test_a_url_that_may_not_be_called(url: str, said: str) -> None:
    (fault,) = faults(f'[endpoint.a]\nurl = "{url}"')
    assert fault.startswith("2 endpoint.a.url: ")
    assert said in fault
    assert "pw" not in fault


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/", "http://[::1]:9000/x", "http://2130706433/", "http://web/"])
def test_an_endpoint_may_be_private(url: str) -> None:
    assert read(f'[endpoint.a]\nurl = "{url}"').endpoints["a"].url == url


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("message=1", ["message"]),
        ("x=1&MESSAGE", ["message"]),
        ("m%65ssage=1", ["message"]),
        ("a=1;SendTo=2", ["sendTo"]),
        ("message[]=1", ["message"]),
        ("user.name=1", ["user_name"]),
        ("+user+name=1", ["user_name"]),
        ("API_KEY=1&password=2", ["password", "api_key"]),
        ("price=1", ["price"]),
        ("site=message&messages=1", []),
        ("", []),
    ],
)
def test_a_query_must_not_use_a_fields_name(query: str, found: list[str]) -> None:
    text = f'[endpoint.a]\nurl = "http://a.example/?{query}"\nextra_fields = ["price"]'
    if found:
        said = "in its query, which some servers read instead of the posted field"
        assert faults(text) == [f"2 endpoint.a.url: has {', '.join(found)} {said}"]
    else:
        assert read(text).endpoints["a"].url.endswith(query)


def test_a_query_is_free_for_carrierx() -> None:
    assert read('[endpoint.a]\nurl = "http://a.example/?message=1"\nformat = "carrierx"').endpoints
    assert fields_in_query("http://a/?status=1#message=2", ("message", "status")) == ["status"]


@pytest.mark.parametrize(("text", "said"), MISTAKES)
def test_a_mistake(text: str, said: str) -> None:
    assert faults(text) == [said]


def test_postgresql_wants_keys_and_password() -> None:
    wanted = "must be set with PostgreSQL: every machine must have the same"
    text = '\n[gateway]\ndatabase = "postgresql://u:pw@h/d"'
    assert sorted(faults(text)) == [f"2 gateway.keys: {wanted}", f"2 gateway.password: {wanted}"]
    assert faults(text + '\nkeys = ["a b"]\npassword = 1') == [
        "4 gateway.keys[0]: is part of URLs, so it may have only letters, digits and - . _ ~",
        "5 gateway.password: must be text in quotes, not a whole number",
    ]


def test_with_postgresql_a_named_key_is_one_of_keys() -> None:
    text = '[gateway]\ndatabase = "postgresql://u:pw@h/d"\npassword = "correct horse"\n'
    assert read(text + KEY + '"aaaaaaaaaaaaaaaa"').all_keys


def test_two_numbers_must_not_be_one() -> None:
    text = '[[number]]\nnumber = "15162065919"\nshortcode = "12345"\n[[number]]\n'
    assert faults(text + 'number = "516-206-5919"') == ["5 number[1].number: is number[0].number already"]
    assert faults(text + 'number = "15162065920"\nshortcode = "12345"') == [
        "6 number[1].shortcode: is number[0].shortcode already"
    ]
    assert faults(text + 'number = "12345"') == ["5 number[1].number: is number[0].shortcode already"]


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ('word = "join"', '"join" is number[0].keyword[0].word already, with match = "word" too'),
        ('word = "“Sign-Up”"', '"“Sign-Up”" is number[0].keyword[0].aliases[0] already, with match = "word" too'),
    ],
)
def test_two_keywords_must_not_be_one(second: str, said: str) -> None:
    text = endpoint() + '[[number.keyword]]\nword = "JOIN"\naliases = ["SIGN-UP"]\n[[number.keyword]]\n' + second
    (fault,) = faults(text)
    assert fault == f"13 number[0].keyword[1].word: {said}"


def test_two_keywords_may_have_one_word_in_two_ways() -> None:
    text = endpoint() + '[[number.keyword]]\nword = "JOIN"\n[[number.keyword]]\nword = "JOIN"\nmatch = "exact"'
    assert warnings(text) == []


def test_two_regexes_are_one_only_if_written_alike() -> None:
    text = endpoint() + '[[number.keyword]]\nword = "a."\nmatch = "regex"\n[[number.keyword]]\nmatch = "regex"\nword = '
    assert read(text + '"A."').numbers
    (fault,) = faults(text + '"a."')
    assert "already" in fault


# The grammar of the file itself.


@pytest.mark.parametrize(("text", "said"), GRAMMAR)
def test_a_mistake_in_the_grammar(text: str, said: str) -> None:
    (fault,) = faults(text)
    assert fault.startswith(said)
    assert "secret" not in fault


def test_a_mistake_in_the_grammar_names_file_and_line() -> None:
    with pytest.raises(ConfigError, match=r"^/etc/sms/gateway\.toml:2: Invalid value"):
        read("a = 1\nb = \n")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    with pytest.raises(ConfigError, match="there is no such file; `gateway init` writes one"):
        load(path, {})
    with pytest.raises(ConfigError, match="cannot be read: "):
        load(tmp_path, {})
    path.write_bytes("[gateway]\npassword = 'ü'".encode("latin-1"))
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load(path, {})
    path.write_bytes("[gateway]\ncountry = 'DE'".encode("utf-8-sig"))
    assert load(path, {}).prefix == "49"


def test_the_environment_is_that_of_the_process_unless_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text('[gateway]\npassword = "${GATEWAY_TEST_PASSWORD}"')
    monkeypatch.setenv("GATEWAY_TEST_PASSWORD", "from the process")
    assert load(path).password == "from the process"
    with pytest.raises(ConfigError, match="GATEWAY_TEST_PASSWORD is not set"):
        load(path, {})


# The environment.


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("${A}${B}${A}", "the environment variable A, B is not set"),
        ("x ${} y", "after ${ comes the name of an environment variable and }: ${GATEWAY_KEY}"),
        ("${A-B}", "after ${ comes the name of an environment variable and }: ${GATEWAY_KEY}"),
        ("${SET", "after ${ comes the name of an environment variable and }: ${GATEWAY_KEY}"),
        ("${BYTES}", "the environment variable BYTES is not UTF-8"),
    ],
)
def test_variables(value: str, said: str) -> None:
    text = f'[gateway]\npassword = "{value}"'
    assert faults(text, {"SET": "x", "BYTES": "\udcff"}) == [f"2 gateway.password: {said}"]


def test_an_empty_variable_is_no_secret() -> None:
    assert faults('[gateway]\npassword = "${P}"', {"P": ""}) == [
        "2 gateway.password: is empty; leave it out if there is none"
    ]


def test_an_unset_variable_is_all_that_is_said_of_its_place() -> None:
    assert faults('[endpoint.a]\nurl = "${U}"\nheaders = { A = "${H}" }') == [
        "2 endpoint.a.url: the environment variable U is not set",
        "3 endpoint.a.headers.A: the environment variable H is not set",
    ]


# What is odd.


@pytest.mark.parametrize(("text", "said"), WARNINGS)
def test_a_warning(text: str, said: str) -> None:
    (warning,) = warnings(text)
    assert warning.startswith(said)
    assert 'short"' not in warning


def test_a_file_without_numbers_is_odd() -> None:
    assert read("").warnings == ("/etc/sms/gateway.toml: there is no [[number]]: every text is kept as unrouted",)


def test_no_warning_for_what_is_well() -> None:
    text = endpoint() + 'shortcode = "12345"\n[carrierx]\nbase_url = "http://127.0.0.1:9000"\ntoken = "x"\n'
    text += '[legacy]\napi_key = "k"\ntickets = "decimal"\n[template.a]\ntext = "Hi {name}"\n'
    assert warnings(text + f'[gateway]\npassword = "{"p" * 10}"\nkeys = ["{"k" * 16}"]') == []


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("template.a.text", "[template.a]\ntext = "),
        ("gateway.stop_reply", "[gateway]\nstop_reply = "),
        ("number[0].keyword[0].reply", '[[number]]\nnumber = "15162065919"\n[[number.keyword]]\nword = "A"\nreply = '),
    ],
)
def test_a_text_has_an_end(place: str, line: str) -> None:
    assert read(f'{line}"{"é" * 1600}"')
    (fault,) = faults(f'{line}"{"é" * 1601}"')
    assert fault.endswith(f"{place}: is longer than 1600 characters")


def test_warnings_come_along_with_mistakes() -> None:
    with pytest.raises(ConfigError) as caught:
        read('[endpoint.a]\nurl = "http://a.example/"\ntimeout = 0\n[[number]]\nnumber = "12345"')
    assert [warning.split(": ")[1] for warning in caught.value.warnings] == ["endpoint.a", "number[0]"]


@pytest.mark.parametrize(
    ("python", "safe"),
    [
        ((3, 11, 9), "3.11.10"),
        ((3, 11, 10), None),
        ((3, 12, 0), "3.12.4"),
        ((3, 12, 3), "3.12.4"),
        ((3, 12, 4), None),
        ((3, 13, 0), None),
        ((4, 0, 0), None),
    ],
)
def test_a_python_with_known_holes_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, python: tuple[int, ...], safe: str | None
) -> None:
    monkeypatch.setattr(validate, "PYTHON", python)
    shown = ".".join(map(str, python))
    wanted = [f" Python {shown} has known security holes: use {safe} or newer"] if safe else []
    assert warnings(endpoint()) == wanted


@pytest.mark.parametrize(
    ("url", "is_warned_of"),
    [
        ("sqlite:///data/gateway.db", False),
        ("postgresql://me@db.example.com/sms", True),
        ("postgresql://me:secret@db.example.com:5432/sms?sslmode=require", True),
        ("postgresql://me:p@ss@db.example.com/sms?sslmode=verify-full", False),
        ("postgresql+psycopg://me@10.0.0.5/sms?connect_timeout=3&sslmode=verify-full", False),
        ("postgresql://me@db1:5432,db2:5432/sms?target_session_attrs=read-write", True),
        ("postgresql://me@localhost,db2/sms", True),
        ("postgresql://me@/sms?host=db.example.com", True),
        ("postgresql://me@[2001:db8::5]:5432/sms", True),
        ("postgresql://me@localhost/sms", False),
        ("postgresql://me:secret@127.0.0.1:5432/sms", False),
        ("postgresql://me@[::1]:5432/sms", False),
        ("postgresql://me@localhost:5432,127.0.0.1:5433/sms", False),
        ("postgresql://me@/sms?host=db2:5432&host=localhost:5432", True),
        ("postgresql://me@/sms?host=127.0.0.1:5432&host=localhost:5432", False),
        ("postgresql:///sms", False),
        ("postgresql://me@/sms?host=/var/run/postgresql", False),
        ("postgresql://me@/sms?host=%2Fvar%2Frun%2Fpostgresql", False),
    ],
)
def test_a_database_far_away_must_prove_that_it_is_the_one(url: str, is_warned_of: bool) -> None:
    text = endpoint() + f'[gateway]\nkeys = ["{"k" * 16}"]\npassword = "{"p" * 10}"\ndatabase = "{url}"'
    sentence = "names a server on another machine without sslmode=verify-full: anyone on the way can pass for it"
    assert warnings(text) == ([f"12: gateway.database: {sentence}"] if is_warned_of else [])
