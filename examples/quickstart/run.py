"""The README's first five lines on a repository of its own; looks at what came of them.

    python examples/quickstart/run.py

The commands are those of `commands.sh`, run one by one as a person would type them; the model's
answers are written in `model.yaml`, so that no account is needed. Ends with 0 when both tasks have
landed in the repository.
"""

import json
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from time import monotonic

import yaml
from pydantic import TypeAdapter

from launcher.rehearsal.script import Script
from launcher.rehearsal.scripted_api import ScriptedApi
from launcher.rehearsal.world import GIT_CONFIG, World
from sf_mcp import process

HERE = Path(__file__).resolve().parent
WANTED = ("invitations.py", "notifications.py")
MOST_SECONDS = 120


def main() -> int:
    """Run the commands, serve until both tasks have landed, look; return the exit code."""
    scripts = TypeAdapter(list[Script]).validate_python(
        yaml.safe_load((HERE / "model.yaml").read_text())
    )
    with (
        tempfile.TemporaryDirectory(prefix="quickstart-", ignore_cleanup_errors=True) as folder,
        ScriptedApi(scripts) as api,
    ):
        world = World(folder=Path(folder).resolve(), model_url=api.url)
        make_repository(world)
        for line in (HERE / "commands.sh").read_text().splitlines():
            print(f"$ {line}", flush=True)
            print(world.run(shlex.split(line)), end="", flush=True)
        print("$ sf serve", flush=True)
        serve_until_landed(world)
        missing = [name for name in WANTED if not (world.root / name).is_file()]
        log = world.run(["git", "log", "--format=%h %s"])
        print(f"{log}{'missing: ' + ', '.join(missing) if missing else 'both tasks have landed'}")
        return 1 if missing else 0


def make_repository(world: World) -> None:
    """Make a person's home and a repository with one commit."""
    world.home.mkdir(parents=True)
    world.root.mkdir()
    (world.home / ".gitconfig").write_text(GIT_CONFIG)
    (world.root / "README.md").write_text("# A project\n")
    for command in ("git init --quiet", "git add --all", "git commit --quiet -m Start"):
        world.run(command.split())


def serve_until_landed(world: World) -> None:
    """Run `sf serve` as a person would, and press Ctrl-C when the plan is complete."""
    server = process.spawn(["sf", "serve"], cwd=world.root, env=world.environment)
    try:
        deadline = monotonic() + MOST_SECONDS
        while monotonic() < deadline and server.poll() is None:
            status = json.loads(world.run(["sf", "status", "--json"]))
            if all(plan["state"] == "completed" for plan in status["plans"]):
                break
            threading.Event().wait(0.5)
        if server.poll() is None:
            server.send_signal(signal.SIGINT)
            server.wait(60)
    except subprocess.TimeoutExpired:
        print("sf serve did not stop in time", file=sys.stderr)
    finally:
        process.end_child(server)


if __name__ == "__main__":
    sys.exit(main())
