"""The console's sessions: a signed cookie that lives twelve hours and ends with the password.

The cookie holds the user's random id and when the login was; nothing of the password. Whoever
logs out ends that session in this process at once, and the cookie in the browser everywhere.
"""

from __future__ import annotations

import hashlib
import secrets
import threading

from flask import Flask, Request, Response, g, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from itsdangerous import BadData, URLSafeTimedSerializer

from gateway.config import Settings
from gateway.web.password import Password

HOURS = 12
LIFE = HOURS * 3_600
"""Seconds from login to the end, idle or not."""
SKEW = 300
"""Seconds that the clocks of two machines may differ."""


class Sessions(SecureCookieSessionInterface):
    """Flask's own, but the key follows the password, and `Secure` follows `public_url`, without a restart."""

    digest_method = staticmethod(hashlib.sha256)

    def __init__(self, settings: Settings, password: Password) -> None:
        self._settings = settings
        self._password = password

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        # Platforms send no cookie: their callbacks must not pay for the making of a key.
        if "HTTP_COOKIE" not in request.environ:
            return self.session_class()
        cookie = request.cookies.get(self.get_cookie_name(app))
        signer = self.get_signing_serializer(app) if cookie else None
        if not cookie or signer is None:
            return self.session_class()
        try:
            # The age is judged by `user_of`: itsdangerous would take the cookie of a machine
            # whose clock is a second ahead for an expired one.
            return self.session_class(signer.loads(cookie))
        except BadData:
            return self.session_class()

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        # Nobody looked into it, so there is nothing to be saved: this, too, is for the callbacks.
        if session.accessed:
            super().save_session(app, session, response)

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer | None:
        # One key from the first to the last line of a request: a session that was opened with
        # the old password must not be signed again with the new one.
        if "signer" not in g:
            app.secret_key = self._password.session_key(self._settings.current)
            g.signer = super().get_signing_serializer(app)
        signer: URLSafeTimedSerializer | None = g.signer
        return signer

    def get_cookie_secure(self, app: Flask) -> bool:
        return self._settings.current.public_url.lower().startswith("https:")


class Ended:
    """Sessions that were logged out before their time."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._turn = threading.Lock()

    def add(self, user: str, now: float) -> None:
        with self._turn:
            self._until = {each: until for each, until in self._until.items() if until > now}
            self._until[user] = now + LIFE

    def __contains__(self, user: str) -> bool:
        return user in self._until


def begin(now: float) -> None:
    """A new session in place of whatever was there: nobody can prepare one for somebody else."""
    session.clear()
    # The CSRF token is there from the start: two tabs opened at once would make two, and one would not count.
    session.update(user=secrets.token_urlsafe(16), since=now, csrf_token=secrets.token_hex(20))
    session.permanent = True


def user_of(ended: Ended, now: float) -> str | None:
    """The user of this request's session; None without one, or after its end."""
    user, since = session.get("user"), session.get("since")
    if not isinstance(user, str) or not isinstance(since, (int, float)):
        return None
    return user if -SKEW <= now - since < LIFE and user not in ended else None
