"""`sf init` in every kind of repository: what cannot work is refused, and nothing is in the way."""

import resource
import subprocess
from pathlib import Path

from tests.cli.builders_project import (
    SF,
    Person,
    a_person,
    someone_set_up,
    someone_with_a_commit,
)


def test_a_fresh_init_leaves_only_the_configuration_to_be_committed(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    assert person.git("status", "--porcelain", "-uall") == "?? .stoneforge/config.yaml"
    (person.folder / "prompts").mkdir()
    (person.folder / "prompts" / "worker.md").write_text("Be brief.")
    person.git("add", "--all")
    person.git("commit", "--quiet", "-m", "the fleet's configuration")
    assert person.git("ls-files", ".stoneforge").split() == [
        ".stoneforge/config.yaml",
        ".stoneforge/prompts/worker.md",
    ]
    assert person.git("status", "--porcelain", "-uall") == ""


def test_a_second_init_changes_nothing(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    config = person.folder / "config.yaml"
    config.write_text(config.read_text().replace("maxConcurrent: 6", "maxConcurrent: 2"))
    before = {path: path.read_bytes() for path in person.folder.rglob("*") if path.is_file()}
    assert "Everything was there already" in person.ok("init").out
    after = {path: path.read_bytes() for path in person.folder.rglob("*") if path.is_file()}
    assert after == before


def test_init_repairs_what_is_missing_and_keeps_the_rest(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    person.ok("plan", "create", "--title", "Kept")
    for name in ("person.token", ".gitignore"):
        (person.folder / name).unlink()
    done = person.ok("init", "--json").json["done"]
    assert done == [".stoneforge/.gitignore", ".stoneforge/person.token"]
    assert "Kept" in person.ok("plan", "list").out
    with person.serving():
        (person.folder / "person.token").write_text("nobody's")
        assert person.ok("init", "--json").json["done"] == [".stoneforge/person.token"]
        assert "Kept" in person.ok("plan", "list").out


def test_a_dry_run_makes_nothing(tmp_path: Path) -> None:
    person = someone_with_a_commit(tmp_path)
    done = person.ok("init", "--dry-run")
    assert "Would make: .stoneforge/.gitignore, .stoneforge/config.yaml" in done.out
    assert not person.folder.exists()


def test_checks_are_proposed_from_what_the_target_branch_holds(tmp_path: Path) -> None:
    person = a_person(tmp_path)
    person.commit({"tests/test_a.py": "def test_a(): pass\n"})
    found = person.ok("init", "--json").json
    assert found["checks"] == [{"name": "tests", "run": "pytest -q"}]
    assert found["notes"] == []
    assert person.ok("config", "check", "--json").json["checks"] == found["checks"]


def test_without_checks_init_says_that_nothing_is_checked(tmp_path: Path) -> None:
    person = someone_with_a_commit(tmp_path)
    assert "Nothing is checked before the target branch moves" in person.ok("init").out


def test_the_target_is_main_although_a_feature_is_checked_out(tmp_path: Path) -> None:
    person = someone_with_a_commit(tmp_path)
    person.git("switch", "--quiet", "-c", "feature/x")
    found = person.ok("init", "--json").json
    assert found["target_branch"] == "main"
    assert any("You are on feature/x" in note for note in found["notes"])


def test_without_main_the_branch_that_is_there_is_the_target(tmp_path: Path) -> None:
    person = someone_with_a_commit(tmp_path, branch="feature/x")
    assert person.ok("init", "--json").json["target_branch"] == "feature/x"


def test_a_target_can_be_named_and_must_exist(tmp_path: Path) -> None:
    person = someone_with_a_commit(tmp_path)
    refused = person.sf("init", "--target", "develop")
    assert (refused.code, "There is: main." in refused.err) == (1, True)
    person.git("branch", "develop")
    assert person.ok("init", "--target", "develop", "--json").json["target_branch"] == "develop"
    changed = person.sf("init", "--target", "main")
    assert (changed.code, "merge.targetBranch" in changed.err) == (1, True)


def test_a_detached_dirty_checkout_in_mid_rebase_can_be_set_up(tmp_path: Path) -> None:
    """The tip of the target is all that comes in; publishing leaves such a checkout alone."""
    person = someone_with_a_commit(tmp_path)
    person.commit({"readme.md": "one\n"})
    person.git("switch", "--quiet", "-c", "side", "HEAD~1")
    person.commit({"readme.md": "two\n"})
    subprocess.run(
        ["git", "rebase", "main"],
        cwd=person.root,
        env=person.environment,
        capture_output=True,
        check=False,
    )
    before = person.git("status", "--porcelain=v2", "--branch")
    found = person.ok("init", "--json").json
    assert any("rebase is under way" in note for note in found["notes"])
    assert "UU" in before.replace("u UU", "UU")
    after = person.git("status", "--porcelain=v2", "--branch")
    assert after == f"{before}\n? .stoneforge/"


def test_uncommitted_changes_stay_and_are_spoken_of(tmp_path: Path) -> None:
    person = someone_with_a_commit(tmp_path)
    (person.root / "readme.md").write_text("changed\n")
    assert "uncommitted changes" in person.ok("init").out
    assert (person.root / "readme.md").read_text() == "changed\n"


def test_a_repository_without_a_commit_is_refused(tmp_path: Path) -> None:
    person = a_person(tmp_path)
    done = person.sf("init")
    assert (done.code, "no commits yet" in done.err) == (1, True)
    assert "git commit --allow-empty" in done.err
    assert not person.folder.exists()


def test_a_bare_repository_is_refused(tmp_path: Path) -> None:
    person = someone_with_a_commit(tmp_path)
    person.git("clone", "--quiet", "--bare", ".", str(tmp_path / "bare.git"))
    done = person.sf("init", cwd=tmp_path / "bare.git")
    assert (done.code, "bare repository" in done.err) == (1, True)
    assert "git clone" in done.err


def test_a_folder_that_is_no_repository_is_refused(tmp_path: Path) -> None:
    person = a_person(tmp_path)
    done = person.sf("init", cwd=person.home)
    assert (done.code, "is not in a git repository" in done.err) == (1, True)
    assert "git init" in done.err


def test_without_an_identity_init_says_the_commands_that_set_one(tmp_path: Path) -> None:
    person = someone_with_a_commit(tmp_path)
    (person.home / ".gitconfig").unlink()
    done = person.sf("init")
    assert done.code == 1
    assert "git config --global user.email" in done.err
    assert not person.folder.exists()


def test_a_path_with_spaces_quotes_and_umlauts_is_no_problem(tmp_path: Path) -> None:
    person = someone_with_a_commit(tmp_path, name="my 'own' $HOME répo äöü 🚀")
    person.ok("init")
    person.ok("plan", "create", "--title", "One")
    person.ok("task", "create", "--title", "Two")
    with person.serving():
        assert "Two" in person.ok("task", "ready").out


def test_husky_stays_in_force_for_the_person(tmp_path: Path) -> None:
    person = someone_with_a_commit(tmp_path)
    (person.root / ".husky").mkdir()
    hook = person.root / ".husky" / "pre-commit"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    person.git("config", "core.hooksPath", ".husky")
    person.ok("init")
    assert person.git("config", "core.hooksPath") == ".husky"


def test_a_configuration_that_cannot_be_used_is_refused_with_its_line(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    config = person.folder / "config.yaml"
    config.write_text("merge:\n  targetBrunch: main\n")
    for words in (("init",), ("config", "check"), ("serve", "--no-fleet")):
        done = person.sf(*words)
        assert done.code == 1
        assert "line 2" in done.err
        assert "merge.targetBranch" in done.err


def test_something_else_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    person = someone_with_a_commit(tmp_path)
    person.folder.write_text("mine")
    done = person.sf("init")
    assert (done.code, str(person.folder) in done.err) == (1, True)
    assert person.folder.read_text() == "mine"


def test_a_disk_that_is_full_during_init_is_told_and_init_goes_on_later(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the database is the first that exceeds."""
    person = someone_with_a_commit(tmp_path)
    done = _with_small_files(person, "init")
    assert (done.returncode, b"Traceback" in done.stderr) == (1, False)
    assert not (person.folder / "person.token").exists()
    person.ok("init")
    person.ok("plan", "create", "--title", "One")


def test_a_disk_that_is_full_loses_nothing_that_was_told_to_be_done(tmp_path: Path) -> None:
    person = someone_set_up(tmp_path)
    person.ok("plan", "create", "--title", "Kept")
    done = _with_small_files(person, "plan", "create", "--title", "Lost")
    assert (done.returncode, b"Traceback" in done.stderr) == (1, False)
    assert b"Free some disk space" in done.stderr or b"writable" in done.stderr
    assert [view["plan"]["title"] for view in person.ok("plan", "list", "--json").json] == ["Kept"]


def _with_small_files(person: Person, *words: str) -> "subprocess.CompletedProcess[bytes]":
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    return subprocess.run(
        [SF, *words],
        cwd=person.root,
        env={**person.environment, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        timeout=30,
        check=False,
        preexec_fn=limit,
    )
