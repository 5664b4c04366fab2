"""The command `sf`. Not here: what a command means, which the services decide.

Rule 1: a command calls operations by name (`api`), so that it works alike with and without a
running server. Rule 2: nothing is imported before it is needed; `sf status` is asked for all day.
"""


def main() -> None:
    """Run `sf` with the process's arguments; ends the process with a code of `ExitCode`."""
    import contextlib
    import gc
    import os
    import sys

    from sf_mcp.cli.boundary import exit_code_of

    arguments = tuple(sys.argv[1:])
    is_frequent = False

    def run() -> None:
        nonlocal is_frequent
        from sf_mcp.cli.frequent import FREQUENT

        if (command := FREQUENT.get(arguments)) is not None:
            is_frequent = True
            # It ends before there is garbage worth the search for it.
            gc.disable()
            command()
        else:
            from sf_mcp.cli.root import run_command_line

            run_command_line(arguments)

    code = exit_code_of(run, as_json="--json" in arguments)
    if is_frequent:
        # The kernel frees at once what Python, at its own exit, takes apart piece by piece.
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code)
    sys.exit(code)
