"""`sf-launch client`: which Claude Code the fleet would run, and whether it is logged in."""

import json
import os

from launcher.core.command_line import MINIMUM_CLIENT_VERSION
from launcher.settings import ClientUnusable, Login, dotted, login_of, require_claude


def show_client(configured: str | None, *, as_json: bool) -> None:
    """Say which Claude Code would run and what it says of its login; no model request is made.

    Raises:
        ClientUnusable: not with `as_json`, which says so in its answer.
    """
    path = version = fault = remedy = ""
    login = Login(words="")
    try:
        found = require_claude(configured, os.environ)
    except ClientUnusable as error:
        if not as_json:
            raise
        fault, remedy = error.message, error.remedy
    else:
        path, version = found.path, dotted(found.version)
        login = login_of(found, os.environ)
    minimum = dotted(MINIMUM_CLIENT_VERSION)
    if as_json:
        facts = {
            "path": path,
            "version": version,
            "minimum": minimum,
            "fault": fault,
            "remedy": remedy,
            "is_logged_in": login.is_logged_in,
            "login": login.words,
        }
        print(json.dumps(facts))
        return
    print(f"Claude Code {version} at {path} (at least {minimum} is needed)")
    words = {True: "logged in", False: "not logged in", None: "login not known"}
    print(f"{words[login.is_logged_in]}: {login.words}")
