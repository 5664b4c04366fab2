"""How the forge and its guard should be, and in what they are not: looking only.

What puts them right again is with those who make them: `forge`, `worktrees`.
"""

import os
from pathlib import Path

from sf_mcp.core.models import TaskId
from sf_mcp.git.forge import MENDED, UNBORN, forge_hooks
from sf_mcp.git.guard import guard_texts, worktree_config
from sf_mcp.git.records import Records
from sf_mcp.git.repository import Repository
from sf_mcp.git.worktrees import TASK_NAME, Worktrees


def settings_faults(forge: Repository) -> list[str]:
    """Return the settings of the forge that are not as they must be: `gc.auto is 6700`."""
    listed = forge.run("config", "--file", str(forge.git_dir / "config"), "--list", "-z").stdout
    entries = (os.fsdecode(entry).partition("\n") for entry in listed.split(b"\0") if entry)
    found = {name.lower(): value for name, _, value in entries}
    faults = [
        f"{name} is {found.get(name.lower(), 'not set')}, not {value}"
        for name, value in MENDED.items()
        if found.get(name.lower()) != value
    ]
    if "core.bare" in found:
        faults.append("core.bare is set for the worktrees too")
    faults += [
        f"it has the remote {name.split('.')[1]}"
        for name in found
        if name.startswith("remote.") and name.endswith(".url")
    ]
    head = (forge.git_dir / "HEAD").read_text("utf-8", "replace").strip()
    if head != f"ref: {UNBORN}":
        faults.append(f"HEAD is {head[:80]}")
    if (forge.git_dir / "objects" / "info" / "alternates").exists():
        faults.append("it borrows objects from another repository")
    return faults


def guard_faults(worktrees: Worktrees) -> list[str]:
    """Return where the guard is missing or changed; the forge itself is called `forge`."""
    forge, target = worktrees.forge, worktrees.target
    faults: list[str] = []
    if not _is_guarded(forge_hooks(forge.git_dir), own_branch=None, target=target, task=""):
        faults.append("forge")
    records = Records(forge)
    for admin in sorted((forge.git_dir / "worktrees").glob("*")):
        name = admin.name
        record = records.read(TaskId(name)) if TASK_NAME.fullmatch(name) else None
        if TASK_NAME.fullmatch(name) and record is None:
            continue  # being made at this moment, or left by a crash
        if not worktrees.path(name).exists():
            continue
        hooks = forge.git_dir / "stoneforge" / "hooks" / name
        own = record.branch if record else None
        config = worktree_config(hooks, own_branch=own, target=target)
        is_switched_on = _text(admin / "config.worktree") == config
        task = name if record else ""
        if not is_switched_on or not _is_guarded(hooks, own_branch=own, target=target, task=task):
            faults.append(name)
    return faults


def _is_guarded(hooks: Path, *, own_branch: str | None, target: str, task: str) -> bool:
    texts = guard_texts(own_branch=own_branch, target=target, task=task)
    return all(
        _text(hooks / name) == text and os.access(hooks / name, os.X_OK)
        for name, text in texts.items()
    )


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "surrogateescape")
    except OSError:
        return ""
