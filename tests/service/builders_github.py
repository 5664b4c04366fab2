"""A `gh` as tests want it: a real program on PATH that answers as GitHub's does, and a bare origin.

It stands in for the service at the other end. What it holds is in `state.json` beside it; what it
was called with in `calls.jsonl`; a file `fail` there makes it fail with those words.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = r"""#!PYTHON
import json, os, sys, time
from pathlib import Path

home = Path(__file__).parent
words = sys.argv[1:]
stdin = sys.stdin.read() if "-" in words else ""
with (home / "calls.jsonl").open("a") as log:
    log.write(json.dumps({"argv": words, "stdin": stdin, "env": sorted(os.environ)}) + "\n")
if (home / "hang").exists():
    time.sleep(600)
if (home / "fail").exists():
    code, text = (home / "fail").read_text().split(" ", 1)
    print(text, file=sys.stderr)
    sys.exit(int(code))
state_path = home / "state.json"
pulls = json.loads(state_path.read_text()) if state_path.exists() else []


def option(name):
    return words[words.index(name) + 1] if name in words else None


def save():
    whole = state_path.with_suffix(".new")
    whole.write_text(json.dumps(pulls))
    whole.replace(state_path)


assert words[0] == "pr", words
verb = words[1]
number = next((int(word) for word in words[2:] if word.isdigit()), None)
one = next((pull for pull in pulls if pull["number"] == number), None)
if verb == "list":
    wanted = [p for p in pulls if p["head"] == option("--head") and p["state"] == "OPEN"]
    fields = option("--json").split(",")
    print(json.dumps([{name: pull[name] for name in fields} for pull in wanted]))
elif verb == "create":
    if any(p["head"] == option("--head") and p["state"] == "OPEN" for p in pulls):
        print(f"a pull request for branch {option('--head')} already exists", file=sys.stderr)
        sys.exit(1)
    number = len(pulls) + 1
    url = f"https://github.com/acme/app/pull/{number}"
    pulls.append(
        {"number": number, "url": url, "state": "OPEN", "head": option("--head"),
         "base": option("--base"), "title": option("--title"), "body": stdin, "comments": []}
    )
    save()
    if (home / "die").exists():
        (home / "die").unlink()
        sys.exit(1)
    print(f"\nCreating pull request\n{url}")
elif verb == "edit":
    one["title"], one["body"] = option("--title"), stdin
    save()
elif verb == "view":
    print(json.dumps({name: one[name] for name in option("--json").split(",")}))
elif verb == "comment":
    one["comments"].append({"body": stdin})
    save()
elif verb == "close":
    one["state"] = "CLOSED"
    save()
else:
    sys.exit(2)
"""


class Gh:
    """The scripted `gh` and what it holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def pulls(self) -> list[dict[str, Any]]:
        path = self.folder / "state.json"
        return json.loads(path.read_text()) if path.exists() else []

    @property
    def calls(self) -> list[dict[str, Any]]:
        path = self.folder / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def verbs(self) -> list[str]:
        return [call["argv"][1] for call in self.calls]

    def fails(self, code: int, words: str) -> None:
        (self.folder / "fail").write_text(f"{code} {words}")

    def works(self) -> None:
        (self.folder / "fail").unlink()

    def dies_after_creating(self) -> None:
        (self.folder / "die").touch()

    def hangs(self) -> None:
        (self.folder / "hang").touch()


def a_gh(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Gh:
    """Put a scripted `gh` at the front of PATH."""
    folder.mkdir()
    program = folder / "gh"
    program.write_text(SCRIPT.replace("PYTHON", sys.executable, 1))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return Gh(folder)
