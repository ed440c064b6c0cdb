"""Errors of a database, by who must act: nobody (try later), the other transaction, or the operation itself."""

from __future__ import annotations

import sqlite3
import sys
from enum import Enum

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from gateway.config import OperatorError

_SQLITE_CODES = "BUSY LOCKED NOMEM READONLY INTERRUPT IOERR CORRUPT FULL CANTOPEN PROTOCOL PERM AUTH NOTADB MISUSE"
SQLITE_STORE = frozenset(getattr(sqlite3, f"SQLITE_{name}") for name in _SQLITE_CODES.split())
# PostgreSQL's classes: connection, authorisation, resources (disk full), operator, system, internal; and read only (a
# standby, by now), idle for too long (this process was), a lock not had in time, a table that is not there yet.
POSTGRESQL_STORE = ("08", "28", "3D", "53", "57", "58", "XX", "25006", "25P03", "25P04", "55P03", "42P01", "42501")
POSTGRESQL_CONFLICT = ("40001", "40P01")


class StoreUnavailable(Exception):
    """Not kept, or not known to be kept: try again later. Its text is for the log, never for a caller."""


class WrongDatabase(OperatorError):
    """This database cannot be used by this version. One sentence."""


class Blame(Enum):
    STORE = "the database cannot do anything now"
    CONFLICT = "another transaction is in the way: try again"
    WORK = "this operation is wrong, others are not"


def classify(error: BaseException) -> Blame:
    """Takes the drivers' errors, bare or as SQLAlchemy wraps them."""
    if isinstance(error, StoreUnavailable | PoolTimeout):
        return Blame.STORE
    if isinstance(error, DBAPIError):
        return Blame.STORE if error.connection_invalidated else classify(error.orig or Exception())
    if isinstance(error, sqlite3.Error):
        # There is no code where the driver itself complains: "Cannot operate on a closed database".
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE)
        return Blame.STORE if code & 0xFF in SQLITE_STORE or str(error).startswith("no such table") else Blame.WORK
    psycopg = sys.modules.get("psycopg")  # where it was never imported, the error is none of its own
    if psycopg is None or not isinstance(error, psycopg.Error):
        return Blame.WORK
    if error.sqlstate is None:  # the connection's own: lost, closed
        return Blame.STORE if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) else Blame.WORK
    if error.sqlstate in POSTGRESQL_CONFLICT:
        return Blame.CONFLICT
    return Blame.STORE if error.sqlstate.startswith(POSTGRESQL_STORE) else Blame.WORK


def reason(error: BaseException) -> str:
    """Returns one line for the log, without values: a driver's DETAIL lines quote rows."""
    cause = getattr(error, "orig", None) or error
    first_line = (str(cause).splitlines() or [""])[0]
    return first_line or type(cause).__name__
