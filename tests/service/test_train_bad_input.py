"""What branches may bring to the train: odd files, odd merges, branches that move or vanish."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import MergeRequest, Oid
from sf_mcp.core.risks import RiskKind
from sf_mcp.core.states import MergeState
from sf_mcp.store import conflicts
from tests.builders import Project, Worker, a_commit, a_project, a_task, a_worker, git
from tests.service.builders_landing import (
    config,
    content,
    files_on_target,
    landed,
    notes,
    one_request,
)


def work(
    project: Project, *steps: Callable[[Worker], object] | dict[str, str | None]
) -> MergeRequest:
    """Have a worker do these things, commit all, and ask for the merge."""
    worker = a_worker(project, a_task(project), with_worktree=True)
    for step in steps:
        if callable(step):
            step(worker)
            worker.git("add", "--all")
            worker.git("commit", "--quiet", "--allow-empty", "-m", "work")
        else:
            worker.commit(step)
    request = worker.request_merge()
    worker.end()
    return request


def put(path: str, data: bytes, mode: int = 0o644) -> Callable[[Worker], None]:
    def step(worker: Worker) -> None:
        (worker.cwd / path).parent.mkdir(parents=True, exist_ok=True)
        (worker.cwd / path).write_bytes(data)
        (worker.cwd / path).chmod(mode)

    return step


def in_git(*arguments: str) -> Callable[[Worker], str]:
    return lambda worker: worker.git(*arguments)


def lands(project: Project, request: MergeRequest) -> None:
    project.run_train()
    assert project.request(request.id).state is MergeState.LANDED, notes(project, request)


def goes_back(project: Project, request: MergeRequest) -> str:
    """See that the request is for a worker or a steward to mend, and return why."""
    project.run_train()
    with project.services.workspace.read() as tx:
        conflict = conflicts.live_of(tx.db, request.id)
    if conflict is not None:
        return "\n".join([*conflict.paths, *conflict.messages, conflict.reason])
    assert project.request(request.id).state is MergeState.SENT_BACK
    note = notes(project, request)[-1]
    return f"{note.reason}\n{note.detail}"


def begun(project: Project) -> Worker:
    """Have a worker begin with the target as it is now."""
    return a_worker(project, a_task(project), with_worktree=True)


def finished(worker: Worker, files: dict[str, str | None]) -> MergeRequest:
    worker.commit(files)
    request = worker.request_merge()
    worker.end()
    return request


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return a_project(tmp_path)


# -- branches that move or vanish ------------------------------------------------------------------


def test_a_branch_that_is_gone_lands_as_it_was_pinned(project: Project) -> None:
    request = one_request(project, {"a.txt": "a\n"})
    project.forge.delete_ref(f"refs/heads/{request.branch}", old=request.commit)
    lands(project, request)
    assert content(project, "a.txt") == "a"


def test_a_branch_that_was_forced_elsewhere_goes_back_and_its_commit_is_kept(
    project: Project,
) -> None:
    request = one_request(project, {"a.txt": "a\n"})
    ref = f"refs/heads/{request.branch}"
    project.forge.compare_and_swap(ref, new=request.base, old=request.commit)
    assert f"has moved on to {request.base[:12]}" in goes_back(project, request)
    # What was asked for is there still, whatever the branch says.
    worker = a_worker(project, request.task_id, with_worktree=True)
    worker.git("merge", "--quiet", "--ff-only", request.commit)
    again = worker.request_merge()
    worker.end()
    lands(project, again)


def test_a_base_that_is_in_the_targets_history_no_more_is_merged_from_where_they_parted(
    project: Project,
) -> None:
    """The person took a commit back before anybody had built on it but the task."""
    first = git(project.root, "rev-parse", "HEAD")
    a_commit(project.root, {"withdrawn.txt": "x\n"}, "Withdrawn")
    project.run_train()
    request = one_request(project, {"a.txt": "a\n"})
    git(project.root, "revert", "--no-edit", "HEAD")
    project.run_train()
    lands(project, request)
    assert "withdrawn.txt" not in files_on_target(project)
    assert project.forge.is_ancestor(first, project.target)


def test_a_branch_without_a_common_history_goes_back_and_the_next_one_lands(
    project: Project,
) -> None:
    def start_over(worker: Worker) -> None:
        tree = worker.git("rev-parse", "HEAD^{tree}")
        worker.git("reset", "--quiet", "--soft", worker.git("commit-tree", "-m", "new", tree))

    request = work(project, start_over, {"a.txt": "a\n"})
    other = one_request(project, {"b.txt": "b\n"})
    assert "no history in common with main" in goes_back(project, request)
    lands(project, other)


def test_a_commit_whose_objects_are_gone_holds_itself_up_and_nobody_else(project: Project) -> None:
    request = one_request(project, {"a.txt": "a\n"})
    other = one_request(project, {"b.txt": "b\n"})
    lost = project.forge.git_dir / "objects" / request.commit[:2] / request.commit[2:]
    lost.chmod(0o644)
    lost.unlink()
    project.reopen()
    project.run_train()
    assert landed(project) == [other.id]
    assert project.request(request.id).state is MergeState.OPEN
    assert project.request(request.id).held


# -- odd merges ------------------------------------------------------------------------------------


def test_work_that_is_in_the_target_already_closes_without_a_commit(project: Project) -> None:
    request = one_request(project, {"a.txt": "a\n"})
    a_commit(project.root, {"a.txt": "a\n"}, "The same")
    before = git(project.root, "rev-parse", "HEAD")
    lands(project, request)
    assert project.target == before


def test_a_file_that_was_deleted_is_not_brought_back_by_one_who_changed_it(
    project: Project,
) -> None:
    worker = begun(project)
    lands(project, one_request(project, {"src/app.py": None, "other": "x\n"}))
    request = finished(worker, {"src/app.py": "one\nTWO\nthree\n"})
    assert "modify/delete" in goes_back(project, request)
    assert "src/app.py" not in files_on_target(project)


def test_a_file_that_was_deleted_is_not_brought_back_by_one_who_left_it_alone(
    project: Project,
) -> None:
    worker = begun(project)
    lands(project, one_request(project, {"src/app.py": None, "other": "x\n"}))
    lands(project, finished(worker, {"a.txt": "a\n"}))
    assert "src/app.py" not in files_on_target(project)


def test_a_file_that_comes_back_with_commits_of_before_its_deletion_is_told(
    project: Project,
) -> None:
    """The task took over another one's commits, which landed as one and were then taken back."""
    first = one_request(project, {"gone.txt": "x\n"})
    worker = begun(project)
    worker.git("merge", "--quiet", first.commit)
    lands(project, first)
    lands(project, one_request(project, {"gone.txt": None, "other": "x\n"}))
    request = finished(worker, {"a.txt": "a\n"})
    view = project.services.merge_views.show_merge_request(PERSON, request.id)
    assert [(one.kind, one.path) for one in view.risks] == [(RiskKind.BROUGHT_BACK, "gone.txt")]


