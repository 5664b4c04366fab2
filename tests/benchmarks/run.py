"""Runs the benchmarks and holds each figure to its target.

    python tests/benchmarks/run.py                  all of them
    python tests/benchmarks/run.py claim graph      these
    python tests/benchmarks/run.py --json           as JSON
    python tests/benchmarks/run.py --quick          a look only, where a benchmark can be shortened

Ends with 1 when a figure is over its target. Each benchmark runs in a process of its own, one after
another: they measure time, so nothing else should be busy meanwhile.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

MOST_LOAD = 0.7
"""Above it something else is at work that these times would tell of."""

BENCHMARKS = {
    "graph": "the ready set and priorities at 100,000 tasks",
    "claim": "the claim over HTTP against the SDK's bare echo tool",
    "commands": "`sf task ready` and `sf status` as whole processes",
    "dispatch": "from a landing to the start of the dependent's process",
    "snapshot": "a snapshot of 15,000 files with 10 changed",
    "radar": "the conflicts among 100 live branches on 15,000 files",
    "recovery": "from a worker's kill to the start of its successor's process",
    "server_start": "the server's start with 5,000 tasks and 200 sessions to recover",
    "stream": "50 pages that listen while 1,000 reports of sessions come in",
    "rest": "memory and processor time of a server with nothing to do",
    "page": "the page with 500 tasks drawn, and while 50 sessions report",
    "train_sim": "the merge queue's planner in a simulated world, against serial, bors and Zuul",
    "train_real": "40 branches over a suite of 5 s, against one at a time (takes 6 minutes)",
}

UNWANTED = {"PYTHONDONTWRITEBYTECODE", "SF_TOKEN"}
"""Programs run with their bytecode cached, as they are when they are installed."""


def main() -> int:
    """Return 1 when a figure is over its target or a benchmark failed."""
    lines = "\n".join(f"  {name:<12} {text}" for name, text in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        description=f"Benchmarks:\n{lines}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    # Checked here, since argparse takes no empty list for one of its choices.
    parser.add_argument("names", nargs="*", metavar="NAME", help="all when none is named")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="shorten what can be shortened")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in BENCHMARKS]:
        parser.error(f"There is no benchmark {unknown[0]}; there are {', '.join(BENCHMARKS)}.")
    load = os.getloadavg()[0]
    if load > MOST_LOAD:
        busy = f"The machine is busy (load {load:.1f}): expect figures that are too high."
        print(busy, file=sys.stderr)
    found: dict[str, Any] = {}
    is_over = False
    for name in arguments.names or BENCHMARKS:
        if not arguments.json:
            print(f"{name}: {BENCHMARKS[name]}", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", f"tests.benchmarks.{name}"]
            + ["--json"] * arguments.json
            + ["--quick"] * arguments.quick,
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if name not in UNWANTED},
            stdout=subprocess.PIPE if arguments.json else None,
            text=True,
        )
        is_over = is_over or done.returncode != 0
        if arguments.json:
            found[name] = json.loads(done.stdout or "null")
    if arguments.json:
        print(json.dumps(found, indent=2))
    return 1 if is_over else 0


if __name__ == "__main__":
    sys.exit(main())
