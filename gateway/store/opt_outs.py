"""Who wants no more texts from a number, and since when. Never swept away: it holds until the phone says otherwise."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from gateway.store.statement import Statement, index_key, storable

# The last word counts, by the time at which it was said: an import may bring older ones.
NOTE = Statement(
    """
    INSERT INTO opt_outs (number, phone, out, word, at) VALUES (:number, :phone, :out, :word, :at)
    ON CONFLICT (number, phone) DO UPDATE SET out = excluded.out, word = excluded.word, at = excluded.at
     WHERE excluded.at >= opt_outs.at
    """
)
KNOWN = Statement("SELECT number, phone, out, word, at FROM opt_outs WHERE number = :number AND phone = :phone")
PAGE = Statement(
    """
    SELECT number, phone, out, word, at FROM opt_outs
     WHERE number > :number OR (number = :number AND phone > :phone)
     ORDER BY number, phone LIMIT :most
    """
)
# From number to number by the primary key, one look for the phone on each.
OF_PHONE = Statement(
    """
    WITH RECURSIVE each (number) AS (
        SELECT (SELECT min(number) FROM opt_outs)
        UNION ALL
        SELECT (SELECT min(o.number) FROM opt_outs o WHERE o.number > each.number)
          FROM each WHERE each.number IS NOT NULL
    )
    SELECT o.number, o.phone, o.out, o.word, o.at
      FROM each JOIN opt_outs o ON o.number = each.number AND o.phone = :phone
    """
)
OF_NUMBER = Statement(
    """
    SELECT number, phone, out, word, at FROM opt_outs WHERE number = :number AND phone > :phone
     ORDER BY phone LIMIT :most
    """
)
COUNT = Statement("SELECT count(*) FROM opt_outs WHERE out")


@dataclass(frozen=True, slots=True)
class OptOut:
    number: str
    phone: str
    out: bool
    """False: it was out, and came back."""
    word: str
    at: float
    """Epoch seconds."""


def record_opt_out(conn: Connection, number: str, phone: str, word: str, at: float, *, out: bool) -> bool:
    """The phone has said this word to the number. False: a later one is known."""
    values = {"number": index_key(number), "phone": index_key(phone), "out": out, "word": storable(word), "at": at}
    return NOTE.run(conn, values).rowcount == 1


def opt_out_of(conn: Connection, number: str, phone: str) -> OptOut | None:
    """Reads. What was said last."""
    row = KNOWN.run(conn, {"number": index_key(number), "phone": index_key(phone)}).fetchone()
    return None if row is None else OptOut(row[0], row[1], bool(row[2]), row[3], row[4])


def has_opted_out(conn: Connection, number: str, phone: str) -> bool:
    """Reads. Whether nothing may be sent there."""
    found = opt_out_of(conn, number, phone)
    return found is not None and found.out


def opt_outs_after(conn: Connection, after: tuple[str, str] = ("", ""), most: int = 500) -> list[OptOut]:
    """Reads. By number and phone, those that come after one."""
    rows = PAGE.run(conn, {"number": after[0], "phone": after[1], "most": most}).fetchall()
    return [OptOut(row[0], row[1], bool(row[2]), row[3], row[4]) for row in rows]


def of_phone(conn: Connection, phone: str) -> list[OptOut]:
    """Reads. What a phone has said to any number."""
    rows = OF_PHONE.run(conn, {"phone": index_key(phone)}).fetchall()
    return [OptOut(row[0], row[1], bool(row[2]), row[3], row[4]) for row in sorted(rows)]


def of_number(conn: Connection, number: str, after: str = "", most: int = 500) -> list[OptOut]:
    """Reads. What was said to a number, by phone, those that come after one."""
    rows = OF_NUMBER.run(conn, {"number": index_key(number), "phone": after, "most": most}).fetchall()
    return [OptOut(row[0], row[1], bool(row[2]), row[3], row[4]) for row in rows]


def count(conn: Connection) -> int:
    """Reads. Pairs of number and phone between which nothing may be sent."""
    return int(COUNT.run(conn).fetchone()[0])
