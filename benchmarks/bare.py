"""The upper bound: a Flask route on the same server which reads the body and answers. Keeps nothing, calls nobody."""

from __future__ import annotations

from wsgiref.types import WSGIEnvironment

from flask import Flask, Response, request

app = Flask(__name__)


@app.post("/callback")
def callback() -> Response:
    request.get_data()
    return Response("{}", 200, mimetype="application/json")


def are_quick(_environ: WSGIEnvironment) -> bool:
    """None of the requests waits for anything."""
    return True
