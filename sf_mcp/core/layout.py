"""Where everything lives below a project's root."""

from dataclasses import dataclass
from pathlib import Path

STATE_FOLDER = ".stoneforge"

GITIGNORE = """\
# The state of Stoneforge is this machine's own; the configuration may be everybody's.
/*
!/config.yaml
!/prompts/
"""
"""What `.stoneforge/.gitignore` says."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one project; `root` is the top of the person's checkout."""

    root: Path

    @property
    def folder(self) -> Path:
        """The state folder."""
        return self.root / STATE_FOLDER

    @property
    def config(self) -> Path:
        """The one configuration file; the person's, in version control if they like."""
        return self.folder / "config.yaml"

    @property
    def prompts(self) -> Path:
        """The project's own role prompts, which replace the shipped ones."""
        return self.folder / "prompts"

    @property
    def database(self) -> Path:
        """Durable state."""
        return self.folder / "state.db"

    @property
    def forge(self) -> Path:
        """The bare repository in which all work of the fleet lives."""
        return self.folder / "forge.git"

    @property
    def worktrees(self) -> Path:
        """One worktree per task, named by its id."""
        return self.folder / "worktrees"

    @property
    def logs(self) -> Path:
        """Session streams and check output."""
        return self.folder / "logs"

    @property
    def person_token(self) -> Path:
        """The person's token, readable by them alone."""
        return self.folder / "person.token"

    @property
    def server(self) -> Path:
        """The running server's address and process."""
        return self.folder / "server.json"

    @property
    def server_lock(self) -> Path:
        """Held by the one process that may write the state."""
        return self.folder / "server.lock"

    @property
    def launcher_lock(self) -> Path:
        """Held by the one launcher."""
        return self.folder / "launcher.lock"
