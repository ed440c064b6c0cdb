"""One sweep for what leaks: every secret of the configuration and every field of every message is told from all others,
a gateway runs through all that it does and through its failures, and everything that it leaves behind is searched.

Secrets stand in the configuration alone. Texts and whole phone numbers stand in the store and on the console's pages.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg
import pytest
from argon2 import PasswordHasher
from psycopg import sql

from gateway.config.fields import settings_of
from gateway.config.model import Credentials
from gateway.config.schema import TABLES
from schemas.carrierx import ATTRIBUTES
from schemas.legacy import CALLBACK_FIELDS, STATUS_FIELDS
from tests.e2e.callbacks import FORM, JSON, text_of_carrierx, update_of_carrierx
from tests.legacy_calls import SOAP, XML, envelope
from tests.postgresql_server import PostgresqlServer
from tests.running import Answer, Gateway, until
from tests.servers import Caller, Server, answer

SECRETS = {
    "gateway.database": "canary-of-the-database",
    "gateway.keys": "canary-of-the-keys",
    "gateway.password": "canary-of-the-password",
    "gateway.egress_proxy": "canary-of-the-proxy",
    "gateway.session_secret": "canary-of-the-session-secret-0123456789",
    "key.value": "canary-of-a-named-key",
    "carrierx.token": "canary-of-the-token",
    "carrierx.login": "canary-of-the-login",
    "carrierx.password": "canary-of-carrierx",
    "legacy.user_name": "canary-of-the-legacy-user",
    "legacy.password": "canary-of-the-legacy-password",
    "legacy.api_key": "canary-of-the-legacy-key",
    "endpoint.secret": "canary-of-the-signature",
    "endpoint.password": "canary-of-basic",
    "endpoint.headers": "canary-of-a-header",
    "endpoint.credentials.user_name": "canary-of-the-page-user",
    "endpoint.credentials.password": "canary-of-the-page-password",
    "endpoint.credentials.api_key": "canary-of-the-page-key",
    "operator.password": "canary-of-an-operator",
    "operator.totp": "CANARYOFONETIMECODESCANARYOFONET",
}
"""Each secret setting of the declarations, and what it is set to."""
OTHERS = {
    "the query of endpoint.url": "canary-of-a-query",
    "the query of a status_url": "canary-of-a-status-query",
    "the user of a status_url": "canary-of-a-status-user",
    "the query of a tested URL": "canary-of-a-test-query",
    "a wrong key": "canary-of-a-wrong-key",
    "a wrong password": "canary-of-a-wrong-password",
    "credentials of a stranger": "canary-of-a-stranger",
    "a password typed into a test form": "canary-of-a-test-form",
    "a cookie of an endpoint": "canary-of-a-cookie",
    "a mistake in the configuration": "canary-of-a-mistake",
}
"""Secrets that no setting has: those of URLs, and those that come with calls and answers."""
STORED = {"secret the query of a status_url"}
"""The status posts of a call go to its URL, so the store has it whole. No page shows it."""
FROM_THE_ENVIRONMENT = {"CANARY_PASSWORD": "gateway.password", "CANARY_TOKEN": "carrierx.token"}
NUMBER, CODE = "15162065919", "12345"

CONFIG = """
[gateway]
database = "{database}"
keys = ["{gateway.keys}"]
password = "${CANARY_PASSWORD}"
egress_proxy = "http://someone:{gateway.egress_proxy}@127.0.0.1:{proxy}"
allow_networks = ["127.0.0.0/8"]
session_secret = "{gateway.session_secret}"
public_url = "https://sms.example.com"
opt_out = "reply"

[carrierx]
base_url = "http://127.0.0.1:{core_api}/core/v2"
{account}

[legacy]
user_name = "{legacy.user_name}"
password = "{legacy.password}"
api_key = "{legacy.api_key}"

[[key]]
name = "platform"
value = ["{key.value}"]
for = ["legacy"]

[[operator]]
name = "jane"
password = '{hash}'
totp = "{operator.totp}"

[endpoint.page]
url = "http://127.0.0.1:8081/page.php?pin={query}"
credentials = { user_name = "{endpoint.credentials.user_name}", password = "{endpoint.credentials.password}", \
api_key = "{endpoint.credentials.api_key}" }
extra_fields = ["message_sid", "user_data"]

[endpoint.crm]
url = "http://127.0.0.1:8082/crm?pin={query}"
format = "carrierx"
secret = "{endpoint.secret}"
username = "crm"
password = "{endpoint.password}"
headers = { X-Tenant = "{endpoint.headers}" }

