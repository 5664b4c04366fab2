"""What is in the wheel: both packages, both commands, the prompts and the stories."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILD_SECONDS = 120


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=BUILD_SECONDS,
    )
    (built,) = folder.glob("stoneforge_mcp-*.whl")
    unpacked = folder / "unpacked"
    with zipfile.ZipFile(built) as archive:
        archive.extractall(unpacked)
    return unpacked


def _printed(wheel: Path, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=wheel.parent,
        env={**os.environ, "PYTHONPATH": str(wheel)},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("role", ["worker", "steward", "director"])
def test_each_roles_prompt_loads_from_the_wheel(wheel: Path, role: str) -> None:
    code = (
        "from launcher.prompts import shipped_prompt; from sf_mcp.core.models import Role; "
        f"print(shipped_prompt(Role('{role}')))"
    )
    assert _printed(wheel, code) == (ROOT / "prompts" / f"{role}.md").read_text().strip()


def test_the_shipped_story_loads_from_the_wheel(wheel: Path) -> None:
    code = "from launcher.rehearsal.story import shipped_story; print(shipped_story())"
    path = Path(_printed(wheel, code))
    assert wheel in path.parents
    assert path.read_text() == (ROOT / "examples/rehearsals/sprint-14.yaml").read_text()


def test_the_wheel_has_both_commands(wheel: Path) -> None:
    (entry_points,) = wheel.glob("*.dist-info/entry_points.txt")
    assert entry_points.read_text().split("\n")[:3] == [
        "[console_scripts]",
        "sf = sf_mcp.cli:main",
        "sf-launch = launcher.cli:main",
    ]


def test_the_top_level_of_the_checkout_is_what_was_fixed() -> None:
    listed = subprocess.run(
        ["git", "ls-tree", "--name-only", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    visible = {name for name in listed if not name.startswith(".")}
    assert visible <= {
        "LICENSE",
        "README.md",
        "examples",
        "launcher",
        "prompts",
        "pyproject.toml",
        "sf_mcp",
        "tests",
    }