def test_a_file_in_a_folder_that_was_renamed_meanwhile_goes_back_with_its_new_place(
    project: Project,
) -> None:
    worker = begun(project)
    lands(project, work(project, in_git("mv", "src", "lib")))
    reason = goes_back(project, finished(worker, {"src/new.py": "new\n"}))
    assert "lib/new.py" in reason
    assert "src/new.py added in" in reason


def test_a_change_follows_its_file_into_a_renamed_folder(project: Project) -> None:
    worker = begun(project)
    lands(project, work(project, in_git("mv", "src", "lib")))
    lands(project, finished(worker, {"src/app.py": "one\ntwo\nthree\nfour\n"}))
    assert content(project, "lib/app.py") == "one\ntwo\nthree\nfour"
    assert "src/app.py" not in files_on_target(project)


# -- odd files -------------------------------------------------------------------------------------


def test_bytes_land_as_they_are_whatever_their_line_ends(project: Project) -> None:
    git(project.root, "config", "core.autocrlf", "input")
    files = {"crlf.txt": b"a\r\nb\r\n", "mixed": b"a\r\nb\n\rc", "data.bin": bytes(range(256))}
    request = work(project, *(put(path, data) for path, data in files.items()))
    pinned = {
        path: git(project.forge.git_dir, "rev-parse", f"{request.commit}:{path}") for path in files
    }
    lands(project, request)
    for path, data in files.items():
        at = project.forge.run("cat-file", "blob", f"{project.target}:{path}").stdout
        assert at == data
        assert git(project.forge.git_dir, "rev-parse", f"{project.target}:{path}") == pinned[path]


def test_changes_to_line_ends_and_to_lines_are_a_conflict(project: Project) -> None:
    worker = begun(project)
    lands(project, work(project, put("src/app.py", b"one\r\ntwo\r\nthree\r\n")))
    request = finished(worker, {"src/app.py": "one\ntwo\nTHREE\n"})
    assert "src/app.py" in goes_back(project, request)
    at = project.forge.run("cat-file", "blob", f"{project.target}:src/app.py").stdout
    assert at == b"one\r\ntwo\r\nthree\r\n"


def test_two_versions_of_a_binary_file_go_back(project: Project) -> None:
    first = work(project, put("data.bin", b"\0one"))
    second = work(project, put("data.bin", b"\0two"))
    lands(project, first)
    assert "data.bin" in goes_back(project, second)


def test_a_mode_lands_beside_another_ones_change_of_the_lines(project: Project) -> None:
    mode = work(project, put("src/app.py", b"one\ntwo\nthree\n", 0o755))
    lines = one_request(project, {"src/app.py": "one\ntwo\nthree\nfour\n"})
    lands(project, mode)
    lands(project, lines)
    assert git(project.root, "ls-files", "-s", "src/app.py").startswith("100755 ")
    assert os.access(project.root / "src/app.py", os.X_OK)
    assert content(project, "src/app.py") == "one\ntwo\nthree\nfour"


