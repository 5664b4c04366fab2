"""What a server is killed in the middle of: each piece of work, and the project it begins with.

`arrange` runs in the test and returns what `act` must know, as JSON; `act` runs in the process that
dies. Each is what the tool, the loop or the launcher's request of that name does.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from sf_mcp import process
from sf_mcp.core.identity import PERSON, SERVER, Caller
from sf_mcp.core.interrupted import Trace
from sf_mcp.core.models import EndKind, LandingKind, MergeRequest, Oid, Role, SessionId
from sf_mcp.core.states import MergeEvent
from sf_mcp.git.identity import SERVER as SERVER_IDENTITY
from sf_mcp.service import Services
from sf_mcp.service.workspace import Call, Workspace
from sf_mcp.store import landings
from tests.builders import (
    Clock,
    Project,
    Worker,
    a_commit,
    a_merge_request,
    a_session,
    a_steward,
    a_task,
    a_worker,
    git,
    write,
)
from tests.service.builders_conflicts import BOTH, a_conflict
from tests.service.builders_landing import a_candidate, config
from tests.service.effects import Kind

Facts = dict[str, Any]

CHECKED = config({"ok": "test -f readme.md"})
LEFT = {"src/app.py": "one\ntwo\nthree and a half\n", "new/untracked.txt": "of nobody yet\n"}
"""What a worker has not committed: a change and a new file."""


@dataclass(frozen=True, slots=True)
class Operation:
    arrange: Callable[[Project], Facts]
    act: Callable[[Services, Facts], object]
    kinds: frozenset[Kind] = frozenset({Kind.PROCESS, Kind.COMMIT})
    """Of which there must be some."""
    is_foreign: bool = False
    """The target was moved by something that is not the server."""

    def carry_out(self, root: Path, facts: Facts) -> None:
        """Do it in a server of its own, as that is at work."""
        clock = Clock(datetime.fromisoformat(facts["now"]))
        self.act(Services(Workspace(root, clock)), facts)


ALL = frozenset(Kind)


def warm_up() -> None:
    """Import what the first request would import."""
    for name in ("app", "git.checks", "service.check_runs", "service.train", "service.work"):
        import_module(f"sf_mcp.{name}")
    for name in ("pygit2", "yaml"):
        import_module(name)


# -- sessions and their files ----------------------------------------------------------------------


def nothing_known(project: Project) -> Facts:
    a_task(project)
    return {}


def with_a_spare(project: Project) -> Facts:
    a_task(project)
    project.services.work.stock()
    return {}


def a_session_without_a_task(project: Project) -> Facts:
    session = a_session(project, Role.WORKER, a_task(project))
    project.services.sessions.started(PERSON, session.id, pid=0, process_started="", log_path="")
    project.services.sessions.connected(PERSON, session.id, model="sonnet")
    return {"session": session.id, "name": session.name}


def a_worker_in_the_middle(project: Project) -> Facts:
    worker = _in_the_middle(project)
    return {"session": worker.session.id, "name": worker.session.name}


def _in_the_middle(project: Project) -> Worker:
    """Have a worker that has committed something, and has more that it has not."""
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.commit({"half.txt": "committed\n"})
    write(worker.cwd, {**LEFT, "staged.txt": "staged\n"})
    worker.git("add", "staged.txt")
    return worker


def a_worker_whom_a_person_wants(project: Project) -> Facts:
    """Leave it to the process of this test to be the person: it lives all the while."""
    person = {"pid": os.getpid(), "process_started": process.start_time(os.getpid())}
    return {**a_worker_in_the_middle(project), "person": person}


def take_and_give_back(services: Services, facts: Facts) -> None:
    """Do what the person's command asks for, and what the launcher reports in between."""
    session, person = facts["session"], facts["person"]
    services.takeovers.take_over_session(PERSON, session, **person, by="eva")
    services.work.session_ended(
        PERSON, session, kind=EndKind.TAKEN_OVER, trace=Trace(is_resumable=True)
    )
    seat = services.takeovers.take_over_session(PERSON, session, **person, by="eva").seat
    assert seat is not None
    write(Path(seat.cwd), {"typed.txt": "of the person\n"})
    services.takeovers.give_back_session(PERSON, session, pid=person["pid"])


