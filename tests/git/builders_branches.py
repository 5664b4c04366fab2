"""A repository with branches that each make one change to the same base."""

from pathlib import Path

from sf_mcp.core.models import Oid
from sf_mcp.git.repository import Repository
from tests.git.builders_repositories import a_repository, commit, git

TEN = "".join(f"{n}\n" for n in range(10))
FILES = {"a": TEN, "b": TEN, "old/one": "1\n" * 9, "old/two": "2\n" * 9, "c d/é": TEN}


class Branches:
    """A repository with branches that each make one change to the same base."""

    def __init__(self, path: Path) -> None:
        self.root = a_repository(path, FILES)
        self.repository = Repository(self.root / ".git")
        self.base = self.repository.require_commit("main")

    def branch(self, name: str, files: dict[str, str | None]) -> Oid:
        git(self.root, "checkout", "-q", "-b", name, self.base)
        made = commit(self.root, files, name)
        git(self.root, "checkout", "-q", "main")
        return made

    def objects(self) -> set[Path]:
        return {path for path in (self.root / ".git" / "objects").rglob("*") if path.is_file()}
