"""The world of a rehearsal: a repository of a person of its own, with a home and no login.

Everything lies in one folder. The environment has nothing of the machine but PATH and the locale,
so that no login of anybody can be found, and the model's address is loopback. (PYTHONPATH too, if
this program was itself found by it: what is started must be the same.)
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from launcher.rehearsal.story import Story
from sf_mcp.core.errors import StoneforgeError

COMMAND_TIMEOUT_SECONDS = 120
SF = (sys.executable, "-m", "sf_mcp.cli")
GIT_CONFIG = """[user]
\tname = Robin Rehearsal
\temail = robin@example.invalid
[init]
\tdefaultBranch = main
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The folders of a rehearsal and the environment of its person."""

    folder: Path
    model_url: str

    @property
    def root(self) -> Path:
        """The person's repository."""
        return self.folder / "project"

    @property
    def home(self) -> Path:
        """The person's home."""
        return self.folder / "home"

    @property
    def temporary(self) -> Path:
        """Where every process of the rehearsal puts its temporary files."""
        return self.folder / "tmp"

    @property
    def environment(self) -> dict[str, str]:
        """What every process of the rehearsal is started with."""
        binaries = Path(sys.executable).parent
        found_by = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        return {
            **found_by,
            "PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "TERM": "dumb",
            "ANTHROPIC_BASE_URL": self.model_url,
            "ANTHROPIC_API_KEY": "sk-rehearsal-dummy",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
        }

    def git(self, *arguments: str, accept: Sequence[int] = (0,)) -> str:
        """Run git in the forge, as somebody who looks in, and return what it printed.

        With another home and in another place: it is none of the world's own processes.

        Raises:
            StoneforgeError: its exit code is not among `accept`, or it did not end in time.
        """
        forge = self.root / ".stoneforge" / "forge.git"
        return self.run(
            ["git", "--git-dir", str(forge), *arguments],
            cwd=Path("/"),
            accept=accept,
            environment={**self.environment, "HOME": os.devnull},
        )

    def run(
        self,
        command: Sequence[str],
        *,
        cwd: Path | None = None,
        accept: Sequence[int] = (0,),
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Run a command of the person's to its end and return what it printed.

        Raises:
            StoneforgeError: its exit code is not among `accept`, or it did not end in time.
        """
        try:
            done = subprocess.run(
                command,
                cwd=cwd or self.root,
                env=environment or self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=COMMAND_TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise StoneforgeError(f"`{' '.join(command)}` did not end in time.") from error
        if done.returncode not in accept:
            raise StoneforgeError(
                f"`{' '.join(command)}` failed: {done.stderr.strip() or done.stdout.strip()}"
            )
        return done.stdout


def make_world(folder: Path, story: Story, model_url: str) -> World:
    """Make the person's home and repository, and set the project up with `sf init`.

    Raises:
        StoneforgeError: a command failed.
    """
    world = World(folder=folder, model_url=model_url)
    world.home.mkdir(parents=True)
    world.temporary.mkdir()
    (world.home / ".gitconfig").write_text(GIT_CONFIG)
    _write_files(world.root, story.repository)
    for command in (
        ["git", "init", "--quiet"],
        ["git", "add", "--all"],
        ["git", "commit", "--quiet", "--message", "The project before the story"],
        [*SF, "init"],
    ):
        world.run(command)
    config = world.root / ".stoneforge" / "config.yaml"
    config.write_text(yaml.safe_dump(story.config, sort_keys=False, allow_unicode=True))
    return world


def _write_files(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
