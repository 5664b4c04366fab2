"""Which branch and base the worktree of a task has: the branch's name, and a record of both.

A record is a file `forge.git/stoneforge/worktrees/T12`, beside the repository that it speaks of, so
that the two cannot come apart.
"""

import json
import re
import unicodedata
from dataclasses import dataclass

from sf_mcp.core.models import Oid, TaskId
from sf_mcp.git.guard import replace_text
from sf_mcp.git.repository import Repository

SLUG_LENGTH = 40
BRANCH_PREFIX = "sf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    branch: str
    base: Oid


class Records:
    """The records of one forge."""

    def __init__(self, forge: Repository) -> None:
        """Keep them inside the forge."""
        self._folder = forge.git_dir / "stoneforge" / "worktrees"

    def read(self, task_id: TaskId) -> Record | None:
        """Return the record of a task, or None: a damaged one counts as none."""
        try:
            fields = json.loads((self._folder / task_id).read_text("utf-8"))
            return Record(branch=str(fields["branch"]), base=Oid(str(fields["base"])))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, task_id: TaskId, record: Record) -> None:
        """Put the record of a task, in one step."""
        self._folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"branch": record.branch, "base": record.base}) + "\n"
        replace_text(self._folder / task_id, text)

    def forget(self, task_id: TaskId) -> None:
        """Drop the record of a task, if there is one."""
        (self._folder / task_id).unlink(missing_ok=True)


def branch_name(task_id: TaskId, title: str) -> str:
    """Return the branch of a task: `sf/T12-short-slug`, or `sf/T12` for a title without letters."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    slug = ""
    for word in re.findall(r"[a-z0-9]+", plain[: 10 * SLUG_LENGTH]):
        longer = f"{slug}-{word}" if slug else word[:SLUG_LENGTH]
        if len(longer) > SLUG_LENGTH:
            break
        slug = longer
    return f"{BRANCH_PREFIX}/{task_id}-{slug}" if slug else f"{BRANCH_PREFIX}/{task_id}"


def existing_branch(forge: Repository, task_id: TaskId) -> str | None:
    """Return the branch that a task has in the forge, under whatever title it was made."""
    for ref in forge.refs_below(f"refs/heads/{BRANCH_PREFIX}"):
        name = ref.removeprefix("refs/heads/")
        key = name.removeprefix(f"{BRANCH_PREFIX}/")
        if key == task_id or key.startswith(f"{task_id}-"):
            return name
    return None
