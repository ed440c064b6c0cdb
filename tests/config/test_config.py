"""What the file may say, what it means, and what must hold for every file."""

from __future__ import annotations

import dataclasses
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from docs import settings as documented
from gateway.config import TABLES, CarrierX, Config, ConfigError, Credentials, Keyword, loads, sample
from gateway.config.model import Retention
from gateway.safe_http.error_pages import FAILURE_BODY
from gateway.safe_http.ssrf import mask_url
from schemas import status
from tests.config_cases import HASH, OPERATOR, endpoint

HERE = Path("/etc/sms/gateway.toml")

DOCUMENTED = """
[gateway]
database   = "sqlite:///data/gateway.db"
public_url = "https://sms.example.com"
keys       = ["${GATEWAY_KEY}"]
password   = "${GATEWAY_PASSWORD}"
allow_networks = ["10.0.0.0/8"]
retention_days = 30
country    = "US"
trusted_proxies = []

[carrierx]
base_url = "https://api.carrierx.com/core/v2"
token    = "${CARRIERX_TOKEN}"
partner_sid = "66352290-…"

[legacy]
user_name = "…"
password  = "${LEGACY_PASSWORD}"
api_key   = "${LEGACY_API_KEY}"

[endpoint.signup]
url    = "http://10.0.0.5/sms/join.php"
format = "legacy"

[endpoint.crm]
url    = "https://crm.example.com/sms"
format = "carrierx"
shape  = "auto"
secret = "${CRM_SECRET}"

[[number]]
number    = "15162065919"
shortcode = "12345"
title     = "Acme alerts"
group     = "Acme"
default_keyword = "ACME1234"
callback  = ["crm"]
status    = ["crm"]

  [[number.keyword]]
  word     = "JOIN"
  aliases  = ["SIGNUP"]
  match    = "word"
  callback = ["signup", "crm"]
  title    = "Summer sign-up"
"""
ENVIRON = {
    "GATEWAY_KEY": "key-canary-0123456789",
    "GATEWAY_PASSWORD": "password-canary",
    "CARRIERX_TOKEN": "token-canary",
    "LEGACY_PASSWORD": "legacy-canary",
    "LEGACY_API_KEY": "api-canary",
    "CRM_SECRET": "whsec_c2VjcmV0LWNhbmFyeQ==",
}


def read(text: str, environ: dict[str, str] | None = None) -> Config:
    return loads(text, path=HERE, environ=environ or {})


def test_the_documented_file() -> None:
    config = read(DOCUMENTED, ENVIRON)
    assert config.warnings == ()
    assert (config.path, config.folder, config.data) == (HERE, Path("/etc/sms"), Path("/etc/sms/data"))
    assert config.database == "sqlite:////etc/sms/data/gateway.db"
    assert config.public_url == "https://sms.example.com"
    assert config.keys == ("key-canary-0123456789",)
    assert config.password == "password-canary"
    assert config.allow_networks == (ip_network("10.0.0.0/8"),)
    assert (config.retention_days, config.country, config.prefix) == (30, "US", "1")
    assert config.carrierx.token == "token-canary"
    assert config.carrierx.partner_sid == "66352290-…"
    assert config.legacy == Credentials(user_name="…", password="legacy-canary", api_key="api-canary")
    signup, crm = config.endpoints["signup"], config.endpoints["crm"]
    assert (signup.format, signup.url) == ("legacy", "http://10.0.0.5/sms/join.php")
    assert (crm.format, crm.format_options.shape, crm.secret) == ("carrierx", "auto", ("whsec_c2VjcmV0LWNhbmFyeQ==",))
    (number,) = config.numbers
    assert (number.number, number.shortcode, number.title, number.group) == (
        "15162065919",
        "12345",
        "Acme alerts",
        "Acme",
    )
    assert (number.default_keyword, number.callback, number.status) == ("ACME1234", ("crm",), ("crm",))
    assert number.keywords == (
        Keyword(word="JOIN", aliases=("SIGNUP",), callback=("signup", "crm"), title="Summer sign-up", group="Acme"),
    )


