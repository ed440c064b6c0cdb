"""`gateway.toml` → `Config`, or every mistake in it at once; `Settings` reads a changed file again.

The environment is read here and nowhere else.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from gateway.config import validate
from gateway.config.errors import ConfigError, ErrorCollector, Fault, FromEnvironment, SettingPath, lines_of
from gateway.config.model import Config
from gateway.config.schema import build, read
from gateway.config.secrets import complete

CHECK_INTERVAL_SECONDS = 1.0  # from one look at the file to the next
_log = structlog.get_logger("gateway.config")
_AT = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")
_HINTS = {
    "Cannot overwrite a value": "this setting is there twice",
    "Unescaped '\\' in a string": "a backslash must be doubled, or the text put in 'single quotes'",
    "Invalid hex value": "a backslash must be doubled, or the text put in 'single quotes'",
    "Invalid value": "is the text not in quotes?",
    "Expected '=' after a key in a key/value pair": "every line is a [table], or name = value",
}
"""Messages of `tomllib` about common slips → what to do about them."""
_VARIABLE = re.compile(r"\$\{([^{}]*)(\}?)")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def environment() -> Mapping[str, str]:
    """The variables of this process."""
    return os.environ


def take_variable(name: str) -> str | None:
    """Removes a variable from the environment: a secret that no process started from here needs."""
    return os.environ.pop(name, None)


def default_path(environ: Mapping[str, str] = os.environ) -> Path:
    """``$GATEWAY_CONFIG``, else ``gateway.toml`` in the current folder."""
    return Path(environ.get("GATEWAY_CONFIG") or "gateway.toml")


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration in a file. Raises `ConfigError`, also where there is no such file.
    `environ`: what ``${NAME}`` is taken from."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        fault = "there is no such file; `gateway init` writes one"
    except OSError as error:
        fault = f"cannot be read: {error.strerror or 'unknown error'}"
    except UnicodeDecodeError:
        fault = "is not UTF-8; save it as UTF-8, without or with a byte order mark"
    else:
        return loads(text, path=path, environ=environ)
    raise ConfigError([Fault("", None, fault)], str(path))


def loads(text: str, *, path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration in a text. Relative paths are taken from the folder of `path`, else from the current one."""
    errors = ErrorCollector(str(path) if path else "gateway.toml")
    folder = path.absolute().parent if path else Path.cwd()
    written = _parse(text, errors.file)
    errors.lines = lines_of(text, written)
    written = _fill(written, environ, errors, ())
    tables, found = read(written)
    errors.add((), found)
    validate.check(tables, written, folder, errors)
    if errors.faults:
        raise ConfigError(errors.faults, errors.file, errors.warnings)
    return build(tables, path.absolute() if path else None, folder, errors.warnings)


def _parse(text: str, file: str) -> dict[str, Any]:
    line: int | None = None
    try:
        return tomllib.loads(text)
    except RecursionError:
        fault = "nests lists or tables too deeply"
    except ValueError as error:
        found, reason = _AT.search(str(error)), _AT.sub("", str(error))
        hint = f"; {_HINTS[reason]}" if reason in _HINTS else ""
        if found and found["line"]:
            line, fault = int(found["line"]), f"{reason} (column {found['column']}){hint}"
        else:
            line, fault = len(text.rstrip().split("\n")), f"{reason} (at the end of the file){hint}"
    raise ConfigError([Fault("", line, fault)], file)


