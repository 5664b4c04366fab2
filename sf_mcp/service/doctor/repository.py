"""The person's repository: where it stands, and whether what lands can reach it."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from sf_mcp.core.errors import StoneforgeError
from sf_mcp.core.models import LandingKind
from sf_mcp.git.checkout import OPERATIONS, operation_in_progress, require_usable
from sf_mcp.git.identity import identity
from sf_mcp.git.locks import stale_locks
from sf_mcp.git.publishing import REMOTE, deliver
from sf_mcp.git.status import status
from sf_mcp.service.doctor.found import Found, Mend, OpenServices, fine, named, problem, warning
from sf_mcp.service.doctor.look import Look
from sf_mcp.store import landings

LEFT_LOCK_SECONDS = 600.0
"""A lock of the person's own repository is spoken of only when it is as old as that."""


def usable(look: Look) -> Iterator[Found]:
    """See whether this is a repository that a fleet can work on, and is set up for one."""
    from sf_mcp.git.checkout import open_checkout

    try:
        checkout = open_checkout(look.layout.root)
        if look.target:
            require_usable(checkout, look.target)
    except StoneforgeError as error:
        yield problem(
            error.message, why="The fleet works on a git repository.", remedy=error.remedy
        )
        return
    if not look.is_set_up:
        yield problem(
            f"{look.layout.root} is not set up for Stoneforge.",
            why="There is nothing to run yet.",
            remedy="Run: sf init",
        )
        return
    yield fine(f"{look.layout.root} is set up")


def author(look: Look) -> Iterator[Found]:
    """See whether git knows in whose name sessions commit."""
    if look.checkout is None:
        return
    known = identity(look.layout.root)
    if known is None:
        yield problem(
            "Git does not know who you are here.",
            why="The fleet's commits carry your name; no session can be started without one.",
            remedy='Run: git config --global user.name "Your Name" && git config --global '
            'user.email "you@example.com"',
        )
    else:
        yield fine(f"Commits are by {known.name} <{known.email}>")


def files(look: Look) -> Iterator[Found]:
    """See whether the person's files can follow what lands."""
    if look.checkout is None or not look.target:
        return
    root = look.checkout.root
    if operation := operation_in_progress(look.checkout.git_dir):
        yield warning(
            f"A {operation} is under way in {root}.",
            why="Your files are left alone until it is over.",
            remedy=f"Finish it, or abort it: {_git(root, *_abort(operation))}",
        )
        return
    if look.checkout.branch != look.target:
        yield warning(
            f"You are on {look.checkout.branch or 'no branch'}, not on {look.target}.",
            why=f"What lands moves your {look.target} and not your files.",
            remedy=f"If you want to see it in your files: {_git(root, 'switch', look.target)}",
        )
        return
    seen = status(root)
    if changed := [*seen.changed, *seen.conflicted]:
        yield warning(
            f"You have uncommitted changes: {named(changed)}.",
            why="Your branch and files do not follow what lands until they are committed.",
            remedy=f"Commit or stash them: {_git(root, 'stash')}",
        )
        return
    yield fine(f"You are on {look.target}, with nothing in the way of what lands")


def behind(look: Look) -> Iterator[Found]:
    """See whether the person's branch has what has landed."""
    newest = look.read(landings.newest_done)
    if look.checkout is None or look.forge is None or not look.target or newest is None:
        return
    theirs = look.checkout.repository
    present = theirs.head_of(f"refs/heads/{look.target}")
    if present is None:
        return
    if present == newest.new or (
        theirs.head_of(newest.new) is not None and theirs.is_ancestor(newest.new, present)
    ):
        yield fine(f"Your {look.target} has all that has landed")
        return
    if look.forge.head_of(present) is None:
        yield warning(
            f"Your {look.target} has commits that the fleet has not taken in yet.",
            why="They are taken in by a server that runs, a few seconds after you make them.",
            remedy="Start it: sf serve",
        )
        return
    lacks = look.forge.count_between(present, newest.new)
    catch_up = _git(look.checkout.root, "merge", "--ff-only", f"{REMOTE}/{look.target}")
    yield warning(
        f"Your {look.target} is {lacks} commit{'' if lacks == 1 else 's'} behind what has landed.",
        why="Something was in the way, or no server has run since.",
        remedy=f"`sf status` says what is in the way; then: {catch_up}",
    )


def remote(look: Look) -> Iterator[Found]:
    """See whether the person's repository knows the forge as a remote."""
    newest = look.read(landings.newest_done)
    if look.checkout is None or look.forge is None or not look.target or newest is None:
        return
    ask = look.checkout.repository.run
    listed = ask("config", "--get-regexp", r"^remote\..*\.url$", accept=(0, 1)).text
    urls = dict(line.split(" ", 1) for line in listed.splitlines() if " " in line)
    ours = [name for name, url in urls.items() if url == str(look.forge.git_dir)]
    if ours or newest.kind is LandingKind.INITIAL:
        # It is made with the first landing.
        yield fine("Your repository knows the forge as a remote" if ours else "Nothing landed yet")
        return
    moved = [url for url in urls.values() if url.endswith("/.stoneforge/forge.git")]
    root, forge, target = look.layout.root, look.forge, look.target

    def add(_: OpenServices) -> str:
        name = deliver(root, forge, target, newest.new)
        return f"Your repository knows the newest landing as {name}."

    yield warning(
        f"Your repository has the forge as a remote at {moved[0]}, where it is not."
        if moved
        else "Your repository does not have the forge as a remote.",
        why=f"`git merge {REMOTE}/{target}`, which `sf status` tells you to catch up with, fails.",
        remedy=_git(root, "remote", "add", REMOTE, str(forge.git_dir)),
        mend=Mend(what=f"Add the remote {REMOTE} to your repository", carry_out=add),
    )


def locks(look: Look) -> Iterator[Found]:
    """See whether a killed git has left a lock in the person's repository."""
    if look.checkout is None:
        return
    left = stale_locks(
        look.checkout.common_dir, (look.checkout.root,), older_than_seconds=LEFT_LOCK_SECONDS
    )
    if not left:
        yield fine("No lock of git's is left in your repository")
        return
    # Not mended: this repository is the person's.
    yield warning(
        f"A git that was killed has left {named([str(lock) for lock in left])}.",
        why="Git refuses to write there, so that your branch cannot follow what lands.",
        remedy=shlex.join(["rm", *map(str, left)]),
    )


def ignored(look: Look) -> Iterator[Found]:
    """See whether the state stays out of the person's commits."""
    if not look.is_set_up:
        return
    from sf_mcp.core.layout import GITIGNORE

    path = look.layout.folder / ".gitignore"
    if path.exists():
        yield fine("The state is ignored by git")
        return

    def write(_: OpenServices) -> str:
        path.write_text(GITIGNORE)
        return f"Wrote {path}."

    yield warning(
        f"{path} is missing.",
        why="`git add --all` would take the whole state, and your token, into a commit.",
        remedy="Run: sf init",
        mend=Mend(what=f"Write {path}", carry_out=write),
    )


def _abort(operation: str) -> tuple[str, ...]:
    name = operation.split(" ")[0]
    return (name, "reset") if name == OPERATIONS["BISECT_START"] else (name, "--abort")


def _git(folder: Path, *arguments: str) -> str:
    return shlex.join(["git", "-C", str(folder), *arguments])
