"""Footprints of branches and trial merges of many pairs, a git process each for all of them.

Nothing is written to the repository: what trial merges make goes to a folder that is thrown away.
"""

import re
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sf_mcp.core.models import Oid, TaskId
from sf_mcp.core.radar import (
    Clash,
    Footprint,
    Hunk,
    Pair,
    Said,
    Spot,
    Survey,
    folders_above,
    meeting,
    of_the_pair,
)
from sf_mcp.git.command import GitFailed, git_version, readable
from sf_mcp.git.merging import ConflictRecord, read_conflict, words_of
from sf_mcp.git.objects import Unanswered
from sf_mcp.git.repository import Repository
from sf_mcp.git.snapshots import SNAPSHOTS

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

_UNRELATED = Clash((), (Said("the branch has no history in common with the target", ()),))

FOR_TRIALS = ("-c", "merge.conflictStyle=merge", "-c", "core.looseCompression=0")
"""Plain markers between the sides; and nothing is packed tight that is thrown away at once."""

_A_FOLDER = b"040000"
_NOTHING = b"000000"
_HEADER_BYTES = 2 * 40 + 2
"""Two trees, a space, a newline: what stands before each pair's differences."""


class Radar:
    """Surveys of one repository; what was found out about a commit, or a pair, is kept.

    Not for two threads at once.
    """

    def __init__(self, repository: Repository) -> None:
        """Look at this repository; nothing is known yet."""
        self._repository = repository
        self._bases: dict[CommitPair, tuple[Oid, ...]] = {}
        self._footprints: dict[CommitPair, Footprint] = {}
        self._merges: dict[CommitPair, Clash | None] = {}

    def survey(self, commits: Mapping[str, Oid], target: Oid) -> Survey:
        """Say what of these commits can be merged with the target, and with one another.

        They go by the ids of tasks, or of merge requests.

        Raises:
            GitFailed: one of the commits does not exist, or the disk is full.
        """
        left = {commit: self._bases_of(target, commit) for commit in commits.values()}
        self._measure(
            pair
            for commit, places in left.items()
            for base in places
            for pair in ((base, commit), (base, target))
        )

        def changed_to(to: Oid, commit: Oid) -> Footprint:
            """Return what differs at `to` from where `commit` left the target."""
            found = Footprint()
            for base in left[commit]:
                found |= self._footprints[base, to]
            return found

        # One that has no history in common with the target is not mergeable with anything.
        spots = {one: Spot(c, changed_to(c, c), left[c]) for one, c in commits.items() if left[c]}
        behind = {
            one: spot.commit
            for one, spot in spots.items()
            if spot.footprint.meets(changed_to(target, spot.commit))
        }
        pairs = {pair: (commits[pair[0]], commits[pair[1]]) for pair in meeting(spots)}
        self._merge([*((commit, target) for commit in behind.values()), *pairs.values()])
        with_target = {one: _UNRELATED for one, commit in commits.items() if not left[commit]}
        for one, commit in behind.items():
            if (clash := self._merges[commit, target]) is not None:
                with_target[one] = clash
        between: dict[Pair, Clash] = {}
        for (one, other), merged in pairs.items():
            clash = of_the_pair(
                self._merges[merged],
                (spots[one], spots[other]),
                (with_target.get(one), with_target.get(other)),
            )
            if clash is not None:
                between[one, other] = clash
        return Survey(
            target=target,
            commits=commits,
            spots=spots,
            with_target=with_target,
            between=between,
        )

    def forget(self, but: Collection[Oid]) -> None:
        """Forget what was found out of other commits than these."""
        self._bases = {
            pair: found for pair, found in self._bases.items() if pair[0] in but and pair[1] in but
        }
        self._footprints = {
            pair: found for pair, found in self._footprints.items() if pair[1] in but
        }
        self._merges = {
            pair: found for pair, found in self._merges.items() if pair[0] in but and pair[1] in but
        }

    def _bases_of(self, target: Oid, commit: Oid) -> tuple[Oid, ...]:
        pair = target, commit
        if pair not in self._bases:
            self._bases[pair] = bases(self._repository, target, commit)
        return self._bases[pair]

    def _measure(self, pairs: Iterable[CommitPair]) -> None:
        missing = [pair for pair in dict.fromkeys(pairs) if pair not in self._footprints]
        found = footprints(self._repository, missing)
        self._footprints.update(zip(missing, found, strict=True))

    def _merge(self, pairs: Iterable[CommitPair]) -> None:
        missing = [pair for pair in dict.fromkeys(pairs) if pair not in self._merges]
        found = trial_merges(self._repository, missing)
        self._merges.update(zip(missing, found, strict=True))


