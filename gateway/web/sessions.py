"""The console's sessions, the password that opens them, and how often a caller may try. For one process.

A session is a signed cookie that lives twelve hours and ends with the password. It holds the user's random id and the
time of the login; nothing of the password. Who logs out ends that session in this process at once, and the cookie in
the browser everywhere.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import cast

import limits
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from flask import Flask, Request, Response, g, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from itsdangerous import BadData, URLSafeTimedSerializer
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from werkzeug.exceptions import TooManyRequests

from gateway.config import Config, Settings

SESSION_SECONDS = 12 * 3_600  # from login to the end, idle or not
MAX_CLOCK_SKEW_SECONDS = 300  # the clocks of two machines may differ by this much
MAX_PASSWORD_CHARACTERS = 1_024  # a longer text is refused without being hashed
GUESSES_PER_MINUTE = limits.parse("10/minute")  # wrong passwords (form, one-click link, HTTP Basic) from one address
TEST_POSTS_PER_MINUTE = limits.parse("120/minute")
"""Test posts of one user: enough for a script that walks through its cases, no use as a port scanner."""

_ARGON2_RUNS = threading.BoundedSemaphore(2)
"""Limits the argon2 runs at a time: guesses from many addresses must not use up the process's memory."""
_SESSION_SALT = b"sms-gateway console session v1"


@dataclass(slots=True, repr=False)
class _HashedPassword:
    """The password of one version of the configuration."""

    password: str
    keys: tuple[str, ...]
    hash: str
    session_key: bytes
    digest_key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    known: bytes = b""  # the digest of the password that was found right, once it was

    def digest(self, candidate: str) -> bytes:
        return hashlib.blake2b(_encoded(candidate), key=self.digest_key).digest()


class Password:
    """Checks passwords for the console. Made once for a process, shared by its threads.
    The password is never compared as it stands: an argon2id hash of it is made at the first need and again when the
    configuration changes. The configuration may also give such a hash itself (``$argon2id$…``). Programs log in with
    every single call, and one argon2 run costs some 50 ms of CPU and 64 MB: a password that was found right once is
    known again by a keyed BLAKE2 digest, whose key is this process's own and exists only in its memory."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._hashing = threading.Lock()
        self._current: _HashedPassword | None = None

    def is_right(self, candidate: str, config: Config) -> bool:
        """Returns True for the console's password. A console without a password lets nobody in."""
        if not config.password or len(candidate) > MAX_PASSWORD_CHARACTERS:
            return False
        hashed = self._hashed(config)
        with _ARGON2_RUNS:
            try:
                self._hasher.verify(hashed.hash, _encoded(candidate))
            except (VerificationError, InvalidHashError):
                return False
        hashed.known = hashed.digest(candidate)
        return True

    def was_right(self, candidate: str, config: Config) -> bool:
        """Returns True if this very password was found right before. Cheap; False does not mean that it is wrong."""
        hashed = self._hashed(config)
        return bool(hashed.known) and hmac.compare_digest(hashed.digest(candidate), hashed.known)

    def session_key(self, config: Config) -> bytes:
        """The key that sessions are signed with: 64 bytes, made of the password and the callback keys.
        So every web process with the same configuration accepts the sessions of all the others, and a changed password
        (or key) ends them all. It is stretched by scrypt, and salted with the keys: a visitor who holds a signed cookie
        cannot try passwords on it offline."""
        return self._hashed(config).session_key

    def _hashed(self, config: Config) -> _HashedPassword:
        password, keys = config.password, tuple(config.keys)
        hashed = self._current
        if hashed is None or (hashed.password, hashed.keys) != (password, keys):
            with self._hashing:
                hashed = self._current
                if hashed is None or (hashed.password, hashed.keys) != (password, keys):
                    hashed = self._current = _HashedPassword(
                        password=password,
                        keys=keys,
                        hash=password if password.startswith("$argon2") else self._hasher.hash(_encoded(password)),
                        session_key=_stretch(password, keys),
                    )
        return hashed


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _stretch(password: str, keys: tuple[str, ...]) -> bytes:
    salt = hashlib.sha256(b"\0".join([_SESSION_SALT, *sorted(map(_encoded, keys))])).digest()
    return hashlib.scrypt(_encoded(password), salt=salt, n=2**14, r=8, p=1, dklen=64)