def a_worker_that_is_done(project: Project) -> Facts:
    worker = a_worker(project, a_task(project), with_worktree=True)
    worker.commit({"whole.txt": "committed\n"})
    return {"session": worker.session.id, "name": worker.session.name}


def a_worker_not_heard_of(project: Project) -> Facts:
    facts = a_worker_in_the_middle(project)
    project.clock.advance(seconds=130)
    return facts


def a_parked_worker(project: Project) -> Facts:
    worker = _in_the_middle(project)
    question = worker.ask()
    worker.end(EndKind.PARKED)
    return {"question": question.id}


def an_ended_task_with_files_left(project: Project) -> Facts:
    request = a_merge_request(project, a_task(project))
    write(project.layout.worktrees / request.task_id, LEFT)
    assert project.services.train.step()
    step_the_train(project.services, {})
    return {}


def _caller(facts: Facts) -> Caller:
    return Caller(role=Role.WORKER, name=facts["name"], session_id=SessionId(facts["session"]))


def claim(services: Services, facts: Facts) -> None:
    brief, place = services.work.claim(_caller(facts))
    if place is None:
        services.work.prepare(brief)


def hand_off(services: Services, facts: Facts) -> None:
    caller = _caller(facts)
    found = services.work.handoff_facts(caller)
    services.workspace.once(
        caller,
        Call(key="the call", tool="write_handoff", request_hash="its arguments"),
        lambda: services.claims.record_handoff(
            caller,
            progress="half",
            remaining="the other half",
            decisions="",
            pitfalls="",
            next_step="go on",
            commit=found.commit,
            snapshot=found.snapshot,
        ),
    )


def ask_for_the_merge(services: Services, facts: Facts) -> None:
    caller = _caller(facts)
    found = services.branches.merge_facts(caller, "")
    services.requests.open_request(
        caller, commit=found.commit, base=found.base, branch=found.branch, summary="done"
    )


def look_after_leases(services: Services, facts: Facts) -> None:
    expired = services.lease_watch.expire(SERVER)
    services.work.snapshot_expired(expired)
    services.lease_watch.release_reservations(SERVER)
    services.work.end_lost_sessions(SERVER)


def answer_and_resume(services: Services, facts: Facts) -> None:
    services.questions.answer_question(PERSON, facts["question"], answer="this one")
    services.dispatch.next_order(PERSON)


# -- the target ------------------------------------------------------------------------------------


def a_request(project: Project) -> Facts:
    _requested(project)
    return {}


def _requested(project: Project) -> MergeRequest:
    return a_merge_request(project, a_task(project), {"src/app.py": "1\n2\n", "a/b.txt": "b\n"})


def a_request_and_commits_of_the_persons(project: Project) -> Facts:
    _requested(project)
    a_commit(project.root, {"theirs.txt": "by hand\n"})
    return {}


def a_target_that_was_moved(project: Project) -> Facts:
    _requested(project)
    target = project.target
    foreign = project.forge.commit_tree(
        project.forge.tree_of(target), [target], "by force", SERVER_IDENTITY
    )
    past_the_guard = ("-c", "core.hooksPath=/dev/null")
    git(project.forge.git_dir, *past_the_guard, "update-ref", "refs/heads/main", foreign)
    return {}


