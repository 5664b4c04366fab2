"""Between the fleet's target branch and other people's: taken in, and published.

Rule 1: what the person or upstream committed is taken in as it is.
Rule 2: their branches are only ever fast-forwarded.
Rule 3: a branch that no longer has what it had is left alone until the person has said which of the
two histories is meant; landing goes on meanwhile.
"""

import logging
from datetime import timedelta
from pathlib import Path

from sf_mcp.core.identity import SERVER
from sf_mcp.core.models import LandingKind, Oid
from sf_mcp.git.command import GitFailed
from sf_mcp.git.identity import SERVER as SERVER_IDENTITY
from sf_mcp.git.locks import FRESH_SECONDS
from sf_mcp.git.merging import Merged, merge_trees
from sf_mcp.git.publishing import (
    PERSON,
    LeftAlone,
    Obstacle,
    deliver,
    publish_to_checkout,
    take_in,
)
from sf_mcp.git.remotes import Rejected, RejectedBecause, fetch_remote, push_to_remote
from sf_mcp.git.repository import Repository
from sf_mcp.service.rewritten import Rewritten, rewritten_fact
from sf_mcp.service.target import TargetService
from sf_mcp.service.tries import Tries
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import facts

logger = logging.getLogger(__name__)

REMOTE = "origin"
MOST_PUSHES = 3
"""Times in one go that somebody else may be faster at the remote."""

INTERRUPTED_SECONDS, LEFT_ALONE_SECONDS = FRESH_SECONDS + 1, 60.0
"""After how long a checkout that was left alone is looked at again: nothing tells when a lock has
become stale, or a file is as it was committed."""

FETCH_PAUSE = timedelta(seconds=30)


