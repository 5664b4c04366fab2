"""Real repositories in a temporary folder: a person's, its forge, worktrees, sessions in them."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sf_mcp.core.models import Oid, TaskId
from sf_mcp.git.checkout import open_checkout
from sf_mcp.git.forge import make_forge
from sf_mcp.git.guard import session_git_environment
from sf_mcp.git.identity import Identity
from sf_mcp.git.repository import Repository
from sf_mcp.git.worktrees import Worktree, Worktrees

ADA = Identity(name="Ada Lovelace", email="ada@example.org")
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def git(cwd: Path, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Run git as a person would; fail the test if git fails."""
    done = try_git(cwd, *arguments, env=env)
    assert done.returncode == 0, f"git {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


def try_git(
    cwd: Path, *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", *arguments],
        cwd=cwd,
        env={**os.environ, **ADA.environment(), "LC_ALL": "C.UTF-8", **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


def write(folder: Path, files: Mapping[str, str | None]) -> None:
    for name, text in files.items():
        path = folder / name
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def commit(
    folder: Path,
    files: Mapping[str, str | None],
    message: str = "a change",
    env: Mapping[str, str] | None = None,
) -> Oid:
    write(folder, files)
    git(folder, "add", "--all", "--", ".", env=env)
    git(folder, "commit", "--quiet", "--allow-empty", "-m", message, env=env)
    return Oid(git(folder, "rev-parse", "HEAD"))


def a_repository(path: Path, files: Mapping[str, str] | None = None, branch: str = "main") -> Path:
    path.mkdir(parents=True, exist_ok=True)
    git(path, "init", "--quiet", "-b", branch)
    with (path / ".git/config").open("a") as config:
        config.write(f"[user]\n\tname = {ADA.name}\n\temail = {ADA.email}\n")
    # What `sf init` writes as .stoneforge/.gitignore.
    write(path, {".git/info/exclude": ".stoneforge/\n"})
    commit(path, files or {"readme.md": "hello\n", "src/app.py": "one\ntwo\nthree\n"}, "first")
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    root: Path
    forge: Repository
    worktrees: Worktrees

    @property
    def target(self) -> Oid:
        found = self.forge.head_of("refs/heads/main")
        assert found is not None
        return found

    def prepare(self, task: str = "T1", title: str = "Add a thing") -> Worktree:
        return self.worktrees.prepare(TaskId(task), title, self.target)

    def session(self, worktree: Worktree) -> dict[str, str]:
        return session_git_environment(ADA, worktree.path)

    def land(self, files: Mapping[str, str | None], message: str = "landed") -> Oid:
        """Move the forge's target by one commit, as the server does."""
        path = self.worktrees.detached("check-1", self.target)
        new = commit(path, files, message)
        self.forge.compare_and_swap("refs/heads/main", new=new, old=self.target)
        return new


def a_project(
    path: Path, files: Mapping[str, str] | None = None, *, branch: str = "main"
) -> Project:
    root = a_repository(path, files, branch)
    return project_of(root, branch)


def project_of(root: Path, target: str = "main") -> Project:
    checkout = open_checkout(root)
    forge = make_forge(checkout, checkout.root / ".stoneforge", target)
    return Project(root=root, forge=forge, worktrees=Worktrees(forge, target, lambda: NOON))


def is_clean(root: Path) -> bool:
    return git(root, "status", "--porcelain", "--untracked-files=all") == ""


def files_of(folder: Path, commit_name: str) -> list[str]:
    return git(folder, "ls-tree", "-r", "--name-only", "-z", commit_name).rstrip("\0").split("\0")
