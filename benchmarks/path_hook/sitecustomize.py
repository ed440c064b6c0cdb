"""Python loads this file by itself into processes whose PYTHONPATH names this folder: it records their calls.

Only calls of functions of the gateway count. When the process ends it writes them to the folder `GATEWAY_PATH_CALLS`,
into the file ``web`` or ``worker``, a line for each: nanoseconds of the monotonic clock, which all processes of a
machine share, the file, and the function.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from pathlib import Path
from types import CodeType, FrameType

ROOT = Path(__file__).resolve().parents[2]
OURS = (f"{ROOT}/gateway/", f"{ROOT}/schemas/")
CALLS = Path(os.environ["GATEWAY_PATH_CALLS"])
KIND = next((kind for kind in ("web", "worker") if kind in sys.orig_argv), "")
# Each piece of a comprehension is a call to the interpreter, and none to a reader.
PARTS_OF_A_FUNCTION = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>", "<module>"}

_calls: list[tuple[int, CodeType]] = []
_counts: dict[CodeType, bool] = {}


def record(frame: FrameType, event: str, _argument: object) -> None:
    if event != "call":
        return
    code = frame.f_code
    counts = _counts.get(code)
    if counts is None:
        counts = _counts[code] = code.co_filename.startswith(OURS) and code.co_name not in PARTS_OF_A_FUNCTION
    if counts and not (code.co_flags & 0x20 and frame.f_lasti > 5):  # a generator goes on: that is no call
        _calls.append((time.monotonic_ns(), code))


def write() -> None:
    sys.setprofile(None)
    lines = (f"{at}\t{code.co_filename[len(str(ROOT)) + 1 :]}\t{code.co_qualname}\n" for at, code in _calls)
    (CALLS / KIND).write_text("".join(lines), "utf-8")


if KIND:
    atexit.register(write)
    threading.setprofile(record)
    sys.setprofile(record)
