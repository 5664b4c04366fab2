"""Brings a database to the present schema, one recorded step at a time.

Uses sqlite-utils' migrations: each step runs in a transaction with the record of it.
"""

import sqlite3

from sqlite_utils import Database as SqliteUtils
from sqlite_utils.migrations import Migrations

from sf_mcp.store.schema import RECOVERY, SCHEMA_VERSION, SEAT, TABLES, TRAIN

MIGRATIONS = Migrations("stoneforge")


@MIGRATIONS(name="0001_tables")
def create_tables(db: SqliteUtils) -> None:
    """Create every table of the first release."""
    for statement in _statements(TABLES):
        db.conn.execute(statement)


@MIGRATIONS(name="0002_recovery")
def add_recovery(db: SqliteUtils) -> None:
    """Add what recovery, answers and costs are told by."""
    for statement in _statements(RECOVERY):
        db.conn.execute(statement)


@MIGRATIONS(name="0003_train")
def add_train(db: SqliteUtils) -> None:
    """Let several merge requests land at once, and add what the train plans from."""
    for statement in _statements(TRAIN):
        db.conn.execute(statement)


@MIGRATIONS(name="0004_seat")
def add_seat(db: SqliteUtils) -> None:
    """Add what the person and the director's seat are remembered by."""
    for statement in _statements(SEAT):
        db.conn.execute(statement)


def migrate(connection: sqlite3.Connection) -> None:
    """Apply what is missing; a database that is up to date is left as it is."""
    MIGRATIONS.apply(SqliteUtils(connection))
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _statements(script: str) -> list[str]:
    # executescript() would commit the migration's transaction first.
    statements: list[str] = []
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements
