"""`sf` in processes forked from one that has imported everything, for what tests only arrange.

Starting Python anew takes ten times longer than most commands. What a test is about runs the
installed `sf` (`Person.sf`); this runs the same `main` with the same kind of environment.
As a program it reads requests, one JSON object a line, and answers each with an exit code.
"""

import io
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any


def run_forked(
    arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdin: bytes
) -> tuple[int, str, str]:
    """Run `sf`; return its exit code, its output and what it wrote to stderr."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("in", "out", "err")]
        files[0].write_bytes(stdin)
        request = {"argv": list(arguments), "cwd": str(cwd), "env": dict(env)}
        nursery = _nursery()
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        nursery.stdin.write(json.dumps({**request, "files": list(map(str, files))}) + "\n")
        nursery.stdin.flush()
        code = int(nursery.stdout.readline())
        out, err = (file.read_text("utf-8", "replace") for file in files[1:])
        return code, out, err


@cache
def _nursery() -> "subprocess.Popen[str]":
    # It ends when its stdin does, with this process.
    return subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _serve() -> None:
    from sf_mcp.cli.root import make_app

    make_app()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _become(json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(request: Any) -> None:
    from sf_mcp.cli import main

    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    modes = (os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_CREAT)
    for number, (path, mode) in enumerate(zip(request["files"], modes, strict=True)):
        os.dup2(os.open(path, mode), number)
    sys.argv = ["sf", *request["argv"]]
    sys.stdin = io.TextIOWrapper(io.FileIO(0), encoding="utf-8")
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w"), encoding="utf-8", write_through=True)
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w"), encoding="utf-8", write_through=True)
    code = 1
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve()
