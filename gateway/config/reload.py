"""The configuration of a running process: a changed file is read again, a broken one is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import structlog

from gateway.config.errors import ConfigError
from gateway.config.load import default_path, environment, load
from gateway.config.model import Config
from gateway.config.secrets import complete

CHECK_INTERVAL_SECONDS = 1.0
"""From one look at the file to the next."""
_log = structlog.get_logger("gateway.config")


class Settings:
    """Holds the configuration of one process; its threads may share it.

    Reading it for the first time raises `ConfigError`; after that a broken file only fills `refused`.
    """

    def __init__(
        self,
        source: Path | Config,
        environ: Mapping[str, str] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = source if isinstance(source, Path) else None
        self._environ, self._clock = environ, clock
        self._reading = threading.Lock()
        self._looked, self._version = clock(), _version(self._path) if self._path else None
        self._refused: ConfigError | None = None
        self._current, self.secrets = complete(load(source, environ) if isinstance(source, Path) else source)

    @classmethod
    def fixed(cls, config: Config) -> Settings:
        """Settings that never change: the sandbox's, and those of tests."""
        return cls(config)

    @classmethod
    def found(
        cls, environ: Mapping[str, str] | None = None, *, otherwise: Callable[[], Config] | None = None
    ) -> Settings:
        """Settings of the file that `GATEWAY_CONFIG` names, else of ``gateway.toml`` in the current folder.

        `otherwise` gives the configuration (the sandbox's) where no file is named and none is there.
        """
        path = default_path(environ)
        is_named = (environment() if environ is None else environ).get("GATEWAY_CONFIG")
        if otherwise is not None and not is_named and not path.exists():
            return cls(otherwise())
        return cls(path, environ)

    @property
    def current(self) -> Config:
        """The configuration, with keys and password. Cheap: the file is looked at once a second at most."""
        self._reload()
        return self._current

    @property
    def refused(self) -> ConfigError | None:
        """The mistakes of the file as it is now, while an older one is still in force; None if there are none."""
        self._reload()
        return self._refused

    def _reload(self) -> None:
        if self._path is None or self._clock() - self._looked < CHECK_INTERVAL_SECONDS:
            return
        # A thread that comes while another reads takes what counted until now, and does not wait.
        if self._reading.acquire(blocking=False):
            try:
                self._looked = self._clock()
                self._read_if_changed(self._path)
            finally:
                self._reading.release()

    def _read_if_changed(self, path: Path) -> None:
        version = _version(path)
        if version == self._version:
            return
        # Before the reading: a change that comes while the file is read is then seen at the next look.
        self._version = version
        try:
            new, found = complete(load(path, self._environ))
        except ConfigError as error:
            self._refused = error
            faults = [f"{fault.path}:{fault.line}" for fault in error.faults]
            _log.error("configuration_refused", file=path.name, faults=faults, see="gateway check")
            return
        if new.database != self._current.database:
            # It cannot change while the process runs.
            text = f"{path.name}: gateway.database: has changed; the new value takes effect at the next start"
            _log.warning("configuration_needs_restart", setting="gateway.database")
            new = replace(new, database=self._current.database, warnings=(*new.warnings, text))
        self._current, self.secrets, self._refused = new, found, None
        _log.info("configuration_read", file=path.name, warnings=len(new.warnings))


def _version(path: Path) -> tuple[int, int, int, bytes] | None:
    """Changes when a file is written or replaced; None where there is none that can be read."""
    try:
        found = path.stat()
        # Its bytes as well: two versions of one length, written in one tick of the clock, may even have the same inode.
        return found.st_mtime_ns, found.st_size, found.st_ino, path.read_bytes()
    except OSError:
        return None
