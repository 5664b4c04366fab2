"""The forge: made from any repository that can be used, refused in words for any other."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sf_mcp.core.errors import GitRefused
from sf_mcp.git.checkout import default_target, open_checkout
from sf_mcp.git.forge import forge_at, make_forge
from sf_mcp.git.identity import Identity, identity
from tests.git.builders_repositories import (
    ADA,
    a_project,
    a_repository,
    commit,
    git,
    is_clean,
    project_of,
    try_git,
)


def refused(path: Path, target: str = "main") -> GitRefused:
    with pytest.raises(GitRefused) as refusal:
        make_forge(open_checkout(path), path / ".stoneforge", target)
    assert not (path / ".stoneforge" / "forge.git").exists()
    return refusal.value


def test_only_the_target_comes_in_and_nothing_leads_back(tmp_path: Path) -> None:
    root = a_repository(tmp_path / "p")
    git(root, "branch", "private")
    git(root, "tag", "v1")
    git(root, "remote", "add", "origin", "https://example.org/x.git")
    forge = project_of(root).forge
    assert set(forge.refs_below("refs")) == {"refs/heads/main", "refs/tags/v1"}
    assert git(forge.git_dir, "remote") == ""
    assert not (forge.git_dir / "objects/info/alternates").exists()
    assert forge.head_of("HEAD") is None
    assert git(forge.git_dir, "rev-parse", "--is-bare-repository") == "true"
    assert "bare" not in (forge.git_dir / "config").read_text()
    assert is_clean(root)


def test_objects_are_hard_links(tmp_path: Path) -> None:
    forge = a_project(tmp_path / "p").forge
    loose = [path for path in (forge.git_dir / "objects").rglob("*") if path.is_file()]
    assert loose
    assert all(path.stat().st_nlink > 1 for path in loose)


def test_making_it_again_changes_nothing(tmp_path: Path) -> None:
    project = a_project(tmp_path / "p")
    landed = project.land({"x": "x"})
    assert project_of(project.root).target == landed
    assert forge_at(project.root / ".stoneforge").head_of("refs/heads/main") == landed


def test_a_kill_at_any_moment_of_making_it_is_repaired_by_the_next_call(tmp_path: Path) -> None:
    root = a_repository(tmp_path / "p")
    script = (
        "import sys; from pathlib import Path\n"
        "from sf_mcp.git.checkout import open_checkout; from sf_mcp.git.forge import make_forge\n"
        "root = Path(sys.argv[1]); checkout = open_checkout(root)\n"
        "print('go', flush=True)\n"
        "make_forge(checkout, root / '.stoneforge', 'main')\n"
    )
    for delay in (0.002, 0.01, 0.02, 0.03):
        with subprocess.Popen(
            [sys.executable, "-c", script, str(root)],
            stdout=subprocess.PIPE,
            start_new_session=True,
        ) as making:
            assert making.stdout is not None
            assert making.stdout.readline() == b"go\n"
            time.sleep(delay)  # the instant of the kill, not a wait for anything
            os.killpg(making.pid, signal.SIGKILL)
    project = project_of(root)
    assert project.target == git(root, "rev-parse", "main")
    assert sorted(path.name for path in (root / ".stoneforge").iterdir()) == ["forge.git"]
    assert project.prepare().path.is_dir()


@pytest.mark.parametrize("name", ["with space", "ünï-ço:dé", 'quo\'te "x"', "back\\slash", "日本"])
def test_any_path_will_do(tmp_path: Path, name: str) -> None:
    project = a_project(tmp_path / name)
    worktree = project.prepare()
    commit(worktree.path, {"x": "x"}, env=project.session(worktree))
    assert try_git(worktree.path, "push", env=project.session(worktree)).returncode == 0
    refusal = try_git(worktree.path, "branch", "-f", "main", "HEAD")
    assert refusal.returncode != 0
    assert "request_merge" in refusal.stderr


def test_a_linked_worktree_is_as_good_as_the_main_one(tmp_path: Path) -> None:
    root = a_repository(tmp_path / "p")
    git(root, "worktree", "add", "-q", "-b", "feature/x", str(tmp_path / "linked"))
    project = project_of(tmp_path / "linked")
    assert project.forge.git_dir == tmp_path / "linked" / ".stoneforge" / "forge.git"
    assert project.prepare().base == git(root, "rev-parse", "main")


def test_a_subdirectory_leads_to_the_checkout(tmp_path: Path) -> None:
    root = a_repository(tmp_path / "p")
    assert open_checkout(root / "src").root == root


def test_a_borrowing_clone_stops_borrowing(tmp_path: Path) -> None:
    lender = a_repository(tmp_path / "lender")
    git(tmp_path, "clone", "-q", "--shared", str(lender), "p")
    forge = project_of(tmp_path / "p").forge
    assert not (forge.git_dir / "objects/info/alternates").exists()
    lender.rename(tmp_path / "gone")
    git(forge.git_dir, "fsck", "--connectivity-only")


def test_a_dirty_rebasing_or_detached_checkout_can_be_used(tmp_path: Path) -> None:
    root = a_repository(tmp_path / "p")
    git(root, "checkout", "-q", "-b", "other")
    commit(root, {"src/app.py": "mine\n"})
    git(root, "checkout", "-q", "main")
    commit(root, {"src/app.py": "theirs\n"})
    assert try_git(root, "rebase", "main", "other").returncode != 0
    project = project_of(root)
    assert project.target == git(root, "rev-parse", "main")
    assert (root / ".git" / "rebase-merge").exists()


def test_a_repository_with_submodules_can_be_used(tmp_path: Path) -> None:
    inner = a_repository(tmp_path / "inner")
    root = a_repository(tmp_path / "p")
    git(root, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "lib")
    commit(root, {})
    worktree = project_of(root).prepare()
    assert (worktree.path / "lib").is_dir()


def test_hooks_and_templates_of_the_person_do_not_come_in(tmp_path: Path) -> None:
    template = tmp_path / "template" / "hooks"
    template.mkdir(parents=True)
    hook = template / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch '{tmp_path}/hook-ran'\n")
    hook.chmod(0o755)
    git(tmp_path, "config", "--global", "init.templateDir", str(template.parent))
    git(tmp_path, "config", "--global", "core.hooksPath", str(template))
    root = tmp_path / "p"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    commit(root, {"a": "a"})
    (tmp_path / "hook-ran").unlink(missing_ok=True)
    project_of(root).prepare()
    assert not (tmp_path / "hook-ran").exists()


def test_an_empty_repository_is_refused(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main", "p")
    refusal = refused(tmp_path / "p")
    assert "no commits" in refusal.message
    assert "git commit" in refusal.remedy
    with pytest.raises(GitRefused, match="no commits"):
        default_target(open_checkout(tmp_path / "p"))


def test_a_bare_repository_is_refused(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--bare", "p")
    for place in (tmp_path / "p", a_repository(tmp_path / "q") / ".git"):
        with pytest.raises(GitRefused, match="bare repository"):
            open_checkout(place)


def test_a_folder_without_a_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GitRefused, match="not in a git repository"):
        open_checkout(tmp_path)


def test_a_shallow_clone_is_refused(tmp_path: Path) -> None:
    source = a_repository(tmp_path / "source")
    commit(source, {"x": "x"})
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{source}", "p")
    assert "--unshallow" in refused(tmp_path / "p").remedy


def test_a_partial_clone_is_refused(tmp_path: Path) -> None:
    source = a_repository(tmp_path / "source")
    git(source, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "-q", "--filter=blob:none", f"file://{source}", "p")
    assert "partial clone" in refused(tmp_path / "p").message


def test_a_missing_target_is_refused_with_the_branches_there_are(tmp_path: Path) -> None:
    root = a_repository(tmp_path / "p", branch="feature/x")
    refusal = refused(root, "main")
    assert "feature/x" in refusal.message


def test_a_foreign_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    root = a_repository(tmp_path / "p")
    (root / ".stoneforge" / "forge.git").mkdir(parents=True)
    with pytest.raises(GitRefused, match="not a forge"):
        make_forge(open_checkout(root), root / ".stoneforge", "main")


@pytest.mark.parametrize(
    ("present", "checked_out", "target"),
    [
        (["main", "feature/x"], "feature/x", "main"),
        (["master"], "master", "master"),
        (["feature/x"], "feature/x", "feature/x"),
        (["one", "two"], "two", "two"),
    ],
)
def test_the_target_is_found(
    tmp_path: Path, present: list[str], checked_out: str, target: str
) -> None:
    root = a_repository(tmp_path / "p", branch=present[0])
    for name in present[1:]:
        git(root, "branch", name)
    git(root, "checkout", "-q", checked_out)
    assert default_target(open_checkout(root)) == target


def test_a_detached_head_without_an_obvious_target_is_refused(tmp_path: Path) -> None:
    root = a_repository(tmp_path / "p", branch="one")
    git(root, "branch", "two")
    git(root, "checkout", "-q", "--detach")
    with pytest.raises(GitRefused, match="one, two"):
        default_target(open_checkout(root))


def test_the_identity_is_the_person_s_effective_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = a_repository(tmp_path / "p")
    assert identity(root) == ADA
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Someone Else")
    assert identity(root) == Identity(name="Someone Else", email=ADA.email)


def test_an_identity_that_git_would_make_up_does_not_count(tmp_path: Path) -> None:
    root = a_repository(tmp_path / "p")
    git(root, "config", "--unset", "user.email")
    assert identity(root) is None
