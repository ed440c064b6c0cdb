"""Every route of both applications: no answer names a host of the caller's, and all have the headers that all have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests import acme
from tests.visitor import BASE, KEY, Visitor, console

EVIL = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}
EXAMPLES = (
    (r"<any\((\w+)[^>]*>", r"\1"),
    (r"<uuid:[^>]*>", "0f8fad5b-d9cb-469f-a165-70867728950e"),
    (r"<int:[^>]*>", "1"),
    ("<[^>]*>", "x"),
)
TLS = BASE.replace("[gateway]", '[gateway]\npublic_url = "https://sms.example.com"')


@pytest.fixture(params=[BASE, TLS], ids=["plain", "tls"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flask]:
    with console(tmp_path, request.param, sandbox=True) as made:
        yield made


def paths(app: Flask) -> list[str]:
    """Each route as it is, with a slash behind it, and with each of its slashes doubled."""
    (programs,) = (part for part in app.wsgi_app.args if isinstance(part, Flask))  # type: ignore[attr-defined]
    found = {""}
    for rule in [*app.url_map.iter_rules(), *programs.url_map.iter_rules()]:
        path = rule.rule
        for pattern, example in EXAMPLES:
            path = re.sub(pattern, example, path)
        found |= {path, f"{path}/", path.rstrip("/"), path.replace("/", "//"), f"{path}//"}
        found |= {f"{path[: at.start()]}/{path[at.start() :]}" for at in re.finditer("/", path)}
    assert {"/test//callback", "/legacy//webservices/", "/carrierx/callback//x", "/sandbox", "//login"} <= found
    return sorted(found)


def check(answer: TestResponse, is_tls: bool) -> None:
    assert "evil.example" not in f"{answer.headers} {answer.text}", answer.request.path
    location = answer.headers.get("Location", "/")
    assert re.match(r"/(?!/)", location), location
    assert answer.status_code != 308 and answer.headers.getlist("X-Content-Type-Options") == ["nosniff"]
    assert answer.headers.get("Strict-Transport-Security") == ("max-age=31536000" if is_tls else None)
    answer.close()


def test_no_answer_names_the_host_that_was_called(app: Flask, request: pytest.FixtureRequest) -> None:
    is_tls = "tls" in request.node.name
    inside = Visitor(app)
    inside.log_in()
    for path in paths(app):
        # As the request line has it: a client would take what is behind two slashes for a host.
        environ = {"PATH_INFO": path, "REMOTE_ADDR": "198.51.100.7"}
        for visitor in (app.test_client(), inside.client):
            if path.strip("/") != "logout":
                check(visitor.get("/", headers=EVIL, environ_overrides=environ, query_string="wsdl"), is_tls)
                check(visitor.post("/", headers=EVIL, environ_overrides=environ, data={"a": "b"}), is_tls)


def test_kept_callbacks_and_answers_without_a_body_have_them_too(tmp_path: Path) -> None:
    text = acme.TOML.format(database="sqlite:///data/gateway.db").replace(
        "[gateway]", '[gateway]\npublic_url = "HTTPS://sms.example.com"'
    )
    with console(tmp_path, text) as app:
        client = app.test_client()
        for path, body in (("carrierx/callback", acme.text()), ("legacy/callback", acme.keyword_callback())):
            answer = client.post(f"/{path}/{KEY}", data=body)
            assert answer.status_code == 200
            check(answer, True)
        for path in ("healthz", "readyz", "metrics", "static/console.css"):
            check(client.head(f"/{path}"), True)


@pytest.mark.parametrize(("peer", "host"), [("10.0.0.7", "sms.example.com"), ("198.51.100.7", "192.0.2.7")])
def test_only_a_trusted_proxy_says_by_which_host_it_was_called(tmp_path: Path, peer: str, host: str) -> None:
    """It is named where links have to name one and `public_url` is not set: in the WSDL."""
    with console(tmp_path, BASE.replace("[gateway]", '[gateway]\ntrusted_proxies = ["10.0.0.0/28"]')) as app:
        of_server = {"SERVER_NAME": "192.0.2.7", "SERVER_PORT": "8081", "REMOTE_ADDR": peer}
        headers = {"Host": "evil.example", "X-Forwarded-Host": "sms.example.com"}
        said = app.test_client().get("/legacy/webservices/?wsdl", environ_overrides=of_server, headers=headers).text
    assert "evil" not in said and f'location="http://{host}:8081/legacy/webservices/"' in said
