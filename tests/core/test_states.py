"""The state machines, as section 4 of the design has them."""

from enum import StrEnum
from typing import Any

import pytest

from sf_mcp.core.errors import IllegalTransition
from sf_mcp.core.states import (
    CONFLICT,
    MACHINES,
    MERGE_REQUEST,
    PLAN,
    QUESTION,
    SATISFIED,
    SESSION,
    TASK,
    TASK_ENDS,
    Machine,
    PlanEvent,
    PlanState,
    TaskEvent,
    TaskState,
)

DESIGN = {
    "task": {
        ("proposed", "open"),
        ("proposed", "cancelled"),
        ("open", "claimed"),
        ("open", "stuck"),
        ("open", "cancelled"),
        ("claimed", "open"),
        ("claimed", "waiting"),
        ("claimed", "in_review"),
        ("claimed", "cancelled"),
        ("waiting", "open"),
        ("waiting", "cancelled"),
        ("in_review", "open"),
        ("in_review", "merged"),
        ("in_review", "closed"),
        ("in_review", "cancelled"),
        ("stuck", "open"),
        ("stuck", "cancelled"),
    },
    "plan": {
        ("draft", "active"),
        ("draft", "cancelled"),
        ("active", "completed"),
        ("active", "cancelled"),
        ("completed", "active"),
    },
    "merge request": {
        ("open", "landing"),
        ("landing", "landed"),
        ("landing", "open"),
        ("open", "sent_back"),
        ("open", "withdrawn"),
    },
    "conflict": {
        ("open", "resolving"),
        ("open", "returned"),
        ("open", "dropped"),
        ("resolving", "resolved"),
        ("resolving", "dropped"),
        ("resolved", "rejected"),
    },
    "question": {("open", "answered"), ("open", "withdrawn")},
    "session": {
        ("starting", "running"),
        ("starting", "stopping"),
        ("starting", "exited"),
        ("starting", "backoff"),
        ("starting", "fatal"),
        ("running", "taken_over"),
        ("running", "parked"),
        ("running", "stopping"),
        ("running", "exited"),
        ("running", "backoff"),
        ("running", "fatal"),
        ("parked", "starting"),
        ("parked", "taken_over"),
        ("parked", "exited"),
        ("stopping", "parked"),
        ("stopping", "exited"),
        ("stopping", "backoff"),
        ("stopping", "fatal"),
        ("taken_over", "parked"),
        ("taken_over", "exited"),
        ("taken_over", "backoff"),
        ("backoff", "starting"),
        ("backoff", "taken_over"),
        ("backoff", "exited"),
        ("backoff", "fatal"),
    },
}

machines = pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.noun)


def steps_of(machine: Machine[Any, Any]) -> set[tuple[str, str]]:
    return {
        (state.value, to.value) for state, steps in machine.table.items() for to in steps.values()
    }


@machines
def test_the_table_has_exactly_the_steps_of_the_design(machine: Machine[Any, Any]) -> None:
    assert steps_of(machine) == DESIGN[machine.noun]


@machines
def test_every_state_is_in_the_table_and_reachable_from_a_first_one(
    machine: Machine[Any, Any],
) -> None:
    first: StrEnum = machine.initial[0]
    states = set(type(first))
    reached = set(machine.initial)
    while fresh := {to for state in reached for to in machine.table[state].values()} - reached:
        reached |= fresh
    assert set(machine.table) == states
    assert reached == states


@machines
def test_an_event_that_the_table_does_not_list_is_refused_and_names_those_that_it_does(
    machine: Machine[Any, Any],
) -> None:
    events = {event for steps in machine.table.values() for event in steps}
    tried = 0
    for state, steps in machine.table.items():
        for event in events - set(steps):
            with pytest.raises(IllegalTransition) as refused:
                machine.advance(state, event, "T7")
            assert f"T7 is {state.value}" in refused.value.message
            for accepted in steps:
                assert accepted in refused.value.message
            assert refused.value.remedy
            tried += 1
    assert tried > 0


@machines
def test_a_listed_event_leads_where_the_table_says(machine: Machine[Any, Any]) -> None:
    for state, steps in machine.table.items():
        for event, to in steps.items():
            assert machine.advance(state, event, "T7") is to


def test_only_an_end_has_no_way_out() -> None:
    assert {state for state, steps in TASK.table.items() if not steps} == TASK_ENDS
    assert {TaskState.MERGED, TaskState.CLOSED} == SATISFIED


def test_a_task_that_nobody_claimed_cannot_be_merged_or_reviewed() -> None:
    """Row 14 of the known defects: "a task nobody claimed can be completed"."""
    for event in (TaskEvent.LAND, TaskEvent.CLOSE, TaskEvent.REQUEST_MERGE):
        with pytest.raises(IllegalTransition):
            TASK.advance(TaskState.OPEN, event, "T1")


def test_an_end_says_that_it_is_one() -> None:
    with pytest.raises(IllegalTransition, match="it has ended"):
        PLAN.advance(PlanState.CANCELLED, PlanEvent.ACTIVATE, "P1")


@machines
def test_the_diagram_shows_every_step_and_every_end_once(machine: Machine[Any, Any]) -> None:
    lines = machine.diagram().splitlines()
    shown = [line.strip() for line in lines[1:]]
    expected = [f"[*] --> {state.value}" for state in machine.initial]
    for state, steps in machine.table.items():
        expected += [f"{state.value} --> {to.value}: {event.value}" for event, to in steps.items()]
        if not steps:
            expected.append(f"{state.value} --> [*]")
    assert lines[0] == "stateDiagram-v2"
    assert sorted(shown) == sorted(expected)
    assert len(shown) == len(set(shown))


def test_all_machines_are_listed() -> None:
    assert MACHINES == (PLAN, TASK, MERGE_REQUEST, CONFLICT, QUESTION, SESSION)
    assert {machine.noun for machine in MACHINES} == set(DESIGN)
