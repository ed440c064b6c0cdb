"""The account: its partner, DID groups and DIDs, and which of them says where callbacks go."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

PARTNER = "cee93bf3-5746-43fe-a1a2-822c05fef687"
_NAMES = uuid.UUID(PARTNER)
GROUP = str(uuid.uuid5(_NAMES, "group"))
"""The DID group that all DIDs are in."""


@dataclass(slots=True)
class Place:
    """One object that may have a callback URL: a partner, a DID or a DID group."""

    sid: str
    name: str
    callback_url: str | None = None


class Account:
    """`numbers`: its DIDs; none at all: every number is one, from the moment at which it is used."""

    def __init__(self, numbers: Iterable[str] = (), callback: str = "", partner_sid: str = PARTNER) -> None:
        self.partner = Place(partner_sid, "Sandbox", callback or None)
        self.group = Place(GROUP, "Sandbox")
        self._turn = threading.Lock()
        self._dids: dict[str, Place] = {}
        self._by_number: dict[str, Place] = {}
        for number in numbers:
            self._add(number)
        self._open = not self._dids

    def _add(self, number: str) -> Place:
        did = Place(str(uuid.uuid5(_NAMES, number)), number)
        self._by_number[number] = self._dids[did.sid] = did
        return did

    def did_of(self, number: str) -> Place | None:
        with self._turn:
            found = self._by_number.get(number)
            return self._add(number) if found is None and self._open else found

    def did(self, sid: str) -> Place | None:
        return self._dids.get(sid)

    def dids(self) -> list[Place]:
        with self._turn:
            return list(self._dids.values())

    def only_number(self) -> str | None:
        """What a request is taken to be from that does not say."""
        dids = self.dids()
        return dids[0].name if len(dids) == 1 and not self._open else None

    def callback_for(self, number: str) -> str | None:
        """The first that is set of DID, DID group, partner."""
        did = self.did_of(number)
        if did is None:
            return None
        return did.callback_url or self.group.callback_url or self.partner.callback_url

    def partner_json(self) -> dict[str, Any]:
        return {
            "callbacks": {"sms": self.partner.callback_url},
            "name": self.partner.name,
            "partner_sid": self.partner.sid,
        }

    def group_json(self) -> dict[str, Any]:
        return {
            "callback_url": self.group.callback_url,
            "did_group_sid": self.group.sid,
            "name": self.group.name,
            "partner_sid": self.partner.sid,
        }

    def did_json(self, did: Place) -> dict[str, Any]:
        return {
            "callback_url": did.callback_url,
            "country_code": "USA",
            "did_group_sid": self.group.sid,
            "did_sid": did.sid,
            "name": None,
            "partner_sid": self.partner.sid,
            "phonenumber": did.name,
        }
