"""Where CarrierX reports messages to: read, set, and explained.

Three objects at CarrierX can have a callback. For a message the first that is set counts:

    1  the DID's            PATCH /phonenumber/dids/SID        {"callback_url": URL}
    2  its DID group's      PATCH /phonenumber/did_groups/SID  {"callback_url": URL}
    3  the partner's        PATCH /partners/SID                {"callbacks": {"sms": URL}}
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.carrierx.errors import CarrierXError
from gateway.carrierx.responses import JsonObject
from gateway.config import Config
from gateway.safe_http.ssrf import mask_url

if TYPE_CHECKING:
    from gateway.carrierx import CoreAPI

PATH = "/carrierx/callback"
LEVELS = {"did": "DID", "group": "DID group", "partner": "partner"}
"""Whose callback wins comes first."""
PRECEDENCE = "CarrierX calls the first that is set: the DID's callback, else its DID group's, else the partner's."
SHOWN = 20
"""DIDs and groups that are listed by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackSetting:
    """One of the three objects, and who asks about it."""

    api: CoreAPI
    config: Config
    keys: tuple[str, ...] = field(repr=False)
    level: str
    """A name of `LEVELS`."""
    sid: str

    def read(self) -> JsonObject:
        """Raises `CarrierXError`."""
        return _read(self.api, self.level, self.sid)

    def aim(self) -> None:
        """Have CarrierX call this gateway, with the first of its keys. Raises `CarrierXError`."""
        url = f"{self.config.public_url}{PATH}/{self.keys[0]}"
        name = {"did": "did", "group": "did_group", "partner": "partner"}[self.level]
        self.api.set_callback(url, **{name: self.sid})

    def title(self, read: JsonObject) -> str:
        """``DID 15162065919 (e8df62d5-…)``"""
        return f"{LEVELS[self.level]} {_named(read, self.sid)}"

    def shown(self, read: JsonObject) -> str:
        return self._shown(url_of(self.level, read))

    def _shown(self, url: str) -> str:
        """For people: keys, query and user out of sight. Which of our keys it is may be told."""
        if not url:
            return "not set"
        shown, mark, query = mask_url(url).partition("?")
        before, slash, key = shown.rpartition(f"{PATH}/")
        return f"{before}{slash}[{self._key(key)}]{mark}{query}" if slash and key else f"{shown}{mark}{query}"

    def _key(self, key: str) -> str:
        return f"key {self.keys.index(key) + 1}" if key in self.keys else "a key that is not ours"

    def explained(self, read: JsonObject) -> Iterator[str]:
        """The precedence, and what it comes to for this object. What CarrierX does not tell is said to be so."""
        yield PRECEDENCE
        try:
            yield from self._of_did(read) if self.level == "did" else self._beaten_by(read)
        except CarrierXError as error:
            yield f"Who else has a callback of his own could not be found out: {error}"

    def _of_did(self, did: JsonObject) -> Iterator[str]:
        found = {"did": url_of("did", did)}
        for level, sid in (("group", did.get("did_group_sid")), ("partner", did.get("partner_sid"))):
            sid = sid or (self.config.carrierx.partner_sid if level == "partner" else "")
            found[level] = url_of(level, _read(self.api, level, str(sid))) if sid else ""
        winner = next((level for level, url in found.items() if url), None)
        for place, (level, url) in enumerate(found.items(), 1):
            yield f"  {place}  {LEVELS[level]:9}  {self._shown(url)}{'   <- this one is called' * (level == winner)}"
        if winner is None:
            yield "None is set: CarrierX calls nobody for this DID."
        else:
            yield f"For this DID the {LEVELS[winner]}'s wins."

    def _beaten_by(self, read: JsonObject) -> Iterator[str]:
        """Of a group or a partner: who has a callback that wins over it."""
        dids = list(self.api.every_did())
        if self.level == "group":
            dids = [did for did in dids if did.get("did_group_sid") == self.sid]
        winners = [(did, "did") for did in dids if url_of("did", did)]
        if self.level == "partner":
            groups = [group for group in self.api.every_did_group() if url_of("group", group)]
            winners += [(group, "group") for group in groups]
        if not url_of(self.level, read):
            yield f"This {LEVELS[self.level]} has none, so it takes part in nothing."
        elif not winners:
            yield f"No {'DID of this group' if self.level == 'group' else 'DID or DID group'} has one of its own."
        else:
            yield f"These have one of their own, which wins over this {LEVELS[self.level]}'s:"
        yield from self._listed(winners)

    def _listed(self, winners: list[tuple[JsonObject, str]]) -> Iterator[str]:
        # Our own numbers first: those are what somebody wonders about.
        ours = [self._is_ours(one) for one, _ in winners]
        order = sorted(range(len(winners)), key=lambda at: not ours[at])
        for at in order[:SHOWN]:
            one, level = winners[at]
            sid = str(one.get("did_sid" if level == "did" else "did_group_sid") or "")
            note = "   one of this gateway's numbers" if ours[at] else ""
            yield f"  {LEVELS[level]:9}  {_named(one, sid)}  {self._shown(url_of(level, one))}{note}"
        if len(order) > SHOWN:
            yield f"  and {len(order) - SHOWN} more"

    def _is_ours(self, one: JsonObject) -> bool:
        number = one.get("phonenumber")
        return isinstance(number, str) and self.config.number_for(number) is not None


def url_of(level: str, read: JsonObject) -> str:
    """The callback in an object of CarrierX's; empty where there is none."""
    if level == "partner":
        callbacks = read.get("callbacks")
        url = callbacks.get("sms") if isinstance(callbacks, dict) else None
    else:
        url = read.get("callback_url")
    return url.strip() if isinstance(url, str) else ""


def changed_callbacks(before: JsonObject, after: JsonObject) -> list[str]:
    """Callbacks of a partner for other things than messages that are not what they were."""
    old, new = (read.get("callbacks") for read in (before, after))
    if not isinstance(old, dict):
        return []
    still = new if isinstance(new, dict) else {}
    return sorted(name for name, url in old.items() if name != "sms" and url and still.get(name) != url)


def _read(api: CoreAPI, level: str, sid: str) -> JsonObject:
    return {"did": api.did, "group": api.did_group, "partner": api.partner}[level](sid)


def _named(read: JsonObject, sid: str) -> str:
    name = read.get("phonenumber") or read.get("name") or read.get("company_name")
    return f"{name} ({sid})" if isinstance(name, str) and name.isprintable() and name != "N/A" else sid
