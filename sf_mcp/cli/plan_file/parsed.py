"""What a plan file says, before its tasks have found one another; and how a fault in it is told."""

from dataclasses import dataclass, field

from sf_mcp.core.errors import InvalidInput
from sf_mcp.core.models import DEFAULT_PRIORITY


@dataclass(frozen=True, slots=True)
class Reference:
    """What a task says that it depends on: `#2`, a title, a key, or a task's id such as `T4`."""

    text: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedTask:
    line: int
    title: str
    key: str = ""
    description: str = ""
    acceptance: tuple[str, ...] = ()
    priority: int = DEFAULT_PRIORITY
    estimate_minutes: float | None = None
    paths: tuple[str, ...] = ()
    depends_on: tuple[Reference, ...] = ()
    is_done: bool = False
    """Ticked off: it is not created, and what depends on it need not wait."""


@dataclass(slots=True, kw_only=True)
class ParsedPlan:
    title: str = ""
    description: str = ""
    tasks: list[ParsedTask] = field(default_factory=list[ParsedTask])
    """In the order of the file; `#2` is the second of them."""


class PlanFileInvalid(InvalidInput):
    """The plan file cannot be used; `line` says where, from 1."""

    code = "plan_file_invalid"

    def __init__(self, source: str, line: int, what: str, *, remedy: str) -> None:
        """Say in which line of `source` what is wrong."""
        self.line = line
        super().__init__(
            f"{source}, line {line}: {what}", remedy=f"{remedy} Nothing was created.".strip()
        )
