"""The console's logins: operators' passwords, the sessions that they open, and the devices that logged in before.

A session is a row in the store, found by the random id in a signed cookie, so that its end is its end on every machine.
It lives twelve hours, less where it is idle, and ends with its operator's password. The cookie holds the id and the
CSRF token, nothing of the password.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import cast

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from flask import Flask, Request, Response, g, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from itsdangerous import BadData, URLSafeTimedSerializer

from gateway.config import Config, Settings
from gateway.config.model import Operator
from gateway.config.validate import MAX_PASSWORD_CHARACTERS
from gateway.store import Store, StoreUnavailable
from gateway.store import sessions as kept
from gateway.store.audit import AuditEntry, audited

SESSION_SECONDS = 12 * 3_600  # from login to the end, idle or not
SEEN_SECONDS = 60.0  # after this time the store is told again that a session is used
DEVICE_SECONDS = 400 * 86_400  # as long as browsers keep a cookie
MAX_CLOCK_SKEW_SECONDS = 300  # the clocks of two machines may differ by this much

_ARGON2_RUNS = threading.BoundedSemaphore(2)
"""Limits the argon2 runs at a time: guesses from many addresses must not use up the process's memory."""
_STRETCHING = threading.Lock()
_SESSION_SALT = b"sms-gateway console session v1"
_MARK_SALT = b"sms-gateway password mark v1"
_DEVICE_SALT = "sms-gateway known device v1"
_DEVICE_COOKIE = "gateway_device"


@dataclass(slots=True, repr=False)
class _HashedPassword:
    """An operator's password, as it stands in one version of the configuration."""

    password: str
    hash: str
    known: bytes = b""  # the digest of the password that was found right, once it was


class Passwords:
    """Checks the operators' passwords. Made once for a process, shared by its threads.
    A password is never compared as it stands: an argon2id hash of it is made at the first need and again when the
    configuration changes. The configuration may also give such a hash itself (``$argon2id$…``). Programs log in with
    every single call, and one argon2 run costs some 50 ms of CPU and 64 MB: a password that was found right once is
    known again by a keyed BLAKE2 digest, whose key is this process's own and exists only in its memory."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._hashing = threading.Lock()
        self._hashed: dict[str, _HashedPassword] = {}
        self._digest_key = secrets.token_bytes(32)

    def is_right(self, candidate: str, operator: Operator | None) -> bool:
        """Returns True for the operator's password. For nobody's (None) it takes as long to say no."""
        if len(candidate) > MAX_PASSWORD_CHARACTERS:
            return False
        hashed = self._of(operator or Operator(name="", password="nobody's"))  # noqa: S106
        with _ARGON2_RUNS:
            try:
                self._hasher.verify(hashed.hash, _encoded(candidate))
            except (VerificationError, InvalidHashError):
                return False
        if operator is not None:
            hashed.known = self._digest(candidate)
        return operator is not None

    def was_right(self, candidate: str, operator: Operator | None) -> bool:
        """Returns True if this very password was found right before. Cheap; False does not mean that it is wrong."""
        known = self._of(operator).known if operator else b""
        return bool(known) and hmac.compare_digest(self._digest(candidate), known)

    def _digest(self, candidate: str) -> bytes:
        return hashlib.blake2b(_encoded(candidate), key=self._digest_key).digest()

    def _of(self, operator: Operator) -> _HashedPassword:
        password = operator.password
        with self._hashing:
            hashed = self._hashed.get(operator.name)
            if hashed is None or hashed.password != password:
                made = password if password.startswith("$argon2") else self._hasher.hash(_encoded(password))
                hashed = self._hashed[operator.name] = _HashedPassword(password, made)
        return hashed


def session_keys(config: Config) -> list[bytes]:
    """The keys that cookies are signed with, 64 bytes each, the oldest first; the last one signs.
    Unless `session_secret` is set, the key is made of the password and the callback keys: every web process with one
    configuration accepts the sessions of all the others. It is stretched by scrypt, and salted with the keys: a visitor
    who holds a signed cookie cannot try passwords on it offline."""
    if config.session_secret:
        return [_stretched(secret, _SESSION_SALT) for secret in reversed(config.session_secret)]
    return [_stretched(config.password, b"\0".join([_SESSION_SALT, *sorted(value for value, _ in config.key_values)]))]


def password_mark(operator: Operator) -> str:
    """A text that changes with the operator's password: a session of the old one has ended.
    It stands in the store, so it is stretched as well."""
    return _stretched(operator.password, _MARK_SALT + _encoded(operator.name))[:16].hex()


def _stretched(secret: str, salt: bytes) -> bytes:
    with _STRETCHING:  # once: many threads that ask at first would each take 16 MB and 50 ms
        return _scrypt(secret, salt)


@lru_cache(maxsize=64)
def _scrypt(secret: str, salt: bytes) -> bytes:
    return hashlib.scrypt(_encoded(secret), salt=hashlib.sha256(salt).digest(), n=2**14, r=8, p=1, dklen=64)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


class Sessions(SecureCookieSessionInterface):
    """Flask's sessions, but the key follows the configuration, and `Secure` follows `public_url`, without a restart."""

    digest_method = staticmethod(hashlib.sha256)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

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
            *older, app.secret_key = session_keys(self._settings.current)
            app.config["SECRET_KEY_FALLBACKS"] = older
            g.signer = super().get_signing_serializer(app)
        return cast("URLSafeTimedSerializer | None", g.signer)

    def get_cookie_secure(self, app: Flask) -> bool:
        return self._settings.current.public_url.lower().startswith("https:")

    def known_device(self, request: Request, operator: str) -> str:
        """The id of a device where this operator logged in before; empty where none did."""
        with suppress(BadData, KeyError, TypeError):
            found = self._devices().loads(request.cookies.get(_DEVICE_COOKIE, ""), max_age=DEVICE_SECONDS)
            return str(found["device"]) if found["operator"] == operator else ""
        return ""

    def remember_device(self, app: Flask, response: Response, operator: str, device: str) -> None:
        value = str(self._devices().dumps({"operator": operator, "device": device or secrets.token_urlsafe(16)}))
        secure = self.get_cookie_secure(app)
        response.set_cookie(_DEVICE_COOKIE, value, DEVICE_SECONDS, secure=secure, httponly=True, samesite="Lax")

    def _devices(self) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(
            session_keys(self._settings.current), salt=_DEVICE_SALT, signer_kwargs={"digest_method": hashlib.sha256}
        )


