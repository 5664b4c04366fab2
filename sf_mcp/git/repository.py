"""One repository as the server uses it: refs by compare-and-swap, commits, trees, ranges, paths.

Rule 1: a ref moves only by compare-and-swap. Rule 2: nothing is made unreachable; what is replaced
is kept under `refs/stoneforge/kept/` by whoever replaces it.
"""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sf_mcp import process
from sf_mcp.core.errors import GitRefused, NotFound, TargetMoved
from sf_mcp.core.models import Oid
from sf_mcp.git.command import (
    ALWAYS,
    DEFAULT_TIMEOUT_SECONDS,
    GitFailed,
    Result,
    clean_environment,
    readable,
    run_git,
)
from sf_mcp.git.identity import Identity
from sf_mcp.git.locks import FRESH_SECONDS, clear_stale_locks, drop_half_added
from sf_mcp.git.objects import Objects, Unanswered

NO_OBJECT = Oid("0" * 40)
KEPT = "refs/stoneforge/kept"
LOG_FORMAT = "--format=%H%x1f%ct%x1f%an <%ae>%x1f%s"
HALF_ADDED = "bad object worktrees/"
"""What git says of a worktree whose `git worktree add` was killed."""
LOCK_WAIT_SECONDS = FRESH_SECONDS + 3.0
"""Long enough that a stale lock becomes old enough to be cleared, and no longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    commit: Oid
    subject: str
    author: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffPage:
    text: str
    next_start: int | None
    """Where the next page begins, in bytes; None when this one reaches the end."""


class Repository:
    """A git directory and the questions the server asks of it."""

    def __init__(self, git_dir: Path, worktrees: Path | None = None) -> None:
        """Take the git directory, and the folder below which its worktrees lie, if it has any."""
        self.git_dir = git_dir
        self.worktrees = worktrees
        self._objects = Objects(git_dir)

    def run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        extra: Mapping[str, str] | None = None,
        accept: Sequence[int] = (0,),
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> Result:
        """Run git on this repository, without a worktree.

        Raises:
            GitFailed: the exit code is not among `accept`.
        """
        return run_git(
            arguments,
            cwd=self.git_dir,
            extra={"GIT_DIR": str(self.git_dir), **(extra or {})},
            stdin=stdin,
            accept=accept,
            timeout_seconds=timeout_seconds,
        )

    def head_of(self, ref: str) -> Oid | None:
        """Return the commit that a ref, branch or other commit-ish names, or None."""
        with suppress(Unanswered):
            return self._objects.commit(ref)
        found = self.run(
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            f"{ref}^{{commit}}",
            accept=(0, 1, 128),
        )
        return Oid(found.text) if found.exit_code == 0 else None

    def tree_of(self, commit: str) -> Oid:
        """Return the tree of `commit`.

        Raises:
            NotFound: there is no such commit.
        """
        with suppress(Unanswered):
            return self._objects.tree(commit)
        found = self.run(
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            f"{commit}^{{tree}}",
            accept=(0, 1, 128),
        )
        if found.exit_code != 0:
            raise NotFound(
                f"There is no commit {commit} in the forge.", remedy="Name a commit that is there."
            )
        return Oid(found.text)

    def is_ancestor(self, ancestor: str, commit: str) -> bool:
        """Tell whether `commit` contains `ancestor` (each contains itself).

        Raises:
            GitFailed: one of them does not exist.
        """
        with suppress(Unanswered):
            return self._objects.is_ancestor(ancestor, commit)
        return (
            self.run("merge-base", "--is-ancestor", ancestor, commit, accept=(0, 1)).exit_code == 0
        )

    def merge_base(self, one: str, other: str) -> Oid | None:
        """Return the best common ancestor, or None for unrelated histories."""
        found = self.run("merge-base", one, other, accept=(0, 1))
        return Oid(found.text.splitlines()[0]) if found.exit_code == 0 else None

    def only_base(self, one: str, other: str) -> Oid | None:
        """Return the one best common ancestor, or None for unrelated histories.

        Raises:
            Unanswered: there may be several: ask git for all of them.
        """
        return self._objects.only_base(one, other)

    def count_between(self, base: str, commit: str) -> int:
        """Return how many commits `commit` has that `base` lacks."""
        return int(self.run("rev-list", "--count", f"{base}..{commit}").text)

    def compare_and_swap(
        self, ref: str, *, new: Oid, old: Oid | None, message: str = "stoneforge"
    ) -> None:
        """Move `ref` from `old` to `new`; `old=None` creates it. All or nothing.

        A lock that another git holds is waited for a few seconds; one that a killed git left
        behind is cleared.

        Raises:
            TargetMoved: the ref has another value than `old`.
            GitFailed: git cannot write it; nothing was changed.
        """
        deadline = time.monotonic() + LOCK_WAIT_SECONDS
        while True:
            try:
                self.run("update-ref", "--create-reflog", "-m", message, ref, new, old or NO_OBJECT)
            except GitFailed as error:
                present = self.head_of(ref)
                if present != old:
                    raise TargetMoved(
                        f"{ref} is at {present or 'nothing'}, not at {old or 'nothing'}: "
                        "somebody else moved it first.",
                        remedy="Read where it is now and build on that.",
                    ) from error
                if ".lock" not in error.stderr or time.monotonic() >= deadline:
                    raise
                self.clear_stale_locks()
                time.sleep(0.05)
            else:
                return

    def delete_ref(self, ref: str, *, old: Oid) -> None:
        """Delete a ref that is at `old`; what it names must be kept by another one.

        Raises:
            GitFailed: it is not at `old` any more, or git cannot delete it.
        """
        self.run("update-ref", "-d", ref, old)

    def restore(self, ref: str, *, expected: Oid, name: str) -> Oid | None:
        """Undo a move of `ref` that was not the server's: keep what is there, put `expected` back.

        Returns the foreign commit (kept at `refs/stoneforge/kept/<name>`), `expected` itself if
        the ref had been deleted, or None if it stands where it should.

        Raises:
            TargetMoved: somebody keeps on moving it.
        """
        for attempt in range(5):
            found = self.head_of(ref)
            if found == expected:
                return None
            if found is not None:
                self.keep(found, name)
            try:
                self.compare_and_swap(ref, new=expected, old=found, message="stoneforge: undone")
            except TargetMoved:
                if attempt == 4:
                    raise
            else:
                return found or expected
        return None

    def keep(self, commit: Oid, name: str) -> str:
        """Make `commit` reachable for good under `refs/stoneforge/kept/`; return the ref.

        The same commit under the same name is one ref; another commit gets a number behind it.
        """
        number = 1
        while True:
            ref = f"{KEPT}/{name}" if number == 1 else f"{KEPT}/{name}-{number}"
            present = self.head_of(ref)
            if present == commit:
                return ref
            if present is None:
                try:
                    self.compare_and_swap(ref, new=commit, old=None, message="stoneforge: kept")
                except TargetMoved:
                    continue
                return ref
            number += 1

    def commit_tree(
        self,
        tree: Oid,
        parents: Sequence[Oid],
        message: str,
        identity: Identity,
        when: datetime | None = None,
    ) -> Oid:
        """Make a commit object and return its name; no ref moves, no hook runs."""
        arguments = [word for parent in parents for word in ("-p", parent)]
        # Through stdin: a message is never an argument. Git takes no NUL in it.
        text = message.replace("\0", "\N{REPLACEMENT CHARACTER}").strip() + "\n"
        made = self.run(
            "commit-tree",
            *arguments,
            "-F",
            "-",
            tree,
            stdin=text.encode("utf-8", "replace"),
            extra=identity.environment(when),
        )
        return Oid(made.text)

    def changed_paths(self, base: str, commit: str) -> tuple[str, ...]:
        """Return the paths that differ between two commits, both sides of a rename, sorted."""
        listed = self.run(
            "diff-tree", "-r", "-z", "--no-renames", "--name-only", "--end-of-options", base, commit
        )
        return tuple(sorted(readable(path) for path in listed.stdout.split(b"\0") if path))

    def diff(
        self,
        base: str,
        commit: str,
        *,
        paths: Sequence[str] = (),
        start: int = 0,
        max_bytes: int = 60_000,
    ) -> DiffPage:
        """Return a page of the diff from `base` to `commit`, cut at a line's end.

        What comes before and after the page is never held in memory. `paths` are literal.

        Raises:
            GitFailed: one of the commits does not exist.
        """
        argv = ["git", *ALWAYS, "diff", "--no-ext-diff", "--no-textconv", "--no-color", "-M"]
        argv += ["--src-prefix=a/", "--dst-prefix=b/", f"{base}^{{commit}}", f"{commit}^{{commit}}"]
        child = process.spawn(
            [*argv, "--", *paths],
            cwd=self.git_dir,
            env=clean_environment({"GIT_DIR": str(self.git_dir)}),
            stdout=subprocess.PIPE,
            # Nobody reads it meanwhile; git's own complaint is short.
            stderr=subprocess.PIPE,
        )
        with child:
            assert child.stdout is not None
            assert child.stderr is not None
            skipped = 0
            while skipped < start and (chunk := child.stdout.read(min(65_536, start - skipped))):
                skipped += len(chunk)
            page = child.stdout.read(max_bytes + 1)
            if len(page) <= max_bytes:
                words = readable(child.stderr.read()).strip()
                if child.wait(DEFAULT_TIMEOUT_SECONDS) != 0:
                    raise GitFailed(
                        f"The diff from {base} to {commit} cannot be made: {words}.",
                        remedy="Name commits and paths that exist.",
                        exit_code=child.returncode,
                        stderr=words,
                    )
                return DiffPage(text=readable(page), next_start=None)
            process.end_child(child, grace_seconds=1.0)
        page = page[:max_bytes]
        end = page.rfind(b"\n") + 1 or max_bytes
        return DiffPage(text=readable(page[:end]), next_start=start + end)

    def log_between(
        self, base: str | None, commit: str, *, limit: int = 200
    ) -> tuple[LogEntry, ...]:
        """Return the commits that `commit` has and `base` lacks, newest first."""
        listed = self.run(
            "log",
            "-z",
            "--no-color",
            f"--max-count={limit}",
            LOG_FORMAT,
            "--end-of-options",
            f"{base}..{commit}" if base else commit,
        )
        return _log_entries(listed)

    def message_of(self, commit: Oid) -> str:
        """Return the message of a commit.

        Raises:
            GitFailed: there is no such commit.
        """
        return self.run("show", "--no-patch", "--format=%B", commit).text.strip()

    def first_parents_between(
        self, base: str, commit: str, *, paths: Sequence[str], limit: int
    ) -> tuple[LogEntry, ...]:
        """Return the steps from `base` to `commit` that change one of these paths, newest first.

        A merge is one step: what it changes against its first parent. `paths` are literal.
        """
        listed = self.run(
            "log",
            "-z",
            "--no-color",
            "--first-parent",
            f"--max-count={limit}",
            LOG_FORMAT,
            f"{base}..{commit}",
            "--",
            *paths,
        )
        return _log_entries(listed)

    def fetch_from(self, source: str | Path, refspec: str, *, timeout_seconds: float = 300) -> None:
        """Bring commits in from a path or URL, which is not stored.

        Raises:
            GitFailed: the source cannot be read or lacks the ref.
        """
        arguments = (
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-auto-maintenance",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--end-of-options",
            os.fspath(source),
            refspec,
        )
        try:
            self.run(*arguments, timeout_seconds=timeout_seconds)
        except GitFailed as error:
            if HALF_ADDED not in error.stderr or not self.drop_half_added():
                raise
            self.run(*arguments, timeout_seconds=timeout_seconds)

    def refs_below(self, prefix: str) -> dict[str, Oid]:
        """Return every ref below `prefix` (a whole path component) with the object it names."""
        listed = self.run("for-each-ref", "--format=%(refname) %(objectname)", prefix).text
        pairs = (line.rsplit(" ", 1) for line in listed.splitlines())
        return {name: Oid(oid) for name, oid in pairs}

    def clear_stale_locks(self, *, older_than_seconds: float = FRESH_SECONDS) -> tuple[Path, ...]:
        """Remove lock files that a killed git left here; see `sf_mcp.git.locks` for the rule."""
        places = (self.worktrees,) if self.worktrees is not None else ()
        return clear_stale_locks(self.git_dir, places, older_than_seconds=older_than_seconds)

    def drop_half_added(self) -> tuple[Path, ...]:
        """Forget worktrees that a killed git had begun to add; see `sf_mcp.git.locks`."""
        return drop_half_added(self.git_dir, self.worktrees) if self.worktrees is not None else ()

    def require_commit(self, name: str) -> Oid:
        """Return the commit that `name` stands for.

        Raises:
            GitRefused: there is none.
        """
        found = self.head_of(name)
        if found is None:
            raise GitRefused(
                f"There is no commit {name} in {self.git_dir}.", remedy="Name one that is there."
            )
        return found


def _log_entries(listed: Result) -> tuple[LogEntry, ...]:
    entries: list[LogEntry] = []
    for line in filter(None, readable(listed.stdout).split("\0")):
        oid, seconds, author, subject = line.split("\x1f", 3)
        at = datetime.fromtimestamp(int(seconds), UTC)
        entries.append(LogEntry(commit=Oid(oid), subject=subject, author=author, at=at))
    return tuple(entries)
