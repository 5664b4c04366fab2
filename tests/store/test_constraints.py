"""The rules that the database itself keeps, whatever the services do; and its lists of words."""

import re
import sqlite3
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from sf_mcp.core.errors import StorageFailed
from sf_mcp.core.models import LandingKind, LandingState, Role
from sf_mcp.core.states import (
    LIVE_SESSIONS,
    WAITING_SESSIONS,
    ConflictState,
    MergeState,
    PlanState,
    QuestionState,
    SessionState,
    TaskState,
)
from sf_mcp.store import landings
from sf_mcp.store.database import Connection, Database
from sf_mcp.store.schema import SEAT, TABLES, TRAIN

AT = "2026-03-01T12:00:00.000000+00:00"


def insert(db: Connection, table: str, **columns: Any) -> None:
    names = ", ".join(f'"{name}"' for name in columns)
    marks = ", ".join("?" * len(columns))
    db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(columns.values()))


def a_plan(db: Connection, number: int = 1) -> None:
    insert(
        db,
        "plans",
        id=f"P{number}",
        title="t",
        description="",
        state="active",
        created_at=AT,
        updated_at=AT,
    )


def a_task(db: Connection, number: int = 1, **columns: Any) -> None:
    given: dict[str, Any] = {
        "id": f"T{number}",
        "plan_id": "P1",
        "title": "t",
        "description": "",
        "acceptance": "[]",
        "priority": 3,
        "paths": "[]",
        "state": "open",
        "created_at": AT,
        "updated_at": AT,
    }
    insert(db, "tasks", **(given | columns))


def a_session(db: Connection, id: str, **columns: Any) -> None:
    given: dict[str, Any] = {
        "id": id,
        "name": f"name of {id}",
        "role": "worker",
        "subject": "T1",
        "state": "running",
        "model": "m",
        "process_started": "",
        "is_turn_active": 0,
        "last_line": "",
        "context_tokens": 0,
        "context_window": 0,
        "cost_usd": 0,
        "stop_requested": "",
        "nudges": 0,
        "log_path": "",
        "created_at": AT,
        "heard_at": AT,
        "end_detail": "",
    }
    insert(db, "sessions", **(given | columns))


def a_lease(db: Connection, subject: str, session: str, fence: int, **columns: Any) -> None:
    given: dict[str, Any] = {
        "subject": subject,
        "session_id": session,
        "fence": fence,
        "granted_at": AT,
        "expires_at": AT,
        "end_detail": "",
    }
    insert(db, "leases", **(given | columns))


def a_merge_request(db: Connection, number: int, task: str, state: str) -> None:
    insert(
        db,
        "merge_requests",
        id=f"M{number}",
        task_id=task,
        session_id="s1",
        state=state,
        branch="b",
        commit="c",
        base="b",
        summary="",
        no_changes_reason="",
        held="",
        is_escalated=0,
        created_at=AT,
        updated_at=AT,
    )


def a_landing(db: Connection, state: str) -> None:
    insert(db, "landings", kind="merge", new="n", tree="t", state=state, created_at=AT)


def brings(db: Connection, landing: int, merge_request: str) -> None:
    insert(
        db,
        "landing_requests",
        landing=landing,
        position=1,
        merge_request_id=merge_request,
        commit="c",
    )


def a_conflict(db: Connection, state: str, **columns: Any) -> None:
    given: dict[str, Any] = {
        "merge_request_id": "M1",
        "state": state,
        "commit": "c",
        "target": "t",
        "paths": "[]",
        "messages": "[]",
        "hunks": "",
        "reason": "",
        "note": "",
        "created_at": AT,
    }
    insert(db, "conflicts", **(given | columns))


def an_open_question(db: Connection, number: int, task: str) -> None:
    insert(
        db,
        "questions",
        id=f"Q{number}",
        task_id=task,
        text="?",
        options="[]",
        context="",
        state="open",
        escalated=0,
        answered_by="",
        asked_at=AT,
    )


@pytest.fixture
def database(tmp_path: Path) -> Database:
    made = Database(tmp_path / "state.db")
    with made.write() as db:
        a_plan(db)
        for number in (1, 2, 3):
            a_task(db, number)
            a_session(db, f"s{number}")
    return made


def ended(kind: str = "done") -> dict[str, str]:
    return {"ended_at": AT, "end": kind}


def test_a_subject_has_one_live_lease(database: Database) -> None:
    with database.write() as db:
        a_lease(db, "T1", "s1", 1, **ended())
        a_lease(db, "T1", "s1", 2)
    with pytest.raises(StorageFailed, match="UNIQUE") as refused, database.write() as db:
        a_lease(db, "T1", "s2", 3)
    assert isinstance(refused.value.__cause__, sqlite3.IntegrityError)


def test_a_session_holds_one_live_lease(database: Database) -> None:
    with database.write() as db:
        a_lease(db, "T1", "s1", 1)
    with pytest.raises(StorageFailed, match="UNIQUE"), database.write() as db:
        a_lease(db, "T2", "s1", 1)


def test_a_fencing_token_is_granted_once(database: Database) -> None:
    with database.write() as db:
        a_lease(db, "T1", "s1", 1, **ended())
    with pytest.raises(StorageFailed, match="UNIQUE"), database.write() as db:
        a_lease(db, "T1", "s2", 1)


def test_an_ended_lease_says_how_it_ended(database: Database) -> None:
    with pytest.raises(StorageFailed, match="CHECK"), database.write() as db:
        a_lease(db, "T1", "s1", 1, ended_at=AT)


