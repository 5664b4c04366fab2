"""The MCP tools, one server per role. Thin: identity and errors here, decisions in the services."""
