"""The configuration as the rest of the gateway sees it, and the one declaration of each setting.

An attribute that is a `setting` has its type, its default, the function that reads it and its sentence for people. The
tables of the file, what `gateway init` writes, docs/configuration.md and the console's page are made from these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from hmac import compare_digest
from pathlib import Path
from types import MappingProxyType

from gateway.config import fields
from gateway.config.fields import REQUIRED, Network, Setting, setting, settings_of
from gateway.matching.keywords import KeywordIndex
from gateway.matching.patterns import LinearPattern
from gateway.safe_http.error_pages import FAILURE_BODY
from schemas.credentials import CREDENTIALS
from schemas.fields import number as normalised
from schemas.legacy import CALLBACK_FIELDS, EXTRA_FIELDS, STATUS_FIELDS
from schemas.message import FormatOptions

FORM_FIELDS = tuple(dict.fromkeys((*CALLBACK_FIELDS, *STATUS_FIELDS, *CREDENTIALS)))
"""Every name that a legacy post may have by itself."""
MORE_FIELDS = tuple(name for name in EXTRA_FIELDS if name not in FORM_FIELDS)
"""Fields that an endpoint may ask for in addition: none that a post has already, as each name goes once."""
MAX_TIMEOUT_SECONDS = 300
"""A delivery is leased for longer than its timeout, and a crashed worker's lease must run out some day."""
MAX_SEND_SECONDS = 60  # a send is leased for longer than one request to CarrierX may take
STATUS_URLS = "@status_url"
"""The endpoint label of all pages that calls named: there may be any number, with secrets in their addresses."""
WIRE_FORMATS = ("carrierx", "legacy-callback", "legacy-status")
"""Wire formats of callbacks, each with a path of its own."""
ADMIN = "admin"  # the operator who has the console's single password
RESPONSE = "response"  # a keyword's `reply` that is no text of its own: the endpoint's answer

_opt_out = partial(fields.choice, ("record", "reply", "off"))
_names = partial(fields.list_of, fields.filled)
_networks = partial(fields.list_of, fields.network)
_timeout = partial(fields.seconds, MAX_TIMEOUT_SECONDS)
_reply = partial(fields.template, ("title",))
_days = partial(fields.whole, 1, 36_500)


def _key_scope(value: object) -> tuple[str, ...]:
    """The wire formats of a key's `for`; ``legacy`` stands for both of the keyword platform."""
    named = fields.list_of(partial(fields.choice, (*WIRE_FORMATS, "legacy")), value, empty=False, single=True)
    return tuple(each for each in WIRE_FORMATS if each in named or each.partition("-")[0] in named)


