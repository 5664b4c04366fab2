"""Which project is meant, and as whom: found from files alone, for starting git takes too long."""

import os
from dataclasses import dataclass
from pathlib import Path

from sf_mcp.core.errors import InvalidInput, NotAllowed, NotSetUp
from sf_mcp.core.layout import STATE_FOLDER, Layout

ROOT_VARIABLE = "SF_ROOT"
TOKEN_VARIABLE = "SF_TOKEN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    layout: Layout
    is_session: bool
    """A session's token is in the environment: nothing is done as the person."""


def project() -> Project:
    """Return the project that the working directory belongs to; `SF_ROOT` wins.

    One whose database is gone is a project all the same: a running server still has it.

    Raises:
        NotAllowed: this is a worktree of the fleet, and no session's token is there.
        NotSetUp: this is no project.
        InvalidInput: `SF_ROOT` names no folder.
    """
    where = anywhere()
    layout = where.layout
    if not where.is_session and not layout.database.exists() and not layout.forge.exists():
        raise NotSetUp(
            f"{where.layout.root} is not set up for Stoneforge.",
            remedy="Run `sf init` there first.",
        )
    return where


def anywhere() -> Project:
    """Return the folder that is, or would become, the project's.

    Raises:
        NotAllowed: this is a worktree of the fleet, and no session's token is there.
        InvalidInput: `SF_ROOT` names no folder, or the working directory has been removed.
    """
    is_session = bool(os.environ.get(TOKEN_VARIABLE))
    here = _here()
    inside = fleet_worktree_of(here)
    if inside is not None and not is_session:
        raise NotAllowed(
            f"This is a fleet worktree ({here}), and no session's token is in the environment.",
            remedy=f"Run `sf` in {inside}.",
        )
    return Project(layout=Layout(_named() or inside or root_of(here)), is_session=is_session)


def looked_at() -> Layout:
    """Return the paths of the project to look at, also for one who sits in a fleet worktree.

    Raises:
        InvalidInput: `SF_ROOT` names no folder, or the working directory has been removed.
    """
    here = _here()
    return Layout(_named() or fleet_worktree_of(here) or root_of(here))


def _here() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise InvalidInput(
            "The working directory no longer exists.", remedy="Go to the project's folder."
        ) from error


def _named() -> Path | None:
    if not (named := os.environ.get(ROOT_VARIABLE)):
        return None
    root = Path(named).resolve()
    if not root.is_dir():
        raise InvalidInput(
            f"{ROOT_VARIABLE} is {named!r}, which is no folder.",
            remedy=f"Unset {ROOT_VARIABLE}, or set it to the project's folder.",
        )
    return root


def as_person(what: str) -> Layout:
    """Return the project's paths for something that only a person does.

    Raises:
        NotAllowed: a session's token is in the environment.
    """
    where = anywhere()
    if where.is_session:
        raise NotAllowed(
            f"{TOKEN_VARIABLE} is set, so this is a session of the fleet, which may not {what}.",
            remedy=f"Unset {TOKEN_VARIABLE} in a terminal of your own.",
        )
    return where.layout


def fleet_worktree_of(folder: Path) -> Path | None:
    """Return the project whose fleet worktree `folder` lies in; None when it is in none."""
    for above in (folder, *folder.parents):
        if above.name == "worktrees" and above.parent.name == STATE_FOLDER:
            return above.parent.parent
    return None


def root_of(folder: Path) -> Path:
    """Return the top of the main checkout of the repository that `folder` is in, else `folder`.

    A linked worktree of the person's leads to the main one: there is one project per repository.
    """
    for above in (folder, *folder.parents):
        dot_git = above / ".git"
        if dot_git.is_dir():
            return above
        if dot_git.is_file():
            return _main_checkout(above, dot_git)
    return folder


def _main_checkout(top: Path, dot_git: Path) -> Path:
    try:
        named = dot_git.read_text("utf-8", "surrogateescape").strip().removeprefix("gitdir:")
        git_dir = (top / named.strip()).resolve()
        common = (git_dir / "commondir").read_text("utf-8", "surrogateescape").strip()
    except OSError:
        return top  # a submodule, or a git directory kept elsewhere
    common_dir = (git_dir / common).resolve()
    return common_dir.parent if common_dir.name == ".git" else top
