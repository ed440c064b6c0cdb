"""Nearly right and quite wrong callbacks against the whole web half: nothing is a 5xx, and everything is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from gateway import create_app
from gateway.config import Settings
from gateway.store import Store, schema
from tests import drawn, examples
from tests.prepared import migrate

KEY = "key-of-the-tests"
PATHS = {"carrierx": "/carrierx/callback", "legacy-callback": "/legacy/callback", "legacy-status": "/legacy/status"}
CONFIG = f"""
[gateway]
keys = ["{KEY}"]
password = "password-of-the-tests"

[endpoint.page]
url = "http://127.0.0.1:8080/page"
status_words = "numeric"
extra_fields = ["message_sid", "price", "user_data", "media_urls", "group_recipients"]
media = "append"

[endpoint.old_page]
url = "http://127.0.0.1:8080/old"
charset = "windows-1252"
encode_twice = ["message", "group"]
phone = "national"

[endpoint.application]
url = "http://127.0.0.1:8080/application"
format = "carrierx"

[[number]]
number = "15162065919"
shortcode = "12345"
callback = ["page", "old_page", "application"]
status = ["page", "old_page", "application"]

  [[number.keyword]]
  word = "JOIN"
  callback = ["application", "page"]
"""

# A header is one line of latin-1; what else the platform's libraries may put into it is drawn.
headers = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40)
content_types = drawn.content_types.filter(lambda name: name is None or name.isprintable() and name.isascii()) | headers
FITTING = {
    "carrierx": drawn.objects,
    "legacy-callback": drawn.fitting_forms(drawn.callbacks),
    "legacy-status": drawn.fitting_forms(drawn.statuses),
}


class Fuzzed:
    """The web half with its store, and what came of everything so far."""

    def __init__(self, app: Flask, store: Store) -> None:
        self._client, self._store = app.test_client(), store
        self.answers: Counter[tuple[str, int]] = Counter()

    def events(self) -> Counter[str]:
        with self._store.reader() as connection:
            states = connection.execute(
                select(schema.events.c.state, func.count().label("count")).group_by(schema.events.c.state)
            )
            return Counter({row.state: row.count for row in states})

    def post(self, name: str, body: bytes, content_type: str | None) -> int:
        given = {} if content_type is None else {"Content-Type": content_type}
        with self._client.post(f"{PATHS[name]}/{KEY}", data=body, headers=given) as answer:
            self.answers[name, answer.status_code] += 1
            return answer.status_code


@pytest.fixture
def fuzzed(tmp_path: Path) -> Iterator[Fuzzed]:
    (tmp_path / "gateway.toml").write_text(CONFIG)
    of_file = Settings(tmp_path / "gateway.toml", {})
    with Store(of_file.current.database) as store:
        migrate(store)
        app = create_app(of_file, store)
        yield Fuzzed(app, store)
        app.extensions["gateway"].notifier.close()


@pytest.mark.parametrize("name", PATHS)
def test_whatever_comes_is_answered_and_kept(fuzzed: Fuzzed, name: str) -> None:
    @settings(max_examples=examples(120, 1000))
    @given(st.tuples(FITTING[name], st.sampled_from((None, drawn.FORM))) | st.tuples(drawn.bodies, content_types))
    def one(callback: tuple[bytes, str | None]) -> None:
        body, content_type = callback
        before = fuzzed.events()
        status = fuzzed.post(name, body, content_type)
        new = fuzzed.events() - before
        assert status in (200, 400) and new.total() == 1, "each is kept, and kept once"
        assert (status == 400) == (new["refused"] == 1)

    one()
    assert fuzzed.events()["accepted"] > 5 and fuzzed.answers[name, 400] > 5, "both ways were walked"
