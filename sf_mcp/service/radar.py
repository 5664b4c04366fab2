"""The conflict radar: which live work cannot be merged with which, known while it is being done.

Everything in it follows from the tasks' rows and from git: where the branches and their newest
snapshots stand, and the target. It is looked at anew whenever one of them may have moved, and only
what has moved is merged anew. A server that starts knows as much after its first look.
"""

import threading
from collections.abc import Iterable, Mapping

from sf_mcp.core.models import MergeRequestId, Oid, Task, TaskId
from sf_mcp.core.radar import Survey, folders_above
from sf_mcp.core.text import one_line
from sf_mcp.git.radar import Radar, newest_snapshots
from sf_mcp.git.repository import Repository
from sf_mcp.service.target import TargetService
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import tasks


class RadarService:
    """Use cases of the radar; for many threads."""

    def __init__(self, workspace: Workspace, forge: Repository, target: TargetService) -> None:
        """Watch this project."""
        self._workspace = workspace
        self._forge = forge
        self._target = target
        self._looking = threading.Lock()
        self._radar = Radar(forge)
        self._known = Survey()
        self._tips: dict[TaskId, Oid] = {}
        self._snapshots: dict[TaskId, tuple[Oid, Oid] | None] = {}
        self._unread: set[TaskId] = set()
        self._requested: set[Oid] = set()
        self.noted = 0
        """How often it was told that something may have moved."""

    # -- looking -----------------------------------------------------------------------------------

    def note_snapshot(self, task_id: TaskId) -> None:
        """Take note that a task may have a new snapshot; the next look reads it."""
        self._unread.add(task_id)
        self.noted += 1

    def has_moved(self, task: Task) -> bool:
        """Return whether a branch is not where the newest look found it: microseconds."""
        tip = self._forge.head_of(f"refs/heads/{task.branch}")
        return tip != self._tips.get(task.id, task.base)

    def look(self) -> Survey:
        """Bring everything up to date and return it; next to nothing when nothing has moved.

        Raises:
            GitFailed: git cannot read a branch, or cannot merge for want of disk.
        """
        with self._looking:
            target = self._target.head()
            tips = self._present_tips()
            commits = self._newest_work(tips)
            if (self._known.target, self._known.commits) != (target, commits):
                self._known = self._radar.survey(commits, target)
                self._radar.forget({target, *commits.values(), *self._requested})
            self._tips = tips
            return self._known

    def _present_tips(self) -> dict[TaskId, Oid]:
        with self._workspace.read() as tx:
            live = tasks.with_a_branch(tx.db)
        tips = ((task.id, self._forge.head_of(f"refs/heads/{task.branch}")) for task in live)
        return {task_id: tip for task_id, tip in tips if tip is not None}

    def _newest_work(self, tips: Mapping[TaskId, Oid]) -> dict[str, Oid]:
        """Return each task's newest snapshot, if it lies on the branch's tip, else the tip."""
        noted, self._unread = self._unread, set()
        unread = [one for one in tips if one not in self._snapshots or one in noted]
        found = newest_snapshots(self._forge, unread)
        self._snapshots = {one: self._snapshots.get(one) for one in tips if one not in noted}
        self._snapshots |= {one: found.get(one) for one in unread}
        commits: dict[str, Oid] = {}
        for task_id, tip in tips.items():
            kept = self._snapshots[task_id]
            commits[task_id] = kept[0] if kept is not None and kept[1] == tip else tip
        return commits

    # -- answers -----------------------------------------------------------------------------------

    def known(self) -> Survey:
        """Return what the newest look has found."""
        return self._known

    def conflicting(
        self, pinned: Mapping[MergeRequestId, Oid]
    ) -> dict[MergeRequestId, frozenset[MergeRequestId]]:
        """Return, of merge requests with what they are pinned to, which conflict with which.

        Each that conflicts with any has an entry. What conflicts with the target alone has none.
        A pair is merged once, however often it is asked for.

        Raises:
            GitFailed: a commit is not there.
        """
        commits: dict[str, Oid] = dict(pinned.items())
        with self._looking:
            self._requested = set(commits.values())
            between = self._radar.survey(commits, self._target.head()).between
        found: dict[MergeRequestId, set[MergeRequestId]] = {}
        for pair in between:
            one, other = map(MergeRequestId, pair)
            found.setdefault(one, set()).add(other)
            found.setdefault(other, set()).add(one)
        return {one: frozenset(others) for one, others in found.items()}

    def touched(self) -> dict[TaskId, frozenset[str]]:
        """Return the files that each live task had changed when the radar last looked."""
        return {TaskId(one): spot.footprint.paths for one, spot in self._known.spots.items()}

    def touching(self, paths: Iterable[str], *, but: str = "") -> dict[str, list[TaskId]]:
        """Return which live tasks touch each of these paths; those that none touches are left out.

        A folder is touched with any file in it. `but` is a task that is left out of the answer.
        """
        wanted = dict.fromkeys(paths)
        found: dict[str, list[TaskId]] = {}
        for task_id, touched in self.touched().items():
            if task_id == but:
                continue
            here = set(touched)
            here.update(folder for path in touched for folder in folders_above(path))
            for path in wanted:
                if path.rstrip("/") in here:
                    found.setdefault(path, []).append(task_id)
        return found


def named_task(task: Task) -> str:
    """Return a task's id and title, as the other side of a conflict is told them."""
    return f"{task.id} ({one_line(task.title, 160)})"