def test_a_task_has_one_live_merge_request(database: Database) -> None:
    with database.write() as db:
        a_merge_request(db, 1, "T1", "sent_back")
        a_merge_request(db, 2, "T1", "open")
    with pytest.raises(StorageFailed, match="UNIQUE"), database.write() as db:
        a_merge_request(db, 3, "T1", "landing")


def test_one_move_of_the_target_is_intended_at_a_time(database: Database) -> None:
    with database.write() as db:
        a_landing(db, "done")
        a_landing(db, "intended")
    with pytest.raises(StorageFailed, match="UNIQUE"), database.write() as db:
        a_landing(db, "intended")


def test_a_merge_request_lands_once(database: Database) -> None:
    with database.write() as db:
        a_merge_request(db, 1, "T1", "landed")
        a_landing(db, "done")
        a_landing(db, "done")
        brings(db, 1, "M1")
    with pytest.raises(StorageFailed, match="UNIQUE"), database.write() as db:
        brings(db, 2, "M1")


def test_what_an_aborted_landing_was_to_bring_may_land_later(database: Database) -> None:
    with database.write() as db:
        a_merge_request(db, 1, "T1", "open")
        a_landing(db, "intended")
        brings(db, 1, "M1")
        landings.finish(db, 1, LandingState.ABORTED, datetime.fromisoformat(AT))
        a_landing(db, "intended")
        brings(db, 2, "M1")
        assert landings.brought(db, 2) == {"M1": "c"}


def test_a_task_has_one_open_question(database: Database) -> None:
    with database.write() as db:
        an_open_question(db, 1, "T1")
    with pytest.raises(StorageFailed, match="UNIQUE"), database.write() as db:
        an_open_question(db, 2, "T1")


def test_two_sessions_that_may_be_alive_never_share_a_name(database: Database) -> None:
    with database.write() as db:
        a_session(db, "s4", name="worker-1", state="exited")
        a_session(db, "s5", name="worker-1", state="parked")
    with pytest.raises(StorageFailed, match="UNIQUE"), database.write() as db:
        a_session(db, "s6", name="worker-1", state="starting")


@pytest.mark.parametrize("statement", ["DELETE FROM events", "UPDATE events SET kind = 'x'"])
def test_events_are_only_ever_appended(database: Database, statement: str) -> None:
    with database.write() as db:
        insert(db, "events", at=AT, kind="k", actor="a", subject="T1", data="{}")
    with pytest.raises(StorageFailed, match="only ever appended"), database.write() as db:
        db.execute(statement)
    with database.read() as db:
        assert db.execute("SELECT kind FROM events").fetchall()[0][0] == "k"


@pytest.mark.parametrize(
    "row",
    [
        {"priority": 0},
        {"priority": 6},
        {"estimate_minutes": 0},
        {"plan_id": "P9"},
        {"state": "ready"},
        {"id": "T1"},
        {"id": "X1"},
    ],
    ids=str,
)
def test_a_task_that_cannot_be_is_refused(database: Database, row: dict[str, Any]) -> None:
    with pytest.raises(StorageFailed), database.write() as db:
        a_task(db, 9, **row)


def test_a_task_cannot_depend_on_itself_or_on_one_that_is_not_there(database: Database) -> None:
    for pair in (("T1", "T1"), ("T1", "T9")):
        with pytest.raises(StorageFailed), database.write() as db:
            insert(db, "dependencies", task_id=pair[0], depends_on=pair[1])


CHECKED_WORDS = {
    ("plans", "state"): PlanState,
    ("tasks", "state"): TaskState,
    ("sessions", "state"): SessionState,
    ("sessions", "role"): Role,
    ("questions", "state"): QuestionState,
    ("merge_requests", "state"): MergeState,
    ("landings", "kind"): LandingKind,
    ("landings", "state"): LandingState,
}


def words_in_the_schema() -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for table, body in re.findall(r"CREATE TABLE (\w+) \((.*?)\n\)", TABLES + SEAT, re.DOTALL):
        for column, words in re.findall(r"CHECK \((\w+) IN \((.*?)\)\)", body, re.DOTALL):
            found[table, column] = set(re.findall(r"'(\w+)'", words))
    return found


def test_the_words_that_the_database_accepts_are_those_of_the_enums() -> None:
    expected = {place: {word.value for word in enum} for place, enum in CHECKED_WORDS.items()}
    assert words_in_the_schema() == expected


def test_a_merge_request_has_one_conflict_at_a_time(database: Database) -> None:
    with database.write() as db:
        a_merge_request(db, 1, "T1", "open")
        a_conflict(db, "rejected", ended_at=AT)
        a_conflict(db, "open")
    with pytest.raises(StorageFailed, match="UNIQUE"), database.write() as db:
        a_conflict(db, "resolving")


def test_a_conflict_is_over_when_it_says_so(database: Database) -> None:
    with database.write() as db:
        a_merge_request(db, 1, "T1", "open")
    with pytest.raises(StorageFailed, match="CHECK"), database.write() as db:
        a_conflict(db, "resolved")


def test_the_states_that_the_database_accepts_of_conflicts_are_those_of_the_machine() -> None:
    (words,) = re.findall(r"CHECK \(state IN \(('open', 'resolving'.*?)\)\),", TRAIN, re.DOTALL)
    assert set(re.findall(r"'(\w+)'", words)) == {state.value for state in ConflictState}


def test_the_index_of_live_names_lists_the_live_states_and_those_that_wait() -> None:
    index = re.search(r"one_live_session_a_name.*?\((?:'.*?)\);", SEAT, re.DOTALL)
    assert index is not None
    words = set(re.findall(r"'(\w+)'", index.group()))
    assert words == {state.value for state in LIVE_SESSIONS | WAITING_SESSIONS}
