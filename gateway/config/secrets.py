"""Keys and password that the file does not set: made at the first start, kept under ``data/`` for the owner alone."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from gateway.config.errors import ConfigError, Fault
from gateway.config.model import Config

# Nothing that looks like something else: no 0 and o, no 1, i and l.
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """Keys and password from ``data/``."""

    keys: tuple[str, ...] = field(repr=False)
    password: str = field(repr=False)
    made: frozenset[str] = frozenset()
    """``keys``, ``password``: those that this call made, and that are to be printed, once."""


def secrets_for(data: Path, *, with_keys: bool = True) -> Secrets:
    """Keys and password out of `data`; made there, files 0600 in a folder 0700, where they are missing.
    Two processes that start at once both get what one of them made. Raises `ConfigError`."""
    keys, made_keys = _read_or_make(data / "keys", secrets.token_hex(16)) if with_keys else ((), False)
    password, made_password = _read_or_make(data / "password", new_password())
    made = {name for name, was_made in (("keys", made_keys), ("password", made_password)) if was_made}
    return Secrets(keys=keys, password=password[0], made=frozenset(made))


def new_password() -> str:
    """A password that can be typed from a screen: 20 of 31 letters, 99 bits."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(5)) for _ in range(4))


def kept_keys(data: Path) -> tuple[str, ...]:
    """The keys that an earlier start made in `data`; none if there was no such start, or if they cannot be read."""
    try:
        return _read(data / "keys")
    except (OSError, UnicodeDecodeError):
        return ()


def complete(config: Config) -> tuple[Config, Secrets | None]:
    """`config` with keys and password, from ``data/`` where the file has none, and what came from there."""
    if config.all_keys and config.password:
        return config, None
    found = secrets_for(config.data, with_keys=not config.all_keys)
    return replace(config, keys=config.keys or found.keys, password=config.password or found.password), found


def make_private(folder: Path) -> None:
    """Makes the folder if need be, and closes it to everybody else. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Somebody else's folder, as some containers mount it, cannot be closed by us.
    with contextlib.suppress(PermissionError):
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)


def _read_or_make(path: Path, content: str) -> tuple[tuple[str, ...], bool]:
    """The lines of a file under ``data/``, and True if they are `content`, written just now."""
    name, made = f"data/{path.name}", False
    try:
        make_private(path.parent)
        if not path.exists():
            with draft_of(path, f"{content}\n".encode()) as draft, contextlib.suppress(FileExistsError):
                # Neither overwrites a file that is there; Windows has no links for everybody, but such a rename.
                (os.rename if os.name == "nt" else os.link)(draft, path)
                made = True
        lines = _read(path)
        problem = "" if lines else f"{name} is empty; delete it, and a new one is made"
    except OSError as error:
        problem = f"{name} cannot be read or made: {error.strerror or 'unknown error'}"
    except UnicodeDecodeError:
        problem = f"{name} is not text"
    if problem:
        raise ConfigError([Fault(f"gateway.{path.name}", None, problem)])
    return lines, made


@contextlib.contextmanager
def draft_of(path: Path, content: bytes) -> Iterator[Path]:
    """A file beside `path` for its owner alone, with this content on the disk: renamed, it is there as a whole or not
    at all. Deleted in the end, unless it was."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield Path(draft)
    finally:
        Path(draft).unlink(missing_ok=True)


def _read(path: Path) -> tuple[str, ...]:
    with contextlib.suppress(PermissionError):
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    return tuple(line.strip() for line in lines if line.strip())
