"""`sf-launch rehearse`: a story from its file, told while it runs, summed up at its end."""

import json
from dataclasses import asdict
from pathlib import Path

from launcher.rehearsal.runner import Rehearsal, rehearse
from launcher.rehearsal.story import load_story, shipped_story


def run_story(story: Path | None, *, keep: Path | None, as_json: bool) -> int:
    """Run a story (the shipped one when none is named); return 0 when everything held.

    Raises:
        StoneforgeError: the story cannot be read or run.
    """
    loaded = load_story(story or shipped_story())

    def say(line: str) -> None:
        if not as_json:
            print(line, flush=True)  # noqa: T201

    rehearsal = rehearse(loaded, say, keep=keep)
    print(_json(rehearsal) if as_json else _summary(rehearsal), flush=True)  # noqa: T201
    return 0 if rehearsal.held else 1


def _json(rehearsal: Rehearsal) -> str:
    return json.dumps(
        {
            "story": rehearsal.story,
            "held": rehearsal.held,
            "findings": [asdict(finding) for finding in rehearsal.findings],
            "tasks": rehearsal.ending.tasks,
            "sessions": rehearsal.ending.sessions,
            "landings": rehearsal.ending.landings,
            "seconds": round(rehearsal.seconds, 1),
            "model_requests": rehearsal.model_requests,
            "folder": rehearsal.folder,
        },
        indent=2,
    )


def _summary(rehearsal: Rehearsal) -> str:
    ending = rehearsal.ending
    lines = ["", f"{rehearsal.story}: {'everything held' if rehearsal.held else 'FAILED'}"]
    for finding in rehearsal.findings:
        mark = "ok  " if finding.held else "FAIL"
        detail = f" ({finding.detail})" if finding.detail and not finding.held else ""
        lines.append(f"  {mark} {finding.what}{detail}")
    lines.append(
        f"{len(ending.tasks)} tasks, {ending.sessions} sessions, {ending.landings} landings, "
        f"{rehearsal.model_requests} model requests, {rehearsal.seconds:.0f} s, 0 tokens"
    )
    if rehearsal.folder:
        lines.append(f"Everything is kept in {rehearsal.folder}.")
    return "\n".join(lines)