def test_a_link_lands_as_a_link_and_is_not_followed(project: Project, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()

    def link(worker: Worker) -> None:
        (worker.cwd / "out").symlink_to(outside)
        (worker.cwd / "nowhere").symlink_to("not/there")

    lands(project, work(project, link))
    assert (project.root / "out").readlink() == outside
    assert (project.root / "nowhere").is_symlink()
    # A file that takes the place of the link's folder is a change of the link alone.
    request = work(project, lambda worker: (worker.cwd / "out").unlink(), {"out/file": "x\n"})
    lands(project, request)
    assert list(outside.iterdir()) == []
    assert (project.root / "out/file").read_text() == "x\n"


def test_a_link_and_a_file_of_one_name_go_back(project: Project) -> None:
    first = work(project, lambda worker: (worker.cwd / "thing").symlink_to("readme.md"))
    second = one_request(project, {"thing": "x\n"})
    lands(project, first)
    assert "distinct types" in goes_back(project, second)
    assert (project.root / "thing").is_symlink()


def test_names_that_differ_in_case_alone_are_names_of_their_own(project: Project) -> None:
    lands(project, work(project, in_git("mv", "readme.md", "README.md")))
    assert files_on_target(project) == ["README.md", "src/app.py"]
    assert (project.root / "README.md").read_text() == "hello\n"
    lands(project, one_request(project, {"ReadMe.md": "another\n"}))
    assert content(project, "README.md") == "hello"
    assert content(project, "ReadMe.md") == "another"


def test_a_rename_in_case_alone_takes_another_ones_change_along(project: Project) -> None:
    worker = begun(project)
    lands(project, work(project, in_git("mv", "src/app.py", "src/App.py")))
    lands(project, finished(worker, {"src/app.py": "one\ntwo\nthree\nfour\n"}))
    assert content(project, "src/App.py") == "one\ntwo\nthree\nfour"


def test_odd_names_land_as_they_are(project: Project) -> None:
    names = ["-rf", "a b", "tab\there", "new\nline", '"quoted"', "é", "$(touch x)", "*", ":(top)x"]
    lands(project, one_request(project, {f"odd/{name}": f"{name}\n" for name in names}))
    for name in names:
        assert (project.root / "odd" / name).read_text() == f"{name}\n"


# -- what no merge of lines may decide -------------------------------------------------------------


def move_submodule(digit: str) -> Callable[[Worker], str]:
    entry = f"160000,{digit * 40},vendor/lib"

    def step(worker: Worker) -> str:
        (worker.cwd / "vendor/lib").mkdir(parents=True, exist_ok=True)
        worker.git("update-index", "--add", "--cacheinfo", entry)
        return worker.git("commit", "--quiet", "-m", f"lib at {digit}")

    return step


def submodule_at(project: Project, commit: Oid) -> str:
    return git(project.forge.git_dir, "rev-parse", f"{commit}:vendor/lib")


def test_a_submodule_lands_and_two_moves_of_it_are_for_somebody_to_judge(
    project: Project,
) -> None:
    def moved(digit: str) -> MergeRequest:
        worker = a_worker(project, a_task(project), with_worktree=True)
        move_submodule(digit)(worker)
        request = worker.request_merge()
        worker.end()
        return request

    lands(project, moved("1"))
    first, second = moved("2"), moved("3")
    lands(project, first)
    assert "vendor/lib: it is a submodule" in goes_back(project, second)
    assert submodule_at(project, project.target) == "2" * 40


def test_two_versions_in_lfs_are_for_somebody_to_judge(tmp_path: Path) -> None:
    def pointer(digit: str) -> str:
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digit * 64}\nsize 12345\n"

    rules = [{"rule": "identical"}, {"rule": "union", "paths": ["**"]}]
    project = a_project(
        tmp_path, files={"film.mp4": pointer("a")}, config=config(merge={"autoResolve": rules})
    )
    first = one_request(project, {"film.mp4": pointer("b")})
    second = one_request(project, {"film.mp4": pointer("c")})
    lands(project, first)
    assert "film.mp4: it is kept in Git LFS" in goes_back(project, second)
    assert content(project, "film.mp4") == pointer("b").strip()


def test_a_merge_driver_that_the_forge_does_not_run_is_not_merged_over(tmp_path: Path) -> None:
    ten = "".join(f"{n}\n" for n in range(10))
    project = a_project(
        tmp_path, files={"x.dat": ten, "y": "y\n", ".gitattributes": "*.dat merge=sum\n"}
    )
    first = one_request(project, {"x.dat": "first\n" + ten})
    second = one_request(project, {"x.dat": ten + "last\n"})
    lands(project, first)
    reason = goes_back(project, second)
    assert "x.dat" in reason
    assert "the merge driver `sum`, which the forge does not run" in reason
    assert content(project, "x.dat") == f"first\n{ten}".strip()
