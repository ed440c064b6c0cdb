"""Callbacks to the whole web half: nothing is a 5xx, and each is kept, once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import strategies as st
from sqlalchemy import select

from gateway import create_app
from gateway.config import Settings
from gateway.store import Store, schema
from tests import drawn
from tests.fuzz.corpus import VECTORS, damaged
from tests.fuzz.engine import Target
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

Input = tuple[str, bytes, dict[str, str]]

# A header is one line of latin-1; what else the platform's libraries may put into it is drawn.
lines = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40)
content_types = (
    drawn.content_types.filter(lambda name: name is not None and name.isprintable() and name.isascii()) | lines
)
fitting = {
    "carrierx": drawn.objects,
    "legacy-callback": drawn.fitting_forms(drawn.callbacks),
    "legacy-status": drawn.fitting_forms(drawn.statuses),
}
typed = st.fixed_dictionaries({}, optional={"Content-Type": content_types, "X-Gateway-Hops": lines | st.just("1")})
plain = st.sampled_from(({}, {"Content-Type": drawn.FORM}))
inputs = st.sampled_from(sorted(PATHS)).flatmap(
    lambda name: st.one_of(
        st.tuples(st.just(name), fitting[name], plain),
        st.tuples(st.just(name), damaged([body for body, _ in VECTORS[name]]), plain),
        st.tuples(st.just(name), drawn.bodies, typed),
    )
)


@contextmanager
def target(folder: Path) -> Iterator[Target]:
    (folder / "gateway.toml").write_text(CONFIG)
    settings = Settings(folder / "gateway.toml", {})
    with Store(settings.current.database) as store:
        migrate(store)
        app = create_app(settings, store)
        client, last = app.test_client(), 0

        def check(given: Input) -> str:
            nonlocal last
            name, body, headers = given
            with client.post(f"{PATHS[name]}/{KEY}", data=body, headers=headers) as answer:
                status = answer.status_code
            with store.reader() as connection:
                events = schema.events.c
                new = connection.execute(select(events.id, events.state).where(events.id > last)).all()
            assert status in (200, 400) and len(new) == 1, f"{status}: each is kept, and kept once"
            last, state = new[0]
            assert (status == 400) == (state == "refused")
            return f"{name} {state}" if state in ("accepted", "refused") else "other"

        ways = [f"{name} {state}" for name in PATHS for state in ("accepted", "refused")]
        yield Target(inputs=inputs, check=check, ways=ways)
        app.extensions["gateway"].notifier.close()
