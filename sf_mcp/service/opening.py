"""What a session is told first: what it is started for, and what it must know to begin."""

from collections.abc import Sequence

from sf_mcp.core.models import Conflict, MergeRequest, Question, Task
from sf_mcp.core.similarity import most_similar
from sf_mcp.core.text import one_line
from sf_mcp.service import answers
from sf_mcp.service.conflict_state import named
from sf_mcp.service.transaction import Transaction
from sf_mcp.store import plans, questions, tasks

SHOWN_TASKS = 30
SHOWN_ANSWERS = 3
SHOWN_CRITERIA = 10
LINE_CHARACTERS = 300
DESCRIPTION_CHARACTERS = 2_000
"""The rest is a call of `get_task` away; a director pays for every character of this."""


def of_task(task: Task, owed: Sequence[Question]) -> str:
    """Return a fresh worker's first message, with answers that its predecessor never had."""
    lines = [f"Your task is {task.id}: {task.title}", ""]
    if owed:
        lines += ["An earlier session on it asked, and has not had the answers:"]
        lines += [f"{one.text}\n{answers.text_of([one])}" for one in owed]
        lines += [""]
    return "\n".join([*lines, "Call claim_task for your brief, then begin."])


def of_review(request: MergeRequest) -> str:
    """Return a steward's first message."""
    return (
        f"Review merge request {request.id} of task {request.task_id}: {request.summary}\n\n"
        "Call claim_review for the intent, the diff and the check results."
    )


def of_conflict(request: MergeRequest, conflict: Conflict) -> str:
    """Return the first message of a steward that resolves."""
    return (
        f"Merge request {request.id} of task {request.task_id} conflicts with the target in "
        f"{named(conflict.paths)}: {request.summary}\n\nYour directory has the merge under way. "
        "Call claim_conflict for both intents and diffs, edit the files, then call "
        "submit_resolution."
    )


def of_goal(goal: Question) -> str:
    """Return the first message of a director that plans."""
    return (
        f"Plan this goal ({goal.id}): {goal.text}\n\nRead the code, create the plan "
        f"with create_plan, then call answer_question on {goal.id} with a summary of it."
    )


def of_question(tx: Transaction, question: Question) -> str:
    """Return the first message of a director that answers: the question, its task, its plan."""
    parts = [f"Answer {question.id}, asked about {question.task_id}: {question.text}"]
    if question.options:
        parts[0] += f"\nOptions: {', '.join(question.options)}"
    parts += [question.context] if question.context else []
    if question.task_id is not None:
        task = tasks.get(tx.db, question.task_id)
        parts += [_task_text(task), _plan_text(tx, task)]
        parts += [text] if (text := _answers_text(tx, task, question)) else []
        parts.append(
            f"Your directory is a checkout of {task.branch}: what the worker has committed."
            if task.branch
            else "Your directory is a checkout of the target branch."
        )
    parts.append(
        "Call get_task for attempts and handoffs, read the code if you need to, then call "
        "answer_question, or escalate if only the person can decide."
    )
    return "\n\n".join(parts)


def _task_text(task: Task) -> str:
    lines = [f"The task, {task.state.value}: {task.title}"]
    if task.description:
        lines.append(_clipped(task.description, DESCRIPTION_CHARACTERS))
    lines += [f"- {one_line(text, LINE_CHARACTERS)}" for text in task.acceptance[:SHOWN_CRITERIA]]
    return "\n".join(lines)


def _plan_text(tx: Transaction, task: Task) -> str:
    plan = plans.get(tx.db, task.plan_id)
    lines = [f"Its plan is {plan.id}, {plan.state.value}: {plan.title}"]
    if plan.description:
        lines.append(_clipped(plan.description, DESCRIPTION_CHARACTERS))
    listed = tasks.of_plan(tx.db, plan.id)
    lines += [
        f"- {one.id} ({one.state.value}): {one_line(one.title, LINE_CHARACTERS)}"
        for one in listed[:SHOWN_TASKS]
    ]
    if len(listed) > SHOWN_TASKS:
        lines.append(f"- … and {len(listed) - SHOWN_TASKS} more: list_tasks(plan='{plan.id}')")
    if behind := sorted(tx.graph.dependents(task.id)):
        lines.append(f"Behind {task.id} wait: {', '.join(behind[:SHOWN_TASKS])}")
    return "\n".join(lines)


def _answers_text(tx: Transaction, task: Task, question: Question) -> str:
    answered = questions.answered_in_plan(tx.db, task.plan_id)
    places = most_similar(question.text, [one.text for one in answered], most=SHOWN_ANSWERS)
    lines = [
        f"- {one.id} about {one.task_id}: {one_line(one.text, LINE_CHARACTERS)} → "
        f"{one_line(one.answer or '', LINE_CHARACTERS)}"
        for one in (answered[place] for place in places)
    ]
    return "\n".join(["Like it, and answered in this plan before:", *lines]) if lines else ""


def _clipped(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
