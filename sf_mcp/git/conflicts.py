"""Merges that do not go through by themselves: where, a worktree to mend them in, its outcome.

Each side is shown with their common base (`diff3`), so that one can see what either of them did.
Whoever works in such a worktree has no git: what becomes of a path as a whole is said beside the
files (`Take`), and nothing in the folder, its `.git` file included, decides where git looks.
"""

import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sf_mcp.core.accounting import File, Versions
from sf_mcp.core.models import Oid
from sf_mcp.git.command import Result, readable, run_git
from sf_mcp.git.identity import SERVER
from sf_mcp.git.repository import Repository
from sf_mcp.git.spare import CHECKOUT_TIMEOUT_SECONDS
from sf_mcp.git.worktrees import Worktrees

WITH_BASE = ("-c", "merge.conflictStyle=diff3")
MARKED = re.compile(r"^<{7}[ \r\n].*?^>{7}(?: [^\n]*)?$", re.DOTALL | re.MULTILINE)
"""A place in conflict, from its first marker to its last."""
MINE, TARGET = "the merge request", "the target"
"""What the two sides are called where they are shown."""
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
LOOKED_AT_BYTES = 8_000
"""Of a file, for a NUL: as git itself tells binary files from text."""
LINK, SUBMODULE = "120000", "160000"

_Entry = tuple[str, str]
"""The mode and the object of a path."""


class Take(StrEnum):
    """What becomes of a path as a whole."""

    AS_IT_IS = "as it is"
    """As the file in the worktree is."""
    MINE = "mine"
    """The merge request's version."""
    TARGET = "target"
    """The target's version."""
    DELETED = "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the files of a merge under way amount to."""

    tree: Oid
    files: tuple[Versions, ...]
    """Every path that was in conflict, and every other one that is not as git merged it."""


def hunks_of(
    repository: Repository, ours: Oid, theirs: Oid, paths: Sequence[str], *, limit: int
) -> str:
    """Return the places in conflict between two commits, by path and line, cut at `limit`.

    Raises:
        GitFailed: one of the commits does not exist.
    """
    merged = repository.run(
        *WITH_BASE, "merge-tree", "--write-tree", "-z", "--name-only", ours, theirs, accept=(0, 1)
    )
    tree = readable(merged.stdout.split(b"\0", 1)[0])
    found: list[str] = []
    length = 0
    for path in paths:
        shown = repository.run("cat-file", "blob", f"{tree}:{path}", accept=(0, 128))
        text = readable(shown.stdout) if shown.exit_code == 0 else ""
        for hunk in hunks_in(path, text.replace(ours, MINE).replace(theirs, TARGET)):
            if length + len(hunk) > limit:
                return "\n\n".join([*found, "… and more"])
            found.append(hunk)
            length += len(hunk)
    return "\n\n".join(found)


def hunks_in(path: str, text: str) -> list[str]:
    """Return the places of a merged file that are in conflict, each with its path and line."""
    return [
        f"{path}:{text.count(chr(10), 0, place.start()) + 1}\n{place.group()}"
        for place in MARKED.finditer(text)
    ]