def bases(repository: Repository, target: Oid, commit: Oid) -> tuple[Oid, ...]:
    """Return where `commit` left `target`: nearly always one commit; none for no common history."""
    with suppress(Unanswered):
        base = repository.only_base(target, commit)
        return (base,) if base is not None else ()
    found = repository.run("merge-base", "--all", target, commit, accept=(0, 1))
    return tuple(Oid(line) for line in found.text.splitlines())


def footprints(repository: Repository, pairs: Sequence[CommitPair]) -> list[Footprint]:
    """Return what each pair's second commit changed since the first, all in one `git diff-tree`.

    Without detection of renames, which would have limits: a rename is a file that is gone and one
    that is added, and that is all that a footprint has to know of it.

    Raises:
        NotFound: one of the commits does not exist.
    """
    if not pairs:
        return []
    lines = [f"{repository.tree_of(old)} {repository.tree_of(new)}\n" for old, new in pairs]
    listed = repository.run(
        "diff-tree",
        "--stdin",
        "-r",
        "-t",
        "-z",
        "--no-renames",
        "--raw",
        stdin="".join(lines).encode(),
    )
    found = [_Changes() for _ in pairs]
    words = listed.stdout.split(b"\0")
    number = -1
    for meta, path in zip(words[::2], words[1::2], strict=False):
        while not meta.startswith(b":"):
            meta = meta[_HEADER_BYTES:]
            number += 1
        old_mode, new_mode, *_ = meta[1:].split(b" ")
        found[number].add(readable(path), old_mode, new_mode)
    return [each.footprint() for each in found]


class _Changes:
    def __init__(self) -> None:
        self._paths: set[str] = set()
        self._gone: set[str] = set()
        self._into: set[str] = set()

    def add(self, path: str, old_mode: bytes, new_mode: bytes) -> None:
        was_file, is_file = (mode not in (_A_FOLDER, _NOTHING) for mode in (old_mode, new_mode))
        if old_mode == _A_FOLDER and new_mode != _A_FOLDER:
            self._gone.add(path)
        if was_file or is_file:
            self._paths.add(path)
        if is_file and not was_file:
            self._into.update(folders_above(path))

    def footprint(self) -> Footprint:
        return Footprint(frozenset(self._paths), frozenset(self._gone), frozenset(self._into))


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


# -- snapshots -------------------------------------------------------------------------------------


def newest_snapshots(
    repository: Repository, task_ids: Sequence[TaskId]
) -> dict[TaskId, tuple[Oid, Oid]]:
    """Return the newest snapshot of each task that has one, and the commit that it lies on.

    What a session committed too late is kept among them, and is nobody's work under way.
    """
    if not task_ids:
        return {}
    form = "%(refname)%00%(objectname)%00%(parent)%00%(contents:subject)"
    places = [f"{SNAPSHOTS}/{task_id}/" for task_id in task_ids]
    listed = readable(repository.run("for-each-ref", f"--format={form}", *places).stdout)
    newest: dict[TaskId, tuple[int, Oid, Oid]] = {}
    for line in listed.splitlines():
        ref, commit, parents, subject = line.split("\0", 3)
        task_id, _, number = ref.removeprefix(f"{SNAPSHOTS}/").partition("/")
        if not number.isdigit() or not subject.startswith(f"{task_id}: snapshot ("):
            continue
        found = (int(number), Oid(commit), Oid(parents.split(" ")[0]))
        newest[TaskId(task_id)] = max(newest.get(TaskId(task_id), found), found)
    return {task_id: (commit, parent) for task_id, (_, commit, parent) in newest.items()}


def _scratch(repository: Repository, folder: str) -> dict[str, str]:
    """Return the environment in which git writes objects to `folder` and reads the forge's too."""
    objects = str(repository.git_dir / "objects").replace("\\", "\\\\").replace('"', '\\"')
    return {
        "GIT_OBJECT_DIRECTORY": str(Path(folder)),
        # Quoted, since an unquoted list is split at colons.
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": f'"{objects}"',
    }
