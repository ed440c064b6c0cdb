"""What was answered 200 against what arrived, and against what the database says of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

# What must not be, whatever happened. Attempts are one row a number by their primary key.
NEVER = {
    "deliveries with more than one attempt that settled them": """
        SELECT count(*) FROM (SELECT delivery_id FROM attempts WHERE outcome IN ('succeeded', 'dead') AND NOT late
                               GROUP BY delivery_id HAVING count(*) > 1) AS twice
    """,
    "succeeded deliveries with no attempt that did": """
        SELECT count(*) FROM deliveries d WHERE state = 'succeeded' AND NOT EXISTS
               (SELECT 1 FROM attempts a WHERE a.delivery_id = d.id AND outcome = 'succeeded' AND NOT late)
    """,
    "attempts behind the one that settled": """
        SELECT count(*) FROM attempts a JOIN attempts b ON a.delivery_id = b.delivery_id AND a.number > b.number
         WHERE b.outcome IN ('succeeded', 'dead') AND NOT b.late
    """,
    "attempts without an end": "SELECT count(*) FROM attempts WHERE outcome IS NULL",
    "deliveries that count other attempts than there are": """
        SELECT count(*) FROM deliveries d
         WHERE attempts <> (SELECT count(*) FROM attempts a WHERE a.delivery_id = d.id)
    """,
    "dead deliveries": "SELECT count(*) FROM deliveries WHERE state = 'dead'",
    "ordering_keys with two heads, or pending with none": """
        SELECT count(*) FROM (SELECT ordering_key FROM deliveries
                               WHERE state = 'pending' AND queue_position <> 'released'
                               GROUP BY ordering_key HAVING count(*) FILTER (WHERE queue_position = 'head') <> 1) AS l
    """,
}
# An attempt that others cannot know the end of: it may have arrived, though another one succeeded.
OPEN = "SELECT count(*) FROM attempts WHERE late OR outcome IN ('unknown', 'again')"


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    accepted: int
    arrived: int
    """Of them."""
    doubled: int
    """Posts of a text that had come before, each the same delivery and another attempt."""
    open: int
    """Attempts of which another may have had to repeat what they did: cut off, late, or answered badly."""
    later: int
    """Callbacks that were answered 503."""
    times: tuple[float, float, float]
    """Seconds: the longest with nothing accepted, with nothing new at the page, and from one text's 200 to the page."""
    wrong: tuple[str, ...]
    """What must never be, in words."""

    @property
    def lost(self) -> int:
        return self.accepted - self.arrived


def balance(said: Mapping[str, Any], conn: psycopg.Connection[tuple[Any, ...]], before: int) -> Balance:
    """`said` by the world outside of it: see `World.do_all`. `before`: attempts that were open when it began."""
    accepted, arrived = said["accepted"], said["arrived"]
    sids, seen = {sid for each in accepted.values() for sid in each}, {sid for sid, _, _ in arrived}
    doubled, cut_off = len(arrived) - len(seen), unfinished(conn) - before
    wrong = [f"{count} {what}" for what, query in NEVER.items() if (count := _count(conn, query))]
    wrong += _identity(arrived) + _order(accepted, arrived)
    if doubled > cut_off:
        wrong.append(f"{doubled} came twice, and only {cut_off} attempts were cut off")
    return Balance(
        accepted=len(sids),
        arrived=len(sids & seen),
        doubled=doubled,
        open=cut_off,
        later=said["refused"].get("503", 0),
        times=(said["times"][0], said["times"][1], said["times"][2]),
        wrong=tuple(wrong),
    )


def unfinished(conn: psycopg.Connection[tuple[Any, ...]]) -> int:
    return _count(conn, OPEN)


def _identity(arrived: Sequence[Sequence[Any]]) -> list[str]:
    """A text is one delivery, and no attempt is made twice."""
    ids: dict[str, set[str]] = defaultdict(set)
    for sid, delivery_id, _ in arrived:
        ids[sid].add(delivery_id)
    two = sum(len(each) > 1 for each in ids.values())
    repeated = sum(count > 1 for count in Counter((one[1], one[2]) for one in arrived).values())
    wrong = [f"{two} texts with two delivery ids"] if two else []
    return wrong + ([f"{repeated} attempts posted twice"] if repeated else [])


def _order(accepted: Mapping[str, Sequence[str]], arrived: Sequence[Sequence[Any]]) -> list[str]:
    """First arrivals of each conversation are in the order in which its texts were accepted."""
    first: dict[str, int] = {}
    for at, (sid, _, _) in enumerate(arrived):
        first.setdefault(sid, at)
    wrong = 0
    for sids in accepted.values():
        came = [first[sid] for sid in sids if sid in first]
        wrong += sum(later < earlier for earlier, later in zip(came, came[1:], strict=False))
    return [f"{wrong} texts out of order"] if wrong else []


def _count(conn: psycopg.Connection[tuple[Any, ...]], query: str) -> int:
    row = conn.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])
