"""The tables of `gateway.toml` and their settings, each with its default: the file's grammar in one view."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validates_schema

from gateway.config.fields import (
    Choice,
    Country,
    Flag,
    FlagOrFile,
    Name,
    OneOrMore,
    Pattern,
    Row,
    Seconds,
    Secret,
    Template,
    Text,
    Version,
    Whole,
    Wording,
)
from gateway.config.http_fields import (
    Base,
    Charset,
    Database,
    Headers,
    Key,
    Net,
    Proxy,
    PublicUrl,
    SigningSecret,
    StatusWords,
    Success,
    Url,
)
from gateway.config.model import OptOutReplies
from gateway.config.spelling import unknown
from schemas import status
from schemas.credentials import CREDENTIALS
from schemas.legacy import CALLBACK_FIELDS, EXTRA_FIELDS, STATUS_FIELDS

FORM_FIELDS = tuple(dict.fromkeys((*CALLBACK_FIELDS, *STATUS_FIELDS, *CREDENTIALS)))
"""Every name that a legacy post may have by itself."""
MORE_FIELDS = tuple(name for name in EXTRA_FIELDS if name not in FORM_FIELDS)
"""What an endpoint may ask for besides. No name that a post has already: each name goes once."""
LONGEST_TIMEOUT = 300
"""Seconds. A delivery is leased for longer than its timeout, and a crashed worker's lease must run out some day."""
LONGEST_SEND = 60
"""Seconds for one request to CarrierX: a send is leased for longer."""
LONGEST_DOUBT = 3_600
LONGEST_MISSING = 7 * 86_400
LONGEST_TEXT = 1_600
"""Characters of a text that is sent, before placeholders are filled: ten messages and a bit."""
TABLES = ("gateway", "carrierx", "legacy", "template", "endpoint", "number")
OPT_OUT = ("record", "reply", "off")
RESPONSE = "response"
"""A keyword's `reply` that is no text of its own: the endpoint's answer."""
MATCHES = ("word", "exact", "prefix", "regex")
NAME = re.compile(r"[\w.-]{1,64}")
"""Of an endpoint or a template: it stands in URLs, logs, metrics and command lines."""
_REPLIES = OptOutReplies()


class Table(Schema):
    """A table. Names that it does not know are mistakes, each with the nearest that it knows."""

    class Meta:
        unknown = EXCLUDE

    error_messages = {"type": "must be a table"}

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def _names(self, data: object, original: object, **kwargs: Any) -> None:
        names = original if isinstance(original, Mapping) else {}
        errors = {name: [unknown(name, self.fields)] for name in names if name not in self.fields}
        if errors:
            raise ValidationError(errors)


class GatewayTable(Table):
    """``[gateway]``"""

    database = Database(load_default="sqlite:///data/gateway.db")
    public_url = PublicUrl(load_default="")
    keys = Row(Key(), empty=False, load_default=list)
    password = Secret(load_default="")
    allow_networks = Row(Net(), load_default=list)
    retention_days = Whole(1, 36_500, load_default=30)
    country = Country(load_default="US")
    trusted_proxies = Row(Net(), load_default=list)
    egress_proxy = Proxy(load_default="")
    opt_out = Choice(*OPT_OUT, load_default="record")
    stop_reply = Template(LONGEST_TEXT, ("title",), load_default=_REPLIES.stop)
    start_reply = Template(LONGEST_TEXT, ("title",), load_default=_REPLIES.start)
    help_reply = Template(LONGEST_TEXT, ("title",), load_default=_REPLIES.help)


class CarrierXTable(Table):
    """``[carrierx]``"""

    base_url = Base(load_default="https://api.carrierx.com/core/v2")
    token = Secret(load_default="")
    login = Secret(load_default="")
    password = Secret(load_default="")
    partner_sid = Text(load_default="")
    timeout = Seconds(LONGEST_SEND, load_default=15.0)
    concurrency = Whole(1, 100, load_default=8)
    doubt = Seconds(LONGEST_DOUBT, 0, load_default=15.0)
    missing_after = Seconds(LONGEST_MISSING, 1, load_default=600.0)


class CredentialsTable(Table):
    """``credentials`` of an endpoint"""

    user_name = Secret(load_default="")
    password = Secret(load_default="")
    api_key = Secret(load_default="")


class LegacyTable(CredentialsTable):
    """``[legacy]``"""

    tickets = Choice("uuid", "decimal", load_default="uuid")


class TemplateTable(Table):
    """``[template.ID]``"""

    text = Template(LONGEST_TEXT, required=True)


class EndpointTable(Table):
    """``[endpoint.NAME]``"""

    url = Url(required=True)
    format = Choice("legacy", "carrierx", load_default="legacy")
    shape = Choice("auto", "sms", "mms", load_default="auto")
    secret = SigningSecret(load_default="")
    timeout = Seconds(LONGEST_TIMEOUT, load_default=15.0)
    connect_timeout = Seconds(LONGEST_TIMEOUT)  # 5 seconds, or the timeout where that is shorter
    concurrency = Whole(1, 1_000, load_default=8)
    charset = Charset(load_default="utf-8")
    send_charset = Flag(load_default=True)
    encode_twice = Row(Choice(*FORM_FIELDS), load_default=list)
    status_words = StatusWords(status.WORDS, status.NUMERIC, load_default=None)
    credentials = fields.Nested(CredentialsTable)
    username = Text(load_default="")
    password = Text(load_default="")
    headers = Headers(load_default=())
    extra_fields = Row(Choice(*MORE_FIELDS), load_default=list)
    media = Choice("omit", "append", load_default="omit")
    legacy_key = Flag(load_default=True)
    phone = Choice("international", "national", load_default="international")
    verify_tls = FlagOrFile(empty=False, load_default=True)
    tls_min = Version("1.0", "1.1", "1.2", "1.3", load_default="1.2")
    success = Success(load_default="2xx")
    success_body = Pattern(load_default=None)
    failure_body = OneOrMore(Pattern())  # error pages of PHP, ColdFusion and ASP.NET, where the format is legacy


class NumberTable(Table):
    """``[[number]]``; its keywords are read apart, with `KeywordTable`"""

    number = Text(empty=False, required=True)
    shortcode = Text(empty=False)  # the number
    title = Text(load_default="")
    group = Text(load_default="")
    default_keyword = Text(load_default="")
    callback = Row(Name(), load_default=list)
    status = Row(Name(), load_default=list)
    opt_out = Choice(*OPT_OUT)  # the gateway's
    keyword = fields.Raw()


class KeywordTable(Table):
    """``[[number.keyword]]``"""

    word = Name(required=True)
    aliases = Row(Name(), load_default=list)
    match = Choice(*MATCHES, load_default="word")
    callback = Row(Name())  # the number's
    reply = Wording(LONGEST_TEXT, load_default="")
    title = Text()  # the number's
    group = Text()  # the number's
