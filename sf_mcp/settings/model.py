"""Every key of .stoneforge/config.yaml: its name, default, bounds and meaning.

Keys are camelCase in the file and snake_case here. The README's table and the error messages are
printed from this model (see `reference`); `words` replaces a type's generated description there.
"""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field, field_validator

from sf_mcp.settings.facts import DEFAULT_MAX_CONCURRENT, vacuous_sentence
from sf_mcp.settings.landing import Check, Merge, Setup
from sf_mcp.settings.section import CommandLine, Dollars, ModelName, Section, ToolRule, refusal

WORKER_TOOLS = (
    "Bash",
    "Read",
    "Grep",
    "Glob",
    # `./**` keeps the file tools inside the session's own worktree.
    "Edit(./**)",
    "Write(./**)",
    "NotebookEdit(./**)",
    "TodoWrite",
)

_LAST_SAFE_FILL = 0.92
"""Claude Code gives up by itself at 185,000 to 196,000 tokens of a window of 200,000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoffThresholds:
    """Context fill in tokens at which a worker's session is made to hand off."""

    ask: int
    """Tool results and hooks ask for the handoff."""
    restrict: int
    """Every tool but the handoff is denied."""
    take_over: int
    """The launcher interrupts and the server writes the handoff."""


class Orchestrator(Section):
    agent: Literal["claude-code"] = Field(
        default="claude-code", description="Program that runs the sessions."
    )
    max_concurrent: int = Field(
        default=DEFAULT_MAX_CONCURRENT, ge=1, le=64, description="Worker sessions at once."
    )
    worktree_isolation: Literal[True] = Field(
        default=True, description="Each task has a git worktree of its own; there is no other way."
    )
    port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="Port of the server on 127.0.0.1; 0: chosen at the first start, then kept.",
    )
    lease_seconds: int = Field(
        default=120,
        ge=10,
        le=3600,
        description="A claim ends this long after the last sign of its session.",
    )
    turn_timeout_seconds: int = Field(
        default=1800,
        ge=10,
        le=86400,
        description="A session whose turn shows nothing for this long is interrupted, then ended.",
    )
    reservation_seconds: int = Field(
        default=900,
        ge=1,
        le=86400,
        description="How long a task whose question was answered is kept for the one who asked.",
    )
    max_failures: int = Field(
        default=5, ge=1, le=50, description="Failed attempts after which a task is stuck."
    )
    max_send_backs: int = Field(
        default=5, ge=1, le=50, description="Returns from review after which a task is stuck."
    )
    claude_path: CommandLine | None = Field(
        default=None,
        json_schema_extra={"words": "path or null"},
        description="Claude Code's binary; null: from PATH, else the one in claude-agent-sdk.",
    )

    @field_validator("worktree_isolation", mode="before")
    @classmethod
    def _refuse_sharing(cls, value: object) -> object:
        if value is False:
            raise refusal(
                "cannot be false: sessions that share one checkout overwrite each other's files, "
                "and then no commit shows what a check has seen",
                "Remove the key or set it to true.",
            )
        return value


class _Agent(Section):
    provider: Literal["claude-code"] = Field(
        default="claude-code", description="Who runs the model."
    )
    model: ModelName = Field(
        default="sonnet",
        description="Alias such as `sonnet`, or a full model name; passed on as it is.",
    )


class Worker(_Agent):
    max_session_tokens: int = Field(
        default=200_000,
        ge=20_000,
        le=1_000_000,
        description="Context of one session; never more than the model's window.",
    )
    handoff_at: float = Field(
        default=0.7,
        ge=0.1,
        le=0.95,
        description="Share of it at which a worker is asked to hand off to a fresh session.",
    )
    allowed_tools: tuple[ToolRule, ...] = Field(
        default=WORKER_TOOLS,
        description="Claude Code's permission rules; the server's own tools are always added.",
    )

    def handoff_thresholds(self, window: int) -> HandoffThresholds:
        """Return the three thresholds for a model whose context window is `window` tokens.

        They are `handoff_at` of the cap, 10 and 18 points above; where that leaves no room below
        the point at which Claude Code itself gives up, they move together below it, in order.
        """
        cap = min(self.max_session_tokens, window)
        last = min(cap, int(window * _LAST_SAFE_FILL))
        ask = min(round(self.handoff_at * cap), round(0.9 * last))
        take_over = min(round((self.handoff_at + 0.18) * cap), last)
        return HandoffThresholds(
            ask=ask, restrict=ask + (take_over - ask) * 5 // 9, take_over=take_over
        )


