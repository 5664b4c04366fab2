"""From an order to a process: the command line, the environment, the log."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.core.command_line import (
    RESOLVING_TOOLS,
    HeadlessSession,
    headless_command,
    session_environment,
)
from launcher.core.ends import End
from launcher.fleet.child import Child
from launcher.fleet.family import SESSION_VARIABLE
from launcher.fleet.orders import Order
from launcher.fleet.server import Server
from launcher.prompts import write_prompt
from launcher.settings import ROOT_VARIABLE
from sf_mcp.core.errors import ServerUnreachable
from sf_mcp.core.layout import Layout
from sf_mcp.core.models import EndKind, Role
from sf_mcp.settings import SettingsFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every session of a fleet shares."""

    layout: Layout
    server: Server
    settings: SettingsFile
    claude: str
    environ: Mapping[str, str]
    on_change: Callable[[], None] = lambda: None
    """Called when something about a session has changed, for those who show it."""


async def start_client(order: Order, around: Surroundings) -> Child:
    """Start the Claude Code process that the order asks for; it is told nothing yet.

    Raises:
        OSError: it cannot be run; see `not_started`.
        StoneforgeError: the server has gone, or the role's prompt cannot be used.
    """
    return await Child.start(
        _command(order, around),
        cwd=order.cwd,
        env=_environment(order, around),
        log=log_path(order, around.layout),
    )


def log_path(order: Order, layout: Layout) -> Path:
    """Return where everything that the session says is kept."""
    return layout.logs / "sessions" / f"{order.name}-{order.session_id[:8]}.jsonl"


def not_started(error: OSError, claude: str) -> End:
    """Return how a session ended that never began: the client, or its place, cannot be used."""
    reason = error.strerror or str(error)
    if error.filename == claude:
        return End(
            kind=EndKind.BAD_CONFIGURATION,
            sentence=f"Claude Code at {claude} cannot be started: {reason}. Install it again or "
            "correct orchestrator.claudePath, restart, then run `sf resume`.",
        )
    return End(
        kind=EndKind.FAILED_TO_START,
        sentence=f"The session cannot be started: {error.filename or ''} {reason}.",
    )


def _command(order: Order, around: Surroundings) -> tuple[str, ...]:
    address = around.server.address
    if address is None:
        raise ServerUnreachable("The server has gone.", remedy="Start it with `sf serve`.")
    worker = around.settings.current().agents.worker
    return headless_command(
        HeadlessSession(
            claude=around.claude,
            role=order.role,
            session_id=order.session_id,
            is_resumed=order.is_resume,
            model=order.model,
            mcp_url=f"{address.url}/{order.role.value}/mcp",
            hook_url=f"{address.url}/hooks",
            worktree=str(order.cwd),
            prompt_file=str(write_prompt(around.layout, order.role)),
            allowed_tools=_allowed_tools(order, worker.allowed_tools),
        )
    )


def _allowed_tools(order: Order, of_workers: tuple[str, ...]) -> tuple[str, ...]:
    """Return Claude Code's own tools for the session; none named: those of its role."""
    if order.role is Role.WORKER:
        return of_workers
    return RESOLVING_TOOLS if order.role is Role.STEWARD and order.may_edit else ()


def _environment(order: Order, around: Surroundings) -> dict[str, str]:
    return session_environment(
        around.environ,
        token=order.token,
        author_name=order.environment.get("GIT_AUTHOR_NAME", ""),
        author_email=order.environment.get("GIT_AUTHOR_EMAIL", ""),
        extra={
            **order.environment,
            # For `sf` in the session's shell, and to know the session's processes again.
            ROOT_VARIABLE: str(around.layout.root),
            SESSION_VARIABLE: order.session_id,
        },
    )
