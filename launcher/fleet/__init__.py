"""The fleet's processes: asked for, started, fed, measured, stopped, and reported to the server."""