def a_landing_that_a_crash_left(project: Project) -> Facts:
    """Leave the intent written and the target moved, and nothing recorded of it."""
    request = _requested(project)
    old, new = project.target, a_candidate(project, request)
    message = f"Land it\n\nMerge-Request: {request.id}"
    new = project.forge.commit_tree(project.forge.tree_of(new), [old], message, SERVER_IDENTITY)
    with project.services.workspace.write(SERVER) as tx:
        tx.move_merge_request(request, MergeEvent.START_LANDING)
        landings.intend(
            tx.db,
            kind=LandingKind.MERGE,
            old=old,
            new=Oid(new),
            tree=project.forge.tree_of(new),
            is_green=True,
            at=tx.now,
            brings={request.id: Oid(new)},
        )
    project.forge.compare_and_swap("refs/heads/main", new=new, old=old)
    return {}


def a_conflict_that_is_mended(project: Project) -> Facts:
    """Leave a steward that has mended the files and has not said so."""
    request = a_conflict(project)
    steward = a_steward(project, request)
    write(steward.cwd, BOTH)
    return {"session": steward.session.id, "name": steward.session.name}


def submit_the_resolution(services: Services, facts: Facts) -> None:
    caller = replace(_caller(facts), role=Role.STEWARD)
    made = services.resolutions.checked(caller, summary="both", dropped=(), decided=())
    services.workspace.once(
        caller,
        Call(key="the call", tool="submit_resolution", request_hash="its arguments"),
        lambda: services.resolutions.accept(caller, made).id,
    )
    services.conflicts.settle()


def step_the_train(services: Services, facts: Facts) -> None:
    # One after the other, so that the effects come in the same order each time.
    services.train.trials.spawn = lambda work, _: work()
    while services.train.step() or services.train.wait(60):
        pass


def start_and_step(services: Services, facts: Facts) -> None:
    from sf_mcp.app import prepare

    prepare(services)
    step_the_train(services, facts)


OPERATIONS: dict[str, Operation] = {
    "start a session": Operation(
        nothing_known, lambda services, _: services.dispatch.next_order(PERSON), ALL
    ),
    "start a session in the spare worktree": Operation(
        with_a_spare, lambda services, _: services.dispatch.next_order(PERSON), ALL
    ),
    "check out a spare worktree": Operation(
        nothing_known,
        lambda services, _: services.work.stock(),
        frozenset({Kind.PROCESS, Kind.FILE, Kind.WRITE}),
    ),
    "claim a task": Operation(a_session_without_a_task, claim, ALL),
    "hand off": Operation(a_worker_in_the_middle, hand_off),
    "end a turn": Operation(
        a_worker_in_the_middle,
        lambda services, facts: services.work.turn_ended(PERSON, facts["session"]),
    ),
    "end a session": Operation(
        a_worker_in_the_middle,
        lambda services, facts: services.work.session_ended(
            PERSON, facts["session"], kind=EndKind.KILLED
        ),
    ),
    "take over a full context": Operation(
        a_worker_in_the_middle,
        lambda services, facts: services.work.take_over_context(PERSON, facts["session"]),
    ),
    "be taken over and given back": Operation(a_worker_whom_a_person_wants, take_and_give_back),
    "end a lease": Operation(a_worker_not_heard_of, look_after_leases),
    "answer and resume": Operation(a_parked_worker, answer_and_resume),
    "ask for the merge": Operation(a_worker_that_is_done, ask_for_the_merge),
    "remove a worktree": Operation(
        an_ended_task_with_files_left,
        lambda services, _: services.work.tidy_ended(),
        frozenset({Kind.PROCESS, Kind.FILE}),
    ),
    "resolve a conflict": Operation(a_conflict_that_is_mended, submit_the_resolution),
    "land": Operation(a_request, step_the_train, ALL),
    "take in commits of the person's": Operation(
        a_request_and_commits_of_the_persons,
        lambda services, _: services.publishing.take_in_upstream(),
    ),
    "undo a foreign move": Operation(
        a_target_that_was_moved,
        lambda services, _: services.target.undo_foreign_moves(),
        is_foreign=True,
    ),
    "start after a crash": Operation(a_landing_that_a_crash_left, start_and_step, ALL),
}
