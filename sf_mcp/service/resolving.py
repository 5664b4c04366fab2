"""Merging by the person's rules for straightforward conflicts, each result in a commit of its own.

The rules themselves are in `git.resolving`; here are the commands of generated files, and commits.
"""

import shutil
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta

from sf_mcp.core.models import MergeRequest, Oid
from sf_mcp.core.straightforward import NotStraightforward
from sf_mcp.git.checks import Check as Command
from sf_mcp.git.checks import check_environment, run_checks, tail
from sf_mcp.git.fair_slots import FairSlots
from sf_mcp.git.generated import key_of, remember, remembered, tree_in
from sf_mcp.git.identity import SERVER, Identity
from sf_mcp.git.resolving import Resolved, Step, Unresolved, resolve
from sf_mcp.git.worktrees import Worktrees
from sf_mcp.service.workspace import Workspace
from sf_mcp.settings import ResolveRule

PLACE = "generate"
"""The worktree in which commands of generated files run, one at a time."""
FAILED_FOR = timedelta(minutes=10)
"""How long a command that failed on a tree is not run on it again: each look would do so."""
LOG_TAIL_LINES = 40

SENTENCES = {
    "union": "Both sides only added lines, and all of them are kept.",
    "identical": "Both sides made the same change, and one of them went further.",
    "generated": "Made anew from the merged files by `{run}`.",
}


class Resolving:
    """Merges with rules; any thread may ask."""

    def __init__(self, workspace: Workspace, worktrees: Worktrees) -> None:
        """Resolve conflicts of this project."""
        self._workspace = workspace
        self._worktrees = worktrees
        self._forge = worktrees.forge
        self._place = threading.Lock()
        self._failed: dict[str, tuple[datetime, str]] = {}
        """Until when a command is not run on a tree again, and why."""

    def merge(
        self, *, ours: Oid, theirs: Oid, cancel: threading.Event
    ) -> Resolved | Unresolved | None:
        """Merge `theirs` into `ours` by the rules of the configuration; None: it was cancelled.

        Takes as long as the commands of generated files do, the first time for a tree.

        Raises:
            GitFailed: one of the commits does not exist, or git cannot write.
        """

        def generate(rule: ResolveRule, tree: Oid) -> Oid:
            return self._generate(rule, tree, cancel)

        rules = self._workspace.settings.merge.auto_resolve
        found = resolve(self._forge, ours=ours, theirs=theirs, rules=rules, generate=generate)
        return None if cancel.is_set() else found

    def known(self, *, ours: Oid, theirs: Oid) -> Resolved | Unresolved:
        """Merge by the rules without running anything: a file not made before is unresolved.

        Raises:
            GitFailed: one of the commits does not exist, or git cannot write.
        """

        def generate(rule: ResolveRule, tree: Oid) -> Oid:
            assert rule.run is not None  # the settings see to it
            if (made := remembered(self._forge, key_of(tree, rule.run, rule.paths))) is None:
                raise NotStraightforward(f"`{rule.run}` has not been run on it yet")
            return made

        rules = self._workspace.settings.merge.auto_resolve
        return resolve(self._forge, ours=ours, theirs=theirs, rules=rules, generate=generate)

    def commit(self, first: Oid, steps: Sequence[Step], request: MergeRequest, by: Identity) -> Oid:
        """Put a commit for each step on top of `first`, and return the last one.

        The same steps give the same commits: their time is the request's.
        """
        commit = first
        for step in steps:
            commit = self._forge.commit_tree(
                step.tree, [commit], message_of(step, request), by, request.created_at
            )
        return commit

    def _generate(self, rule: ResolveRule, tree: Oid, cancel: threading.Event) -> Oid:
        assert rule.run is not None  # the settings see to it
        key = key_of(tree, rule.run, rule.paths)
        with self._place:
            if (known := remembered(self._forge, key)) is not None:
                return known
            until, why = self._failed.get(key, (self._workspace.now(), ""))
            if self._workspace.now() < until:
                raise NotStraightforward(why)
            try:
                made = self._run(rule.run, rule.timeout_seconds, tree, key, cancel)
            except NotStraightforward as failed:
                if not cancel.is_set():
                    self._failed[key] = (self._workspace.now() + FAILED_FOR, str(failed))
                raise
            return remember(self._forge, key, made, f"What `{rule.run}` made of {tree}")

    def _run(
        self, command: str, timeout_seconds: int, tree: Oid, key: str, cancel: threading.Event
    ) -> Oid:
        before = self._forge.commit_tree(tree, [], f"Before `{command}`", SERVER)
        path = self._worktrees.detached(PLACE, before, clean_ignored=False)
        log_folder = self._workspace.layout.logs / "generated" / key[:12]
        (done,) = run_checks(
            [Command(name=PLACE, command=command, timeout_seconds=float(timeout_seconds))],
            path,
            log_folder,
            slots=FairSlots(lambda: 1),
            env=check_environment(),
            cancel=cancel,
        )
        if not done.passed:
            log = tail(done.log_path, LOG_TAIL_LINES)
            raise NotStraightforward(f"`{command}` {done.outcome}" + (f"\n{log}\n" if log else ""))
        shutil.rmtree(log_folder, ignore_errors=True)
        return tree_in(path)


def message_of(step: Step, request: MergeRequest) -> str:
    """Return the message of the commit with a rule's result."""
    rule = step.rule
    paths = step.paths[0] if len(step.paths) == 1 else f"{len(step.paths)} conflicting files"
    listed = "\n".join(f"- {path}" for path in step.paths)
    return (
        f"Resolve {paths} by the rule {rule.rule}\n\n"
        f"{SENTENCES[rule.rule].format(run=rule.run)}\n\n{listed}\n\n"
        f"Task: {request.task_id}\nMerge-Request: {request.id}\nRule: {rule.rule}"
    )
