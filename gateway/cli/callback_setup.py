"""The URL at which CarrierX calls us: read, set, and explained.

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
LEVELS = {"did": "DID", "did_group": "DID group", "partner": "partner"}
"""Objects with a callback, by their names in CarrierX's API: that of an earlier one wins."""
PRECEDENCE = "CarrierX calls the first that is set: the DID's callback, else its DID group's, else the partner's."
MAX_LISTED = 20
"""DIDs and groups that are listed by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackSetting:
    """The callback of a DID, a DID group or a partner."""

    api: CoreAPI
    config: Config
    keys: tuple[str, ...] = field(repr=False)
    level: str
    """A name of `LEVELS`."""
    sid: str

    def read(self) -> JsonObject:
        """The object at CarrierX. Raises `CarrierXError`."""
        return _read(self.api, self.level, self.sid)

    def set(self) -> None:
        """Have CarrierX call this gateway, with the first of its keys. Raises `CarrierXError`."""
        self.api.set_callback(f"{self.config.public_url}{PATH}/{self.keys[0]}", **{self.level: self.sid})

    def title(self, found: JsonObject) -> str:
        """``DID 15162065919 (e8df62d5-…)``"""
        return f"{LEVELS[self.level]} {_name_of(found, self.sid)}"

    def shown(self, url: str) -> str:
        """A callback without secrets. Which of our keys it has may be shown, by its place among them."""
        if not url:
            return "not set"
        shown, mark, query = mask_url(url).partition("?")
        before, path, key = shown.rpartition(f"{PATH}/")
        if path and key:
            key = f"[key {self.keys.index(key) + 1}]" if key in self.keys else "[a key that is not ours]"
        return f"{before}{path}{key}{mark}{query}"

    def explain(self, found: JsonObject) -> Iterator[str]:
        """The precedence, and what it means for this object; or why that could not be found out."""
        yield PRECEDENCE
        try:
            yield from self._explain_did(found) if self.level == "did" else self._explain_overrides(found)
        except CarrierXError as error:
            yield f"Other callbacks that may win could not be found out: {error}"

    def _explain_did(self, did: JsonObject) -> Iterator[str]:
        """The callbacks that count for a DID, and which of them is called."""
        urls = {"did": url_of("did", did)}
        for level in ("did_group", "partner"):
            sid = did.get(f"{level}_sid") or (self.config.carrierx.partner_sid if level == "partner" else "")
            urls[level] = url_of(level, _read(self.api, level, str(sid))) if sid else ""
        winner = next((level for level, url in urls.items() if url), None)
        for place, (level, url) in enumerate(urls.items(), 1):
            mark = "   <- this one is called" if level == winner else ""
            yield f"  {place}  {LEVELS[level]:9}  {self.shown(url)}{mark}"
        if winner is None:
            yield "None is set: CarrierX calls nobody for this DID."
        else:
            yield f"For this DID the {LEVELS[winner]}'s wins."

    def _explain_overrides(self, found: JsonObject) -> Iterator[str]:
        """The callbacks that win over that of a group or a partner."""
        dids = list(self.api.every_did())
        if self.level == "did_group":
            dids = [did for did in dids if did.get("did_group_sid") == self.sid]
        winners = [(did, "did") for did in dids if url_of("did", did)]
        if self.level == "partner":
            winners += [(group, "did_group") for group in self.api.every_did_group() if url_of("group", group)]
        if not url_of(self.level, found):
            yield f"This {LEVELS[self.level]} has none, so it takes part in nothing."
        elif not winners:
            yield f"No {'DID or DID group' if self.level == 'partner' else 'DID of this group'} has one of its own."
        else:
            yield f"These have one of their own, which wins over this {LEVELS[self.level]}'s:"
        # Our own numbers first: somebody wonders about those. The sort keeps the order otherwise.
        for winner, level in sorted(winners, key=lambda each: not self._is_ours(each[0]))[:MAX_LISTED]:
            sid = str(winner.get(f"{level}_sid") or "")
            note = "   one of this gateway's numbers" if self._is_ours(winner) else ""
            yield f"  {LEVELS[level]:9}  {_name_of(winner, sid)}  {self.shown(url_of(level, winner))}{note}"
        if len(winners) > MAX_LISTED:
            yield f"  and {len(winners) - MAX_LISTED} more"

    def _is_ours(self, found: JsonObject) -> bool:
        number = found.get("phonenumber")
        return isinstance(number, str) and self.config.number_for(number) is not None


def url_of(level: str, found: JsonObject) -> str:
    """The callback in an object of CarrierX's; empty where there is none."""
    if level == "partner":
        callbacks = found.get("callbacks")
        url = callbacks.get("sms") if isinstance(callbacks, dict) else None
    else:
        url = found.get("callback_url")
    return url.strip() if isinstance(url, str) else ""


def changed_callbacks(before: JsonObject, after: JsonObject) -> list[str]:
    """Names of a partner's callbacks for other things than messages that are not what they were."""
    old, new = (found.get("callbacks") for found in (before, after))
    if not isinstance(old, dict):
        return []
    still = new if isinstance(new, dict) else {}
    return sorted(name for name, url in old.items() if name != "sms" and url and still.get(name) != url)


def _read(api: CoreAPI, level: str, sid: str) -> JsonObject:
    return {"did": api.did, "did_group": api.did_group, "partner": api.partner}[level](sid)


def _name_of(found: JsonObject, sid: str) -> str:
    name = found.get("phonenumber") or found.get("name") or found.get("company_name")
    return f"{name} ({sid})" if isinstance(name, str) and name.isprintable() and name != "N/A" else sid
