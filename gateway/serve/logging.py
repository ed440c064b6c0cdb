"""One line of JSON for each thing that happened, to standard error. No bodies, no URLs, no values of exceptions."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

FRAMES = 12
"""How many of the innermost frames of an exception are told."""

_KEY = re.compile(r"((?:carrierx|legacy)/(?:callback|status)/)[^\s\"'\])}]+")
_encode = json.JSONEncoder(default=repr).encode
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def set_up(process: str) -> None:
    """For the whole process: structlog's loggers, and those of the libraries from warnings up.

    `process`: ``serve``, ``web``, ``worker``; it stands in every line.
    """
    before: list[Processor] = [_named(process), structlog.processors.add_log_level, stamped, accident]
    structlog.configure(
        processors=[*before, rendered],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, Lines())),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(Lines())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*before, keyless, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, rendered],
        )
    )
    root = logging.getLogger()
    root.handlers, root.level = [handler], logging.WARNING


class Lines:
    """Standard error. Where it cannot be written to (a full disk, a reader that has gone) lines are lost, and no more:
    a callback that is kept must not fail because nobody can be told of it."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def _named(process: str) -> Processor:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    return add


def stamped(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    # Every callback and every attempt has a line: structlog's own stamp and its JSON take twice as long.
    event["timestamp"] = datetime.now(UTC).isoformat(timespec="microseconds")[:-6] + "Z"
    return event


def rendered(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return _encode(event)


def keyless(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Libraries name the path where something happened, and the platforms' paths end with a key."""
    event["event"] = _KEY.sub(r"\1[hidden]", str(event.get("event", "")))
    return event


def accident(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """An exception as its kinds and places. Its words stay out: they may quote a text, a number or a password."""
    found = _exc_info(event.pop("exc_info", None))
    if found is None:
        return event
    _, error, trace = found
    frames = traceback.extract_tb(trace)[-FRAMES:]
    event["exception"] = " < ".join(_kinds(error))
    event["frames"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return event


def _exc_info(given: object) -> _ExcInfo | None:
    if isinstance(given, BaseException):
        return type(given), given, given.__traceback__
    if isinstance(given, tuple) and isinstance(given[1], BaseException):
        return type(given[1]), given[1], given[2]
    current = sys.exc_info() if given else (None, None, None)
    return None if current[1] is None or current[0] is None else (current[0], current[1], current[2])


def _kinds(error: BaseException) -> list[str]:
    kinds: list[str] = []
    step: BaseException | None = error
    while step is not None and len(kinds) < FRAMES:
        kinds.append(type(step).__qualname__)
        step = step.__cause__ or (None if step.__suppress_context__ else step.__context__)
    return kinds
