"""The forge: the bare repository in which the fleet works, made from the person's own.

It shares nothing with the person's repository but hard links to finished objects: no alternates
(their `git gc` cannot take anything away), no remote (nothing can be pushed by habit), and a HEAD
that names a branch which is never born (so that no git writes, or leaves a lock on, a HEAD that
stands for the target). It is built beside its place and renamed there when it is whole, so that
there is no half-made one: what a crash leaves is swept away by the next call.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from sf_mcp.core.errors import GitRefused
from sf_mcp.git.checkout import Checkout, require_usable
from sf_mcp.git.command import GitFailed, require_git, run_git
from sf_mcp.git.guard import install_guard, quoted, replace_text
from sf_mcp.git.repository import Repository

UNBORN = "refs/heads/stoneforge-unborn"
FORGE_NAME = "forge.git"
WORKTREES_NAME = "worktrees"
CLONE_TIMEOUT_SECONDS = 1800.0

SETTINGS = """
[extensions]
	worktreeConfig = true
[core]
	# A commit that is reported as made survives a power cut: objects and refs reach the disk.
	fsync = committed,loose-object,reference
	fsyncMethod = batch
	logAllRefUpdates = always
	fsmonitor = false
	filesRefLockTimeout = 1000
	packedRefsTimeout = 5000
[gc]
	# Nothing is ever deleted, be it unreachable: an amended commit may be all that is left of work.
	auto = 0
	pruneExpire = never
	reflogExpire = never
	reflogExpireUnreachable = never
	worktreePruneExpire = never
[maintenance]
	auto = false
[advice]
	detachedHead = false
"""

MENDED: Mapping[str, str] = {
    "extensions.worktreeConfig": "true",
    "gc.auto": "0",
    "gc.pruneExpire": "never",
    "gc.reflogExpire": "never",
    "gc.reflogExpireUnreachable": "never",
    "gc.worktreePruneExpire": "never",
    "maintenance.auto": "false",
}
"""The settings that keep the guard on and everything that was ever made; see `SETTINGS`."""


def forge_at(home: Path) -> Repository:
    """Return the forge below `home` (`.stoneforge`), which must have been made before.

    Raises:
        GitRefused: there is none.
    """
    forge = _repository(home)
    if not _ready(forge.git_dir).exists():
        raise GitRefused(
            f"There is no forge in {home}.", remedy="Run `sf init` in the repository first."
        )
    return forge


def make_forge(checkout: Checkout, home: Path, target: str) -> Repository:
    """Make the forge below `home` unless it is there, and return it. Safe to call at any time.

    Only the branch `target` comes in, with the tags that lie on it.

    Raises:
        GitRefused: git is too old, or the repository cannot be used; see `require_usable`.
    """
    require_git()
    forge = _repository(home)
    if not _ready(forge.git_dir).exists():
        require_usable(checkout, target)
        home.mkdir(parents=True, exist_ok=True)
        for left_over in home.glob(f".{FORGE_NAME}.*.making"):
            shutil.rmtree(left_over, ignore_errors=True)
        if forge.git_dir.exists():
            raise GitRefused(
                f"{forge.git_dir} exists but is not a forge that Stoneforge made.",
                remedy="Move it out of the way and run `sf init` again.",
            )
        making = home / f".{FORGE_NAME}.{os.getpid()}.making"
        _build(checkout, making, target)
        making.rename(forge.git_dir)
    _guard(forge.git_dir, target)
    return forge


def _repository(home: Path) -> Repository:
    return Repository(home / FORGE_NAME, home / WORKTREES_NAME)


def _ready(git_dir: Path) -> Path:
    return git_dir / "stoneforge" / "made"


def _build(checkout: Checkout, git_dir: Path, target: str) -> None:
    clone = ["clone", "--quiet", "--bare", "--template=", "--single-branch", "--branch", target]
    if (checkout.common_dir / "objects/info/alternates").exists():
        clone.append("--dissociate")
    source = [os.fspath(checkout.common_dir), os.fspath(git_dir)]
    try:
        run_git([*clone, *source], cwd=checkout.root, timeout_seconds=CLONE_TIMEOUT_SECONDS)
    except GitFailed:
        # Hard links fail on some file systems, and while a `git gc` rearranges the objects.
        shutil.rmtree(git_dir, ignore_errors=True)
        run_git(
            [*clone, "--no-local", *source],
            cwd=checkout.root,
            timeout_seconds=CLONE_TIMEOUT_SECONDS,
        )
    made = Repository(git_dir)
    made.run("symbolic-ref", "HEAD", UNBORN)
    made.run("remote", "remove", "origin")
    # core.bare moves into the forge's own part: worktrees share the other file and are not bare.
    made.run("config", "--unset", "core.bare")
    with (git_dir / "config").open("a", encoding="utf-8") as config:
        config.write(SETTINGS)
    replace_text(git_dir / "config.worktree", "[core]\n\tbare = true\n")
    if made.head_of(f"refs/heads/{target}") is None:
        raise GitRefused(
            f"The branch {target} did not arrive in the forge.", remedy="Run `sf init` again."
        )
    _ready(git_dir).parent.mkdir(exist_ok=True)
    _ready(git_dir).write_text("1\n")


def forge_hooks(git_dir: Path) -> Path:
    """Return where the hooks of the forge itself lie."""
    return git_dir / "stoneforge" / "hooks" / "forge"


def mend_forge(forge: Repository, target: str) -> None:
    """Put the settings and the guard of the forge back as `make_forge` left them.

    Raises:
        GitFailed: git cannot write them.
    """
    config = str(forge.git_dir / "config")
    listed = forge.run("config", "--file", config, "--list", "--name-only", "-z").stdout
    names = {os.fsdecode(name) for name in listed.split(b"\0")}
    if "core.bare" in names:
        forge.run("config", "--file", config, "--unset-all", "core.bare")
    for remote in {name.split(".", 1)[1].rsplit(".", 1)[0] for name in names if _is_remote(name)}:
        forge.run("config", "--file", config, "--remove-section", f"remote.{remote}")
    for name, value in MENDED.items():
        forge.run("config", "--file", config, "--replace-all", name, value)
    forge.run("symbolic-ref", "HEAD", UNBORN)
    _guard(forge.git_dir, target)


def _is_remote(name: str) -> bool:
    return name.startswith("remote.") and name.endswith(".url")


def _guard(git_dir: Path, target: str) -> None:
    """Guard the forge itself too: against git run, or pushes sent, from outside any worktree."""
    hooks = forge_hooks(git_dir)
    install_guard(hooks, own_branch=None, target=target)
    replace_text(
        git_dir / "config.worktree", f"[core]\n\tbare = true\n\thooksPath = {quoted(str(hooks))}\n"
    )
