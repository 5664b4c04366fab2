"""What the rows must say at every moment, whatever happened before: the rules that never break."""

from itertools import pairwise

from sf_mcp.core.graph import TaskGraph
from sf_mcp.core.models import Session, Task
from sf_mcp.core.states import (
    LIVE_SESSIONS,
    ConflictState,
    MergeState,
    PlanState,
    QuestionState,
    SessionState,
    TaskState,
)
from sf_mcp.service.transaction import Transaction
from sf_mcp.store import conflicts, landings, leases, merge_requests, questions, sessions, tasks


def check_rows(tx: Transaction) -> None:
    """Check every rule that can be read off the rows and the graph."""
    for task in tasks.TASKS.select(tx.db):
        check_task(tx, task)
    for session in sessions.in_state(tx.db, *SessionState):
        check_session(tx, session)
    check_leases(tx)
    check_conflicts(tx)


def check_conflicts(tx: Transaction) -> None:
    """A conflict that is not over is one of an open request, and of what that is pinned to."""
    for conflict in conflicts.live(tx.db):
        request = merge_requests.get(tx.db, conflict.merge_request_id)
        assert request.state is MergeState.OPEN, conflict
        assert request.commit == conflict.commit, conflict
        assert (conflict.resolution is None) == (conflict.state is ConflictState.OPEN), conflict
    check_landings(tx)
    check_plans(tx)
    check_graph(tx)


def check_task(tx: Transaction, task: Task) -> None:
    lease = leases.live_on(tx.db, task.id)
    request = merge_requests.live_of_task(tx.db, task.id)
    question = questions.open_of_task(tx.db, task.id)
    assert (task.state is TaskState.CLAIMED) == (lease is not None)
    assert (task.state is TaskState.IN_REVIEW) == (request is not None)
    if lease is not None:
        # Or one that a person has given back, which the fleet goes on with.
        with_it = LIVE_SESSIONS | {SessionState.BACKOFF}
        assert sessions.get(tx.db, lease.session_id).state in with_it
    if task.state is TaskState.WAITING:
        assert question is not None
        assert question.session_id is not None
        assert sessions.get(tx.db, question.session_id).state is SessionState.PARKED
    if task.state is TaskState.STUCK:
        assert question is not None
        assert question.session_id is None
    if task.reserved_for is not None:
        assert task.state is TaskState.OPEN
    if task.state in (TaskState.MERGED, TaskState.CLOSED):
        newest = merge_requests.newest_of_task(tx.db, task.id)
        assert newest is not None
        assert newest.state is MergeState.LANDED


def check_session(tx: Transaction, session: Session) -> None:
    if session.state is SessionState.PARKED:
        task = tasks.get(tx.db, session.subject)
        assert task.state is TaskState.WAITING or task.reserved_for == session.id
    lease = leases.live_of(tx.db, session.id)
    if session.state is SessionState.BACKOFF:
        # Its task is kept for it, or still its own.
        is_kept = tasks.get(tx.db, session.subject).reserved_for == session.id
        assert is_kept is (lease is None)
    elif session.state not in LIVE_SESSIONS:
        assert lease is None
    if session.state not in LIVE_SESSIONS:
        tokens = tx.db.execute("SELECT 1 FROM tokens WHERE session_id = ?", (session.id,))
        assert tokens.fetchall() == []


def check_leases(tx: Transaction) -> None:
    live = leases.live(tx.db)
    assert len({lease.subject for lease in live}) == len(live)
    assert len({lease.session_id for lease in live}) == len(live)
    for lease in live:
        if lease.subject.startswith("M"):
            assert merge_requests.get(tx.db, lease.subject).state is MergeState.OPEN
        if lease.subject.startswith("Q"):
            question = questions.get(tx.db, lease.subject)
            assert question.state is not QuestionState.WITHDRAWN
    fences: dict[str, int] = {}
    for lease in leases.LEASES.select(tx.db, "1 ORDER BY number"):
        assert lease.fence == fences.get(lease.subject, 0) + 1
        fences[lease.subject] = lease.fence


def check_landings(tx: Transaction) -> None:
    """Check that each move of the target begins where the one before it ended."""
    moves = landings.done(tx.db)
    for before, move in pairwise(moves):
        assert move.old == before.new
    landed = [one for move in moves for one in landings.brought(tx.db, move.number)]
    assert len(set(landed)) == len(landed)
    for request_id in landed:
        assert merge_requests.get(tx.db, request_id).state is MergeState.LANDED


def check_plans(tx: Transaction) -> None:
    unfinished = tx.db.execute(
        "SELECT p.state, count(*) FROM plans p JOIN tasks t ON t.plan_id = p.id"
        " WHERE t.state NOT IN ('merged', 'closed', 'cancelled') GROUP BY p.id"
    ).fetchall()
    assert all(row[0] == PlanState.ACTIVE for row in unfinished)


def check_graph(tx: Transaction) -> None:
    fresh = TaskGraph()
    fresh.load(tasks.graph_rows(tx.db), tasks.dependency_rows(tx.db))
    assert tx.graph.ready() == fresh.ready()
    assert len(tx.graph) == len(fresh)
    for task in tasks.TASKS.select(tx.db):
        assert tx.graph.node(task.id) == fresh.node(task.id)
        assert tx.graph.dependencies(task.id) == fresh.dependencies(task.id)
        assert tx.graph.unmet(task.id) == fresh.unmet(task.id)
        assert tx.graph.effective_priority(task.id) == fresh.effective_priority(task.id)
