"""What callers were told, what CarrierX has, and what status pages were told: three books that must agree.

Every call has a text of its own, so that its messages are known again at CarrierX, whatever else is lost. Whoever calls
writes down what was answered, the status page what arrived; the gateway's ledger and the stand-in's list are read at
the end.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from time import monotonic
from typing import Any
from urllib.parse import parse_qs

from schemas.status import is_final, stage
from tests.faults.ledger import ON_ITS_WAY, RELEASED, SID, UNSETTLED, Row

REFUSED = "0007"
"""The end of the phones for which the stand-in says 400."""
Sent = Mapping[str, Any]
"""A message as the stand-in shows it."""
Entry = Mapping[str, Any]
"""A row of the gateway's ledger, with the `attempts_since_replay` of its delivery."""


@dataclass(frozen=True, slots=True)
class Called:
    """One call. `ticket`: empty where no answer was heard: it may have been accepted."""

    sid: str
    phones: tuple[str, ...]
    path: str
    """Of the status page that is to hear of it."""
    ticket: str = ""


@dataclass(frozen=True, slots=True)
class Post:
    """One request at a status page."""

    path: str
    delivery_id: str
    attempt: int
    at: float
    sid: str
    phone: str
    status: str
    ticket: str
    taken: bool = True


class Book:
    """Written by many threads; read when they have ended."""

    def __init__(self) -> None:
        self.calls: dict[str, Called] = {}
        self.posts: list[Post] = []
        self.faults: list[tuple[float, float]] = []
        self.later = 0
        self.wrong: list[str] = []
        """Answers that no caller should ever get."""
        self._lock = threading.Lock()

    def call(self, called: Called) -> None:
        with self._lock:
            self.calls[called.sid] = called

    def put_off(self, retry_after: str | None) -> None:
        with self._lock:
            self.later += 1
            if not (retry_after or "").isdigit():
                self.wrong.append(f"503 with Retry-After {retry_after!r}")

    def answered_wrongly(self, what: str) -> None:
        with self._lock:
            self.wrong.append(what)

    def post(self, post: Post) -> None:
        with self._lock:
            self.posts.append(post)

    @property
    def accepted(self) -> set[tuple[str, str]]:
        """(sid, phone) of all messages of calls that have a ticket."""
        with self._lock:
            return {(one.sid, phone) for one in self.calls.values() if one.ticket for phone in one.phones}

    @contextmanager
    def fault(self) -> Iterator[None]:
        """Around something that cuts attempts off; only there may a status page get anything twice."""
        begun = monotonic()
        try:
            yield
        finally:
            self.faults.append((begun, monotonic()))

    def balance(self, fault: str, entries: Sequence[Entry], sent: Sequence[Sent]) -> tuple[Row, list[str]]:
        """The line for the table, and all that is wrong."""
        known = {(sid_of(one), one["phone"]): one for one in entries}
        there = Counter((text_of(one), one["to"]) for one in sent)
        states = Counter(one["state"] for one in entries)
        lost = [one for one in self.accepted if one not in there and known.get(one, {}).get("state") in (None, "sent")]
        row = Row(
            fault=fault,
            accepted=len(self.accepted),
            delivered=len(self.accepted & there.keys()),
            owed=sum(states.values()) - states["sent"] - states["refused"],
            dead=states["refused"],
            lost=len(lost),
            doubled=sum(count - 1 for count in there.values()),
            later=self.later,
        )
        return row, [*self.wrong, *self._messages(known, sent), *self._posts(known), *_overtaken(entries, sent)]

    def _messages(self, known: Mapping[tuple[str, str], Entry], sent: Sequence[Sent]) -> Iterator[str]:
        times = Counter(one["user_data"] for one in sent)
        by_id = {one["user_data"]: one for one in sent}
        yield from (f"sent {count} times: {by_id[send_id]}" for send_id, count in times.items() if count > 1)
        yield from (f"nobody called for it: {one}" for one in known if not self._asked(one))
        yield from (f"accepted, and nowhere: {one}" for one in self.accepted - known.keys())
        ids = {entry["send_id"] for entry in known.values()}
        yield from (f"sent, and the ledger has nothing of it: {one}" for one in sent if one["user_data"] not in ids)
        for entry in known.values():
            yield from _disagree(entry, by_id.get(entry["send_id"]))

    def _asked(self, one: tuple[str, str]) -> bool:
        return one[0] in self.calls and one[1] in self.calls[one[0]].phones

    def _posts(self, known: Mapping[tuple[str, str], Entry]) -> Iterator[str]:
        said: dict[tuple[str, str], list[Post]] = defaultdict(list)
        for post in sorted(self.posts, key=lambda one: one.at):
            said[post.sid, post.phone].append(post)
        yield from (f"a post about nothing that was sent: {said[one][0]}" for one in said.keys() - known.keys())
        yield from self._again()
        for one, entry in known.items():
            if one[0] in self.calls:
                yield from _told(entry, said[one], self.calls[one[0]])

    def _again(self) -> Iterator[str]:
        by_id: dict[str, list[Post]] = defaultdict(list)
        for post in self.posts:
            by_id[post.delivery_id].append(post)
        for one, two in (pair for posts in by_id.values() for pair in pairwise(sorted(posts, key=lambda one: one.at))):
            if one.taken and not self._cut_off(one):
                yield f"posted again although no fault cut it off: {one}, {two}"
            if two.attempt <= one.attempt and one.taken:
                yield f"not a later attempt: {one}, {two}"

    def _cut_off(self, post: Post) -> bool:
        return any(begun - UNSETTLED <= post.at <= ended + ON_ITS_WAY for begun, ended in self.faults)


