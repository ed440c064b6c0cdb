"""Changes the operators in `gateway.toml`. All else in the file stays as it is, comments and order too.

A change is drafted and checked first, and saved after: between the two the caller records who makes it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import AoT

from gateway.config.errors import ConfigError, Fault
from gateway.config.load import load, loads
from gateway.config.secrets import draft_of


@contextmanager
def change_operator(path: Path, name: str, settings: Mapping[str, str] | None) -> Iterator[None]:
    """Drafts the file with these settings of the operator `name`, who is added if need be; an empty setting is taken
    out. None removes the operator. Saves it where the block ends without an error.
    Raises OSError, and `ConfigError` where the file, before or after it, is no good, or was changed meanwhile."""
    before = path.read_bytes()
    text, target = _changed(path, before, name, settings), path.resolve()
    yield
    # Replaced as a whole; its owner and mode stay, and a symbolic link goes on pointing to it.
    with draft_of(target, text.encode()) as draft:
        if os.name != "nt":
            os.chown(draft, target.stat().st_uid, target.stat().st_gid)
        shutil.copymode(target, draft)
        if target.read_bytes() != before:
            raise _refusal(path, "has been changed meanwhile by somebody else; try again")
        draft.replace(target)


def _changed(path: Path, before: bytes, name: str, settings: Mapping[str, str] | None) -> str:
    old = load(path)
    document = tomlkit.parse(before.decode("utf-8-sig"))
    operators = document.get("operator", tomlkit.aot())
    if not isinstance(operators, AoT):
        raise _refusal(path, "has its operators in an inline list; write them as [[operator]] first")
    found: Any = next((each for each in operators if each["name"] == name), None)
    if settings is None:
        operators.remove(found)
        if not operators:
            document.remove("operator")
    elif found is None:
        # Behind the other operators, or at the end; an empty line comes before it.
        last = operators[-1] if operators else document
        if not last.as_string().endswith("\n\n"):
            last.add(tomlkit.nl())
        operators.append(found := tomlkit.item({"name": name}))
        document["operator"] = operators
    for setting, value in (settings or {}).items():
        if value:
            found[setting] = value
        else:
            found.pop(setting, None)
    text = tomlkit.dumps(document)
    # Nothing else may have changed, however unusually the file is written.
    if replace(loads(text, path=path), operators={}, warnings=()) != replace(old, operators={}, warnings=()):
        raise _refusal(path, "is written in a way that cannot be edited here; write [[operator]] by hand")
    return text


def _refusal(path: Path, text: str) -> ConfigError:
    return ConfigError([Fault("", None, text)], str(path))
