"""The server that a fleet of Claude Code sessions works through, and the `sf` command."""