[endpoint.down]
url = "http://127.0.0.1:8083/down?pin={query}"

[[number]]
number = "15162065919"
shortcode = "12345"
title = "Acme alerts"
callback = ["page", "crm", "down"]
status = ["page", "crm", "down"]

  [[number.keyword]]
  word = "JOIN"
  reply = "response"
"""


class Texts:
    """Texts and phones, each given out once."""

    def __init__(self) -> None:
        self.given: dict[str, str] = {}

    def text(self, place: str) -> str:
        return self.given.setdefault(place, f"canary-text-{len(self.given)}-")

    def phone(self, place: str) -> str:
        return self.given.setdefault(f"the phone of {place}", f"15165{len(self.given):06}")


def echo(caller: Caller) -> None:
    """Says back everything that an application can see; but for the one that is down."""
    while (request := caller.read_request()) is not None:
        head, _, body = request.partition(b"\r\n\r\n")
        if b":8083/" in head:
            return
        # Only the proxy, which is played here too, sees its own password.
        head = re.sub(rb"(?mi)^proxy-authorization:.*\r\n", b"", head + b"\r\n")
        cookie = f"Set-Cookie: session={OTHERS['a cookie of an endpoint']}"
        line = head.split(b"\r\n")[0].decode("latin-1").split()[1]
        caller.send(answer(200, head + body, cookie, f"X-Echo: {line}", "Content-Type: text/plain"))


def unauthorized(caller: Caller) -> None:
    """CarrierX, which takes no token, and says which it got."""
    while (request := caller.read_request()) is not None:
        said = request.partition(b"\r\n\r\n")[0].decode("latin-1")
        caller.send(answer(401, json.dumps({"message": said}).encode(), "Content-Type: application/json"))


def spellings(value: str) -> list[str]:
    """How a secret may stand somewhere: plain, or in base64, by itself or behind a user's name."""
    coded = [base64.b64encode((before + value).encode()).decode().rstrip("=")[:-1] for before in ("", "crm:", "a:")]
    return [value, value.upper(), value.lower(), quote(value, safe=""), *coded]


def test_every_secret_setting_has_a_canary() -> None:
    declared = {
        f"{table}.{name}"
        for table, settings in {**TABLES, "endpoint.credentials": settings_of(Credentials)}.items()
        for name, setting in settings.items()
        if setting.secret
    }
    assert sorted(declared - set(SECRETS)) == [], "secret settings that the sweep does not know: give each a canary"
    assert sorted(set(SECRETS) - declared) == [], "canaries of settings that there are no more"


