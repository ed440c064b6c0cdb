"""What a caller is told when there is no page for him: as HTML, JSON or a line of text, as he asked for it."""

from __future__ import annotations

from flask import Response, make_response, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from gateway.web.auth import wants_json


def say(error: HTTPException) -> Response:
    """Status and headers (`Allow`, `Retry-After`) are the error's own; only the words are ours."""
    answer = make_response(_body(error), error.code or 500)
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            answer.headers[name] = value
    return answer


def _body(error: HTTPException) -> ResponseReturnValue:
    text = error.description or error.name
    if wants_json():
        return {"errors": {"request": [text]}}
    if "text/html" in request.headers.get("Accept", ""):
        return render_template("error.html", name=error.name, text=text)
    return Response(f"{text}\n", mimetype="text/plain")