class Steward(_Agent):
    auto_merge: bool = Field(
        default=True,
        description="Land what passes and is approved; false: `sf mr approve` decides.",
    )
    run_checks: bool = Field(
        default=True,
        description="Run the checks before the target moves; false: nothing is checked.",
    )
    review: bool = Field(
        default=True,
        description="A steward reviews each merge request; false: passing checks are enough.",
    )
    count: int = Field(default=1, ge=1, le=16, description="Steward sessions at once.")


class Director(_Agent):
    headless: bool = Field(
        default=True, description="Wake a director session for questions that nobody answers."
    )
    headless_after_seconds: int = Field(
        default=60,
        ge=0,
        le=86400,
        description="How long a question waits for a person's director before that.",
    )


class Agents(Section):
    worker: Worker = Field(default_factory=Worker)
    steward: Steward = Field(default_factory=Steward)
    director: Director = Field(default_factory=Director)


class Budget(Section):
    task_usd: Dollars | None = Field(
        default=None,
        description="What one task may cost in US dollars; then it is handed off and set aside.",
    )
    fleet_usd: Dollars | None = Field(
        default=None,
        description="What all sessions may cost; then they hand off and none is started.",
    )


class Limits(Section):
    on_usage_limit: Literal["wait", "ask", "stop"] = Field(
        default="wait", description="At a usage limit: wait for its reset, ask the person, or stop."
    )


class Notify(Section):
    run: CommandLine | None = Field(
        default=None,
        json_schema_extra={"words": "command line or null"},
        description="Command that tells you of something; it finds what in $SF_KIND, $SF_IDS, "
        "$SF_TITLE, $SF_TEXT and $SF_COMMAND. Null: nothing is run.",
    )
    # Not `on`: YAML 1.1 takes that for true.
    events: tuple[Literal["needs-input", "ready-to-merge", "merged", "stuck"], ...] = Field(
        default=("needs-input", "ready-to-merge", "merged", "stuck"),
        description="What it is run for, once for each thing.",
    )
    timeout_seconds: int = Field(
        default=10, ge=1, le=600, description="It is killed after this; nothing waits for it."
    )


class Settings(Section):
    """The whole configuration; `Settings()` is that of an empty file."""

    orchestrator: Orchestrator = Field(default_factory=Orchestrator)
    agents: Agents = Field(default_factory=Agents)
    setup: Setup = Field(default_factory=Setup)
    checks: tuple[Check, ...] = Field(
        default=(), description="What must pass on the merged tree before the target branch moves."
    )
    merge: Merge = Field(default_factory=Merge)
    budget: Budget = Field(default_factory=Budget)
    limits: Limits = Field(default_factory=Limits)
    notify: Notify = Field(default_factory=Notify)

    @field_validator("checks")
    @classmethod
    def _have_names_of_their_own(cls, value: tuple[Check, ...]) -> tuple[Check, ...]:
        # Without regard to case, since macOS keeps one file for both spellings.
        seen: dict[str, int] = {}
        for index, check in enumerate(value):
            first = seen.setdefault(check.name.casefold(), index)
            if first != index:
                raise refusal(
                    f"repeats the name of checks[{first}] (`{value[first].name}`); "
                    "case does not tell names apart",
                    "Give each check a name of its own.",
                    at=(index, "name"),
                )
        return value

    @property
    def checks_vacuous(self) -> bool:
        """Whether nothing is checked before the target branch moves."""
        return bool(self.vacuous_sentence)

    @property
    def vacuous_sentence(self) -> str:
        """What to tell the person while nothing is checked; empty while checks run."""
        return vacuous_sentence(len(self.checks), run_checks=self.agents.steward.run_checks)
