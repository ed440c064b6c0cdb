"""Fills a store with what a long outage leaves behind: deliveries owed by the million, without living through it.

One statement for each table, the same on both databases. Conversations, ids and numbers are spread as the platforms
spread them, so that indices are as scattered as they would be.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from gateway.store import Store

DEAD = 5
"""One endpoint in so many is dead: its deliveries were due long ago, and nobody claims them."""

_SERIES = """
    WITH RECURSIVE series (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM series WHERE i + 1 < CAST(:owed AS integer))
"""
_PHONE = "CAST(15550000000 + (CAST({i} AS bigint) * 7919) % 10000019 AS text)"
_EVENTS = f"""
    INSERT INTO events (source, state, received_at, direction, phone, number, keyword, message_sid, status, ticket,
                        custom_ticket, content_type, body, errors, notes, remote, key)
    {_SERIES}
    SELECT 'carrierx', 'accepted', :now - 86400 + i * 0.05, 'inbound', {_PHONE.format(i="i")},
           CAST(15160000000 + i % 50 AS text), 'JOIN',
           CAST((CAST(i AS bigint) * 2654435761) % 4294967296 AS text) || '-0a2c-4b39-8f0e-' || CAST(i AS text),
           'received', '', '', 'application/json', :body, '{{}}', '[]', '127.0.0.1', 'keys[0]' FROM series
"""
# i / endpoints is the delivery's turn at its endpoint: each tenth stands behind the one before it.
_ORDERING_KEY = _PHONE.format(i="CASE WHEN turn % 10 = 9 THEN i - CAST(:endpoints AS integer) ELSE i END")
_DELIVERIES = f"""
    INSERT INTO deliveries (delivery_id, event_id, endpoint, wire_format, ordering_key, state, queue_position, due,
                            attempts, attempts_since_replay,
                            content_type, headers, body, notes, created_at)
    {_SERIES}, placed AS (
        SELECT i, i / CAST(:endpoints AS integer) AS turn, i % CAST(:endpoints AS integer) AS place FROM series
    )
    SELECT '018bcfe5-6800-7000-8000-' || CAST(100000000000 + i AS text), i + 1, 'app-' || CAST(place AS text),
           'legacy-callback', 'app-' || CAST(place AS text) || '|15160000000|' || {_ORDERING_KEY}, 'pending',
           CASE WHEN turn % 10 = 9 THEN 'behind' ELSE 'head' END,
           CASE WHEN turn % 10 = 9 THEN NULL WHEN place % {DEAD} = 0 THEN :now - 80000.0 + i * 0.05
                ELSE :now - 3600.0 + i * 0.001 END,
           CASE WHEN turn % 2 = 0 AND turn % 10 <> 9 THEN 1 ELSE 0 END,
           CASE WHEN turn % 2 = 0 AND turn % 10 <> 9 THEN 1 ELSE 0 END,
           'application/x-www-form-urlencoded; charset=UTF-8', '[["X-Gateway-Hops","1"]]', :data, '[]',
           :now - 86400 + i * 0.05
      FROM placed
"""
_STATES = f"""
    INSERT INTO states (message_sid, recipient, status, seen, updated_at)
    {_SERIES}
    SELECT CAST((CAST(i AS bigint) * 2654435761) % 4294967296 AS text) || '-0a2c-4b39-8f0e-' || CAST(i AS text),
           {_PHONE.format(i="i")}, 'received', '["received"]', :now - 86400 + i * 0.05 FROM series
"""


def fill(store: Store, owed: int, endpoints: int, now: float) -> None:
    """`owed` deliveries, of an event each, to ``app-0`` … in turn; a fifth of the endpoints are dead."""
    values = {"owed": owed, "endpoints": endpoints, "now": now, "body": b'{"message": "JOIN"}'.ljust(250)}
    values |= {"data": b"phone=15551234567&message=JOIN&number=15162065919".ljust(100)}

    def work(conn: Connection) -> None:
        for statement in (_EVENTS, _DELIVERIES, _STATES):
            conn.execute(text(statement), values)

    # Not by the store's writer: its statements have a time limit, and this is nobody's ordinary work.
    with store._database.migrating() as conn:
        work(conn)
    _settle_down(store)


def _settle_down(store: Store) -> None:
    """What the databases do by themselves in time: PostgreSQL counts its rows, SQLite folds its log into the file."""
    engine = store._database.writing
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        done = conn.connection.cursor()
        done.execute("VACUUM (ANALYZE)" if store.name == "postgresql" else "PRAGMA wal_checkpoint(TRUNCATE)")
        done.close()
