"""`gateway serve`: web and delivery in one, under a supervisor; `gateway web` and `gateway worker`: the two halves."""

from __future__ import annotations

from gateway.serve.commands import page, serve, web, worker

__all__ = ["page", "serve", "web", "worker"]
