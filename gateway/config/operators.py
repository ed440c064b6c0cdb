"""Changes the operators in `gateway.toml`. All else in the file stays as it is, comments and order too.

A change is drafted and checked first, and saved after: between the two the caller records who makes it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import AoT

from gateway.config.errors import ConfigError, Fault
from gateway.config.load import load, loads
from gateway.config.secrets import draft_of


@dataclass(frozen=True, slots=True)
class FileChange:
    """A changed configuration file, not yet saved. Its texts hold secrets."""

    path: Path
    before: bytes
    after: bytes

    def save(self) -> None:
        """Replaces the file as a whole; its owner and mode stay, and a symbolic link goes on pointing to it.
        Raises OSError, and `ConfigError` if somebody else has changed the file meanwhile."""
        target = self.path.resolve()
        with draft_of(target, self.after) as draft:
            if os.name != "nt":
                os.chown(draft, target.stat().st_uid, target.stat().st_gid)
            shutil.copymode(target, draft)
            if target.read_bytes() != self.before:
                raise _refusal(self.path, "has been changed meanwhile by somebody else; try again")
            draft.replace(target)


def change_operator(path: Path, name: str, settings: Mapping[str, str] | None) -> FileChange:
    """Drafts the file with these settings of the operator `name`, who is added if need be; an empty setting is taken
    out. None removes the operator. Raises `ConfigError` where the file, before or after it, is no good."""
    old, before = load(path), path.read_bytes()
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
    return FileChange(path, before, text.encode())


def _refusal(path: Path, text: str) -> ConfigError:
    return ConfigError([Fault("", None, text)], str(path))
