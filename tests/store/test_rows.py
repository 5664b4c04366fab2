"""Rows and values: what is written is what is read, for every class, whatever is in it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sf_mcp.core.states import PlanState
from sf_mcp.store.database import Connection, Database
from sf_mcp.store.events import EVENTS
from sf_mcp.store.handoffs import HANDOFFS
from sf_mcp.store.landings import LANDINGS, VERDICTS
from sf_mcp.store.leases import LEASES
from sf_mcp.store.merge_requests import MERGE_REQUESTS, REPAIR_NOTES, REVIEWS
from sf_mcp.store.plans import PLANS
from sf_mcp.store.questions import QUESTIONS
from sf_mcp.store.rows import Table, number_of, to_column
from sf_mcp.store.sessions import SESSIONS, TOKENS
from sf_mcp.store.tasks import TASKS

ALL: list[Table[Any]] = [
    PLANS,
    TASKS,
    SESSIONS,
    TOKENS,
    LEASES,
    HANDOFFS,
    QUESTIONS,
    MERGE_REQUESTS,
    REVIEWS,
    REPAIR_NOTES,
    LANDINGS,
    VERDICTS,
    EVENTS,
]
text = st.text(st.characters(exclude_categories=["Cs"]))
whole = st.integers(min_value=-(2**63), max_value=2**63 - 1)
number = st.floats(allow_nan=False, allow_infinity=False)
moment = st.datetimes(timezones=st.just(UTC))
JSON_VALUE = st.recursive(st.none() | st.booleans() | whole | text, st.lists, max_leaves=5)


def values_for(hint: Any) -> st.SearchStrategy[Any]:
    hint = getattr(hint, "__supertype__", hint)
    if get_origin(hint) in (Union, UnionType):
        (inner,) = (part for part in get_args(hint) if part is not NoneType)
        return st.none() | values_for(inner)
    if get_origin(hint) is tuple:
        return st.lists(values_for(get_args(hint)[0]), max_size=3).map(tuple)
    if get_origin(hint) is dict:
        return st.dictionaries(text, JSON_VALUE, max_size=3)
    simple = {str: text, int: whole, float: number, bool: st.booleans(), datetime: moment}
    return simple[hint] if hint in simple else st.sampled_from(list(hint))


@pytest.fixture(scope="module")
def columns_only(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """A database with the columns of the real one and none of its constraints."""
    real = Database(tmp_path_factory.mktemp("real") / "state.db")
    bare = Database(tmp_path_factory.mktemp("bare") / "state.db")
    with real.read() as db:
        columns = {
            table.name: [row["name"] for row in db.execute(f"PRAGMA table_info({table.name})")]
            for table in ALL
        }
    with bare.write() as db:
        db.execute("PRAGMA defer_foreign_keys = ON")
        for table in ALL:
            names = ", ".join(f'"{name}"' for name in columns[table.name])
            db.execute(f"CREATE TABLE bare_{table.name} ({names})")
    return bare


@pytest.mark.parametrize("table", ALL, ids=lambda table: table.name)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_every_value_comes_back_as_it_went_in(
    columns_only: Database, table: Table[Any], data: st.DataObject
) -> None:
    hints = get_type_hints(table.of)
    value = data.draw(st.builds(table.of, **{name: values_for(hints[name]) for name in hints}))
    bare: Table[Any] = Table(f"bare_{table.name}", table.of, key=table.key)
    with columns_only.write() as db:
        db.execute(f"DELETE FROM bare_{table.name}")
        bare.insert(db, value)
        assert bare.select(db) == [value]
        assert bare.get(db, to_column(getattr(value, table.key))) == value


@pytest.mark.parametrize("table", ALL, ids=lambda table: table.name)
def test_every_field_has_a_column_of_the_real_table(table: Table[Any], tmp_path: Path) -> None:
    database = Database(tmp_path / "state.db")
    with database.read() as db:
        real = {row["name"] for row in db.execute(f"PRAGMA table_info({table.name})")}
    assert set(get_type_hints(table.of)) <= real


def test_a_change_is_of_the_row_of_that_key_and_of_those_columns_alone(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.db")
    with database.write() as db:
        for name in ("P1", "P2"):
            add_plan(db, name)
        first, second = PLANS.select(db, "1 ORDER BY id")
        PLANS.change(db, "P1", {"title": "changed", "state": PlanState.ACTIVE})
        assert PLANS.select(db, "1 ORDER BY id") == [
            replace(first, title="changed", state=PlanState.ACTIVE),
            second,
        ]


def add_plan(db: Connection, name: str) -> None:
    at = to_column(datetime(2026, 3, 1, tzinfo=UTC))
    db.execute(
        "INSERT INTO plans (id, title, description, state, created_at, updated_at)"
        " VALUES (?, ?, '', 'draft', ?, ?)",
        (name, name, at, at),
    )


def test_times_compare_as_text_as_they_do_as_times() -> None:
    early = datetime(2026, 3, 1, 12, tzinfo=UTC)
    for late in (early + timedelta(microseconds=1), early + timedelta(days=400)):
        assert to_column(early) < to_column(late)


def test_a_time_of_another_zone_is_stored_in_utc() -> None:
    noon = datetime(2026, 3, 1, 13, tzinfo=timezone(timedelta(hours=1)))
    assert to_column(noon) == "2026-03-01T12:00:00.000000+00:00"


def test_the_number_of_an_id() -> None:
    assert number_of("T13") == 13
