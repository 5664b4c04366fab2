"""The overview as one screen of text."""

from datetime import datetime
from typing import Any

from sf_mcp.cli.output import fill, line, say, table


def show_overview(overview: Any) -> None:
    """Print the overview."""
    for name, text in _facts(overview):
        say(f"{name:8}{line(text)}")
    table(
        ("ID", "STATE", "DONE", "TITLE"),
        [
            (plan["id"], plan["state"], f"{plan['done']}/{plan['total']}", plan["title"])
            for plan in overview["plans"]
            if plan["state"] in ("draft", "active")
        ],
        title="Plans",
    )
    table(
        ("NAME", "STATE", "ON", "CONTEXT", "COST", "HEARD", "TITLE"),
        [_session(session, overview["at"]) for session in overview["sessions"]],
        title="Sessions",
    )
    table(
        ("ID", "TASK", "STATUS", "TITLE"),
        [
            (merge["id"], merge["task_id"], merge["status"], merge["title"])
            for merge in overview["merges"]
        ],
        title="Merge requests",
    )
    table(
        ("ID", "TASK", "FOR", "TEXT"),
        [
            (
                question["id"],
                question["task_id"] or "",
                "you" if question["escalated"] else "director",
                question["text"],
            )
            for question in overview["questions"]
        ],
        title="Open questions (sf question answer ID TEXT)",
    )
    for title, tasks in (("Next", overview["next_ready"]), ("Stuck", overview["stuck"])):
        table(
            ("ID", "PRIORITY", "TITLE"),
            [(task["id"], task["priority"], task["title"]) for task in tasks],
            title=title,
        )


def _facts(overview: Any) -> list[tuple[str, str]]:
    target = overview["target"]
    colour = {True: "green", False: "red", None: "not checked"}[target["is_green"]]
    at = f"at {target['commit'][:12]}, {colour}" if target["commit"] else "not recorded yet"
    facts = [
        ("project", overview["project"]),
        ("target", f"{target['branch']} {at}; your checkout: {target['checkout']}"),
    ]
    if target["remedy"]:
        facts.append(("", f"to catch up: {target['remedy']}"))
    facts += [("note", note) for note in overview["notes"]]
    if overview["paused"]:
        facts.append(("paused", f"{overview['paused']} (sf resume)"))
    if overview["parked_until"]:
        until = f"{overview['parked_until'][:16].replace('T', ' ')} UTC"
        facts.append(("parked", f"until {until}: {overview['parked_reason']}"))
        facts.append(
            ("", "it goes on by itself then; at once, also in your other fleets: sf resume")
        )
    counts = [f"{number} {state}" for state, number in overview["counts"].items() if number]
    counted = ", ".join(counts).replace("_", " ") or "none yet: sf task create"
    facts.append(("tasks", f"{overview['ready']} ready, {overview['blocked']} blocked ({counted})"))
    if overview["cost_usd"]:
        facts.append(("spent", f"${overview['cost_usd']:.2f}"))
    return facts


def _session(session: Any, at: str) -> tuple[object, ...]:
    heard = datetime.fromisoformat(at) - datetime.fromisoformat(session["heard_at"])
    state = "working" if session["is_turn_active"] else session["state"]
    return (
        session["name"],
        state,
        session["subject"],
        fill(session),
        f"${session['cost_usd']:.2f}",
        f"{max(int(heard.total_seconds()), 0)} s ago",
        session["note"] or session["title"],
    )
