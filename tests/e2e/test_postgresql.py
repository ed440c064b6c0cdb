"""The whole gateway on PostgreSQL, with nothing in its folder but the configuration."""

from __future__ import annotations

from pathlib import Path

import psycopg

from tests.e2e.applications import Page
from tests.e2e.callbacks import JSON, TEXTS, text_of_carrierx, update_of_carrierx
from tests.running import BASE, Gateway, until

CONFIG = """
[endpoint.page]
url = "{page}/callback.php"

[endpoint.page_status]
url = "{page}/status.php"

[[number]]
number = "15162065919"
shortcode = "12345"
callback = ["page"]
status = ["page_status"]
"""


def let_a_minute_pass(url: str) -> None:
    """Of standing still: leases of the dead have run out, and second attempts are due."""
    with psycopg.connect(url) as conn:
        conn.execute("UPDATE deliveries SET due = due - 60 WHERE due IS NOT NULL")


def test_kept_through_a_kill_and_delivered(tmp_path: Path, postgresql_url: str) -> None:
    page = Page(tmp_path, "page")
    base = BASE.replace("sqlite:///data/gateway.db", postgresql_url)
    gateway = Gateway(tmp_path / "gateway", base + CONFIG.format(page=page.url))
    calls = [
        *(text_of_carrierx(name, text) for name, text in TEXTS.items()),
        update_of_carrierx("sid-of-the-update", "delivered"),
    ]
    try:
        gateway.start()
        assert [gateway.post("/carrierx/callback", body, JSON).status for body in calls] == [200] * len(calls)
        gateway.kill()
        let_a_minute_pass(postgresql_url)
        page.start()
        gateway.start()
        until(lambda: len(page.records()) >= len(calls), "everything delivered")
        texts = [one["fields"]["message"] for one in page.records("/callback.php")]
        # One conversation: in the order accepted. An attempt that was cut off may have been seen twice.
        assert list(dict.fromkeys(texts)) == list(TEXTS.values())
        assert page.records("/status.php")[0]["fields"]["ticket"] == "sid-of-the-update"
        assert gateway.stop() == 0
    finally:
        gateway.kill()
        page.kill()
