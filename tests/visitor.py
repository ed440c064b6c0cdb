"""A console in this process and somebody who uses it, as a browser would: cookies, CSRF tokens, `Sec-Fetch-Site`.

with console(tmp_path, CONFIG) as app:
    visitor = Visitor(app)
    visitor.log_in()
    page = visitor.post("/test/callback", url="http://127.0.0.1:1/")
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from argon2 import PasswordHasher
from flask import Flask
from jinja2 import StrictUndefined
from werkzeug.test import TestResponse

from gateway import create_app
from gateway.config import Settings
from gateway.store import Store
from tests.prepared import TEMPLATES, migrate

PASSWORD = "correct horse battery staple"
KEY = "key-of-the-tests"
BASE = f"""
[gateway]
database = "sqlite:///data/gateway.db"
keys = ["{KEY}"]
password = "{PASSWORD}"
"""
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@contextmanager
def console(
    folder: Path,
    text: str = BASE,
    *,
    login_token: str | None = None,
    sandbox: bool = False,
    environ: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Flask]:
    """The web half with the configuration `text`, in `folder`. Its store is closed behind it."""
    path = folder / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    settings = Settings(path, environ)
    if sandbox:
        settings = Settings(replace(settings.current, sandbox=True))
    with Store(settings.current.database) as store:
        migrate(store)
        app = create_app(settings, store, login_token=login_token)
        store.writer.write(lambda _: None)  # the configuration is in the audit trail, and its line in the log
        # The real one takes 64 MB and a tenth of a second for each of the tests' many logins.
        app.extensions["auth"].passwords._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        app.jinja_env.bytecode_cache = TEMPLATES
        # A name that nothing has any more would be shown as nothing.
        app.jinja_env.undefined = StrictUndefined
        yield app


class Visitor:
    """A browser. `base` is how it got here; `headers` are added to every request."""

    def __init__(self, app: Flask, base: str = "http://localhost", **environ: str) -> None:
        self.client = app.test_client()
        self._base, self._environ = base, environ

    def get(self, path: str, **options: Any) -> TestResponse:
        options.setdefault("headers", {}).setdefault("Accept", BROWSER)
        return self.client.get(path, base_url=self._base, environ_overrides=self._environ, **options)

    def raw_post(self, path: str, data: dict[str, str], **headers: str) -> TestResponse:
        """A post with nothing put in."""
        return self.client.post(
            path,
            data=data,
            base_url=self._base,
            environ_overrides=self._environ,
            headers={"Accept": BROWSER, **headers},
        )

    def post(self, path: str, /, page: str | None = None, **data: str) -> TestResponse:
        """Submits the form that stands on `page` (else on `path` itself)."""
        token = self.token(page or path)
        return self.raw_post(path, {"csrf_token": token, **data}, **{"Sec-Fetch-Site": "same-origin"})

    def token(self, path: str) -> str:
        found = re.search(r'name="csrf_token" value="([^"]+)"', self.get(path).text)
        assert found, f"{path} has no form"
        return html.unescape(found[1])

    def log_in(self, password: str = PASSWORD, **data: str) -> TestResponse:
        return self.post("/login", password=password, **data)

    @property
    def cookie(self) -> str | None:
        found = self.client.get_cookie("gateway_session", domain=re.sub(r"^https?://", "", self._base))
        return found.value if found else None