class MergeUnderWay:
    """A worktree of the server's own in which `theirs` is being merged into `ours`."""

    def __init__(self, worktrees: Worktrees, name: str, ours: Oid, theirs: Oid) -> None:
        """Name the worktree and the two commits; nothing is done yet."""
        self._worktrees = worktrees
        self._forge = worktrees.forge
        self._name = name
        self._ours = ours
        self._theirs = theirs
        self.path: Path = worktrees.path(name)

    @property
    def is_begun(self) -> bool:
        """Whether the merge of these two is under way here, with whatever was done since."""
        admin = self._forge.git_dir / "worktrees" / self._name
        try:
            # Written last: with it, all files are there.
            merging = (admin / "MERGE_HEAD").read_text().strip()
            head = (admin / "HEAD").read_text().strip()
        except OSError:
            return False
        return self.path.is_dir() and (head, merging) == (self._ours, self._theirs)

    def begin(self) -> bool:
        """Make the worktree and merge; return whether anything conflicts.

        What another merge left here is gone afterwards.

        Raises:
            GitFailed: git cannot make the worktree, or cannot merge the two at all.
        """
        self._worktrees.detached(self._name, self._ours)
        self._git(
            *WITH_BASE,
            "-c",
            "rerere.enabled=false",
            "-c",
            "merge.verifySignatures=false",
            "merge",
            "--no-commit",
            "--no-ff",
            "--no-log",
            "--quiet",
            self._theirs,
            extra=SERVER.environment(),
            accept=(0, 1),
        )
        return bool(self.stages())

    def remove(self) -> None:
        """Remove the worktree with all that is in it."""
        self._worktrees.remove_detached(self._name)

    def stages(self) -> dict[str, dict[int, _Entry]]:
        """Return the paths in conflict, each with base (1), ours (2) and theirs (3), if there."""
        found: dict[str, dict[int, _Entry]] = {}
        for line in _words(self._git("ls-files", "--unmerged", "-z").stdout):
            entry, path = line.split("\t", 1)
            mode, oid, stage = entry.split(" ")
            found.setdefault(path, {})[int(stage)] = (mode, oid)
        return found

    def outcome(self, takes: Mapping[str, Take], special: Sequence[str] = ()) -> Outcome:
        """Return what the files amount to at this moment, with these paths decided as a whole.

        `special` are paths that somebody has to judge even where their lines do not conflict.

        Raises:
            GitFailed: a file cannot be read, or the disk is full; nothing was changed.
        """
        stages = self.stages()
        merged = _entries_of_index(self._git("ls-files", "--stage", "-z").stdout)
        judged = [path for path in special if path in merged]
        sides = self._sides(judged)
        with tempfile.TemporaryDirectory(prefix="sf-resolution-") as folder:
            index = Path(folder) / "index"
            admin = self._forge.git_dir / "worktrees" / self._name
            shutil.copy2(admin / "index", index)
            extra = {"GIT_INDEX_FILE": str(index)}
            self._git("-c", "core.safecrlf=false", "add", "--all", "--", ".", extra=extra)
            self._decide(takes, {**sides, **stages}, merged, extra)
            found = _entries_of_index(self._git("ls-files", "--stage", "-z", extra=extra).stdout)
            self._set_modes(found, stages, merged, extra)
            tree = Oid(self._git("write-tree", extra=extra).text)
        result = _entries_of_tree(self._forge, tree)
        elsewhere = [
            path
            for path in sorted({*merged, *result} - set(stages))
            if merged.get(path) != result.get(path) or path in judged
        ]
        files = self._versions(stages, self._sides(elsewhere), merged, result, special=judged)
        return Outcome(tree=tree, files=files)

    def _sides(self, paths: Sequence[str]) -> dict[str, dict[int, _Entry]]:
        """Return the versions of paths that are not in conflict, as `stages` does of the others."""
        if not paths:
            return {}
        base = self._forge.merge_base(self._ours, self._theirs)
        found: dict[str, dict[int, _Entry]] = {path: {} for path in paths}
        for stage, side in enumerate((base, self._ours, self._theirs), 1):
            for path, entry in (_entries_of_tree(self._forge, side, paths) if side else {}).items():
                found[path][stage] = entry
        return found

    def _decide(
        self,
        takes: Mapping[str, Take],
        stages: Mapping[str, Mapping[int, _Entry]],
        merged: Mapping[str, _Entry],
        extra: Mapping[str, str],
    ) -> None:
        lines: list[str] = []
        for path, take in takes.items():
            side = {Take.MINE: 2, Take.TARGET: 3}.get(take)
            if take is Take.DELETED and (path in stages or path in merged):
                lines.append(f"0 {'0' * 40}\t{path}\0")
            elif side is not None and path in stages:
                mode, oid = stages[path].get(side, ("0", "0" * 40))
                lines.append(f"{mode} {oid}\t{path}\0")
        self._update_index(lines, extra)

    def _set_modes(
        self,
        found: Mapping[str, _Entry],
        stages: Mapping[str, Mapping[int, _Entry]],
        merged: Mapping[str, _Entry],
        extra: Mapping[str, str],
    ) -> None:
        """Give files the mode that the merge gives them: an editor has no say in it."""
        lines: list[str] = []
        for path, (mode, oid) in found.items():
            right = _merged_mode(stages[path]) if path in stages else merged.get(path, (mode,))[0]
            if right != mode and {right, mode} == {"100644", "100755"}:
                lines.append(f"{right} {oid}\t{path}\0")
        self._update_index(lines, extra)

    def _update_index(self, lines: Sequence[str], extra: Mapping[str, str]) -> None:
        if lines:
            given = "".join(lines).encode("utf-8", "surrogateescape")
            self._git("update-index", "-z", "--index-info", extra=extra, stdin=given)

    def _versions(
        self,
        stages: Mapping[str, Mapping[int, _Entry]],
        elsewhere: Mapping[str, Mapping[int, _Entry]],
        merged: Mapping[str, _Entry],
        result: Mapping[str, _Entry],
        *,
        special: Sequence[str],
    ) -> tuple[Versions, ...]:
        rows = [
            (path, [*(sides.get(stage) for stage in (1, 2, 3)), merged.get(path), result.get(path)])
            for path, sides in {**elsewhere, **stages}.items()
        ]
        texts = _texts(self._forge, (entry for _, row in rows for entry in row if entry))
        found: list[Versions] = []
        for path, row in rows:
            files = [
                File(mode=entry[0], oid=entry[1], text=texts.get(entry)) if entry else None
                for entry in row
            ]
            found.append(
                Versions(
                    path=path,
                    is_conflicting=path in stages,
                    base=files[0],
                    mine=files[1],
                    theirs=files[2],
                    merged=files[3],
                    result=files[4],
                    is_special=path in special and path not in stages,
                )
            )
        return tuple(found)

    def _git(
        self,
        *arguments: str,
        extra: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        accept: Sequence[int] = (0,),
    ) -> Result:
        places = {
            "GIT_DIR": str(self._forge.git_dir / "worktrees" / self._name),
            "GIT_WORK_TREE": str(self.path),
        }
        return run_git(
            arguments,
            cwd=self.path,
            extra={**places, **(extra or {})},
            stdin=stdin,
            accept=accept,
            timeout_seconds=CHECKOUT_TIMEOUT_SECONDS,
        )