# A setting is one row: name, type, default and how it is read; below, if need be, its sentence.
# fmt: off


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The three credentials of the keyword platform. An empty one is not set."""

    user_name: str = setting("", fields.secret, "User name that posts and calls must give.", secret=True)
    password: str = setting("", fields.secret, "Password that they must give.", secret=True)
    api_key: str = setting("", fields.secret, "API key that they must give.", secret=True)

    def match(self, user_name: str, password: str, api_key: str) -> bool:
        """True if these three are right, as far as they are set."""
        pairs = (self.user_name, user_name), (self.password, password), (self.api_key, api_key)
        # All of them are compared, so that the time does not tell which one is wrong.
        same = [compare_digest(want.encode(), got.encode("utf-8", "replace")) for want, got in pairs if want]
        return all(same)


@dataclass(frozen=True, slots=True, kw_only=True)
class CarrierX:
    """How the Core API is reached. Either `token`, or `login` and `password`, or none of them."""

    base_url: str = setting("https://api.carrierx.com/core/v2", fields.base_url, "URL of the Core API.")
    token: str = setting("", fields.secret, "Bearer token; or give `login` and `password`.", secret=True)
    login: str = setting("", fields.secret, "User name for HTTP Basic, with `password`.", secret=True)
    password: str = setting("", fields.secret, "Belongs to `login`.", secret=True)
    partner_sid: str = setting("", fields.text, "SID of your partner; goes into messages that CarrierX did not make.")
    timeout: float = setting(15.0, partial(fields.seconds, MAX_SEND_SECONDS), "Seconds for one request; at most 60.")
    concurrency: int = setting(8, partial(fields.whole, 1, 100), "Requests side by side; 1 to 100.")
    doubt: float = setting(15.0, partial(fields.seconds, 3_600, least=0),
        "Seconds, 0 to 3600. Where the answer to a send was lost, the text is looked for in CarrierX's listing; if it "
        "is not there for so long, it was not sent, and goes out.")
    missing_after: float = setting(600.0, partial(fields.seconds, 7 * 86_400, least=1),
        "Seconds, 1 to 604800 (seven days). Without an update for so long, CarrierX is asked what became of a message.")

    @property
    def is_set(self) -> bool:
        """True if there is an account to send by."""
        return bool(self.token or self.login)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """For how many days what is settled is kept. Opt-outs hold until the phone opts in again."""

    texts: int = setting(30, _days,
        "Days after which what people wrote is blanked: bodies of callbacks, deliveries and answers.",
        "`retention_days`")
    phones: int = setting(30, _days,
        "Days after which the rest goes: events with their deliveries, sends, message states. At least `texts`.",
        "`texts`")
    audit: int = setting(400, _days, "Days for which the audit trail is kept.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An application that the gateway calls, with the settings for calling it."""

    name: str
    url: str = field(repr=False, metadata={"setting": Setting(REQUIRED, fields.url,
        "http or https; ports 80, 443, 8080, 8443 and from 1024 up; no user, no spaces. May be private, never "
        'link-local. Its query stays as it is; with `format = "legacy"` it must not use a field\'s name.')})
    """Whole, with its query: that may hold a secret. People see it by `mask_url`."""
    format: str = setting("legacy", partial(fields.choice, ("legacy", "carrierx")),
        '`"legacy"`: the keyword platform\'s form posts. `"carrierx"`: JSON as CarrierX posts it.')
    format_options: FormatOptions = field(default_factory=FormatOptions)  # its settings are `FORMAT_OPTIONS`
    timeout: float = setting(15.0, _timeout, "Seconds for a whole attempt; at most 300.")
    connect_timeout: float = setting(5.0, _timeout, "Seconds until connected; at most `timeout`.", "`5`, or `timeout`")
    concurrency: int = setting(8, partial(fields.whole, 1, 1_000), "Attempts side by side; 1 to 1000.")
    secret: tuple[str, ...] = setting((), partial(fields.list_of, fields.signing_secret, empty=False, single=True),
        'Signs each post as Standard Webhooks say: `whsec_` and base64, or the text itself; or `["new", "old"]`, which '
        "both sign, while it is renewed.", secret=True)
    username: str = setting("", fields.text, "For HTTP Basic.")
    password: str = setting("", fields.text, "Belongs to `username`.", secret=True)
    credentials: Credentials | None = setting(
        None, lambda value: Credentials(**fields.table(settings_of(Credentials), value)),
        '`{ user_name = "…", password = "…", api_key = "…" }`: those that you name are added to each post.',
        format="legacy")
    headers: tuple[tuple[str, str], ...] = setting((), fields.headers,
        'More headers: `{ X-Tenant = "acme" }`. Not those that the gateway writes itself.', secret=True)
    verify_tls: bool | str = setting(True, fields.flag_or_file,
        "`false` checks no certificate; a file of CA certificates (PEM) checks against those.")
    tls_min: str = setting("1.2", fields.tls_version, '`"1.0"`, `"1.1"`, `"1.2"` or `"1.3"`.')
    success: str = setting("2xx", fields.success,
        'Statuses that are a success: `"200"`, `"200-204"`, `"200,202"`. Redirects never are.')
    success_body: LinearPattern | None = setting(None, fields.pattern,
        "A regular expression that must be found in the answer's body.")
    failure_body: tuple[LinearPattern, ...] = setting((), partial(fields.list_of, fields.pattern, single=True),
        "One or a list of regular expressions: an answer in which one is found is no success. Unless set, for `legacy` "
        "error pages of PHP, ColdFusion, ASP.NET and others, for `carrierx` none; `[]` turns it off.", "error pages")
    free_form: bool = False
    """Its URL came with a request: it may only go to the public internet and to `allow_networks`."""

    def accepts(self, status: int) -> bool:
        """True if an HTTP status is a success by the setting `success`, such as ``2xx`` or ``200,202-204``."""
        return any(status in each for each in fields.statuses(self.success))


