"""What the exit codes of `sf` and `sf-launch` mean: stable, for scripts and for one another."""

from enum import IntEnum


class ExitCode(IntEnum):
    DONE = 0
    REFUSED = 1
    """Understood and refused; nothing has changed."""
    USAGE = 2
    """The command line is wrong."""
    UNREACHABLE = 3
    """No project here, or its server does not answer."""
    WAITING = 4
    """`sf-launch --until-idle`: nothing more can be done until a person has done something."""
    INCONCLUSIVE = 5
    """`sf-launch drill`: nothing was lost, and something that it is about never happened."""
    UNUSABLE = 78
    """`sf-launch`: the login or the configuration must be corrected first; starting it again would
    end the same way. (EX_CONFIG of sysexits.h.)"""
    INTERRUPTED = 130
    """Ended by Ctrl-C, as shells have it."""
