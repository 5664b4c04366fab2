"""What differs between two commits, as facts: files with their sizes, lines, contents.

Everything is bounded: a branch may change a million files, or one of a gigabyte.
"""

import subprocess
from collections.abc import Sequence

from sf_mcp import process
from sf_mcp.core.changes import FileChange, Line, lines_of
from sf_mcp.git.command import ALWAYS, clean_environment, readable
from sf_mcp.git.repository import Repository

MOST_PATCH_BYTES = 8_000_000
MOST_FILE_BYTES = 1_000_000
RENAMES = "-M"
_HOW = {"A": "added", "D": "deleted", "R": "renamed", "C": "added"}


def file_changes(repository: Repository, base: str, commit: str) -> list[FileChange]:
    """Return the files that differ, sorted by path."""
    ask = ("diff-tree", "-r", "-z", RENAMES, "--end-of-options", base, commit)
    counted = _counts(repository.run("diff-tree", "--numstat", *ask[1:]).stdout)
    raw = repository.run("diff-tree", "--raw", "--no-abbrev", *ask[1:]).stdout
    words = iter(readable(raw).split("\0"))
    seen: list[tuple[str, str, str, str]] = []
    for meta in words:
        if not meta:
            continue
        _, new_mode, _, new_blob, status = meta.lstrip(":").split(" ")
        was = next(words) if status[0] in "RC" else ""
        path = next(words)
        is_blob = not new_mode.startswith(("160000", "000000"))
        seen.append((path, was, status[0], new_blob if is_blob else ""))
    sizes = _sizes(repository, [blob for *_, blob in seen if blob])
    return sorted(
        (
            FileChange(
                path=path,
                was=was if status == "R" else "",
                how=_HOW.get(status, "changed"),
                added=counted.get(path, (0, 0))[0],
                removed=counted.get(path, (0, 0))[1],
                size=sizes.get(blob, 0),
            )
            for path, was, status, blob in seen
        ),
        key=lambda one: one.path,
    )


def changed_lines(repository: Repository, base: str, commit: str) -> tuple[list[Line], bool]:
    """Return the lines that were added and removed, and whether these are all of them."""
    argv = ["git", *ALWAYS, "diff", "-U0", "--no-ext-diff", "--no-textconv", "--no-color", RENAMES]
    argv += ["--src-prefix=a/", "--dst-prefix=b/", f"{base}^{{commit}}", f"{commit}^{{commit}}"]
    child = process.spawn(
        [*argv, "--"],
        cwd=repository.git_dir,
        env=clean_environment({"GIT_DIR": str(repository.git_dir)}),
        stdout=subprocess.PIPE,
    )
    with child:
        assert child.stdout is not None
        patch = child.stdout.read(MOST_PATCH_BYTES + 1)
        process.end_child(child, grace_seconds=1.0)
    is_whole = len(patch) <= MOST_PATCH_BYTES
    if not is_whole:
        patch = patch[: patch.rfind(b"\n", 0, MOST_PATCH_BYTES) + 1]
    return list(lines_of(readable(patch).split("\n"))), is_whole


def text_at(repository: Repository, commit: str, path: str) -> str:
    """Return a file of a commit as text; empty when it is not there, is no file or is too long."""
    name = f"{commit}:{path}"
    size = repository.run("cat-file", "-s", name, accept=(0, 128))
    if size.exit_code != 0 or int(size.text) > MOST_FILE_BYTES:
        return ""
    found = repository.run("cat-file", "blob", name, accept=(0, 128))
    return readable(found.stdout) if found.exit_code == 0 else ""


def deleted_between(repository: Repository, old: str, new: str) -> set[str]:
    """Return the paths that a commit between `old` and `new` deleted and that `new` lacks.

    Also those that came after `old`: a branch may have them from where they came from.
    """
    logged = repository.run(
        "log",
        "-z",
        "-m",
        "--format=",
        "--no-renames",
        "--diff-filter=D",
        "--name-only",
        "--end-of-options",
        f"{old}..{new}",
    )
    deleted = {readable(path) for path in logged.stdout.split(b"\0") if path}
    if not deleted:
        return deleted
    there = repository.run("ls-tree", "-r", "-z", "--name-only", "--full-tree", new).stdout
    return deleted - {readable(path) for path in there.split(b"\0")}


def _counts(raw: bytes) -> dict[str, tuple[int | None, int | None]]:
    counts: dict[str, tuple[int | None, int | None]] = {}
    words = iter(readable(raw).split("\0"))
    for entry in words:
        if entry.count("\t") < 2:
            continue
        added, removed, path = entry.split("\t", 2)
        if not path:  # a rename: both paths follow
            next(words)
            path = next(words)
        counts[path] = (_number(added), _number(removed))
    return counts


def _number(text: str) -> int | None:
    return None if text == "-" else int(text)


def _sizes(repository: Repository, blobs: Sequence[str]) -> dict[str, int]:
    asked = "\n".join(dict.fromkeys(blobs)).encode()
    if not asked:
        return {}
    told = repository.run(
        "cat-file", "--batch-check=%(objectname) %(objectsize)", stdin=asked + b"\n"
    )
    pairs = (line.split(" ") for line in told.text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
