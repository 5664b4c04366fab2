"""The command `sf-launch`."""


def main() -> None:
    """Run the command line and exit."""
    # Here, since typer costs more than everything that the modules below need at import.
    from launcher.cli.commands import run_command_line

    run_command_line()