@pytest.mark.parametrize(
    ("text", "texts", "phones"),
    [
        ("[gateway]\nretention_days = 7", 7, 7),
        ("[gateway]\nretention_days = 7\n[retention]\nphones = 90", 7, 90),
        ("[retention]\ntexts = 90", 90, 90),
        ("[retention]\ntexts = 5", 5, 5),
        ("[retention]\ntexts = 30\nphones = 400", 30, 400),
    ],
)
def test_each_kind_is_kept_as_long_as_the_one_before_it_unless_it_is_set(text: str, texts: int, phones: int) -> None:
    assert read(text).retention == Retention(texts=texts, phones=phones, audit=400)


def test_operators_are_found_by_name_and_admin_has_the_single_password() -> None:
    text = (
        OPERATOR
        + HASH
        + 'role = "read"\ntotp = "jbsw y3dp ehpk 3pxp jbsw y3dp ehpk 3pxp"\n[gateway]\npassword = "the single one"\n'
    )
    config = read(text)
    alice, admin = config.operator("alice"), config.operator("admin")
    assert alice is not None and (alice.role, alice.totp) == ("read", "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")
    assert admin is not None and (admin.role, admin.password) == ("admin", "the single one")
    assert "the single one" not in repr(config) and "argon2" not in repr(config) and "JBSWY" not in repr(config)
    replaced = read(text + '[[operator]]\nname = "admin"\npassword = "${P}"\n', {"P": "of the environment"}).operator(
        "admin"
    )
    assert replaced is not None and (replaced.role, replaced.password) == ("operate", "of the environment")


def test_defaults() -> None:
    config = read("")
    assert config.database == "sqlite:////etc/sms/data/gateway.db"
    assert (config.keys, config.password, config.public_url, config.egress_proxy) == ((), "", "", "")
    assert (config.allow_networks, config.trusted_proxies, config.retention_days) == ((), (), 30)
    assert config.retention == Retention(texts=30, phones=30, audit=400)
    assert (config.country, config.prefix, config.legacy, config.sandbox) == ("US", "1", None, False)
    assert config.carrierx == CarrierX() and not config.carrierx.is_set
    assert config.carrierx.base_url == "https://api.carrierx.com/core/v2"
    assert (config.tickets, config.templates, config.opt_out) == ("uuid", {}, "record")
    assert config.stop_reply.startswith("{title}: you are unsubscribed")
    assert config.start_reply.startswith("{title}: you are subscribed again")
    assert config.help_reply.startswith("{title}: reply STOP to unsubscribe")
    assert (config.endpoints, config.numbers) == ({}, ())


def test_defaults_of_an_endpoint() -> None:
    found = read(endpoint()).endpoints["a"]
    assert (found.timeout, found.connect_timeout, found.concurrency) == (15.0, 5.0, 8)
    assert (found.credentials, found.username, found.password, found.headers, found.secret) == (None, "", "", (), ())
    assert (found.verify_tls, found.tls_min, found.success, found.success_body) == (True, "1.2", "2xx", None)
    assert found.failure_body == FAILURE_BODY
    options = found.format_options
    assert (options.shape, options.charset, options.send_charset, options.encode_twice) == (
        "auto",
        "utf-8",
        True,
        frozenset(),
    )
    assert (options.status_words, options.extra_fields, options.media) == (None, (), "omit")
    assert (options.legacy_key, options.phone, options.prefix) == (True, "international", "1")