def _fill(value: Any, environ: Mapping[str, str], errors: ErrorCollector, path: SettingPath) -> Any:
    """`value` with every ``${NAME}`` in its texts replaced.
    A variable's value is taken as it is: a ``${`` in there means nothing."""
    if isinstance(value, dict):
        return {name: _fill(inner, environ, errors, (*path, name)) for name, inner in value.items()}
    if isinstance(value, list):
        return [_fill(inner, environ, errors, (*path, index)) for index, inner in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value
    found = _VARIABLE.findall(value)
    names = list(dict.fromkeys(name for name, _ in found))
    if not all(end and _VARIABLE_NAME.fullmatch(name) for name, end in found):
        errors.add(path, "after ${ comes the name of an environment variable and }: ${GATEWAY_KEY}", final=True)
    elif unset := [name for name in names if name not in environ]:
        errors.add(path, f"the environment variable {', '.join(unset)} is not set", final=True)
    # Python keeps bytes of the environment that are no UTF-8 as lone surrogates.
    elif broken := [name for name in names if re.search("[\ud800-\udfff]", environ[name])]:
        errors.add(path, f"the environment variable {', '.join(broken)} is not UTF-8", final=True)
    return FromEnvironment(_VARIABLE.sub(lambda each: environ.get(each[1], ""), value))


class Settings:
    """Holds the configuration of one process; its threads may share it.
    Reading it for the first time raises `ConfigError`; after that a broken file only fills `refused`."""

    def __init__(
        self,
        source: Path | Config,
        environ: Mapping[str, str] = os.environ,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = source if isinstance(source, Path) else None
        self._environ, self._clock = environ, clock
        self._reading = threading.Lock()
        self._looked, self._version = clock(), _version(self._path) if self._path else None
        self._refused: ConfigError | None = None
        self.on_read: Callable[[str, ConfigError | None], object] = lambda version, refused: None
        """Called with the `version` of a changed file when it was read, or refused for these mistakes."""
        self._current, self.secrets = complete(load(source, environ) if isinstance(source, Path) else source)

    @classmethod
    def found(
        cls, environ: Mapping[str, str] = os.environ, *, otherwise: Callable[[], Config] | None = None
    ) -> Settings:
        """Settings of the file that `GATEWAY_CONFIG` names, else of ``gateway.toml`` in the current folder.
        `otherwise` gives the configuration (the sandbox's) where no file is named and none is there."""
        path = default_path(environ)
        if otherwise and not environ.get("GATEWAY_CONFIG") and not path.exists():
            return cls(otherwise())
        return cls(path, environ)

    @property
    def current(self) -> Config:
        """The configuration, with keys and password. Cheap: the file is looked at once a second at most."""
        self._look()
        return self._current

    @property
    def refused(self) -> ConfigError | None:
        """The mistakes of the file as it is now, while an older one is still in force; None if there are none."""
        self._look()
        return self._refused

    @property
    def version(self) -> str:
        """Names the file as it was last looked at: its bytes and when they were written. Empty without a file."""
        return hashlib.sha256(repr(self._version).encode()).hexdigest() if self._version else ""

    def _look(self) -> None:
        path = self._path
        if path is None or self._clock() - self._looked < CHECK_INTERVAL_SECONDS:
            return
        # A thread that comes while another reads takes what counted until now, and does not wait.
        if not self._reading.acquire(blocking=False):
            return
        try:
            self._looked = self._clock()
            version = _version(path)
            if version == self._version:
                return
            # Before the reading: a change that comes while the file is read is then seen at the next look.
            self._version = version
            new, found = complete(load(path, self._environ))
            if new.database != self._current.database:
                # It cannot change while the process runs.
                text = f"{path.name}: gateway.database: has changed; the new value takes effect at the next start"
                _log.warning("configuration_needs_restart", setting="gateway.database")
                new = replace(new, database=self._current.database, warnings=(*new.warnings, text))
            self._current, self.secrets, self._refused = new, found, None
            _log.info("configuration_read", file=path.name, warnings=len(new.warnings))
            self.on_read(self.version, None)
        except ConfigError as error:
            self._refused = error
            faults = [f"{fault.path}:{fault.line}" for fault in error.faults]
            _log.error("configuration_refused", file=path.name, faults=faults, see="gateway check")
            self.on_read(self.version, error)
        finally:
            self._reading.release()


def _version(path: Path) -> tuple[int, int, int, bytes] | None:
    """Changes when a file is written or replaced; None where there is none that can be read."""
    try:
        found = path.stat()
        # Its bytes as well: two versions of one length, written in one tick of the clock, may even have the same inode.
        return found.st_mtime_ns, found.st_size, found.st_ino, path.read_bytes()
    except OSError:
        return None
