"""The door to the environment: ``${NAME}`` in the values of the file, and where the file is."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.config.errors import Findings
from gateway.config.places import Place
from gateway.config.spelling import Filled

_VARIABLE = re.compile(r"\$\{([^{}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def environment() -> Mapping[str, str]:
    """The variables of this process."""
    return os.environ


def default_path(environ: Mapping[str, str] | None = None) -> Path:
    """``$GATEWAY_CONFIG``, else ``gateway.toml`` in the current folder."""
    found = (environment() if environ is None else environ).get("GATEWAY_CONFIG")
    return Path(found or "gateway.toml")


def filled(value: Any, environ: Mapping[str, str], findings: Findings, place: Place = ()) -> Any:
    """`value` with every ``${NAME}`` in its texts replaced; what came that way is marked as `Filled`.

    What a variable holds is taken as it is: a ``${`` in there means nothing.
    """
    if isinstance(value, dict):
        return {name: filled(inner, environ, findings, (*place, name)) for name, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, environ, findings, (*place, index)) for index, inner in enumerate(value)]
    return _text(value, environ, findings, place) if isinstance(value, str) and "${" in value else value


def _text(value: str, environ: Mapping[str, str], findings: Findings, place: Place) -> Filled:
    names = list(dict.fromkeys(found.group(1) for found in _VARIABLE.finditer(value)))
    if not all(found.group(2) and _NAME.fullmatch(found.group(1)) for found in _VARIABLE.finditer(value)):
        findings.fault(place, "after ${ comes the name of an environment variable and }: ${GATEWAY_KEY}", settled=True)
    elif unset := [name for name in names if name not in environ]:
        findings.fault(place, f"the environment variable {', '.join(unset)} is not set", settled=True)
    elif broken := [name for name in names if not _is_text(environ[name])]:
        findings.fault(place, f"the environment variable {', '.join(broken)} is not UTF-8", settled=True)
    return Filled(_VARIABLE.sub(lambda found: environ.get(found.group(1), ""), value))


def _is_text(value: str) -> bool:
    # Python keeps bytes of the environment that are no UTF-8 as lone surrogates.
    return not any("\ud800" <= letter <= "\udfff" for letter in value)