def sid_of(entry: Entry) -> str:
    return str(entry["custom_ticket"])


def text_of(one: Sent) -> str:
    found = SID.search((one["message"] or "").encode())
    return found[0].decode() if found else ""


def post_of(path: str, headers: Mapping[str, str], body: bytes, at: float, taken: bool) -> Post:
    form = {name: values[0] for name, values in parse_qs(body.decode(), keep_blank_values=True).items()}
    return Post(
        path=path,
        delivery_id=headers.get("x-delivery-id", ""),
        attempt=int(headers.get("x-delivery-attempt", 0)),
        at=at,
        sid=form.get("custom_ticket", ""),
        phone=form.get("sendTo", ""),
        status=form.get("status", ""),
        ticket=form.get("ticket", ""),
        taken=taken,
    )


def _disagree(entry: Entry, sent: Sent | None) -> Iterator[str]:
    """The ledger and the stand-in."""
    if entry["state"] == "refused":
        expected = entry["phone"].endswith(REFUSED) and sent is None and entry["status"] == "failed"
        if not expected:
            yield f"refused: {dict(entry)}, {sent}"
    elif entry["state"] != "sent":
        yield f"not decided: {dict(entry)}, {sent}"
    elif sent is None:
        yield f"said to be sent, and not there: {dict(entry)}"
    else:
        theirs = [sent[name] for name in ("message_sid", "from", "to", "status")] + [text_of(sent)]
        ours = [entry[name] for name in ("message_sid", "number", "phone", "status")] + [sid_of(entry)]
        if ours != theirs:
            yield f"they disagree: {dict(entry)}, {sent}"
        if not is_final(entry["status"]):
            yield f"nothing final is known: {dict(entry)}"


def _told(entry: Entry, posts: Sequence[Post], called: Called) -> Iterator[str]:
    """Who hears of one message, and what."""
    firsts = {post.delivery_id: post for post in reversed(posts)}
    said = [post.status for post in sorted(firsts.values(), key=lambda one: one.at)]
    about = f"of {dict(entry)} was told: {said}"
    if entry["state"] == "sent" and said[:1] != ["queued"]:
        yield f"queued is not first: {about}"
    if any(stage(one) >= stage(two) for one, two in pairwise(said)):
        yield f"not forward, or twice: {about}"
    if said[-1:] != [entry["status"]]:
        yield f"the last word is missing: {about}"
    for post in posts:
        if (
            post.path != called.path
            or post.ticket != entry["ticket_shown"]
            or (called.ticket or post.ticket) != post.ticket
        ):
            yield f"to the wrong page, or with the wrong ticket: {post}, {called}"


def _overtaken(entries: Sequence[Entry], sent: Sequence[Sent]) -> Iterator[str]:
    """Texts of one conversation come to CarrierX in the order accepted, but for what is at its third attempt."""
    place = {one["user_data"]: at for at, one in enumerate(sent)}
    ordering_keys: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda one: one["id"]):
        if entry["send_id"] in place and entry["attempts_since_replay"] < RELEASED:
            ordering_keys[entry["number"], entry["phone"]].append(entry)
    for each in ordering_keys.values():
        for one, two in pairwise(each):
            if place[one["send_id"]] > place[two["send_id"]]:
                yield f"out of order: {dict(one)} after {dict(two)}"


def missing(entries: Collection[Entry]) -> list[Entry]:
    """Of which there is more to come."""
    return [one for one in entries if one["state"] in ("owed", "sending") or not is_final(one["status"])]
