"""HTTP beside MCP: the API of `sf` and the launcher, and the hooks of Claude Code."""