class Sweep:
    """Texts that were seen, and the canaries that must not be in them."""

    def __init__(self, secrets: Mapping[str, str], texts: Texts) -> None:
        self.secrets, self.texts = secrets, texts.given
        self.found: list[str] = []

    def search(self, place: str, seen: bytes | str, *, texts_too: bool = True, is_store: bool = False) -> None:
        whole = seen.decode("utf-8", "replace") if isinstance(seen, bytes) else seen
        wanted = {f"secret {name}": spellings(value) for name, value in self.secrets.items()}
        if is_store:
            wanted = {name: forms for name, forms in wanted.items() if name not in STORED}
        elif texts_too:
            wanted |= {f"text {name}": [value] for name, value in self.texts.items()}
        for name, forms in wanted.items():
            at = next((at for form in forms if (at := whole.find(form)) >= 0), None)
            if at is not None:
                self.found.append(f"{name}, found in {place}: …{whole[max(at - 80, 0) : at + 60]!r}…")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_no_canary_is_where_it_must_not_be(kind: str, tmp_path: Path, postgresql: PostgresqlServer) -> None:
    with ExitStack() as stack:
        proxy, core_api = stack.enter_context(Server(echo)), stack.enter_context(Server(unauthorized))
        database = "sqlite:///data/gateway.db"
        account = 'token = "${CANARY_TOKEN}"'
        if kind == "postgresql":
            database = own_database(postgresql, stack)
            account = 'login = "{carrierx.login}"\npassword = "{carrierx.password}"'
        config = written(database=database, proxy=proxy.port, core_api=core_api.port, account=account)
        temporary = tmp_path / "tmp"
        temporary.mkdir()
        environ = {name: SECRETS[setting] for name, setting in FROM_THE_ENVIRONMENT.items()}
        gateway = Gateway(tmp_path / "gateway", config, {**environ, "TMPDIR": str(temporary)})
        stack.callback(gateway.kill)
        gateway.start()
        texts = Texts()
        sweep = Sweep(SECRETS | OTHERS, texts)

        for place, came in all_that_comes(gateway, texts):
            sweep.search(f"the answer to {place}", came.body + repr(came.headers).encode())
        if kind == "postgresql":
            postgresql.halt()
            try:
                away = gateway.call("POST", f"/carrierx/callback/{SECRETS['gateway.keys']}", callback(texts, "away"))
                assert away.status == 503
                sweep.search("the answer while the store is away", away.body)
                sweep.search("/readyz while the store is away", gateway.call("GET", "/readyz").body)
            finally:
                postgresql.resume()
        until(lambda: gateway.call("GET", "/readyz").status == 200, "ready again")
        log = gateway.process.log
        until(lambda: log.read_bytes().count(b'"attempt"') >= 20, "attempts")
        until(lambda: any(b"/core/v2/" in request for request in core_api.requests), "CarrierX was called")
        refuse_a_change(gateway, config)

        rows = of_postgresql(database) if kind == "postgresql" else of_sqlite(gateway)
        assert texts.given["message of carrierx"] in rows, "the sweep sees what is there"
        sweep.search("the database", rows, is_store=True)
        for path, page in pages(gateway):
            sweep.search(f"the page {path}", page, texts_too=False)
        for path in ("/metrics", "/readyz", "/healthz"):
            sweep.search(path, gateway.call("GET", path).body)
        for place, output in commands(gateway):
            sweep.search(place, output, texts_too=place != "gateway opt-outs export")
        for pid in gateway.process.processes():
            sweep.search("the process list", Path(f"/proc/{pid}/cmdline").read_bytes())
            # A process has the variables that its configuration is read from, and nothing of the file.
            variables = dict(
                pair.split("=", 1) for pair in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in pair
            )
            given = {name: value for name, value in variables.items() if name not in environ}
            sweep.search("a process's environment", repr(given))
        assert gateway.stop() == 0
        for file in sorted([*gateway.folder.rglob("*"), *temporary.rglob("*")]):
            if file.is_file() and file.name != "gateway.toml":
                is_store = file.name.startswith("gateway.db")
                sweep.search(str(file.relative_to(tmp_path)), file.read_bytes(), is_store=is_store)
    assert not sweep.found, "\n".join(sweep.found)


def written(**places: object) -> str:
    """The configuration, with every secret in its place."""
    hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(SECRETS["operator.password"])
    config = CONFIG
    for name, value in (places | {"hash": hashed, "query": OTHERS["the query of endpoint.url"]} | SECRETS).items():
        config = config.replace(f"{{{name}}}", str(value))
    return config


def own_database(server: PostgresqlServer, stack: ExitStack) -> str:
    """A database whose owner has the canary for a password."""
    name = server.create()
    stack.callback(server.drop, name)
    with server.connect() as connection:
        role = sql.Identifier(f"role_{name}")
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}").format(role, SECRETS["gateway.database"])
        )
    return f"postgresql://role_{name}:{SECRETS['gateway.database']}@127.0.0.1:{server.port}/{name}"


def callback(texts: Texts, place: str, **changes: object) -> bytes:
    """A callback of CarrierX with a text in each attribute that may hold one."""
    known = json.loads(text_of_carrierx(f"sid-{place}", "x", mms=True))
    known |= {"from": texts.phone(place), "message": f"JOIN {texts.text(f'message of {place}')}"}
    known |= {name: texts.text(f"{name} of {place}") for name in ("user_data", "campaign")}
    known |= {"media_urls": [f"https://media.example.com/{texts.text(f'media of {place}')}.png"]}
    assert set(known) - {"campaign"} <= set(ATTRIBUTES)
    return json.dumps(known | changes).encode()


