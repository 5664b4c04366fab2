"""Rows of the database as the frozen values of `core.models`, and back.

Columns have the names of the fields. Times are ISO 8601 in UTC, tuples and mappings JSON, enums
their value: decided once per class, from its annotations.
"""

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property, partial
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def _same(value: Any) -> Any:
    return value


def _tuple_of_json(text: str) -> tuple[Any, ...]:
    return tuple(json.loads(text))


def _optional(convert: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else convert(value)


def _converter(hint: Any) -> Callable[[Any], Any]:
    if isinstance(hint, UnionType):
        (inner,) = (part for part in get_args(hint) if part is not NoneType)
        convert = _converter(inner)
        return _same if convert is _same else partial(_optional, convert)
    if hint is datetime:
        return datetime.fromisoformat
    if hint is bool:
        return bool
    if get_origin(hint) is tuple:
        return _tuple_of_json
    if get_origin(hint) is dict:
        return json.loads
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint
    return _same


def to_column(value: Any) -> Any:
    """Return the value as SQLite stores it."""
    if isinstance(value, datetime):
        # All in one zone, so that they compare as text as they do as times.
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, (tuple, dict)):
        return json.dumps(value)
    return value


class Table(Generic[T]):
    """One table whose rows are values of one class."""

    def __init__(self, name: str, of: type[T], *, key: str = "id") -> None:
        """`key` is the column that `get` and `change` look for."""
        self.name = name
        self.of = of
        self.key = key
        self._columns = tuple(field.name for field in fields(of))  # type: ignore[arg-type]

    # Worked out when first asked for: a short command touches one or two tables.

    @cached_property
    def _conversions(self) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
        """The columns that are not stored as they are."""
        hints = get_type_hints(self.of)
        converters = ((name, _converter(hints[name])) for name in self._columns)
        return tuple(pair for pair in converters if pair[1] is not _same)

    @cached_property
    def _quoted(self) -> str:
        return ", ".join(f'"{column}"' for column in self._columns)

    @cached_property
    def _select(self) -> str:
        return f"SELECT {self._quoted} FROM {self.name}"

    @cached_property
    def _insert(self) -> str:
        marks = ", ".join("?" * len(self._columns))
        return f"INSERT INTO {self.name} ({self._quoted}) VALUES ({marks})"

    def value(self, row: sqlite3.Row) -> T:
        """Return the row, whose columns stand in the order of the fields, as a value."""
        columns = dict(zip(self._columns, row, strict=True))
        for name, convert in self._conversions:
            columns[name] = convert(columns[name])
        return self.of(**columns)

    def insert(self, db: sqlite3.Connection, value: T) -> None:
        """Add a row."""
        db.execute(self._insert, [to_column(getattr(value, name)) for name in self._columns])

    def change(self, db: sqlite3.Connection, key: str | int, columns: Mapping[str, Any]) -> None:
        """Set these columns of the row with this key; the others, and their indexes, stay."""
        assignments = ", ".join(f'"{name}" = ?' for name in columns)
        db.execute(
            f'UPDATE {self.name} SET {assignments} WHERE "{self.key}" = ?',
            [*map(to_column, columns.values()), key],
        )

    def get(self, db: sqlite3.Connection, key: str | int) -> T | None:
        """Return the row with this key."""
        return self.first(db, f'"{self.key}" = ?', key)

    def first(self, db: sqlite3.Connection, where: str, *parameters: Any) -> T | None:
        """Return the first row for which `where` (SQL of ours, never input) holds."""
        row = db.execute(f"{self._select} WHERE {where} LIMIT 1", parameters).fetchone()
        return None if row is None else self.value(row)

    def select(self, db: sqlite3.Connection, where: str = "1", *parameters: Any) -> list[T]:
        """Return all rows for which `where` (SQL of ours, with its ORDER BY) holds."""
        cursor = db.execute(f"{self._select} WHERE {where}", parameters)
        return [self.value(row) for row in cursor]

    def insert_numbered(self, db: sqlite3.Connection, columns: Mapping[str, Any]) -> int:
        """Add a row whose `number` SQLite gives; return it."""
        names = ", ".join(f'"{name}"' for name in columns)
        cursor = db.execute(
            f"INSERT INTO {self.name} ({names}) VALUES ({', '.join('?' * len(columns))})",
            [to_column(value) for value in columns.values()],
        )
        return int(cursor.lastrowid or 0)


def next_id(db: sqlite3.Connection, table: str, letter: str) -> str:
    """Return the id after the newest of `table`, such as `T13`; to be used in this transaction."""
    newest = db.execute(f"SELECT coalesce(max(number), 0) FROM {table}").fetchone()[0]
    return f"{letter}{newest + 1}"


def number_of(numbered_id: str) -> int:
    """Return the number in an id that `next_id` gave: 13 of `T13`."""
    return int(numbered_id[1:])
