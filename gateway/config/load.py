"""`gateway.toml` → `Config`, or every mistake in it at once. The one door to the environment."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.config.errors import ConfigError, ErrorCollector, Fault, FromEnvironment, SettingPath, lines_of
from gateway.config.model import Config
from gateway.config.schema import build, read
from gateway.config.validate import check

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


def default_path(environ: Mapping[str, str] | None = None) -> Path:
    """``$GATEWAY_CONFIG``, else ``gateway.toml`` in the current folder."""
    return Path((environment() if environ is None else environ).get("GATEWAY_CONFIG") or "gateway.toml")


def load(path: Path, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration in a file. Raises `ConfigError`, also where there is no such file.

    `environ`: what ``${NAME}`` is taken from; this process's own variables if None.
    """
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


def loads(text: str, *, path: Path | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration in a text. Relative paths are taken from the folder of `path`, else from the current one."""
    errors = ErrorCollector(str(path) if path else "gateway.toml")
    folder = path.absolute().parent if path else Path.cwd()
    written = _parse(text, errors.file)
    errors.lines = lines_of(text, written)
    written = _fill(written, environment() if environ is None else environ, errors, ())
    tables, found = read(written)
    errors.add((), found)
    check(tables, written, folder, errors)
    errors.stop()
    return build(tables, path.absolute() if path else None, folder, errors.warnings)


def _parse(text: str, file: str) -> dict[str, Any]:
    line: int | None = None
    try:
        return tomllib.loads(text)
    except RecursionError:
        fault = "nests lists or tables too deeply"
    except ValueError as error:
        found, said = _AT.search(str(error)), _AT.sub("", str(error))
        hint = f"; {_HINTS[said]}" if said in _HINTS else ""
        if found and found["line"]:
            line, fault = int(found["line"]), f"{said} (column {found['column']}){hint}"
        else:
            line, fault = len(text.rstrip().split("\n")), f"{said} (at the end of the file){hint}"
    raise ConfigError([Fault("", line, fault)], file)


def _fill(value: Any, environ: Mapping[str, str], errors: ErrorCollector, path: SettingPath) -> Any:
    """`value` with every ``${NAME}`` in its texts replaced.

    A variable's value is taken as it is: a ``${`` in there means nothing.
    """
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
