"""The console's password, and the key that signs the sessions it opened. No Flask in here.

The password is never compared as it stands: an argon2id hash of it is made at the first need
and again when the configuration changes. The configuration may also give such a hash itself
(``$argon2id$…``). Programs log in with every single call, and one argon2 run costs some 50 ms
of CPU and 64 MB: a password that was found right once is known again by a keyed BLAKE2 digest,
whose key is this process's own and lives in its memory only.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

LONGEST = 1_024
"""Characters; whoever sends more does not mean a password."""
SIDE_BY_SIDE = threading.BoundedSemaphore(2)
"""How many argon2 runs a process does at a time: guesses from many addresses must not eat its memory."""
SESSION_SALT = b"sms-gateway console session v1"


class Guarded(Protocol):
    """The two settings that count here, as `gateway.config.Config` has them."""

    @property
    def password(self) -> str: ...

    @property
    def keys(self) -> Sequence[str]: ...


@dataclass(slots=True)
class _Lock:
    """What one version of the configuration gives."""

    password: str = field(repr=False)
    keys: tuple[str, ...] = field(repr=False)
    hash: str = field(repr=False)
    session_key: bytes = field(repr=False)
    seal: bytes = field(repr=False, default_factory=lambda: secrets.token_bytes(32))
    known: bytes = field(repr=False, default=b"")
    """The digest of the password that was found right, once it was."""

    def digest(self, candidate: str) -> bytes:
        return hashlib.blake2b(_raw(candidate), key=self.seal).digest()


class Password:
    """Says whether a password is the console's; made once for a process, shared by its threads."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._making = threading.Lock()
        self._lock: _Lock | None = None

    def is_right(self, candidate: str, config: Guarded) -> bool:
        """True for the console's password. A console without a password lets nobody in."""
        if not config.password or len(candidate) > LONGEST:
            return False
        lock = self._lock_of(config)
        if not self._verify(lock.hash, candidate):
            return False
        lock.known = lock.digest(candidate)
        return True

    def was_right(self, candidate: str, config: Guarded) -> bool:
        """True if this very password was found right before; costs nothing, and False says nothing."""
        lock = self._lock_of(config)
        return bool(lock.known) and hmac.compare_digest(lock.digest(candidate), lock.known)

    def session_key(self, config: Guarded) -> bytes:
        """The key that sessions are signed with: 64 bytes, made of the password and the callback keys.

        So every web process with the same configuration accepts the sessions of all the others,
        and a changed password (or key) ends them all. It is stretched by scrypt, and salted with
        the keys: a visitor who holds a signed cookie cannot try passwords on it at home.
        """
        return self._lock_of(config).session_key

    def _lock_of(self, config: Guarded) -> _Lock:
        lock, keys = self._lock, tuple(config.keys)
        if lock is None or lock.password != config.password or lock.keys != keys:
            with self._making:
                lock = self._lock
                if lock is None or lock.password != config.password or lock.keys != keys:
                    lock = self._lock = self._make(config.password, keys)
        return lock

    def _make(self, password: str, keys: tuple[str, ...]) -> _Lock:
        given = password.startswith("$argon2")
        return _Lock(
            password=password,
            keys=keys,
            hash=password if given else self._hasher.hash(_raw(password)),
            session_key=_stretch(password, keys),
        )

    def _verify(self, hash_: str, candidate: str) -> bool:
        with SIDE_BY_SIDE:
            try:
                return self._hasher.verify(hash_, _raw(candidate))
            except (VerificationError, InvalidHashError):
                return False


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _stretch(password: str, keys: tuple[str, ...]) -> bytes:
    salt = hashlib.sha256(b"\0".join([SESSION_SALT, *sorted(map(_raw, keys))])).digest()
    return hashlib.scrypt(_raw(password), salt=salt, n=2**14, r=8, p=1, dklen=64)
