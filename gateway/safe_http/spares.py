"""Idle handles, kept for the next request of their kind: most of a handle's options stay as they are."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar


class Holder(Protocol):
    """What holds a handle."""

    curl: Any
    profile: tuple[Any, ...]


H = TypeVar("H", bound=Holder)


class HandlePool(Generic[H]):
    """At most `most` of them; then those of the profile that was unused for longest are closed."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._idle: dict[tuple[Any, ...], list[H]] = {}
        self.count = 0

    def take(self, profile: tuple[Any, ...]) -> H | None:
        idle = self._idle.pop(profile, None)
        if not idle:
            return None
        self.count -= 1
        holder = idle.pop()
        if idle:
            self._idle[profile] = idle
        return holder

    def put(self, holder: H) -> None:
        self._idle.setdefault(holder.profile, []).append(holder)
        self.count += 1
        if self.count > self._most:
            self._close(next(iter(self._idle)))

    def _close(self, profile: tuple[Any, ...]) -> None:
        for holder in self._idle.pop(profile):
            self.count -= 1
            holder.curl.close()

    def close(self) -> None:
        for profile in list(self._idle):
            self._close(profile)
