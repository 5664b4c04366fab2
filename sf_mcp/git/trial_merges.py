"""Merges of many pairs of commits for trial: which conflict, where, and both sides' lines there.

One git process for all of them. Nothing is written to the repository: what they make goes to a
folder that is thrown away.
"""

import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sf_mcp.core.models import Oid
from sf_mcp.core.radar import Clash, Hunk, Said
from sf_mcp.git.command import GitFailed, git_version, readable
from sf_mcp.git.merging import ConflictRecord, read_conflict, words_of
from sf_mcp.git.repository import Repository

BATCH_VERSION = (2, 39)
"""The first git whose `merge-tree` takes many pairs at once, on stdin."""

IN_MEMORY = Path("/dev/shm")
"""Where Linux keeps files in memory; it may be missing, or small."""

MOST_HUNKS = 4
HUNK_LINES = 12
"""Of each side of a hunk that are kept."""
LINE_CHARACTERS = 160
MOST_BYTES = 1_000_000
"""Of a file in which hunks are looked for."""

CommitPair = tuple[Oid, Oid]

FOR_TRIALS = ("-c", "merge.conflictStyle=merge", "-c", "core.looseCompression=0")
"""Plain markers between the sides; and nothing is packed tight that is thrown away at once."""


def trial_merges(repository: Repository, pairs: Sequence[CommitPair]) -> list[Clash | None]:
    """Merge each pair by git's own rules; say how it conflicts, None for one that does not.

    Two that git will not merge at all, such as without a common history, conflict as a whole.
    """
    if not pairs:
        return []
    if IN_MEMORY.is_dir():
        # Thousands of small files that nobody reads again: a disk would take seconds for them.
        with suppress(OSError, GitFailed):
            return _merged_in(repository, pairs, IN_MEMORY)
    return _merged_in(repository, pairs, None)


def _merged_in(
    repository: Repository, pairs: Sequence[CommitPair], place: Path | None
) -> list[Clash | None]:
    with tempfile.TemporaryDirectory(prefix="sf-radar-", dir=place) as scratch:
        extra = _scratch(repository, scratch)
        try:
            merged = _in_a_batch(repository, pairs, extra)
        except GitFailed as error:
            if "unable to write" in error.stderr or "No space left" in error.stderr:
                raise
            # One that git refuses ends the batch for all of them.
            merged = [_one_by_itself(repository, pair, extra) for pair in pairs]
        clashes = [found for found in merged if found is not None]
        hunks = _hunks(repository, clashes, extra)
    told = iter(hunks)
    return [found.clash(next(told)) if found is not None else None for found in merged]


@dataclass(frozen=True, slots=True)
class _Conflicted:
    pair: CommitPair
    tree: str
    """What git made of it all the same, with its markers; empty when it made none."""
    record: ConflictRecord

    def clash(self, hunks: tuple[Hunk, ...]) -> Clash:
        said = (Said(" ".join(sentence.split()), paths) for sentence, paths in self.record.messages)
        return Clash(self.record.paths, tuple(said), hunks)


def _in_a_batch(
    repository: Repository, pairs: Sequence[CommitPair], extra: Mapping[str, str]
) -> list[_Conflicted | None]:
    if git_version() < BATCH_VERSION:
        return [_one_by_itself(repository, pair, extra) for pair in pairs]
    done = repository.run(
        *FOR_TRIALS,
        "merge-tree",
        "--stdin",
        "-z",
        "--name-only",
        stdin="".join(f"{ours} {theirs}\n" for ours, theirs in pairs).encode(),
        extra=extra,
    )
    words = words_of(done.stdout)
    merged: list[_Conflicted | None] = []
    for pair in pairs:
        status, tree, *words = words
        if status == "1":  # clean: the tree, then an empty word
            merged.append(None)
        else:
            record = read_conflict(words)
            merged.append(_Conflicted(pair, tree, record))
            words = record.rest
        words = words[1:]
    return merged


