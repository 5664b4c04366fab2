"""Every key of .stoneforge/config.yaml: its name, default, bounds and meaning.

Keys are camelCase in the file and snake_case here. The README's table and the error messages are
printed from this model (see `reference`); `words` replaces a type's generated description there.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from sf_mcp.core.identity import SESSION_VARIABLE
from sf_mcp.core.path_patterns import pattern_problem
from sf_mcp.core.text import branch_name_problem
from sf_mcp.settings.facts import (
    DEFAULT_MAX_CONCURRENT,
    DEFAULT_TARGET_BRANCH,
    vacuous_sentence,
)

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

_RULE_NEEDS = {
    "union": "`union` needs the paths of append-only files and nothing else",
    "generated": "`generated` needs the paths of the files and the command that makes them",
    "identical": "`identical` needs nothing: it is for all files",
}

_LAST_SAFE_FILL = 0.92
"""Claude Code gives up by itself at 185,000 to 196,000 tokens of a window of 200,000."""


def _refusal(what: str, remedy: str, at: tuple[str | int, ...] = ()) -> PydanticCustomError:
    """A refusal in words of its own; `at` leads from the validated value to the fault."""
    # As context and not as the template: braces in `what` would be taken for fields.
    return PydanticCustomError("refused", "{what}", {"what": what, "remedy": remedy, "at": at})


def _patterns(value: tuple[str, ...]) -> tuple[str, ...]:
    for index, pattern in enumerate(value):
        if (problem := pattern_problem(pattern)) is not None:
            raise _refusal(
                f"can never be a path: {problem}",
                "Write it as `git ls-files` does, such as `docs/changes/*.md`.",
                at=(index,),
            )
    return value


def _environment(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            what = "cannot be the name of a variable"
        elif SESSION_VARIABLE.match(name):
            what = "is a variable of git's or of a session's own, which no check is given"
        elif "\0" in text:
            what = "holds a NUL, which no variable can"
        else:
            continue
        raise _refusal(what, "Give it another name and value, or remove it.", at=(name,))
    return value


ModelName = Annotated[
    str,
    Field(
        max_length=200,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@\[\]-]*$",
        json_schema_extra={"words": "model name or alias"},
    ),
]
CheckName = Annotated[
    str,
    Field(
        pattern=r"^\w([\w .+-]{0,58}[\w+])?$",
        json_schema_extra={
            "words": "up to 60 letters, digits, spaces and . _ + - (it becomes a file name)"
        },
    ),
]
CommandLine = Annotated[
    str,
    Field(
        pattern=r"^[^\x00]*[^\s\x00][^\x00]*$",
        json_schema_extra={"words": "command line"},
    ),
]
ToolRule = Annotated[
    str,
    # Not a leading dash: each becomes an argument of its own on Claude Code's command line.
    Field(pattern=r"^[^\s\x00-\x1f-][^\x00-\x1f]*$", json_schema_extra={"words": "tool rule"}),
]
PathPattern = Annotated[
    str,
    Field(
        pattern=r"^[^\x00]+$",
        max_length=500,
        json_schema_extra={"words": "path pattern"},
    ),
]
Dollars = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Section(BaseModel):
    # Strict: `"6"` is not 6 and `yes` is not text. Deferred: only `Settings` is validated itself,
    # and it builds the schema of every section anyway.
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        validate_by_name=True,
        alias_generator=to_camel,
        defer_build=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoffThresholds:
    """Context fill in tokens at which a worker's session is made to hand off."""

    ask: int
    """Tool results and hooks ask for the handoff."""
    restrict: int
    """Every tool but the handoff is denied."""
    take_over: int
    """The launcher interrupts and the server writes the handoff."""


class Orchestrator(_Section):
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
            raise _refusal(
                "cannot be false: sessions that share one checkout overwrite each other's files, "
                "and then no commit shows what a check has seen",
                "Remove the key or set it to true.",
            )
        return value


class _Agent(_Section):
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


class Agents(_Section):
    worker: Worker = Field(default_factory=Worker)
    steward: Steward = Field(default_factory=Steward)
    director: Director = Field(default_factory=Director)


