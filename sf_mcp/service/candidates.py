"""What would land: merge requests merged onto the target one after the other, each as a commit.

The same requests on the same head give the same commits, whenever and by whom they are built, so
that a verdict on a candidate's tree holds for what lands. Nothing here moves a ref.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from sf_mcp.core.errors import StoneforgeError
from sf_mcp.core.models import MergeRequest, Oid, Task
from sf_mcp.git.identity import SERVER as SERVER_IDENTITY
from sf_mcp.git.identity import identity
from sf_mcp.git.repository import Repository
from sf_mcp.git.resolving import Unresolved
from sf_mcp.service.resolving import Resolving
from sf_mcp.service.workspace import Workspace
from sf_mcp.settings import Merge
from sf_mcp.store import tasks

REMEMBERED = 4000
"""Links that are kept in memory; any can be built again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One merge request on top of what lies below it."""

    request: MergeRequest
    commit: Oid
    """The last of its commits: rules that resolve a conflict add some of their own."""
    tree: Oid


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Merge requests on a head, in order."""

    links: tuple[Link, ...]

    @property
    def commit(self) -> Oid:
        """Return the commit that would be the target's."""
        return self.links[-1].commit

    @property
    def tree(self) -> Oid:
        """Return what the checks must pass."""
        return self.links[-1].tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Clash:
    """A merge request that cannot be merged onto what lies below it."""

    request: MergeRequest
    paths: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()
    reason: str = ""
    """Why no rule resolves it; empty when none is for it."""
    is_contained: bool = False
    """All of it is there already: nothing would land."""


class Interrupted(StoneforgeError):
    """A candidate was not finished, since the server is stopping."""


class Candidates:
    """Builds candidates. Used by one thread at a time."""

    def __init__(
        self,
        workspace: Workspace,
        forge: Repository,
        resolving: Resolving,
        cancel: threading.Event,
    ) -> None:
        """Build in this project's forge; `cancel` ends the command of a rule."""
        self._workspace = workspace
        self._forge = forge
        self._resolving = resolving
        self._cancel = cancel
        self._known: dict[tuple[Oid, str, Oid, Merge], Link | Clash] = {}

    def build(self, head: Oid, requests: Sequence[MergeRequest]) -> Chain | Clash:
        """Merge the requests onto the head, in this order, and return the commits.

        Raises:
            GitFailed: a commit is not there, or has no history in common with the target.
        """
        links: list[Link] = []
        below = head
        for request in requests:
            link = self._link(below, request)
            if isinstance(link, Clash):
                return link
            links.append(link)
            below = link.commit
        return Chain(links=tuple(links))

    def _link(self, below: Oid, request: MergeRequest) -> Link | Clash:
        # Another strategy or another rule may merge them otherwise.
        key = (below, request.id, request.commit, self._workspace.settings.merge)
        if (known := self._known.get(key)) is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[key] = self._built(below, request)
        return known

    def _built(self, below: Oid, request: MergeRequest) -> Link | Clash:
        resolved = self._resolving.merge(ours=below, theirs=request.commit, cancel=self._cancel)
        if resolved is None:
            raise Interrupted("The server is stopping.", remedy="Nothing is lost: wait.")
        if isinstance(resolved, Unresolved):
            return Clash(
                request=request,
                paths=resolved.paths,
                messages=resolved.messages,
                reason=resolved.reason,
            )
        if resolved.tree == self._forge.tree_of(below):
            return Clash(request=request, is_contained=True)
        with self._workspace.read() as tx:
            task = tasks.get(tx.db, request.task_id)
        is_squash = self._workspace.settings.merge.strategy == "squash"
        by = identity(self._workspace.layout.root) or SERVER_IDENTITY
        first = self._forge.commit_tree(
            resolved.without,
            [below] if is_squash else [below, request.commit],
            message_of(task, request),
            by,
            # The same inputs give the same commit: its time is the request's.
            request.created_at,
        )
        commit = self._resolving.commit(first, resolved.steps, request, by)
        return Link(request=request, commit=commit, tree=resolved.tree)


def message_of(task: Task, request: MergeRequest) -> str:
    """Return the landing's commit message."""
    return f"{task.title}\n\n{request.summary}\n\nTask: {task.id}\nMerge-Request: {request.id}"
