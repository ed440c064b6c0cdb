"""The custom_ticket of the last message sent from a number to a phone: what a keyword callback hands back."""

from __future__ import annotations

from sqlalchemy import Connection

from gateway.store.statement import Statement, index_key, storable

# "Last" is by the time of sending, not of being told: two machines may tell in either order.
NOTE = Statement(
    """
    INSERT INTO tickets (number, phone, custom_ticket, sent_at) VALUES (:number, :phone, :custom_ticket, :sent_at)
    ON CONFLICT (number, phone) DO UPDATE SET custom_ticket = excluded.custom_ticket, sent_at = excluded.sent_at
     WHERE excluded.sent_at >= tickets.sent_at
    """
)
LAST = Statement("SELECT custom_ticket FROM tickets WHERE number = :number AND phone = :phone")


def remember_custom_ticket(conn: Connection, number: str, phone: str, custom_ticket: str, sent_at: float) -> None:
    """Notes a message that was sent; an older one than the one known changes nothing."""
    values = {
        "number": index_key(number),
        "phone": index_key(phone),
        "custom_ticket": storable(custom_ticket),
        "sent_at": sent_at,
    }
    NOTE.run(conn, values)


def last_custom_ticket(conn: Connection, number: str, phone: str) -> str:
    """The custom_ticket of the last message sent; empty if there was none, or it had none."""
    row = LAST.run(conn, {"number": index_key(number), "phone": index_key(phone)}).fetchone()
    return str(row[0]) if row else ""
