"""A callback of a platform as it came in, and the result of accepting it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.config import Config
from gateway.routing.route import Route, load_message
from gateway.store import events
from schemas import Message, ReceiveContext, credentials

Errors = dict[str, tuple[str, ...]] | None
_OF_MESSAGE = ("direction", "phone", "number", "keyword", "message_sid", "status", "ticket", "custom_ticket")


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """One HTTP request of a platform, as it came in."""

    format: str  # a name of `FORMATS`
    body: bytes
    content_type: str | None
    remote: str
    now: datetime
    key: str = ""  # the name of the key that let it in
    notes: tuple[str, ...] = ()  # made before it was read
    hops: int = 0  # the number of gateways like this one that it came through

    @classmethod
    def from_event(cls, event: events.Event) -> Callback:
        """The callback of an event, without credentials: these are not kept."""
        return cls(
            format=event.source,
            body=event.body,
            content_type=event.content_type or None,
            remote=event.remote,
            key=event.key,
            now=datetime.fromtimestamp(event.received_at, UTC),
        )

    def kept_bytes(self) -> bytes:
        """The body as it came, without credentials. A text that merely looks like them is kept."""
        if self.format == "carrierx":
            return credentials.scrub_object(self.body)
        return credentials.scrub(self.body, self.content_type)

    def read(self, sid: str, config: Config) -> tuple[Message, Route]:
        """The message, with all that the configuration knows of it, and its route. Raises `BadCallback`."""
        context = ReceiveContext(now=self.now, sid=sid, prefix=config.prefix)
        return load_message(self.body, self.content_type, self.format, context, config)

    def event(
        self, state: str, body: bytes, notes: Sequence[str], message: Message | None = None, errors: Errors = None
    ) -> events.NewEvent:
        """The event that it becomes, with its `message`, or with the `errors` for which it is refused."""
        of_message = {name: getattr(message, name) for name in _OF_MESSAGE} if message else {}
        return events.NewEvent(
            source=self.format,
            state=state,
            received_at=self.now.timestamp(),
            content_type=self.content_type or "",
            body=body,
            errors=errors or {},
            notes=(*self.notes, *notes),
            remote=self.remote,
            key=self.key,
            **of_message,
        )


@dataclass(frozen=True, slots=True)
class Accepted:
    """The result for a callback that is on disk; or refused, and not kept."""

    state: str  # ``accepted``, ``duplicate``, ``stale``, ``unrouted``, ``refused``, ``waiting`` or ``orphan``
    event_id: int | None  # None: not kept
    errors: Errors = None
    forbidden: bool = False
    endpoints: tuple[str, ...] = ()  # the names of those that something is owed to now
    orphan: str = ""
    """Set for a status update of a message that the gateway did not send: ``number`` (it is not one of ours),
    ``endpoints`` (the number has no status endpoints), ``message`` (its status endpoints get it all the same)."""