class PublishingService:
    """Use cases of the branches of the person and of `origin`. Called by one loop."""

    def __init__(self, workspace: Workspace, forge: Repository, target: TargetService) -> None:
        """Publish this target."""
        self._workspace = workspace
        self._forge = forge
        self._target = target
        self._root: Path = workspace.layout.root
        self._branch = target.branch
        self._published: Oid | None = None
        self._left_alone: Obstacle | None = None
        """Why the person's checkout does not have what has landed."""
        self._conflict = ("", "")
        """Why the person's own commits cannot be taken in, and the command that mends it."""
        self._rewritten: set[str] = set()
        """Where the history was rewritten, so that nothing is published."""
        self._fetching = Tries(workspace.now)
        self._pushing = Tries(workspace.now)

    def take_in_upstream(self) -> None:
        """Take in what the person committed on their branch."""
        theirs = take_in(self._root, self._forge, self._branch)
        if theirs is not None and self._is_rewritten(PERSON, theirs):
            return
        conflict = self._take_in(theirs) if theirs is not None else ""
        self._conflict = (
            f"your commits on {self._branch} {conflict}" if conflict else "",
            f"git merge stoneforge/{self._branch}",
        )

    def take_in_remote(self, *, at_once: bool = False) -> None:
        """Take in what arrived at the remote; one that is out of reach never holds up local work.

        It is asked at most every `FETCH_PAUSE`, unless `at_once`.
        """
        if not self._workspace.settings.merge.push:
            return
        if not at_once and not self._fetching.may_try():
            return
        try:
            theirs = fetch_remote(self._root, self._forge, REMOTE, self._branch)
        except GitFailed as error:
            self._fetching.failed()
            self._note_once("fetch_failed", f"{REMOTE} cannot be reached: {error.message}")
            return
        self._fetching.succeeded(rest=FETCH_PAUSE)
        self._note_once("fetch_failed", "")
        if theirs is None or self._is_rewritten(REMOTE, theirs):
            return
        if conflict := self._take_in(theirs):
            self._note_once("upstream_conflict", f"commits on {REMOTE}/{self._branch} {conflict}")

    def _is_rewritten(self, place: str, theirs: Oid) -> bool:
        """Tell whether the branch there has lost what it had; say so once, with both ways out."""
        with self._workspace.read() as tx:
            had = facts.get(tx.db, f"had_{place}")
        head = self._target.head()
        is_lost = (
            had is not None
            and had != theirs
            and not self._forge.is_ancestor(had, theirs)
            # What the fleet does not build on either is nobody's loss.
            and self._forge.is_ancestor(had, head)
        )
        if not is_lost:
            self._has(place, theirs)
            return False
        found = Rewritten(
            place=place,
            branch=self._branch,
            was=Oid(str(had)),
            now=theirs,
            lost=self._forge.count_between(theirs, head),
        )
        self._forge.keep(theirs, f"rewritten-{place}")
        tracking = deliver(self._root, self._forge, self._branch, head)
        self._rewritten.add(place)
        self._note_rewritten(place, found.sentence(self._root, tracking), found)
        if place == PERSON:
            self._left_alone = Obstacle.DIVERGED
            self._note_checkout("left alone: its history was rewritten (see the note)", "")
        return True

    def _has(self, place: str, commit: Oid) -> None:
        """Record what the branch there is known to have."""
        name = f"had_{place}"
        self._rewritten.discard(place)
        with self._workspace.read() as tx:
            is_known = facts.get(tx.db, name) == commit
        if not is_known:
            with self._workspace.write(SERVER) as tx:
                facts.put(tx.db, name, commit)
        self._note_rewritten(place, "", None)

    def _note_rewritten(self, place: str, sentence: str, found: Rewritten | None) -> None:
        name = rewritten_fact(place)
        with self._workspace.read() as tx:
            told = facts.get(tx.db, name) or ""
        if told == sentence:
            return
        with self._workspace.write(SERVER) as tx:
            facts.put(tx.db, name, sentence)
            if found is None:
                tx.event("upstream_followed", "", place=place, branch=self._branch)
            elif not told:
                tx.event(
                    "upstream_rewritten",
                    "",
                    place=place,
                    was=found.was,
                    now=found.now,
                    detail=sentence,
                )

    def _take_in(self, commit: Oid) -> str:
        """Take in somebody's commits; return why that cannot be done, empty when it is done."""
        head = self._target.head()
        if self._forge.is_ancestor(commit, head):
            return ""
        new = commit
        if not self._forge.is_ancestor(head, commit):
            try:
                merged = merge_trees(self._forge, head, commit)
            except GitFailed as error:
                return f"cannot be merged with what the fleet landed: {error.message}"
            if not isinstance(merged, Merged):
                paths = ", ".join(merged.paths[:5])
                return f"(up to {commit[:12]}) conflict with what the fleet landed in {paths}"
            new = self._forge.commit_tree(
                merged.tree,
                [head, commit],
                f"Merge {commit[:12]} into {self._branch}",
                SERVER_IDENTITY,
                self._workspace.now(),
            )
        # Their tree is not ours to judge: taken in as it is, and recorded red or green later.
        if self._target.land([], kind=LandingKind.UPSTREAM, old=head, new=new, green=None):
            logger.info("took in %s as %s", commit, new)
        return ""

    # -- publishing --------------------------------------------------------------------------------

    def publish(self) -> None:
        """Bring the target to the person's branch, and to the remote when that is switched on."""
        if PERSON in self._rewritten:
            return  # theirs is also what a push goes through
        self._publish_to_checkout()
        if self._workspace.settings.merge.push and REMOTE not in self._rewritten:
            self._push()

    def seconds_until_retry(self) -> float | None:
        """Return after how long what has not taken the landing is tried again; None: nothing is."""
        waits: list[float] = []
        if self._workspace.settings.merge.push and (at := self._pushing.next_try) is not None:
            waits.append(max(1.0, (at - self._workspace.now()).total_seconds()))
        if self._left_alone is Obstacle.INTERRUPTED:
            waits.append(INTERRUPTED_SECONDS)
        elif self._left_alone is not None:
            waits.append(LEFT_ALONE_SECONDS)
        return min(waits, default=None)

    def _publish_to_checkout(self) -> None:
        head = self._target.head()
        outcome = publish_to_checkout(self._root, self._forge, self._branch, head)
        self._left_alone = outcome.obstacle if isinstance(outcome, LeftAlone) else None
        if not isinstance(outcome, LeftAlone):
            self._note_checkout("up to date", "")
            if outcome.moved:
                self._has(PERSON, head)
            return
        reason, command = outcome.reason, outcome.command_to_catch_up
        if outcome.obstacle is Obstacle.DIVERGED and self._conflict[0]:
            reason, command = self._conflict
        commits = "1 commit" if outcome.behind == 1 else f"{outcome.behind} commits"
        self._note_checkout(f"{commits} behind: {reason}", command)

    def _push(self) -> None:
        for _ in range(MOST_PUSHES):
            head = self._target.head()
            if self._published == head or not self._pushing.may_try():
                return
            pushed = push_to_remote(self._root, REMOTE, head, self._branch)
            if not isinstance(pushed, Rejected):
                self._published = head
                self._has(REMOTE, head)
                self._pushing.succeeded()
                self._note_once("pushed", f"{REMOTE} has {head[:12]}")
                self._note_once("push_failed", "")
                return
            if pushed.because is not RejectedBecause.BEHIND:
                break
            self.take_in_remote(at_once=True)
            if REMOTE in self._rewritten:
                return
            if self._target.head() == head:
                break  # what is there cannot be taken in; it has been said why
            self._publish_to_checkout()
        else:
            return
        self._pushing.failed()
        self._note_once("push_failed", f"{REMOTE} does not take what landed: {pushed.reason}")

    def _note_checkout(self, state: str, remedy: str) -> None:
        with self._workspace.read() as tx:
            known = (facts.get(tx.db, "checkout"), facts.get(tx.db, "checkout_remedy"))
        if known == (state, remedy):
            return
        with self._workspace.write(SERVER) as tx:
            facts.put(tx.db, "checkout", state)
            facts.put(tx.db, "checkout_remedy", remedy)
            tx.event("checkout", "", state=state, remedy=remedy)

    def _note_once(self, kind: str, text: str) -> None:
        """Tell something unless it was the last thing told of its kind; "": it is over."""
        fact = f"told_{kind}"
        with self._workspace.read() as tx:
            if (facts.get(tx.db, fact) or "") == text:
                return
        with self._workspace.write(SERVER) as tx:
            facts.put(tx.db, fact, text)
            if text:
                tx.event(kind, "", detail=text)