def test_every_setting_of_what_is_sent() -> None:
    config = read(
        """
        [gateway]
        opt_out = "reply"
        stop_reply = "{title}: bye {{}}"
        start_reply = "${WORDS}"
        help_reply = "a\\nb"
        [carrierx]
        login = "l"
        password = "p"
        timeout = 2.5
        concurrency = 3
        doubt = 0
        missing_after = 1
        [legacy]
        tickets = "decimal"
        [template.welcome]
        text = '''
Hello {first-name},
\twelcome to {program.name_2}'''
        [template.17]
        text = "{a}{{b}}{a}"
        [endpoint.a]
        url = "http://10.0.0.5/"
        [[number]]
        number = "15162065919"
        callback = ["a"]
        [[number.keyword]]
        word = "JOIN"
        reply = "You are in: {so what}"
        [[number.keyword]]
        word = "ASK"
        reply = "${HOW}"
        [[number]]
        number = "15162065920"
        opt_out = "off"
        """,
        {"WORDS": "welcome back", "HOW": "response"},
    )
    assert config.carrierx == CarrierX(
        login="l", password="p", timeout=2.5, concurrency=3, doubt=0.0, missing_after=1.0
    )
    assert config.carrierx.is_set and (config.legacy, config.tickets) == (None, "decimal")
    assert config.templates["welcome"] == "Hello {first-name},\n\twelcome to {program.name_2}"
    assert config.templates["17"] == "{a}{{b}}{a}"
    assert (config.stop_reply, config.start_reply, config.help_reply) == ("{title}: bye {{}}", "welcome back", "a\nb")
    first, second = config.numbers
    assert (first.opt_out, second.opt_out) == ("reply", "off")
    assert [one.reply for one in first.keywords] == ["You are in: {so what}", "response"]
    assert type(first.keywords[1].reply) is str and type(config.start_reply) is str


def test_the_trio_and_how_tickets_are_told_are_apart() -> None:
    config = read('[legacy]\napi_key = "k"\ntickets = "decimal"')
    assert (config.legacy, config.tickets) == (Credentials(api_key="k"), "decimal")


def test_a_url_is_an_endpoint_by_itself_and_a_strangers() -> None:
    config = read(endpoint('credentials = { api_key = "k" }'))
    url = "HTTPS://user:canary@Pages.example.com/status.php?key=canary#x"
    found = config.endpoint(url)
    assert found and found.free_form and (found.name, found.url, found.format) == (url, url, "legacy")
    assert (found.credentials, found.headers, found.secret, found.failure_body) == (None, (), (), FAILURE_BODY)
    assert found is config.endpoint(url)
    known = config.endpoint("a")
    assert known is config.endpoints["a"] and known and not known.free_form
    assert config.endpoint("@carrierx") is config.endpoint("b") is None


def test_every_setting_of_an_endpoint(tmp_path: Path) -> None:
    config = read(
        """
        [endpoint.a]
        url = "https://user-page.example.com:8443/a.cfm?site=7"
        timeout = 2.5
        concurrency = 1
        charset = "CP1252"
        send_charset = false
        encode_twice = ["message", "group"]
        status_words = { delivered = "OK", failed = 5 }
        credentials = { user_name = "u", api_key = "${K}" }
        username = "basic"
        password = "${P}:x"
        headers = { X-Tenant = "acme of ${P}", Authorisation = "x" }
        extra_fields = ["message_sid", "price"]
        media = "append"
        phone = "national"
        verify_tls = false
        tls_min = "1.3"
        success = "200,202-204"
        success_body = "^OK"
        failure_body = ["sorry", "oops"]
        secret = ["raw secret", "older secret"]
        """,
        {"K": "${P}", "P": "pw"},
    )
    found = config.endpoints["a"]
    assert (found.timeout, found.connect_timeout, found.concurrency) == (2.5, 2.5, 1)
    # What comes from the environment is not read a second time.
    assert found.credentials == Credentials(user_name="u", api_key="${P}")
    assert (found.username, found.password, found.secret) == ("basic", "pw:x", ("raw secret", "older secret"))
    assert found.headers == (("X-Tenant", "acme of pw"), ("Authorisation", "x"))
    assert (found.verify_tls, found.tls_min) == (False, "1.3")
    assert found.success_body is not None
    assert found.success_body.search("OK") and not found.success_body.search("ok")
    assert [pattern.pattern for pattern in found.failure_body] == ["sorry", "oops"]
    options = found.format_options
    assert (options.charset, options.send_charset, options.encode_twice) == (
        "windows-1252",
        False,
        {"message", "group"},
    )
    assert (options.extra_fields, options.media, options.phone) == (("message_sid", "price"), "append", "national")
    assert options.status_words == {"delivered": "OK", "failed": "5"}
    assert [found.accepts(code) for code in (200, 201, 202, 204, 205, 302)] == [True, False, True, True, False, False]
    assert mask_url(found.url) == "https://user-page.example.com:8443/a.cfm?site=[hidden]"


