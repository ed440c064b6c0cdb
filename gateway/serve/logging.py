"""The log: one line of JSON an event, to standard error. No bodies, no URLs, no values of exceptions."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

MAX_FRAMES = 12  # innermost frames of an exception that are logged; also the longest chain of causes

_KEY = re.compile(r"((?:carrierx|legacy)/(?:callback|status)/)[^\s\"'\])}]+")
_encode = json.JSONEncoder(default=repr).encode


def set_up(process: str) -> None:
    """Sets up structlog's loggers and those of the libraries, from warnings up, for the whole process.
    `process` stands in every line: ``serve``, ``web``, ``worker``."""

    def add_process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    processors: list[Processor] = [add_process, structlog.processors.add_log_level, _add_timestamp, add_exception]
    structlog.configure(
        processors=[*processors, _as_json],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, StandardError())),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(StandardError())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*processors, _hide_keys, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _as_json],
        )
    )
    root = logging.getLogger()
    root.handlers, root.level = [handler], logging.WARNING


class StandardError:
    """Standard error. Where it cannot be written to (a full disk, a reader that has gone), lines are lost, no more:
    a callback that is kept must not fail because it cannot be logged."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def _add_timestamp(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    # Every callback and every attempt has a line: structlog's own timestamp and its JSON take twice as long.
    event["timestamp"] = datetime.now(UTC).isoformat(timespec="microseconds")[:-6] + "Z"
    return event


def _as_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return _encode(event)


def _hide_keys(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hides keys: libraries log the path where something happened, and the platforms' paths end with one."""
    event["event"] = _KEY.sub(r"\1[hidden]", str(event.get("event", "")))
    return event


def add_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Adds the types and places of an exception. Its words stay out: they may quote a text, a number or a password."""
    given = event.pop("exc_info", None)
    if isinstance(given, tuple):
        given = given[1]
    error = given if isinstance(given, BaseException) else sys.exception() if given else None
    if error is None:
        return event
    types: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(types) < MAX_FRAMES:
        types.append(type(cause).__qualname__)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    frames = traceback.extract_tb(error.__traceback__)[-MAX_FRAMES:]
    event["exception"] = " < ".join(types)
    event["frames"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return event
