"""A Flask application served as the gateway is: `python -m benchmarks.same_server --port 8080 benchmarks.bare:app`."""

from __future__ import annotations

import argparse
from importlib import import_module
from multiprocessing import get_context

from gateway.serve import run

HOST = "127.0.0.1"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("app")
    given = parser.parse_args()
    # Processes of their own that share the port, as the gateway's web processes do; they end with this one.
    for _ in range(given.workers - 1):
        get_context("spawn").Process(target=serve, args=(given.app, given.port), daemon=True).start()
    serve(given.app, given.port)


def serve(app: str, port: int) -> None:
    name, attribute = app.split(":")
    module = import_module(name)
    # As the gateway says of its callbacks: who waits for nothing is answered on the event loop's thread.
    run.serve(getattr(module, attribute), HOST, port, lifeline=False, quick=getattr(module, "are_quick", None))


if __name__ == "__main__":
    main()
