"""Keys and password that nobody set: made at the first start, kept for the owner alone."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from gateway.config.model import Config, ConfigError, Fault

# Nothing that looks like something else: no 0 and o, no 1, i and l.
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
_GROUPS, _GROUP = 4, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """What stands in for `keys` and `password`."""

    keys: tuple[str, ...] = field(repr=False)
    password: str = field(repr=False)
    made: frozenset[str] = frozenset()
    """Which of ``keys`` and ``password`` this call made: those are to be printed, once."""


def secrets_for(data: Path) -> Secrets:
    """Keys and password out of `data`; made there, files 0600 in a folder 0700, where they are missing.

    Of two processes that start at once both get what one of them made. Raises `ConfigError`.
    """
    keys, made_keys = _kept(data, "keys", lambda: secrets.token_hex(16))
    password, made_password = _kept(data, "password", _readable)
    made = {name for name, was_made in (("keys", made_keys), ("password", made_password)) if was_made}
    return Secrets(keys=keys, password=password[0], made=frozenset(made))


def kept_keys(data: Path) -> tuple[str, ...]:
    """The keys that an earlier start made and kept in `data`; none where there was no such start. Nothing is made.

    Raises OSError for a file that cannot be read.
    """
    try:
        return _read(data / "keys")
    except FileNotFoundError:
        return ()


def complete(config: Config) -> tuple[Config, Secrets | None]:
    """`config` with keys and password, from ``data/`` where the file has none, and what came from there."""
    if config.keys and config.password:
        return config, None
    found = secrets_for(config.data)
    return replace(config, keys=config.keys or found.keys, password=config.password or found.password), found


def make_private(folder: Path) -> None:
    """The folder, there and open to nobody else. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Somebody else's folder, as some containers mount it, cannot be closed by us.
    with contextlib.suppress(PermissionError):
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)


def _readable() -> str:
    """A password that can be typed from a screen: 20 of 31 letters, 99 bits."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(_GROUP)) for _ in range(_GROUPS))


def _kept(data: Path, name: str, make: Callable[[], str]) -> tuple[tuple[str, ...], bool]:
    """The lines of a file in `data`, and whether they were made just now."""
    try:
        make_private(data)
        made = _create(data / name, make() + "\n")
        lines = _read(data / name)
    except OSError as error:
        raise _fault(name, f"data/{name} cannot be read or made: {error.strerror or 'unknown error'}") from None
    except UnicodeDecodeError:
        raise _fault(name, f"data/{name} is not text") from None
    if not lines:
        raise _fault(name, f"data/{name} is empty: delete it, and another is made") from None
    return lines, made


def _fault(name: str, text: str) -> ConfigError:
    return ConfigError([Fault(f"gateway.{name}", None, text)])


def _create(path: Path, text: str) -> bool:
    """A whole new file, or none: False if somebody else was first. Never a file that is half written."""
    if path.exists():
        return False
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # Neither overwrites a file that is there; Windows has no links for everybody, but such a rename.
        (os.rename if os.name == "nt" else os.link)(draft, path)
    except FileExistsError:
        return False
    finally:
        Path(draft).unlink(missing_ok=True)
    return True


def _read(path: Path) -> tuple[str, ...]:
    with contextlib.suppress(PermissionError):
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    return tuple(line.strip() for line in lines if line.strip())
