"""Values as plain JSON, and who a caller is."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sf_mcp.core.encoding import to_json
from sf_mcp.core.errors import NotAllowed
from sf_mcp.core.identity import PERSON, Caller
from sf_mcp.core.models import Role, SessionId
from sf_mcp.core.states import TaskState


@dataclass(frozen=True)
class Inner:
    at: datetime
    state: TaskState


@dataclass(frozen=True)
class Outer:
    inner: Inner
    names: tuple[str, ...]
    counts: dict[TaskState, int]
    path: Path
    nothing: None = None


def test_a_value_becomes_what_json_can_write_and_nothing_else() -> None:
    value = Outer(
        inner=Inner(at=datetime(2026, 3, 1, 12, tzinfo=UTC), state=TaskState.IN_REVIEW),
        names=("a", "b"),
        counts={TaskState.OPEN: 2},
        path=Path("/tmp/x"),
    )
    plain = to_json(value)
    assert plain == {
        "inner": {"at": "2026-03-01T12:00:00+00:00", "state": "in_review"},
        "names": ["a", "b"],
        "counts": {"open": 2},
        "path": "/tmp/x",
        "nothing": None,
    }
    assert json.loads(json.dumps(plain)) == plain
    assert type(plain["inner"]["state"]) is str


def test_a_refused_role_is_told_who_may() -> None:
    worker = Caller(role=Role.WORKER, name="worker-2", session_id=SessionId("s"))
    with pytest.raises(NotAllowed, match="worker-2 is a worker; only a person or a director may"):
        worker.require(Role.PERSON, Role.DIRECTOR, to="plan")
    PERSON.require(Role.PERSON, to="plan")