def all_that_comes(gateway: Gateway, texts: Texts) -> Iterator[tuple[str, Answer]]:
    """Every way in, right and wrong, by its name, with the answer."""
    key = SECRETS["gateway.keys"]
    ours = {name: SECRETS[f"legacy.{name}"] for name in ("user_name", "password", "api_key")}
    wrong = dict.fromkeys(ours, OTHERS["credentials of a stranger"])

    def form(fields: tuple[str, ...], place: str, trio: Mapping[str, str], **changes: str) -> bytes:
        said = {name: texts.text(f"{name} of {place}") for name in fields}
        said |= {"phone": texts.phone(place), "sendTo": texts.phone(f"the {place}"), "status": "sent"}
        said |= {"code": CODE, "shortcode": CODE, "message": f"JOIN {texts.text(f'the message of {place}')}"}
        return urlencode({name: said[name] for name in fields} | dict(trio) | changes).encode()

    def soap(place: str, trio: Mapping[str, str], **changes: object) -> bytes:
        auth = {"username": trio["user_name"], "password": trio["password"], "api_key": trio["api_key"], "code": CODE}
        said = {"auth": auth, "message": texts.text(f"message of {place}"), "custom_ticket": f"ticket of {place}"}
        said |= {"recipientList": {"recipients": [{"sendTo": texts.phone(place), "type": 1}]}}
        said |= {"status_url": f"http://127.0.0.1:8084/status.php?pin={OTHERS['the query of a status_url']}"}
        return envelope("sendMessage", **said | changes).encode()

    def sent(place: str, trio: Mapping[str, str], **changes: str) -> bytes:
        said = {"message": texts.text(f"message of {place}"), "sendTo": texts.phone(place), "code": CODE}
        return urlencode({**said, **trio, **changes}).encode()

    def post(path: str, body: bytes, kind: str, wanted: int, **headers: str) -> Answer:
        came = gateway.call("POST", path, body, {"Content-Type": kind, **headers})
        assert came.status == wanted, (path, body[:200], came)
        return came

    cx, old, status = (f"{path}/{key}" for path in ("/carrierx/callback", "/legacy/callback", "/legacy/status"))
    known = {"password": ours["password"], "legacy": {"api_key": ours["api_key"]}}
    user_in_url = f"http://{OTHERS['the user of a status_url']}:x@127.0.0.1:8084/"
    yield "a callback", post(cx, callback(texts, "carrierx"), JSON, 200)
    yield "another number's", post(cx, callback(texts, "unrouted", to="15160000000"), JSON, 200)
    yield "an update", post(cx, update_of_carrierx("sid-u", "sent", texts.text("user_data of an update")), JSON, 200)
    named = f"/legacy/callback/{SECRETS['key.value']}"
    yield "a named key", post(named, form(CALLBACK_FIELDS, "a named key", ours), FORM, 200)
    scope = f"/carrierx/callback/{SECRETS['key.value']}"
    yield "a key of others", post(scope, callback(texts, "a key of others"), JSON, 403)
    yield "STOP", post(cx, callback(texts, "stop", message="STOP"), JSON, 200)
    yield "a callback with secrets", post(cx, callback(texts, "secrets", **known), JSON, 200)
    yield "a refused one", post(cx, callback(texts, "refused", direction="sideways", **known), JSON, 400)
    yield "an unreadable one", post(cx, callback(texts, "unreadable", **known)[:-1], JSON, 400)
    yield "one too large", post(cx, callback(texts, "large", fill="x" * (1 << 20)), JSON, 413)
    yield "an encoded one", post(cx, callback(texts, "gzip"), JSON, 415, **{"Content-Encoding": "gzip"})
    bad_key = OTHERS["a wrong key"]
    yield "a wrong key", post(f"/carrierx/callback/{bad_key}", callback(texts, "wrong key"), JSON, 403)
    yield "a wrong method", gateway.call("GET", f"/carrierx/callback/{bad_key}?text={texts.text('query')}")
    yield "no page", gateway.call("GET", f"/nothing/{key}?token={bad_key}&text={texts.text('a page')}")
    yield "a keyword callback", post(old, form(CALLBACK_FIELDS, "a callback", ours), FORM, 200)
    yield "a stranger's", post(old, form(CALLBACK_FIELDS, "a stranger", wrong), FORM, 403)
    yield "one without a phone", post(old, form(CALLBACK_FIELDS, "no phone", ours, phone=""), FORM, 400)
    yield "a damaged form", post(old, form(CALLBACK_FIELDS, "damage", ours) + b"&%zz=%ff", FORM, 200)
    yield "a multipart form", post(old, form(CALLBACK_FIELDS, "parts", ours), "multipart/form-data", 403)
    yield "a status post", post(status, form(STATUS_FIELDS, "a status", ours), FORM, 200)
    yield "a wrong status post", post(status, form(STATUS_FIELDS, "a wrong status", wrong), FORM, 403)
    yield "a call by SOAP", post(SOAP, soap("soap", ours), XML, 200)
    yield "a stranger's call", post(SOAP, soap("a stranger's soap", wrong), XML, 200)
    yield "a user in a URL", post(SOAP, soap("a user in a URL", ours, status_url=user_in_url), XML, 200)
    yield "a cut envelope", post(SOAP, soap("a cut envelope", ours)[:-20], XML, 400)
    yield "a call by form", post("/legacy/sendMessage", sent("form", ours), FORM, 200)
    yield "a stranger's form", post("/legacy/sendMessage", sent("a stranger's form", wrong), FORM, 200)
    with_url = f"http://127.0.0.1:8084/?pin={OTHERS['the query of a status_url']}"
    yield "a form with a URL", post("/legacy/sendMessage", sent("a URL", ours, status_url=with_url), FORM, 200)
    yield "a form with a user", post("/legacy/sendMessage", sent("a user", ours, status_url=user_in_url), FORM, 200)
    yield "a question", post("/legacy/getCustomTransactionStatus", sent("question", ours), FORM, 200)
    yield "a wrong login", gateway.call("GET", "/", None, basic(OTHERS["a wrong password"]))


