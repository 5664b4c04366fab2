"""Every refusal of the system: what happened and why (the message), what to do next (the remedy).

Raised from core, store, git and service; translated once at each edge: a tool error for a model,
an exit code for a terminal, a status for HTTP. `code` is stable; facts are attributes.
"""

from collections.abc import Sequence


class StoneforgeError(Exception):
    """A request that was understood and refused. Nothing has changed."""

    code = "refused"

    def __init__(self, message: str, *, remedy: str = "") -> None:
        """Say what happened and why in `message`, what to do next in `remedy`."""
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class InvalidInput(StoneforgeError):
    """A value that cannot be accepted, whatever the state."""

    code = "invalid_input"


class NotFound(StoneforgeError):
    """The named plan, task, merge request, question or session does not exist."""

    code = "not_found"


class IllegalTransition(StoneforgeError):
    """The state machine has no such step from the present state."""

    code = "illegal_transition"


class CyclicDependencies(StoneforgeError):
    """The dependencies would contain a cycle; `cycle` names it, first task repeated at the end."""

    code = "cyclic_dependencies"

    def __init__(self, cycle: Sequence[str]) -> None:
        """Name the cycle: each task depends on the next one."""
        self.cycle = tuple(cycle)
        super().__init__(
            f"These dependencies form a cycle, in which no task could ever start: "
            f"{' → '.join(self.cycle)} (each depends on the next).",
            remedy="Remove one dependency of the cycle and try again.",
        )


class TaskNotReady(StoneforgeError):
    """The task is not in the ready set."""

    code = "task_not_ready"


class AlreadyClaimed(StoneforgeError):
    """Another session holds the one live lease."""

    code = "already_claimed"


class TakenOver(StoneforgeError):
    """A person has the session, or waits for it."""

    code = "taken_over"


class StaleLease(StoneforgeError):
    """The caller's lease has ended or its fencing token is no longer the newest."""

    code = "stale_lease"


class ContextFull(StoneforgeError):
    """A session's context has no room left for anything but its handoff."""

    code = "context_full"


class NotAllowed(StoneforgeError):
    """The caller's role does not permit this."""

    code = "not_allowed"


class Unauthorized(StoneforgeError):
    """No token, an unknown one, or one that has ended."""

    code = "unauthorized"


class IdempotencyConflict(StoneforgeError):
    """One key was used for two different requests."""

    code = "idempotency_conflict"


class GitRefused(StoneforgeError):
    """Git cannot do what was asked, and nothing was changed."""

    code = "git_refused"


class TargetMoved(StoneforgeError):
    """The compare-and-swap of a ref found another value."""

    code = "target_moved"


class ConfigInvalid(StoneforgeError):
    """The configuration cannot be used; `line`, `path` say where."""

    code = "config_invalid"

    def __init__(
        self, message: str, *, remedy: str = "", line: int | None = None, path: str = ""
    ) -> None:
        """Keep where in the file the fault is: `line` from 1, `path` such as `merge.push`."""
        super().__init__(message, remedy=remedy)
        self.line = line
        self.path = path


class ServerUnreachable(StoneforgeError):
    """No server answers at the stored address."""

    code = "server_unreachable"


class AlreadyRunning(StoneforgeError):
    """A second server or launcher for one repository."""

    code = "already_running"


class StorageFailed(StoneforgeError):
    """The database or the disk refused a write; nothing was changed."""

    code = "storage_failed"


class NotSetUp(NotFound):
    """There is no project here: `sf init` has not been run."""

    code = "not_set_up"
