"""The launcher: owns the Claude Code processes of a fleet, and rehearses one without a model."""
