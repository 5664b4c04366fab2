"""The configuration of what happens to finished work: set-up, checks, rules, merging."""

from typing import Literal

from pydantic import Field, field_validator

from sf_mcp.core.path_patterns import pattern_problem
from sf_mcp.core.text import branch_name_problem
from sf_mcp.settings.facts import DEFAULT_TARGET_BRANCH
from sf_mcp.settings.section import (
    CheckName,
    CommandLine,
    PathPattern,
    Section,
    checked_environment,
    checked_patterns,
    refusal,
)

_RULE_NEEDS = {
    "union": "`union` needs the paths of append-only files and nothing else",
    "generated": "`generated` needs the paths of the files and the command that makes them",
    "identical": "`identical` needs nothing: it is for all files",
}


class Check(Section):
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
        return checked_patterns(value)

    @field_validator("junit")
    @classmethod
    def _is_within(cls, value: str | None) -> str | None:
        if value is not None and (problem := pattern_problem(value)) is not None:
            raise refusal(
                f"can never be a path: {problem}",
                "Write the path from the root of the repository, such as build/junit.xml.",
            )
        return value

    @field_validator("env")
    @classmethod
    def _can_be_set(cls, value: dict[str, str]) -> dict[str, str]:
        return checked_environment(value)

    @property
    def identity(self) -> str:
        """What is run, with all that its verdict hangs on; what was said of another holds not."""
        extras = [f"{name}={text}" for name, text in sorted(self.env.items())]
        extras += [f"junit: {self.junit}"] if self.junit else []
        return f"{self.run}  # {', '.join(extras)}" if extras else self.run


class Setup(Section):
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
        return checked_patterns(value)


class ResolveRule(Section):
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
        return checked_patterns(value)


class Merge(Section):
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
            raise refusal(
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
                    raise refusal(
                        f"{what}{_RULE_NEEDS[rule.rule]}",
                        f"Add `{key}: …`." if is_needed else "Remove it.",
                        at=(index, key),
                    )
        return value
