"""The edge of `sf`: here, and nowhere else, a refusal becomes words and an exit code."""

import os
import sys
from collections.abc import Callable
from io import TextIOWrapper

from sf_mcp.core.errors import NotSetUp, ServerUnreachable, StoneforgeError, StorageFailed
from sf_mcp.core.exits import ExitCode


def exit_code_of(run: Callable[[], None], *, as_json: bool) -> int:
    """Run a command; return the code to exit with, having told of any refusal."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # Whatever the terminal's encoding: text that it cannot show must not end the command.
            stream.reconfigure(errors="backslashreplace")
    try:
        run()
        sys.stdout.flush()
    except StoneforgeError as error:
        return _tell(error, as_json=as_json)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        end_output()
        return ExitCode.DONE
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        return _tell(
            StorageFailed(
                f"The system refused: {error.strerror or error}{where}.",
                remedy="Free some disk space or correct the permissions, then try again.",
            ),
            as_json=as_json,
        )
    return ExitCode.DONE


def end_output() -> None:
    """Print nothing more: the reader (`| head`) has seen enough."""
    # Python would complain at its own exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(error: StoneforgeError, *, as_json: bool) -> int:
    from sf_mcp.cli.output import print_json, printable

    if as_json:
        print_json({"code": error.code, "message": error.message, "remedy": error.remedy})
    else:
        print(printable(error.message), file=sys.stderr)
        if error.remedy:
            print(printable(error.remedy), file=sys.stderr)
    unreachable = isinstance(error, ServerUnreachable | NotSetUp)
    return ExitCode.UNREACHABLE if unreachable else ExitCode.REFUSED
