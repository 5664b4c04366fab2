"""What git in a worktree may do, what it may not, and what it says (known defect 39).

`FREE` is git as a session runs it. Each refusal must leave the target, the other branches and the
person's repository as they were, and the task's commits in the forge.
"""

from pathlib import Path

from sf_mcp.core.models import TaskId
from sf_mcp.git.guard import session_git_environment
from sf_mcp.git.worktrees import Worktree
from tests.git.builders_repositories import (
    ADA,
    Project,
    a_project,
    a_repository,
    commit,
    git,
    project_of,
    try_git,
)

NO_HOOKS = ("-c", "core.hooksPath=/dev/null")


def everything(project: Project) -> dict[str, str]:
    """Every ref that the task T1 does not own, here and at the person's."""
    forge = project.forge.refs_below("refs")
    mine = {ref for ref in forge if ref.startswith(("refs/heads/sf/T1-", "refs/remotes/"))}
    theirs = git(project.root, "for-each-ref")
    return {**{ref: oid for ref, oid in forge.items() if ref not in mine}, "theirs": theirs}


def a_worker(tmp_path: Path) -> tuple[Project, Worktree, dict[str, str]]:
    project = a_project(tmp_path / "p")
    git(project.root, "branch", "theirs")
    project.prepare("T2", "Another task")
    git(project.forge.git_dir, *NO_HOOKS, "tag", "v1", "main")
    project.forge.keep(project.target, "x")
    made = project.prepare("T1", "A task")
    environment = project.session(made)
    commit(made.path, {"work": "w"}, env=environment)
    return project, made, environment


REFUSED = (
    "branch -f main HEAD",
    "branch -D main",
    "branch -M main",
    "update-ref refs/heads/main HEAD",
    "update-ref -d refs/heads/main",
    "push origin HEAD:main",
    "push --force origin HEAD:refs/heads/main",
    "push origin :main",
    "push . HEAD:main",
    "fetch . HEAD:main",
    "checkout -B main",
    "update-ref refs/heads/sf/T2-another-task HEAD",
    "branch sf/T3-not-there-yet",
    "branch -m sf/T1-a-task renamed",
    "update-ref -d refs/heads/sf/T1-a-task",
    "update-ref refs/stoneforge/kept/x HEAD",
    "update-ref -d refs/stoneforge/kept/x",
    "update-ref main-worktree/HEAD HEAD",
    "replace HEAD main",
    "tag -f v1",
    "tag -d v1",
)


def test_what_is_not_the_task_s_own_is_refused(tmp_path: Path) -> None:
    project, made, environment = a_worker(tmp_path)
    before = everything(project)
    mine = git(made.path, "rev-parse", "HEAD")
    for command in REFUSED:
        refusal = try_git(made.path, *command.split(), env=environment)
        assert refusal.returncode != 0, command
        assert "request_merge" in refusal.stderr, (command, refusal.stderr)
        assert everything(project) == before, command
        assert project.forge.head_of(f"refs/heads/{made.branch}") == mine, command


def test_a_commit_on_the_target_itself_is_refused(tmp_path: Path) -> None:
    project, made, environment = a_worker(tmp_path)
    before = everything(project)
    git(made.path, "checkout", "-q", "main", env=environment)
    (made.path / "more").write_text("m")
    git(made.path, "add", "more", env=environment)
    refusal = try_git(made.path, "commit", "-m", "on main", env=environment)
    assert refusal.returncode != 0
    assert "refs/heads/main is moved only by the server" in refusal.stderr
    assert everything(project) == before


def test_the_stash_is_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    """One stack for all worktrees: another task's `stash pop` would take the changes."""
    project, made, environment = a_worker(tmp_path)
    (made.path / "work").write_text("changed")
    refusal = try_git(made.path, "stash", env=environment)
    assert refusal.returncode != 0
    assert "Commit them on your branch" in refusal.stderr
    assert (made.path / "work").read_text() == "changed"
    assert project.forge.head_of("refs/stash") is None


PUSHES = (
    "push",
    "push origin HEAD",
    "push -u origin sf/T1-a-task",
    "push --force-with-lease",
)


def test_a_plain_push_ends_well_and_says_that_nothing_is_needed(tmp_path: Path) -> None:
    project, made, environment = a_worker(tmp_path)
    before = everything(project)
    (made.path / "sub").mkdir()
    for command in PUSHES:
        for place in (made.path, made.path / "sub"):
            pushed = try_git(place, *command.split(), env=environment)
            assert pushed.returncode == 0, (command, pushed.stderr)
            assert "already safe in the forge" in pushed.stderr
    assert everything(project) == before


ALLOWED = (
    "commit --amend -m better",
    "fetch origin",
    "pull --rebase",
    "rebase main",
    "merge --no-edit main",
    "cherry-pick --allow-empty --keep-redundant-commits main",
    "reset --hard HEAD~1",
    "tag mine",
    "worktree list",
    "fetch ../../.. theirs",
    "checkout -b experiment",
    "branch -D sf-not-a-task",
)


def test_everyday_work_on_the_own_branch_goes_on(tmp_path: Path) -> None:
    project, made, environment = a_worker(tmp_path)
    git(made.path, "branch", "sf-not-a-task", env=environment)
    project.land({"landed": "l"})
    for command in ALLOWED:
        done = try_git(made.path, *command.split(), env=environment)
        assert done.returncode == 0, (command, done.stderr)


def test_fetching_origin_brings_the_target(tmp_path: Path) -> None:
    project, made, environment = a_worker(tmp_path)
    landed = project.land({"landed": "l"})
    git(made.path, "fetch", "origin", env=environment)
    assert git(made.path, "rev-parse", "origin/main") == landed