def basic(password: str) -> dict[str, str]:
    coded = base64.b64encode(f"anybody:{password}".encode()).decode()
    return {"Authorization": f"Basic {coded}", "Accept": "text/html"}


def refuse_a_change(gateway: Gateway, config: str) -> None:
    """A mistake beside a secret, which the log and the console tell of; then the file as it was."""
    file = gateway.folder / "gateway.toml"
    mistake = OTHERS["a mistake in the configuration"]
    file.write_text(config.replace('username = "crm"', f'username = "crm"\ntimeout = "{mistake}"'))
    until(lambda: b"configuration_refused" in gateway.process.log.read_bytes() or seen(gateway), "refused")
    file.write_text(config)
    until(lambda: b"configuration_read" in gateway.process.log.read_bytes() or seen(gateway), "read again")


def seen(gateway: Gateway) -> bool:
    """Looks at the configuration's page, which has the file looked at; False."""
    gateway.call("GET", "/configuration", None, basic(SECRETS["gateway.password"]))
    return False


def pages(gateway: Gateway) -> Iterator[tuple[str, bytes]]:
    """Every page that a link leads to, the bodies to save, and what tests and pasted bodies show."""
    user = basic(SECRETS["gateway.password"])
    wanted, done = ["/", "/unrouted", "/refused", "/test/callback", "/test/status", "/test/paste"], set()
    while wanted:
        path = wanted.pop(0)
        if path in done:
            continue
        done.add(path)
        page = gateway.call("GET", path, None, user)
        assert page.status in (200, 400), (path, page.status)
        yield path, page.body
        links = re.findall(rb'href="(/[^"#]*)', page.body)
        wanted += [link.decode().replace("&amp;", "&") for link in links if not link.startswith(b"/static")]
    assert len(done) > 30, done
    program = {**user, "Accept": "application/json"}
    typed = OTHERS["a password typed into a test form"]
    url = f"http://127.0.0.1:8082/?{urlencode({'pin': OTHERS['the query of a tested URL']})}"
    for name, fields in (
        ("crm", {"endpoint": "crm"}),
        ("page", {"endpoint": "page", "password": typed}),
        ("down", {"endpoint": "down"}),
        ("url", {"url": url, "password": typed}),
    ):
        body = urlencode(fields).encode()
        came = gateway.call("POST", "/test/callback", body, {**program, "Content-Type": FORM})
        assert came.status == 200, came
        # Who typed a URL or a password is shown it again; nobody else is.
        shown = came.body.replace(url.encode(), b"") if name == "url" else came.body
        yield f"test of {name}", shown


def commands(gateway: Gateway) -> Iterator[tuple[str, bytes]]:
    """Output of the commands about the configuration and the store."""
    explain = ["explain", "--to", NUMBER, "JOIN"]
    for arguments in (["opt-outs", "export"], ["check"], ["audit"], explain):
        command = [sys.executable, "-m", "gateway", *arguments, "--config", str(gateway.folder / "gateway.toml")]
        done = subprocess.run(command, capture_output=True, env=gateway.process.environ, timeout=60)
        assert done.returncode == 0, done
        yield f"gateway {' '.join(arguments)}", done.stdout + done.stderr


def of_sqlite(gateway: Gateway) -> str:
    tables = [row["name"] for row in gateway.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return "\n".join(repr(row) for table in tables for row in gateway.rows(f'SELECT * FROM "{table}"'))


def of_postgresql(url: str) -> str:
    with psycopg.connect(url) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        queries = [sql.SQL("SELECT * FROM {}").format(sql.Identifier(name)) for (name,) in names]
        return "\n".join(repr(row) for query in queries for row in connection.execute(query))