@pytest.mark.parametrize(
    ("setting", "name", "wanted"),
    [
        ('status_words = "carrierx"', "status_words", None),
        ('status_words = "numeric"', "status_words", status.NUMERIC),
        ('charset = "latin1"', "charset", "iso-8859-1"),
        ('charset = "UTF8"', "charset", "utf-8"),
    ],
)
def test_format_options(setting: str, name: str, wanted: object) -> None:
    assert getattr(read(endpoint(setting)).endpoints["a"].format_options, name) == wanted


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [("failure_body = []", ()), ('failure_body = "oops"', ("oops",)), ('format = "carrierx"', ())],
)
def test_failure_body(setting: str, wanted: tuple[str, ...]) -> None:
    assert tuple(pattern.pattern for pattern in read(endpoint(setting)).endpoints["a"].failure_body) == wanted


def test_there_is_a_setting_for_every_manner() -> None:
    options = {field.name for field in dataclasses.fields(read(endpoint()).endpoints["a"].format_options)} - {"prefix"}
    assert options <= TABLES["endpoint"].keys()


@pytest.mark.parametrize(
    ("country", "prefix", "number"),
    [("US", "1", "15162065919"), ("de", "49", "495162065919"), ("", "", "5162065919"), ("CA", "1", "15162065919")],
)
def test_ten_digits_get_the_countrys_prefix(country: str, prefix: str, number: str) -> None:
    config = read(f'[gateway]\ncountry = "{country}"\n[[number]]\nnumber = "(516) 206-5919"')
    assert config.prefix == prefix
    assert config.numbers[0].number == config.numbers[0].shortcode == number
    assert config.number_for("516-206-5919") is config.numbers[0]


def test_a_number_is_found_by_either_name_in_any_spelling() -> None:
    config = read('[[number]]\nnumber = "+1 516 206 5919"\nshortcode = "123-45"\n[[number]]\nnumber = "15162065920"')
    first, second = config.numbers
    assert (first.number, first.shortcode, second.shortcode) == ("15162065919", "12345", "15162065920")
    for spelling in ("15162065919", "+15162065919", " 15162065919", "5162065919", "12345"):
        assert config.number_for(spelling) is first
    assert config.number_for("15162065920") is second
    assert config.number_for("99999") is config.number_for("") is None


def test_a_keyword_takes_after_its_number() -> None:
    config = read(
        endpoint('[endpoint.b]\nurl = "http://b.example/"')
        + 'title = "T"\ngroup = "G"\n'
        + """
        [[number.keyword]]
        word = "ONE"
        [[number.keyword]]
        word = "TWO"
        title = ""
        callback = ["b", "b"]
    """
    )
    one, two = config.numbers[0].keywords
    assert (one.title, one.group, one.callback, one.match) == ("T", "G", ("a",), "word")
    assert (two.title, two.group, two.callback) == ("", "G", ("b",))


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("sqlite:///x.db", "sqlite:////etc/sms/x.db"),
        ("sqlite:////var/x.db", "sqlite:////var/x.db"),
        ("postgresql://u:p@db/n", "postgresql://u:p@db/n"),
        ("postgres://u@db/n", "postgres://u@db/n"),
        ("postgresql+psycopg:///n", "postgresql+psycopg:///n"),
    ],
)
def test_the_database(url: str, wanted: str) -> None:
    config = read(f'[gateway]\ndatabase = "{url}"\nkeys = ["{"k" * 16}"]\npassword = "{"p" * 16}"')
    assert config.database == wanted


