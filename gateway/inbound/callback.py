"""A callback of a platform, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.config import Config
from gateway.routing.route import Route, load_message
from gateway.store import events
from schemas import Message, ReceiveContext, credentials


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """One HTTP request of a platform, as it came."""

    format: str
    """A name of `FORMATS`."""
    body: bytes
    content_type: str | None
    remote: str
    now: datetime
    hops: int = 0
    """How many gateways like this one it came through."""

    @classmethod
    def of(cls, event: events.Event) -> Callback:
        """As it was kept; its credentials are gone."""
        when = datetime.fromtimestamp(event.received_at, UTC)
        content_type = event.content_type or None
        return cls(format=event.source, body=event.body, content_type=content_type, remote=event.remote, now=when)

    @property
    def at(self) -> float:
        """Epoch seconds."""
        return self.now.timestamp()

    def kept_bytes(self) -> bytes:
        """Every byte that came, but for credentials. A text that only looks like them is a text."""
        if self.format == "carrierx":
            return credentials.scrub_object(self.body)
        return credentials.scrub(self.body, self.content_type)

    def read(self, sid: str, config: Config) -> tuple[Message, Route]:
        """The message, with all that the configuration knows of it. Raises `BadCallback`."""
        receipt = ReceiveContext(now=self.now, sid=sid, prefix=config.prefix)
        return load_message(self.body, self.content_type, self.format, receipt, config)

    def event(self, message: Message, state: str, body: bytes, notes: tuple[str, ...]) -> events.NewEvent:
        return events.NewEvent(
            source=self.format,
            state=state,
            received_at=self.at,
            direction=message.direction,
            phone=message.phone,
            number=message.number,
            keyword=message.keyword,
            message_sid=message.message_sid,
            status=message.status,
            ticket=message.ticket,
            custom_ticket=message.custom_ticket,
            content_type=self.content_type,
            body=body,
            notes=notes,
            remote=self.remote,
        )


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a callback that is on disk."""

    state: str
    """``accepted``, ``duplicate``, ``stale``, ``unrouted``, ``refused``, ``waiting`` or ``orphan``."""
    event_id: int
    errors: dict[str, tuple[str, ...]] | None = None
    forbidden: bool = False
    endpoints: tuple[str, ...] = ()
    """To whom something is owed now, by their names."""
    orphan: str = ""
    """Of a status update of a message that is not ours: ``number`` (it is not one of ours), ``endpoints`` (nobody hears
    of it), ``message`` (it was not sent by us, and goes to the number's status endpoints all the same)."""
