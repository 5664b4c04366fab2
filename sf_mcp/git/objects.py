"""Refs and commits read within this process: a few microseconds, where a git process takes ms.

Only what libgit2 answers exactly as git does: whole ref names and whole object names, commits that
are there. To anything else the answer is `Unanswered`, and git itself has the last word: to other
names of a commit, to what is missing, and in repositories that libgit2 cannot open (SHA-256).
"""

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from sf_mcp.core.models import Oid

if TYPE_CHECKING:
    import pygit2

T = TypeVar("T")

_OBJECT_NAME = re.compile("[0-9a-f]{40}")
_REF_PREFIX = "refs/"


class Unanswered(Exception):
    """Ask git."""


class Objects:
    """The refs and commits of one git directory. For many threads: each opens it for itself."""

    def __init__(self, git_dir: Path) -> None:
        """Read in `git_dir`; nothing is opened yet."""
        self._git_dir = git_dir
        self._here = threading.local()

    def commit(self, name: str) -> Oid:
        """Return the commit that a ref or object name stands for.

        Raises:
            Unanswered: git has to say.
        """
        return self._read(lambda repository: Oid(str(_commit(repository, name).id)))

    def tree(self, name: str) -> Oid:
        """Return the tree of the commit that a ref or object name stands for.

        Raises:
            Unanswered: git has to say.
        """
        return self._read(lambda repository: Oid(str(_commit(repository, name).tree_id)))

    def is_ancestor(self, ancestor: str, commit: str) -> bool:
        """Tell whether `commit` contains `ancestor` (each contains itself).

        Raises:
            Unanswered: git has to say.
        """

        def read(repository: "pygit2.Repository") -> bool:
            older, newer = _commit(repository, ancestor).id, _commit(repository, commit).id
            return older == newer or repository.descendant_of(newer, older)

        return self._read(read)

    def only_base(self, one: str, other: str) -> Oid | None:
        """Return the one best common ancestor, None for unrelated histories.

        Raises:
            Unanswered: git has to say: where histories have met on the way, there may be several.
        """

        def read(repository: "pygit2.Repository") -> Oid | None:
            commit = _commit(repository, other)
            best = repository.merge_base(_commit(repository, one).id, commit.id)
            base = cast("pygit2.Oid | None", best)  # its types do not say so
            while base is not None and commit.id != base:
                if len(commit.parent_ids) != 1:
                    raise Unanswered
                commit = repository[commit.parent_ids[0]].peel(pygit2.Commit)
            return None if base is None else Oid(str(base))

        import pygit2

        return self._read(read)

    def _read(self, read: "Callable[[pygit2.Repository], T]") -> T:
        # Here, for it takes a tenth of a second: no short command waits for it.
        import pygit2

        try:
            repository: pygit2.Repository | None = getattr(self._here, "repository", None)
            if repository is None:
                self._here.repository = repository = pygit2.Repository(str(self._git_dir))
            return read(repository)
        except (pygit2.GitError, KeyError, ValueError, OSError) as error:
            raise Unanswered from error


def _commit(repository: "pygit2.Repository", name: str) -> "pygit2.Commit":
    import pygit2

    if _OBJECT_NAME.fullmatch(name):
        return repository[name].peel(pygit2.Commit)
    if name.startswith(_REF_PREFIX):
        return repository.lookup_reference(name).peel(pygit2.Commit)
    raise Unanswered
