"""What a benchmark measures: figures, each with the most or the least that it may be."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured value."""

    name: str
    value: float
    unit: str
    most: float | None = None
    """The most it may be; with no least either: for information."""
    least: float | None = None

    @property
    def is_over(self) -> bool:
        """Return whether it misses its target."""
        return (self.most is not None and self.value > self.most) or (
            self.least is not None and self.value < self.least
        )


def report(measure: Callable[[], list[Figure]]) -> int:
    """Measure and print, as JSON when the command line says `--json`; 1 when one is over."""
    figures = measure()
    if "--json" in sys.argv[1:]:
        print(json.dumps([{**asdict(one), "is_over": one.is_over} for one in figures]))
    else:
        for one in figures:
            print(line(one))
    return 1 if any(one.is_over for one in figures) else 0


def line(figure: Figure) -> str:
    """Return the figure as a line of the table."""
    value = f"{figure.value:,.3f}".rstrip("0").rstrip(".")
    target, verdict = "", ""
    if figure.most is not None:
        target = f"at most {figure.most:,.3f}".rstrip("0").rstrip(".")
        verdict = "OVER" if figure.is_over else "PASS"
    elif figure.least is not None:
        target = f"at least {figure.least:,.3f}".rstrip("0").rstrip(".")
        verdict = "UNDER" if figure.is_over else "PASS"
    return f"{figure.name:<80} {value:>10} {figure.unit:<5} {target:<15} {verdict}".rstrip()