@pytest.mark.parametrize(
    ("name", "url", "wanted"),
    [
        ("public_url", "https://sms.example.com/gateway/", "https://sms.example.com/gateway"),
        ("public_url", "https://sms.example.com:444", "https://sms.example.com:444"),
        ("egress_proxy", "http://user:word@proxy:3128", "http://user:word@proxy:3128"),
        ("egress_proxy", "http://proxy:88/", "http://proxy:88"),
        ("egress_proxy", "", ""),
    ],
)
def test_urls_of_the_gateway(name: str, url: str, wanted: str) -> None:
    assert getattr(read(f'[gateway]\n{name} = "{url}"'), name) == wanted


def test_a_network_may_be_one_address() -> None:
    config = read('[gateway]\ntrusted_proxies = ["127.0.0.1", "::1", "fd00::/8"]')
    assert config.trusted_proxies == (ip_network("127.0.0.1/32"), ip_network("::1/128"), ip_network("fd00::/8"))


def test_a_ca_file_is_relative_to_the_file(tmp_path: Path) -> None:
    import certifi

    (tmp_path / "ca.pem").write_bytes(Path(certifi.where()).read_bytes())
    config = loads(endpoint('verify_tls = "ca.pem"'), path=tmp_path / "gateway.toml", environ={})
    assert config.endpoints["a"].verify_tls == str(tmp_path / "ca.pem")


def test_a_dollar_without_braces_stays() -> None:
    assert read('[gateway]\npassword = "$argon2id$v=19$x$y"').password == "$argon2id$v=19$x$y"


def test_a_string_of_the_environment_is_a_plain_string() -> None:
    config = read(DOCUMENTED, ENVIRON)
    for value in (config.password, config.keys[0], config.carrierx.token, *config.endpoints["crm"].secret):
        assert type(value) is str


# What must hold for every file.


def test_nothing_secret_is_shown() -> None:
    config = read(DOCUMENTED, ENVIRON)
    assert "canary" not in repr(config)
    assert not any(value in repr(config) for value in ENVIRON.values())
    urls = 'database = "postgresql://me:canary@db/sms"\negress_proxy = "http://me:canary@proxy:3128"'
    keys = f'keys = ["{"k" * 16}"]\npassword = "{"p" * 16}"'
    more = read(
        f"[gateway]\n{urls}\n{keys}\n"
        + endpoint('headers = { X-Token = "canary" }\npassword = "canary"\nusername = "u"')
    )
    assert "canary" not in repr(more)


