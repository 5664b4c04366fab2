"""What the radar finds out of git: where branches left the target, what they changed, what clashes.

Of many branches at once, a git process each for all of their footprints and all trial merges.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress

from sf_mcp.core.models import Oid, TaskId
from sf_mcp.core.radar import (
    Clash,
    Footprint,
    Pair,
    Said,
    Spot,
    Survey,
    folders_above,
    meeting,
    of_the_pair,
)
from sf_mcp.git.command import readable
from sf_mcp.git.objects import Unanswered
from sf_mcp.git.repository import Repository
from sf_mcp.git.snapshots import SNAPSHOTS
from sf_mcp.git.trial_merges import CommitPair, trial_merges

_UNRELATED = Clash((), (Said("the branch has no history in common with the target", ()),))

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