class Check(_Section):
    name: CheckName = Field(description="Name in verdicts and of its log file; unique.")
    run: CommandLine = Field(description="Command, run at the root of the merged tree.")
    timeout_seconds: int = Field(
        default=900, ge=1, le=86400, description="It is killed after this and counts as failed."
    )
    paths: tuple[PathPattern, ...] = Field(
        default=(),
        description="Screening skips it when a change touches none of these; a landing never does.",
    )
    env: dict[str, str] = Field(
        default={},
        json_schema_extra={"words": "mapping of names to texts"},
        description="Variables of its environment, on top of the server's own.",
    )
    junit: PathPattern | None = Field(
        default=None,
        json_schema_extra={"words": "path pattern or null"},
        description="JUnit XML reports that it writes: a failure then names the tests that failed.",
    )

    @field_validator("paths")
    @classmethod
    def _can_be_met(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _patterns(value)

    @field_validator("junit")
    @classmethod
    def _is_within(cls, value: str | None) -> str | None:
        if value is not None and (problem := pattern_problem(value)) is not None:
            raise _refusal(
                f"can never be a path: {problem}",
                "Write the path from the root of the repository, such as build/junit.xml.",
            )
        return value

    @field_validator("env")
    @classmethod
    def _can_be_set(cls, value: dict[str, str]) -> dict[str, str]:
        return _environment(value)

    @property
    def identity(self) -> str:
        """What is run, with all that its verdict hangs on; what was said of another holds not."""
        extras = [f"{name}={text}" for name, text in sorted(self.env.items())]
        extras += [f"junit: {self.junit}"] if self.junit else []
        return f"{self.run}  # {', '.join(extras)}" if extras else self.run


class Setup(_Section):
    run: CommandLine | None = Field(
        default=None,
        json_schema_extra={"words": "command line or null"},
        description="Command that makes a fresh worktree one that the checks can run in, such as "
        "`npm ci`.",
    )
    lock_files: tuple[PathPattern, ...] = Field(
        default=(),
        description="It runs again in a check worktree when the content of one of these differs.",
    )
    timeout_seconds: int = Field(
        default=900, ge=1, le=86400, description="It is killed after this and counts as failed."
    )

    @field_validator("lock_files")
    @classmethod
    def _can_be_met(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _patterns(value)


class ResolveRule(_Section):
    """How conflicts in some files are resolved without anybody's judgement."""

    rule: Literal["union", "generated", "identical"] = Field(
        description="`union`: both sides only added lines, and all of them are kept; `generated`: "
        "the file is made anew by a command; `identical`: both sides made the same change."
    )
    paths: tuple[PathPattern, ...] = Field(
        default=(),
        description="Files that it is for, from the root: `CHANGELOG.md`, `docs/changes/*.md`, "
        "`**/package-lock.json`; for `identical` always all.",
    )
    run: CommandLine | None = Field(
        default=None,
        json_schema_extra={"words": "command line or null"},
        description="For `generated`: command that makes the files, run at the root of the merged "
        "tree.",
    )
    timeout_seconds: int = Field(
        default=300, ge=1, le=86400, description="For `generated`: it is killed after this."
    )

    @field_validator("paths")
    @classmethod
    def _can_be_met(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _patterns(value)


class Merge(_Section):
    target_branch: str = Field(
        default=DEFAULT_TARGET_BRANCH,
        json_schema_extra={"words": "branch name"},
        description="Branch that finished work lands on.",
    )
    strategy: Literal["squash", "merge"] = Field(
        default="squash",
        description="One commit for each task, or a merge commit with its history.",
    )
    parallel_checks: int = Field(default=2, ge=1, le=16, description="Checks that run at once.")
    push: bool = Field(default=False, description="Push each landing to `origin`.")
    auto_resolve: tuple[ResolveRule, ...] = Field(
        default=(),
        description="Rules for straightforward conflicts, the first that applies; all other "
        "conflicts are for somebody to resolve.",
    )
    requests: Literal["none", "github"] = Field(
        default="none",
        description="github: a pull request mirrors each merge request, through `gh` and `origin`.",
    )

    @field_validator("target_branch")
    @classmethod
    def _is_a_branch_name(cls, value: str) -> str:
        if (problem := branch_name_problem(value)) is not None:
            raise _refusal(
                f"cannot be the name of a branch: {problem}",
                "Write the branch's short name, such as main.",
            )
        return value

    @field_validator("auto_resolve")
    @classmethod
    def _are_whole(cls, value: tuple[ResolveRule, ...]) -> tuple[ResolveRule, ...]:
        for index, rule in enumerate(value):
            needs_paths, needs_run = rule.rule != "identical", rule.rule == "generated"
            for key, is_there, is_needed in (
                ("paths", bool(rule.paths), needs_paths),
                ("run", rule.run is not None, needs_run),
            ):
                if is_there != is_needed:
                    what = "is missing: " if is_needed else "has no place here: "
                    raise _refusal(
                        f"{what}{_RULE_NEEDS[rule.rule]}",
                        f"Add `{key}: …`." if is_needed else "Remove it.",
                        at=(index, key),
                    )
        return value


class Budget(_Section):
    task_usd: Dollars | None = Field(
        default=None,
        description="What one task may cost in US dollars; then it is handed off and set aside.",
    )
    fleet_usd: Dollars | None = Field(
        default=None,
        description="What all sessions may cost; then they hand off and none is started.",
    )


class Limits(_Section):
    on_usage_limit: Literal["wait", "ask", "stop"] = Field(
        default="wait", description="At a usage limit: wait for its reset, ask the person, or stop."
    )


class Settings(_Section):
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

    @field_validator("checks")
    @classmethod
    def _have_names_of_their_own(cls, value: tuple[Check, ...]) -> tuple[Check, ...]:
        # Without regard to case, since macOS keeps one file for both spellings.
        seen: dict[str, int] = {}
        for index, check in enumerate(value):
            first = seen.setdefault(check.name.casefold(), index)
            if first != index:
                raise _refusal(
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