class Sessions(SecureCookieSessionInterface):
    """Flask's sessions, but the key follows the password, and `Secure` follows `public_url`, without a restart."""

    digest_method = staticmethod(hashlib.sha256)

    def __init__(self, settings: Settings, password: Password) -> None:
        self._settings, self._password = settings, password

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        # Monitors send no cookie: no key is to be made for them.
        cookie = request.cookies.get(self.get_cookie_name(app)) if "HTTP_COOKIE" in request.environ else None
        signer = self.get_signing_serializer(app) if cookie else None
        with suppress(BadData):
            if cookie and signer:
                # The age is judged by `session_user`: itsdangerous would take the cookie of a machine
                # whose clock is a second ahead for an expired one.
                return self.session_class(signer.loads(cookie))
        return self.session_class()

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        # A session that was not read needs no saving, and no key is to be made for it.
        if session.accessed:
            super().save_session(app, session, response)

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer | None:
        # One key from the first to the last line of a request: a session that was opened with
        # the old password must not be signed again with the new one.
        if "signer" not in g:
            app.secret_key = self._password.session_key(self._settings.current)
            g.signer = super().get_signing_serializer(app)
        return cast("URLSafeTimedSerializer | None", g.signer)

    def get_cookie_secure(self, app: Flask) -> bool:
        return self._settings.current.public_url.lower().startswith("https:")


def begin(now: float) -> None:
    """Begins a session in place of any earlier one, so that nobody can prepare a session for another user."""
    session.clear()
    # The CSRF token is there from the start: two tabs opened at once would make two, and one would not count.
    session.update(user=secrets.token_urlsafe(16), since=now, csrf_token=secrets.token_hex(20))
    session.permanent = True


class EndedSessions:
    """Remembers the sessions that were logged out before their time."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._lock = threading.Lock()

    def end(self, now: float) -> None:
        """Ends the session of this request."""
        if user := session.get("user"):
            with self._lock:
                self._until = {each: until for each, until in self._until.items() if until > now}
                self._until[user] = now + SESSION_SECONDS
        session.clear()

    def __contains__(self, user: str) -> bool:
        return user in self._until


def session_user(ended: EndedSessions, now: float) -> str | None:
    """The user of this request's session; None without one, or after its end."""
    user, since = session.get("user"), session.get("since")
    if not isinstance(user, str) or not isinstance(since, (int, float)):
        return None
    return user if -MAX_CLOCK_SKEW_SECONDS <= now - since < SESSION_SECONDS and user not in ended else None


def caller_key(address: str | None) -> str:
    """Names a caller for the limits: an IPv4 address, or the /64 in which an IPv6 host can choose its own."""
    try:
        found = ip_address(address or "")
    except ValueError:
        return address or ""
    if found.version == 4:
        return str(found)
    return str(found.ipv4_mapped or ip_network((found.packed[:8] + bytes(8), 64)))


class RateLimits:
    """Counts, in this process's memory, how often callers did something. One for each application.
    It uses the engine of Flask-Limiter without Flask-Limiter itself, which adds three functions to every request; only
    a few pages of the console have anything to count, and they call these methods."""

    def __init__(self) -> None:
        self._windows = MovingWindowRateLimiter(MemoryStorage())
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    def check(self, rate: limits.RateLimitItem, caller: str) -> None:
        """Raises 429 with `Retry-After` if the caller did it too often already. Counts nothing."""
        if not self._windows.test(rate, caller):
            raise self._too_many(rate, caller)

    def count(self, rate: limits.RateLimitItem, caller: str) -> None:
        """Counts that the caller does it once more; raises 429 with `Retry-After` if that is too often."""
        if not self._windows.hit(rate, caller):
            raise self._too_many(rate, caller)

    def _too_many(self, rate: limits.RateLimitItem, caller: str) -> TooManyRequests:
        free_at = self._windows.get_window_stats(rate, caller).reset_time
        wait = max(1, math.ceil(free_at - time.time()))
        return TooManyRequests(f"Too many of these; try again in {wait} s.", retry_after=wait)

    @contextmanager
    def exclusive(self, user: str) -> Iterator[bool]:
        """Yields False if the user is within it already; blocks nobody."""
        with self._lock:
            is_free = user not in self._busy
            self._busy.add(user)
        try:
            yield is_free
        finally:
            if is_free:
                with self._lock:
                    self._busy.discard(user)
