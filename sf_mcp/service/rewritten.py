"""A branch of the person or of `origin` whose history was rewritten: what to say of it.

Commits that it had and that the fleet builds on are no longer in it. Which of the two histories is
meant is for the person to say: nothing is published there until one of them contains the other.
Both ways out are plain git, lose nothing and need no word to the server.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path

from sf_mcp.core.models import Oid

PLACES = ("person", "origin")


def rewritten_fact(place: str) -> str:
    """Return the name of the fact that says what is wrong there; empty text: nothing is."""
    return f"rewritten_{place}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """A branch that no longer has what it had."""

    place: str
    """`person`, or the name of a remote."""
    branch: str
    was: Oid
    """The newest commit that it is known to have had."""
    now: Oid
    lost: int
    """How many of the target's commits are no longer in it."""

    def sentence(self, root: Path, tracking: str) -> str:
        """Return what happened and the commands for both ways out.

        `tracking` is what the person's repository calls the fleet's target: `stoneforge/main`.
        """
        whose = f"Your {self.branch}" if self.is_persons else f"{self.place}/{self.branch}"
        commits = "1 commit" if self.lost == 1 else f"{self.lost} commits"
        where = "there" if self.is_persons else f"to {self.place}"
        return (
            f"{whose} was rewritten from {self.was[:12]} to {self.now[:12]}: {commits} that the "
            f"fleet builds on are no longer in it. Nothing is published {where} until you choose; "
            f"landing goes on. To take the rewritten one: {self.take_theirs(root, tracking)} — To "
            f"put back what it had: {self.put_back(root, tracking)}"
        )

    @property
    def is_persons(self) -> bool:
        """Whether it is the branch in the person's own repository."""
        return self.place == "person"

    def take_theirs(self, root: Path, tracking: str) -> str:
        """Return the commands that go on with theirs: their files, both histories."""
        message = f"Take the rewritten {self.branch}"
        merge = _git(root, "merge", "--no-ff", "-s", "ours", "-m", message, tracking)
        if self.is_persons:
            return f"{_git(root, 'switch', self.branch)} && {merge}"
        steps = [
            _git(root, "switch", "--detach", self.now),
            merge,
            _git(root, "push", self.place, f"HEAD:refs/heads/{self.branch}"),
            _git(root, "switch", "-"),
        ]
        return " && ".join(steps)

    def put_back(self, root: Path, tracking: str) -> str:
        """Return the commands that give the branch what it had, and what has landed since."""
        if self.is_persons:
            keep = _git(root, "reset", "--keep", tracking)
            return f"{_git(root, 'switch', self.branch)} && {keep}"
        ref = f"refs/heads/{self.branch}"
        lease = f"--force-with-lease={ref}:{self.now}"
        return _git(root, "push", lease, self.place, f"{tracking}:{ref}")


def _git(root: Path, *arguments: str) -> str:
    return shlex.join(["git", "-C", str(root), *arguments])
