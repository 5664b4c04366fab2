"""`python -m sf_mcp.cli` is `sf`."""

from sf_mcp.cli import main

main()
