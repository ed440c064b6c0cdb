"""What the console's configuration page says of sending: templates, replies, opt-out."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

from gateway.safe_http.error_pages import FAILURE_BODY
from tests.visitor import BASE, Visitor, console

CONFIG = (
    BASE
    + """
help_reply = "Help for {title}"

[carrierx]
login = "canary"
password = "canary"
timeout = 7
concurrency = 3
doubt = 4
missing_after = 90

[legacy]
api_key = "canary"
tickets = "decimal"

[template.welcome]
text = "Welcome <b>{name}</b>"

[endpoint.page]
url = "http://127.0.0.1:9999/page.php"

[[number]]
number = "15162065919"
callback = ["page"]
opt_out = "reply"

  [[number.keyword]]
  word = "JOIN"
  reply = "You are <in>."

  [[number.keyword]]
  word = "ASK"
  reply = "response"

[[number]]
number = "15162065920"
callback = ["page"]
opt_out = "off"

  [[number.keyword]]
  word = "OTHER"
"""
)


def test_what_is_sent(tmp_path: Path) -> None:
    with console(tmp_path, CONFIG) as app:
        visitor = Visitor(app)
        visitor.log_in()
        page = visitor.get("/configuration").text
    said = " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())
    for each in (
        "help_reply Help for {title}",
        "start_reply {title}: you are subscribed again.",
        "carrierx.token – carrierx.login set carrierx.password set",
        "carrierx.timeout 7 s carrierx.concurrency 3 carrierx.doubt 4 s carrierx.missing_after 90 s",
        "legacy.user_name – legacy.password – legacy.api_key set legacy.tickets decimal",
        "Templates welcome Welcome <b>{name}</b>",
        "status – opt_out reply word match aliases callback reply title group",
        "status – opt_out off word match aliases callback reply title group",
        "JOIN word – page You are <in>. – –",
        "ASK word – page response – –",
        "OTHER word – page – – –",
    ):
        assert each in said, each
    assert "canary" not in page and "<b>{" not in page


def test_nothing_is_sent(tmp_path: Path) -> None:
    with console(tmp_path, BASE + '[[number]]\nnumber = "15162065919"') as app:
        visitor = Visitor(app)
        visitor.log_in()
        said = visitor.get("/configuration").text
    assert ">record<" in said and "_reply" not in said and "<p>None.</p>" in said


def test_patterns_of_error_pages_are_only_counted(tmp_path: Path) -> None:
    own = 'url = "http://127.0.0.1:9999/"\nfailure_body = ["sorry", "oops"]'
    with console(tmp_path, BASE + f'[endpoint.usual]\nurl = "http://127.0.0.1:9999/"\n[endpoint.own]\n{own}\n') as app:
        visitor = Visitor(app)
        visitor.log_in()
        page = visitor.get("/configuration").text
    said = re.findall(r"<dt>failure_body</dt><dd>(.*?)</dd>", page)
    assert said == [f"{len(FAILURE_BODY)} set", "2 set"]


def test_keys_are_named_and_never_shown(tmp_path: Path) -> None:
    key = '[[key]]\nname = "crm"\nvalue = ["canary-key-0123456", "canary-key-6543210"]\nfor = "legacy"\n'
    with console(tmp_path, BASE + key) as app:
        visitor = Visitor(app)
        visitor.log_in()
        page = visitor.get("/configuration").text
    assert "<dt>key.crm</dt><dd>legacy-callback, legacy-status</dd>" in page and "canary" not in page
