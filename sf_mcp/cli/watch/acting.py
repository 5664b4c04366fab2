"""What the keys do: one operation each, and the sentence that says it is done."""

from collections.abc import Mapping
from typing import Any

from sf_mcp.cli.api import Call

MOST_URGENT, LEAST_URGENT = 1, 5


def answer(ask: Call, question: str, text: str) -> str:
    """Answer a question."""
    return f"{ask('answer_question', question_id=question, answer=text)['id']} is answered"


def chosen(options: list[str], typed: str) -> str:
    """Return the answer that is meant: an option by its number, else what was typed."""
    text = typed.strip()
    if text.isascii() and text.isdigit() and 1 <= int(text) <= len(options):
        return options[int(text) - 1]
    return text


def approve(ask: Call, request: str, commit: str) -> str:
    """Approve a merge request at the commit that was shown."""
    done = ask("approve_merge", merge_request=request, commit=commit)
    return f"{done['id']} is approved at {done['commit'][:12]}"


def send_back(ask: Call, request: str, commit: str, reason: str) -> str:
    """Send a merge request back with what must change."""
    done = ask("send_back", merge_request=request, commit=commit, reason=reason)
    return f"{done['id']} is sent back; {done['task_id']} is open again"


def decide(ask: Call, task: str, *, accept: bool) -> str:
    """Accept or refuse a proposed task."""
    return _state_of(ask("update_task", task=task, accept=accept))


def stop(ask: Call, session: str, name: str) -> str:
    """Stop a session."""
    stopped = ask("stop_session", session=session, reason="")
    return f"{name} is being stopped" if not stopped["ended_at"] else f"{name} has ended"


def retry(ask: Call, task: str) -> str:
    """Open a stuck task again."""
    return _state_of(ask("retry_task", task=task))


def cancel(ask: Call, task: str) -> str:
    """Cancel a task."""
    return _state_of(ask("cancel_task", task=task))


def reprioritise(ask: Call, task: str, by: int) -> str:
    """Make a task more or less urgent by a step, within what there is."""
    present = ask("get_task", task=task)["task"]["priority"]
    wanted = min(LEAST_URGENT, max(MOST_URGENT, present + by))
    if wanted != present:
        ask("update_task", task=task, priority=wanted)
    return f"{task} has priority {wanted}"


def pause_or_resume(ask: Call, *, is_paused: bool) -> str:
    """Pause the fleet, or let it go on."""
    if is_paused:
        ask("resume_fleet")
        return "The fleet goes on"
    ask("pause_fleet", reason="")
    return "The fleet is paused; p lets it go on"


def _state_of(task: Mapping[str, Any]) -> str:
    return f"{task['id']} is {task['state'].replace('_', ' ')}"
