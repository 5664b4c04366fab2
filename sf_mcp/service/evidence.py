"""What is known of a task's failed attempts, for whoever decides what becomes of it."""

from pathlib import Path

from sf_mcp.core.models import FAILURES, Lease, Task
from sf_mcp.core.text import one_line
from sf_mcp.service.transaction import Transaction
from sf_mcp.store import leases, sessions

MOST_SHOWN = 8
DETAIL_CHARACTERS = 160
LINE_CHARACTERS = 100
"""Eight attempts fit into the context of one question."""


def evidence_of(tx: Transaction, task: Task) -> str:
    """Return the failed attempts that count, oldest first: who, how, the last line, the log."""
    since = task.retried_at
    failed = [
        attempt
        for attempt in leases.attempts(tx.db, task.id)
        if attempt.end in FAILURES
        and (since is None or (attempt.ended_at is not None and attempt.ended_at > since))
    ]
    lines = ["1 attempt failed." if len(failed) == 1 else f"{len(failed)} attempts failed."]
    if len(failed) > MOST_SHOWN:
        lines[0] += f" The newest {MOST_SHOWN}:"
    return "\n".join([*lines, *(_line(tx, attempt) for attempt in failed[-MOST_SHOWN:])])


def _line(tx: Transaction, attempt: Lease) -> str:
    session = sessions.get(tx.db, attempt.session_id)
    end = attempt.end.value.replace("_", " ") if attempt.end else ""
    parts = [f"- {session.name} (attempt {attempt.fence}): {end}"]
    if attempt.end_detail:
        parts.append(one_line(attempt.end_detail, DETAIL_CHARACTERS).rstrip("."))
    if session.last_line:
        parts.append(f"last line: {one_line(session.last_line, LINE_CHARACTERS)}")
    if session.log_path:
        parts.append(f"log: {Path(session.log_path).name}")
    return "; ".join(parts)