def begin(store: Store, operator: Operator, entry: AuditEntry, idle_seconds: float) -> None:
    """Begins a session in place of any earlier one, so that nobody can prepare a session for another user.
    `entry`: the login in the audit trail."""
    secret, now = secrets.token_urlsafe(32), entry.at
    new = kept.Session(
        id=_row_id(secret),
        operator=operator.name,
        password_mark=password_mark(operator),
        remote=entry.remote,
        began_at=now,
        seen_at=now,
    )
    begin = partial(kept.begin, session=new, began_before=now - SESSION_SECONDS, seen_before=now - idle_seconds)
    store.writer.write(audited(begin, entry))
    session.clear()
    # The CSRF token is there from the start: two tabs opened at once would make two, and one would not count.
    session.update(id=secret, csrf_token=secrets.token_hex(20))
    session.permanent = True


def find(store: Store, config: Config, now: float) -> kept.Session | None:
    """The session of this request; None without one, and after its end. Raises `StoreUnavailable`."""
    secret = session.get("id")
    if not isinstance(secret, str):
        return None
    with store.reader() as conn:
        found = kept.find(conn, _row_id(secret))
    operator = config.operator(found.operator) if found else None
    if found is None or operator is None or found.password_mark != password_mark(operator):
        return None
    age, idle, most_idle = now - found.began_at, now - found.seen_at, config.session_idle_minutes * 60
    if not -MAX_CLOCK_SKEW_SECONDS <= age < SESSION_SECONDS or idle >= most_idle:
        return None
    if idle >= min(SEEN_SECONDS, most_idle / 4):
        with suppress(StoreUnavailable):  # reading is still possible
            store.writer.write(lambda conn: kept.mark_seen(conn, found.id, now))
    return found


def end(store: Store, entry: AuditEntry) -> None:
    """Ends the session of this request, on every machine."""
    if isinstance(secret := session.get("id"), str):
        store.writer.write(audited(partial(kept.end, session_id=_row_id(secret)), entry))
    session.clear()


def _row_id(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