SETTINGS = [
    *(
        f"gateway.{name}"
        for name in (
            *("database", "public_url", "password", "country", "egress_proxy", "retention_days"),
            *("opt_out", "stop_reply", "start_reply", "help_reply"),
        )
    ),
    *(f"gateway.{name}[]" for name in ("keys", "allow_networks", "trusted_proxies")),
    *(f"carrierx.{name}" for name in ("base_url", "token", "login", "password", "partner_sid")),
    *(f"carrierx.{name}" for name in ("timeout", "concurrency", "doubt", "missing_after")),
    *(f"retention.{name}" for name in TABLES["retention"]),
    *(f"legacy.{name}" for name in ("user_name", "password", "api_key", "tickets")),
    "template.a.text",
    *(f"endpoint.a.{name}" for name in TABLES["endpoint"]),
    *(f"endpoint.a.{name}[]" for name in ("encode_twice", "extra_fields", "failure_body")),
    *(f"endpoint.a.{name}" for name in ("headers.X", "status_words.sent", "credentials.api_key")),
    *(f"number.{name}" for name in ("number", "shortcode", "title", "group", "default_keyword", "opt_out")),
    *(f"number.{name}[]" for name in ("callback", "status")),
    *(f"keyword.{name}" for name in ("word", "match", "title", "group", "reply")),
    *(f"keyword.{name}[]" for name in ("aliases", "callback")),
    *(f"operator.{name}" for name in TABLES["operator"]),
]


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("secret", ["canary-4711", "(canary-4711", "canary 4711!\x07", "http://canary:4711@x y/"])
def test_a_value_of_the_environment_is_never_shown(setting: str, secret: str) -> None:
    table, name = (
        setting.removesuffix("[]").rsplit(".", 1) if setting.count(".") < 2 else setting.removesuffix("[]").split(".a.")
    )
    line = f"{name} = " + ('["${CANARY}"]' if setting.endswith("[]") else '"${CANARY}"')
    headers = {"operator": "[[operator]]", "number": "[[number]]", "keyword": "[[number]]\n[[number.keyword]]"}
    headers |= {"endpoint": "[endpoint.a]", "template": "[template.a]"}
    header = headers.get(table)
    try:
        config = read(f"{header or f'[{table}]'}\n{line}\n", {"CANARY": secret})
    except ConfigError as error:
        assert "canary" not in f"{error!s} {error!r} {error.warnings}"
    else:
        assert "canary" not in " ".join(config.warnings)


TEXTS = st.text(st.sampled_from(list("[]{}=.,#\"'\n\\ ${}aA1-é\u200b\x00")), max_size=40)
SCALARS = st.one_of(
    st.sampled_from(
        ['"x"', "1", "1.5", "true", "nan", "2020-01-01", "[]", "{}", "[1]", '["x"]', "[[]]", '{ a = "b" }']
    ),
    st.sampled_from(
        ['"${A}"', '"http://a.example/"', '["a"]', '"regex"', '"("', "-1", "99999999999999999999", '[{ word = "x" }]']
    ),
)
NAMES = st.sampled_from(
    [name.rpartition(".")[2].removesuffix("[]") for name in SETTINGS] + ["a", "keyword", "x-y", '"ü"']
)
HEADERS = st.sampled_from(
    [
        "[gateway]",
        "[carrierx]",
        "[legacy]",
        "[endpoint.a]",
        "[endpoint.b]",
        "[template.a]",
        "[[number]]",
        "[[number.keyword]]",
        "[endpoint]",
        "[x]",
    ]
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(HEADERS, st.builds("{} = {}".format, NAMES, SCALARS), TEXTS), max_size=12).map("\n".join))
def test_no_file_makes_anything_but_a_config_or_an_error(text: str) -> None:
    try:
        config = read(text, {"A": "a"})
    except ConfigError as error:
        assert error.faults
        assert len(str(error).split("\n")) == len(error.faults)
    else:
        assert config == read(text, {"A": "a"})


# Each setting is declared once: docs and the file of `gateway init` are made from that.


def test_every_setting_is_documented() -> None:
    page = documented.PAGE.read_text("utf-8")
    assert documented.written(page) == page, "`make docs` writes the tables anew"
    formats = {(name, setting.format) for name, table in TABLES.items() for setting in table.values()}
    assert {(found[2], found[3]) for found in documented.TABLE.finditer(page)} == formats


def test_the_first_file_has_every_setting_with_its_sentence() -> None:
    words = " ".join(sample().replace("\n##", " ").replace("\n  ##", " ").split())
    missing = {
        f"{table}.{name}"
        for table, settings in TABLES.items()
        for name, setting in settings.items()
        if f"{setting.sentence} {name} = " not in words.replace(" # ", " ")
    }
    assert missing == {"carrierx.login", "carrierx.password", "number.keyword"}