def places(project: Project, tmp_path: Path) -> list[str]:
    root = str(project.root)
    return [
        "../../..",
        "./../../..",
        "../../../.git",
        "../../forge.git",
        "..",
        ".",
        ".git/../../../..",
        root,
        f"{root}/.git",
        f"file://{root}",
        str(tmp_path / "elsewhere"),
        "https://127.0.0.1:9/x.git",
        "http://127.0.0.1:9/x.git",
        "ssh://git@127.0.0.1/x.git",
        "git@127.0.0.1:x.git",
        "git://127.0.0.1:9/x.git",
        "ext::sh -c true",
        "theirs",
    ]


def test_no_other_place_can_be_pushed_to_whatever_the_options(tmp_path: Path) -> None:
    project, made, environment = a_worker(tmp_path)
    git(tmp_path, "init", "-q", "--bare", "elsewhere")
    git(made.path, "remote", "add", "theirs", "../../..", env=environment)
    before = everything(project)
    for place in places(project, tmp_path):
        for options in ((), NO_HOOKS):
            refusal = try_git(
                made.path,
                *options,
                "push",
                "--no-verify",
                place,
                "HEAD:refs/heads/new",
                env=environment,
            )
            assert refusal.returncode != 0, place
            if "127.0.0.1" not in place and "::" not in place:
                assert "request_merge" in refusal.stderr, (place, refusal.stderr)
    assert everything(project) == before
    assert git(tmp_path / "elsewhere", "for-each-ref") == ""


def test_a_push_past_the_hooks_does_not_reach_the_target(tmp_path: Path) -> None:
    """The receiving side reads its own configuration, not the options of the pushing one."""
    project, made, environment = a_worker(tmp_path)
    before = everything(project)
    for remote in ("origin", "."):
        refusal = try_git(
            made.path,
            *NO_HOOKS,
            "push",
            "--no-verify",
            "--force",
            remote,
            "HEAD:main",
            env=environment,
        )
        assert refusal.returncode != 0
    assert everything(project) == before


def test_what_passes_the_guard_all_the_same_is_undone(tmp_path: Path) -> None:
    project, made, environment = a_worker(tmp_path)
    before = everything(project)
    expected = project.target
    for command in ("branch -f main HEAD", "update-ref refs/heads/main HEAD"):
        git(made.path, *NO_HOOKS, *command.split(), env=environment)
        foreign = project.forge.restore("refs/heads/main", expected=expected, name="T1")
        assert foreign == git(made.path, "rev-parse", "HEAD")
        after = everything(project)
        assert after.pop("refs/stoneforge/kept/T1") == foreign
        assert after == before


def test_husky_does_not_switch_the_guard_off(tmp_path: Path) -> None:
    project, made, environment = a_worker(tmp_path)
    before = everything(project)
    for value in (".husky", ".husky/_"):
        git(made.path, "config", "core.hooksPath", value, env=environment)
        assert try_git(made.path, "branch", "-f", "main", "HEAD", env=environment).returncode != 0
    assert everything(project) == before


def test_pushing_into_the_forge_from_outside_is_refused(tmp_path: Path) -> None:
    project, _, _ = a_worker(tmp_path)
    commit(project.root, {"mine": "m"})
    before = everything(project)
    for ref in ("main", "sf/T2-another-task", "refs/stoneforge/kept/y"):
        refusal = try_git(project.root, "push", str(project.forge.git_dir), f"HEAD:{ref}")
        assert refusal.returncode != 0
    assert try_git(project.forge.git_dir, "branch", "-f", "main", "sf/T1-a-task").returncode != 0
    assert everything(project) == before


def test_a_detached_worktree_owns_no_branch(tmp_path: Path) -> None:
    project, made, _ = a_worker(tmp_path)
    path = project.worktrees.detached("check-1", project.target)
    before = everything(project)
    mine = project.forge.head_of(f"refs/heads/{made.branch}")
    for ref in ("main", made.branch):
        assert try_git(path, "update-ref", "-d", f"refs/heads/{ref}").returncode != 0
    assert try_git(path, "update-ref", "refs/heads/main", made.branch).returncode != 0
    assert try_git(path, "update-ref", f"refs/heads/{made.branch}", "main").returncode != 0
    assert everything(project) == before
    assert project.forge.head_of(f"refs/heads/{made.branch}") == mine
    commit(path, {"a": "commit that a check makes"})


def test_a_target_with_odd_characters_is_guarded(tmp_path: Path) -> None:
    name = "it's/a-$(touch${IFS}hacked)-`x`"
    project = project_of(a_repository(tmp_path / "p", branch=name), name)
    head = project.forge.require_commit(f"refs/heads/{name}")
    made = project.worktrees.prepare(TaskId("T1"), "x", head)
    commit(made.path, {"x": "x"})
    assert try_git(made.path, "branch", "-f", name, "HEAD").returncode != 0
    assert project.forge.head_of(f"refs/heads/{name}") == head
    assert not list(tmp_path.rglob("hacked"))


def test_a_session_commits_as_the_person(tmp_path: Path) -> None:
    _, made, environment = a_worker(tmp_path)
    assert git(made.path, "log", "-1", "--format=%an <%ae> %cn <%ce>") == (
        "Ada Lovelace <ada@example.org> Ada Lovelace <ada@example.org>"
    )
    assert environment["GIT_EDITOR"] == "true"


def test_configuration_that_the_environment_carries_already_is_kept(tmp_path: Path) -> None:
    inherited = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "user.nickname",
        "GIT_CONFIG_VALUE_0": "ada",
    }
    environment = {**inherited, **session_git_environment(ADA, tmp_path / "x", inherited)}
    root = a_repository(tmp_path / "p")
    assert git(root, "config", "user.nickname", env=environment) == "ada"
    assert try_git(root, "push", str(tmp_path), env=environment).returncode != 0