def _one_by_itself(
    repository: Repository, pair: CommitPair, extra: Mapping[str, str]
) -> _Conflicted | None:
    done = repository.run(
        *FOR_TRIALS,
        *("merge-tree", "--write-tree", "-z", "--name-only", *pair),
        accept=range(256),
        extra=extra,
    )
    if done.exit_code == 0:
        return None
    if not done.stdout:
        sentence = f"git does not merge them: {done.stderr or 'it says no more'}"
        return _Conflicted(pair, "", ConflictRecord((), ((sentence, ()),), []))
    tree, *rest = words_of(done.stdout)
    return _Conflicted(pair, tree, read_conflict(rest))


# -- hunks -----------------------------------------------------------------------------------------


def _hunks(
    repository: Repository, clashes: Sequence[_Conflicted], extra: Mapping[str, str]
) -> list[tuple[Hunk, ...]]:
    """Return the first hunks of each merge, out of what it left between its markers."""
    wanted = [
        (number, path)
        for number, clash in enumerate(clashes)
        for path in clash.record.paths[:MOST_HUNKS]
        if clash.tree
    ]
    texts = _contents(repository, [f"{clashes[n].tree}:{path}" for n, path in wanted], extra)
    found: list[list[Hunk]] = [[] for _ in clashes]
    for (number, path), text in zip(wanted, texts, strict=True):
        room = MOST_HUNKS - len(found[number])
        if room > 0:
            found[number] += _between_markers(path, text, clashes[number].pair)[:room]
    return [tuple(hunks) for hunks in found]


def _contents(
    repository: Repository, names: Sequence[str], extra: Mapping[str, str]
) -> list[bytes]:
    """Return the files of these names; nothing of one that is large, binary or not there."""
    sizes = _asked(repository, "--batch-check=%(objecttype) %(objectsize)", names, extra)
    lines = sizes.split(b"\n")[:-1]
    if len(lines) != len(names):  # one that is not there, of a name with a line break in it
        return [b""] * len(names)
    small: list[int] = []
    for number, line in enumerate(lines):
        kind, _, size = line.rpartition(b" ")
        if kind == b"blob" and int(size) <= MOST_BYTES:
            small.append(number)
    texts = [b""] * len(names)
    rest = _asked(repository, "--batch=%(objectsize)", [names[one] for one in small], extra)
    for number in small:
        size, _, rest = rest.partition(b"\n")
        text, rest = rest[: int(size)], rest[int(size) + 1 :]
        texts[number] = b"" if b"\0" in text[:8000] else text
    return texts


def _asked(
    repository: Repository, how: str, names: Sequence[str], extra: Mapping[str, str]
) -> bytes:
    if not names:
        return b""
    asked = "".join(f"{name}\0" for name in names).encode("utf-8", "surrogateescape")
    return repository.run("cat-file", how, "-z", stdin=asked, extra=extra).stdout


def _between_markers(path: str, text: bytes, pair: CommitPair) -> list[Hunk]:
    # Git writes the commit's name behind the marker, so that no line of a file is taken for one.
    ours, theirs = (re.escape(name.encode()) for name in pair)
    places = re.finditer(
        rb"^<{7,} " + ours + rb"[^\n]*\n(.*?)^={7,}\r?\n(.*?)^>{7,} " + theirs,
        text,
        re.MULTILINE | re.DOTALL,
    )
    return [Hunk(path, _cut(place[1]), _cut(place[2])) for place in places]


def _cut(side: bytes) -> str:
    lines = [line.rstrip("\r")[:LINE_CHARACTERS] for line in readable(side).split("\n")[:-1]]
    more = len(lines) - HUNK_LINES
    return "\n".join([*lines[:HUNK_LINES], *([f"… and {more} more lines"] if more > 0 else [])])


def _scratch(repository: Repository, folder: str) -> dict[str, str]:
    """Return the environment in which git writes objects to `folder` and reads the forge's too."""
    objects = str(repository.git_dir / "objects").replace("\\", "\\\\").replace('"', '\\"')
    return {
        "GIT_OBJECT_DIRECTORY": str(Path(folder)),
        # Quoted, since an unquoted list is split at colons.
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": f'"{objects}"',
    }
