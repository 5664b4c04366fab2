"""A repository set up with the installed `sf`, and its server in processes of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

from sf_mcp.client import Client, connect
from sf_mcp.core.layout import Layout

SF = Path(sys.executable).with_name("sf")
START_SECONDS = 60.0
STOP_SECONDS = 20.0

GIT_CONFIG = """
[user]
	name = Bench
	email = bench@example.org
[init]
	defaultBranch = main
"""


class Project:
    """A project below `folder`, with a HOME and a git configuration of its own."""

    def __init__(self, folder: Path, *, files: int = 1, config: str = "checks: []\n") -> None:
        """Make the repository with so many files, 26 a folder, and run `sf init` in it."""
        self.root = folder / "project"
        self.layout = Layout(self.root)
        home = folder / "home"
        home.mkdir()
        (home / ".gitconfig").write_text(GIT_CONFIG)
        self.environment = {
            "PATH": f"{SF.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        for number in range(files):
            path = self.root / f"part{number // 26}" / f"file{number % 26}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{number}\n" * 100)
        self.git("init", "--quiet")
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", "start")
        self.sf("init")
        self.layout.config.write_text(config)

    def git(self, *arguments: str, cwd: Path | None = None) -> None:
        """Run git."""
        subprocess.run(["git", *arguments], cwd=cwd or self.root, env=self.environment, check=True)

    def sf(self, *arguments: str) -> None:
        """Run `sf`, for what it does and not for what it says."""
        subprocess.run(
            [SF, *arguments],
            cwd=self.root,
            env=self.environment,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    @contextlib.contextmanager
    def served(self, *, with_fleet: bool) -> Generator[tuple[Client, int]]:
        """Run `sf serve`; give a client of it as the person, and the server's pid."""
        command = [str(SF), "serve"] + ([] if with_fleet else ["--no-fleet"])
        log_path = self.root.with_name("serve.log")
        with log_path.open("wb") as log:
            server = subprocess.Popen(
                command,
                cwd=self.root,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            deadline = time.monotonic() + START_SECONDS
            while (client := connect(self.root)) is None:
                if server.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"sf serve does not start:\n{log_path.read_text()}")
                time.sleep(0.05)
            yield client, server.pid
        finally:
            for how in (signal.SIGINT, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(server.pid, how)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    server.wait(STOP_SECONDS)
                    break