_usual = FormatOptions()
FORMAT_OPTIONS: Mapping[str, Setting] = {
    "charset": Setting(_usual.charset, fields.charset,
        'Charset of the form: `"utf-8"`, `"windows-1252"` or `"iso-8859-1"`.', format="legacy"),
    "send_charset": Setting(_usual.send_charset, fields.flag,
        "`false`: `Content-Type` does not name the charset, for pages that stumble over it.", format="legacy"),
    "encode_twice": Setting(_usual.encode_twice, partial(fields.list_of, partial(fields.choice, FORM_FIELDS)),
        "Names of fields to encode twice, for a page that decodes them again.", format="legacy"),
    "status_words": Setting(_usual.status_words, fields.status_words,
        '`"carrierx"`: CarrierX\'s words; `"numeric"`: 99, 100, 101, 102 and 200; or a table, `{ delivered = "OK", '
        "failed = 5 }`, where a word that is left out stays.", '`"carrierx"`', format="legacy"),
    "extra_fields": Setting(_usual.extra_fields, partial(fields.list_of, partial(fields.choice, MORE_FIELDS)),
        "Attributes of CarrierX's format to add behind the documented fields: "
        f"{', '.join(f'`{name}`' for name in MORE_FIELDS)}.", format="legacy"),
    "media": Setting(_usual.media, partial(fields.choice, ("omit", "append")),
        '`"append"` writes the URLs of media below the text.', format="legacy"),
    "phone": Setting(_usual.phone, partial(fields.choice, ("international", "national")),
        '`"national"` writes ten digits where the country\'s prefix can be dropped.', format="legacy"),
    "shape": Setting(_usual.shape, partial(fields.choice, ("auto", "sms", "mms")),
        '`"sms"`: 13 attributes with `from_did`. `"mms"`: 18 with `from`. `"auto"`: as the message is.',
        format="carrierx"),
    "legacy_key": Setting(_usual.legacy_key, fields.flag,
        'The legacy fields go along under `"legacy"` where a message came from the keyword platform.',
        format="carrierx"),
}
"""The settings of an endpoint that are its `format_options`: each for one format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyword:
    """A word on a number. Title, group and callback are the number's where the file gives none."""

    word: str = setting(REQUIRED, fields.filled,
        'The keyword; for `match = "regex"` the pattern. It goes into keyword callbacks as it stands here.')
    match: str = setting("word", partial(fields.choice, ("word", "exact", "prefix", "regex")),
        'Compares `"exact"`: the whole text; `"word"`: its first word; `"prefix"`: its beginning; `"regex"`: any part.')
    aliases: tuple[str, ...] = setting((), _names, "Other words (or patterns) for the same keyword.")
    callback: tuple[str, ...] = setting((), _names, "Names of endpoints.", "the number's")
    reply: str = setting("", fields.message,
        'A text that answers, at most 1,600 characters; or `"response"`: what the first endpoint answers.')
    title: str = setting("", fields.text, "Goes into keyword callbacks.", "the number's")
    group: str = setting("", fields.text, "Goes into keyword callbacks.", "the number's")


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number or short code that we answer for: digits with country code, no ``+``."""

    number: str = setting(REQUIRED, fields.filled, "As CarrierX knows it, in any usual spelling.")
    shortcode: str = setting(REQUIRED, fields.filled, "As legacy systems know it.", "the number")
    title: str = setting("", fields.text, "Goes into keyword callbacks.")
    group: str = setting("", fields.text, "Goes into keyword callbacks.")
    default_keyword: str = setting("", fields.text, "Goes into keyword callbacks.")
    callback: tuple[str, ...] = setting((), _names,
        "Names of endpoints for texts that match no keyword. None: they are kept as *unrouted*.")
    status: tuple[str, ...] = setting((), _names,
        "Names of endpoints for status updates of messages sent from here, unless the send named a `status_url`.")
    opt_out: str = setting("record", _opt_out, "What STOP, START and HELP do here.", "the gateway's")
    keywords: tuple[Keyword, ...] = ()
    keyword_index: KeywordIndex[Keyword] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keyword_index", KeywordIndex(self.keywords))


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """Lets in the callbacks of some wire formats, under a name that events, metrics and the log show."""

    name: str = setting(REQUIRED, partial(fields.name, "-_."), "Letters, digits and `- _ .`. Shown with each event.")
    value: tuple[str, ...] = setting(REQUIRED, partial(fields.list_of, fields.key, empty=False, single=True),
        'As in `keys`; or `["new", "old"]`, both of which are good, while the key is renewed.', secret=True)
    wire_formats: tuple[str, ...] = setting(WIRE_FORMATS, _key_scope,
        'Callbacks that it lets in: `"carrierx"`, `"legacy-callback"`, `"legacy-status"`; `"legacy"`: the last two.')


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """A person, or a program, that may log in to the console."""

    name: str = setting(
        REQUIRED, partial(fields.name, "-_.@"), "The name to log in with: letters, digits and `- _ . @`.")
    password: str = setting(REQUIRED, fields.password_hash,
        "Its argon2 hash (`$argon2id$…`), as `gateway operators` writes it; or from the environment, then also the "
        "password itself.", secret=True)
    role: str = setting("operate", partial(fields.choice, ("read", "operate", "admin")),
        '`"read"` sees every page, `"operate"` tests, replays and decides, too, `"admin"` also sees who did what.')
    totp: str = setting("", fields.totp_secret,
        "Secret of one-time codes, base32 of at least 128 bits: the login then asks for a code, too.", secret=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One whole configuration. Two of one file with one environment are equal."""

    path: Path | None = None  # the file; None for a configuration that never was one
    folder: Path
    data: Path
    database: str = setting("sqlite:///data/gateway.db", fields.database,
        "An SQLite file, or `postgresql://user@host/db` for several machines; "
        "`postgresql://user@db1:5432,db2:5432/db?target_session_attrs=read-write` goes to whichever can be written to.",
        secret=True)
    """A URL of SQLAlchemy; the path of an SQLite file is absolute."""
    public_url: str = setting("", fields.public_url,
        "How others reach this gateway: links, and the URLs given to CarrierX, are made from it. The `Host` header is "
        "never trusted for that.")
    """Without a slash at its end."""
    keys: tuple[str, ...] = setting((), partial(fields.list_of, fields.key, empty=False),
        "Each is good in `/carrierx/callback/KEY` and its like, or as HTTP Basic password; several for rotation. "
        "Letters, digits and `- . _ ~`. Unless set, and without `[[key]]`, made at the first start, under `data/`.",
        "made", secret=True)
    password: str = setting("", fields.secret,
        "Password of the console or its argon2 hash (`$argon2id$…`). Made like `keys` unless set.", "made", secret=True)
    session_idle_minutes: int = setting(30, partial(fields.whole, 1, 720),
        "Minutes, 1 to 720, after which an unused login to the console ends. Each login ends after 12 hours.")
    session_secret: tuple[str, ...] = setting((), partial(fields.list_of, fields.secret, single=True),
        "Signs the console's cookies; several for rotation: the first signs, all are accepted. Unless set, it is made "
        "of the password and the keys, and every login ends when one of them changes.", "made", secret=True)
    allow_networks: tuple[Network, ...] = setting((), _networks,
        "Networks that free-form URLs (test forms, the `status_url` of a call) may reach besides the public internet.")
    retention_days: int = setting(30, _days, "Days for which settled events are kept; `[retention]` tells more apart.")
    country: str = setting("US", fields.country,
        'Ten digits get this country\'s prefix; two letters of ISO 3166. `""` leaves them as they are.')
    trusted_proxies: tuple[Network, ...] = setting((), _networks,
        "Networks or addresses of proxies in front, whose `X-Forwarded-*` headers are believed.")
    egress_proxy: str = setting("", fields.proxy_url,
        "Proxy for all posts to endpoints, `http://user:password@host:3128`; CarrierX is called without it. The "
        "environment's proxies are not used.",
        secret=True)
    opt_out: str = setting("record", _opt_out,
        'What STOP, START, HELP do: `"record"` notes who wants no texts, `"reply"` answers, too, `"off"` does nothing. '
        "A number may have its own.")
    stop_reply: str = setting(
        "{title}: you are unsubscribed and will get no more messages. Reply START to subscribe again.", _reply,
        'Answers STOP, with `opt_out = "reply"`. `{title}` is the number\'s title, or its short code without one; `{{` '
        "and `}}` stand for braces.")
    start_reply: str = setting(
        "{title}: you are subscribed again. Reply STOP to unsubscribe, HELP for help.", _reply, "Answers START.")
    help_reply: str = setting(
        "{title}: reply STOP to unsubscribe, START to subscribe. Message and data rates may apply.", _reply,
        "Answers HELP.")
    carrierx: CarrierX = CarrierX()
    retention: Retention = Retention()
    legacy: Credentials | None = None
    tickets: str = setting("uuid", partial(fields.choice, ("uuid", "decimal")),
        'How senders are told tickets: `"decimal"` for applications that keep them in columns of numbers. Both are '
        "understood in questions about them.")
    templates: Mapping[str, str] = field(default_factory=dict)  # texts of `sendTemplateMessage` by their IDs
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    numbers: tuple[Number, ...] = ()
    named_keys: tuple[Key, ...] = ()
    operators: Mapping[str, Operator] = field(default_factory=dict)  # those of the file, by their names
    prefix: str = "1"  # calling code of `country`, put before ten digits; empty with no country
    warnings: tuple[str, ...] = ()  # one line each, as `gateway check` prints them
    sandbox: bool = False
    all_keys: tuple[Key, ...] = field(init=False, repr=False, compare=False)
    """The tables `[[key]]`, and each of `keys` as one for everything, which is called ``keys[0]`` and so on."""
    key_values: tuple[tuple[bytes, Key], ...] = field(init=False, repr=False, compare=False)
    _by_number: Mapping[str, Number] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Short codes first: where a number and a short code are the same digits, the number wins.
        found = {number.shortcode: number for number in self.numbers}
        found |= {number.number: number for number in self.numbers}
        object.__setattr__(self, "_by_number", MappingProxyType(found))
        plain = [Key(name=f"keys[{index}]", value=(key,)) for index, key in enumerate(self.keys)]
        object.__setattr__(self, "all_keys", (*self.named_keys, *plain))
        values = [(value.encode(), key) for key in self.all_keys for value in key.value if value]
        object.__setattr__(self, "key_values", tuple(values))

    def number_for(self, text: str) -> Number | None:
        """The number that is known under this number or short code, in any usual spelling; None if none is."""
        return self._by_number.get(normalised(text, self.prefix))

    def stored_number(self, text: str) -> str:
        """A number as it is stored; people may write a short code, or one that is no longer configured."""
        number = self.number_for(text)
        return number.number if number else normalised(text, self.prefix)

    def operator(self, name: str) -> Operator | None:
        """The operator of that name. `admin` is who has the single password, unless the file has an `admin`."""
        return self.all_operators().get(name)

    def all_operators(self) -> Mapping[str, Operator]:
        """Everybody who may log in to the console, by name."""
        admin = {ADMIN: Operator(name=ADMIN, password=self.password, role="admin")} if self.password else {}
        return {**admin, **self.operators}

    def endpoint(self, name: str) -> Endpoint | None:
        """The endpoint of that name; a URL is one by itself, and a stranger's: that of a `status_url`."""
        known = self.endpoints.get(name)
        return known or (free_form(name, self.prefix) if is_url(name) else None)


# fmt: on


@lru_cache(maxsize=4_096)
def free_form(url: str, prefix: str) -> Endpoint:
    """The endpoint of a URL that came with a request: a legacy page."""
    return Endpoint(
        name=url, url=url, format_options=FormatOptions(prefix=prefix), failure_body=FAILURE_BODY, free_form=True
    )


def is_url(endpoint: str) -> bool:
    """True if an endpoint's name is a URL that came with a request, such as a `status_url`.
    No name of a configuration has a colon in it. There may be any number of such URLs, some with an ID of their own in
    each query: what is remembered of them is remembered by origin."""
    return "://" in endpoint