def _merged_mode(stages: Mapping[int, _Entry]) -> str:
    base, mine, theirs = (stages.get(stage, ("",))[0] for stage in (1, 2, 3))
    if not mine or not theirs:
        return mine or theirs
    if mine == base:
        return theirs
    # Two new files of one name: one that may be run stays so.
    return mine if theirs in (base, mine) else max(mine, theirs)


def _entries_of_index(listed: bytes) -> dict[str, _Entry]:
    """Return the entries of `ls-files --stage` that are merged."""
    found: dict[str, _Entry] = {}
    for line in _words(listed):
        entry, path = line.split("\t", 1)
        mode, oid, stage = entry.split(" ")
        if stage == "0":
            found[path] = (mode, oid)
    return found


def _entries_of_tree(
    repository: Repository, tree: Oid, paths: Sequence[str] = ()
) -> dict[str, _Entry]:
    found: dict[str, _Entry] = {}
    for line in _words(repository.run("ls-tree", "-r", "-z", tree, "--", *paths).stdout):
        entry, path = line.split("\t", 1)
        mode, _, oid = entry.split(" ")
        found[path] = (mode, oid)
    return found


def _texts(repository: Repository, entries: Iterable[_Entry]) -> dict[_Entry, str]:
    """Return the texts of the files that have lines, all read in one go."""
    wanted = list(dict.fromkeys(one for one in entries if one[0] not in (LINK, SUBMODULE)))
    if not wanted:
        return {}
    asked = "".join(f"{oid}\n" for _, oid in wanted).encode()
    output = repository.run("cat-file", "--batch", stdin=asked).stdout
    found: dict[_Entry, str] = {}
    start = 0
    for entry in wanted:
        end = output.index(b"\n", start)
        size = int(output[start:end].split(b" ")[2])
        data = output[end + 1 : end + 1 + size]
        start = end + 1 + size + 1
        if b"\0" not in data[:LOOKED_AT_BYTES] and not data.startswith(LFS_POINTER):
            found[entry] = data.decode("utf-8", "surrogateescape")
    return found


def _words(output: bytes) -> list[str]:
    return [word.decode("utf-8", "surrogateescape") for word in output.split(b"\0")[:-1]]
