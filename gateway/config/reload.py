"""The configuration that counts now: a changed file is read again, a broken one is refused."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import structlog

from gateway.config import secrets
from gateway.config.environment import default_path, environment
from gateway.config.load import load
from gateway.config.model import Config, ConfigError

LOOK_EVERY = 1.0
"""Seconds between two looks at the file."""
_log = structlog.get_logger("gateway.config")

Mark = tuple[int, int, int, bytes] | None


class Settings:
    """Holds the configuration of one process; its threads may share it.

    Reading it for the first time raises `ConfigError`; after that a broken file only fills `refused`.
    """

    def __init__(
        self,
        path: Path,
        environ: Mapping[str, str] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path: Path | None = path
        self._environ, self._clock = environ, clock
        self._turn = threading.Lock()
        self._looked, self._mark = clock(), _mark(path)
        self._refused: ConfigError | None = None
        self._current, self.secrets = secrets.complete(load(path, environ))

    @classmethod
    def fixed(cls, config: Config) -> Settings:
        """Settings that never change: of the sandbox, and of tests."""
        settings = cls.__new__(cls)
        settings._path, settings._environ, settings._clock = None, None, time.monotonic
        settings._turn, settings._looked, settings._mark = threading.Lock(), 0.0, None
        settings._refused = None
        settings._current, settings.secrets = secrets.complete(config)
        return settings

    @classmethod
    def found(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        otherwise: Callable[[], Config] | None = None,
    ) -> Settings:
        """Settings of the file that `GATEWAY_CONFIG` names, else of ``gateway.toml`` in the current folder.

        `otherwise` gives the configuration (the sandbox's) where no file is named and none is there.
        """
        path = default_path(environ)
        is_named = (environment() if environ is None else environ).get("GATEWAY_CONFIG")
        if otherwise is not None and not is_named and not path.exists():
            return cls.fixed(otherwise())
        return cls(path, environ)

    @property
    def current(self) -> Config:
        """The configuration, with keys and password. Cheap: the file is looked at once a second at most."""
        self._look()
        return self._current

    @property
    def refused(self) -> ConfigError | None:
        """What is wrong with the file as it is now, while an older one still counts; None if nothing is."""
        self._look()
        return self._refused

    def _look(self) -> None:
        if self._path is None or self._clock() - self._looked < LOOK_EVERY:
            return
        # Whoever comes while another looks takes what counted until now, and does not wait.
        if self._turn.acquire(blocking=False):
            try:
                self._looked = self._clock()
                self._read_if_changed(self._path)
            finally:
                self._turn.release()

    def _read_if_changed(self, path: Path) -> None:
        mark = _mark(path)
        if mark == self._mark:
            return
        # Before the reading: a change that comes while it is read is then seen at the next look.
        self._mark = mark
        try:
            self._current = self._kept(*secrets.complete(load(path, self._environ)))
        except ConfigError as error:
            self._refused = error
            faults = [f"{fault.place}:{fault.line}" for fault in error.faults]
            _log.error("configuration_refused", file=path.name, faults=faults, see="gateway check")
        else:
            self._refused = None
            _log.info("configuration_read", file=path.name, warnings=len(self._current.warnings))

    def _kept(self, new: Config, found: secrets.Secrets | None) -> Config:
        """`new`, with what cannot change while the process runs."""
        self.secrets = found
        if new.database == self._current.database:
            return new
        warning = f"{new.path.name if new.path else ''}: gateway.database: has changed; it counts from the next start"
        _log.warning("configuration_needs_restart", setting="gateway.database")
        return replace(new, database=self._current.database, warnings=(*new.warnings, warning))


def _mark(path: Path) -> Mark:
    """What changes when a file is written or replaced; None where there is none that can be read.

    Its bytes as well: two versions of one length, written in one tick of the clock, may even have the same inode.
    """
    try:
        found = os.stat(path)
        return found.st_mtime_ns, found.st_size, found.st_ino, path.read_bytes()
    except OSError:
        return None
