"""`sf-launch client`: what Claude Code itself says of its login, without asking anybody else."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from launcher.settings import ClaudeCode, login_of

SF_LAUNCH = str(Path(sys.executable).with_name("sf-launch"))


def a_client(folder: Path, script: str) -> ClaudeCode:
    path = folder / "claude"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return ClaudeCode(path=str(path), version=(2, 1, 400))


def test_the_real_client_tells_its_login_and_connects_to_nobody(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        told: dict[bool, str] = {}
        for name in ({}, {"ANTHROPIC_API_KEY": "sk-dummy"}):
            ran = subprocess.run(
                [SF_LAUNCH, "client", "--json"],
                env={
                    "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
                    "HOME": str(tmp_path),
                    "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{listener.getsockname()[1]}",
                    "SF_TOKEN": "a session's",
                    **name,
                },
                capture_output=True,
                timeout=60,
                check=True,
            )
            facts = json.loads(ran.stdout)
            assert (facts["fault"], Path(facts["path"]).name) == ("", "claude")
            told[facts["is_logged_in"]] = facts["login"]
        assert told == {False: "none, firstParty", True: "api_key, firstParty"}
        try:
            listener.accept()
        except BlockingIOError:
            return
        raise AssertionError("it has connected to the API")


def test_a_client_that_hangs_or_speaks_of_something_else_is_not_waited_for(tmp_path: Path) -> None:
    hangs = login_of(a_client(tmp_path, "exec sleep 60"), {}, timeout_seconds=0.2)
    assert (hangs.is_logged_in, "did not answer within 0.2 s" in hangs.words) == (None, True)
    for answer in ("echo hello", "echo '[]'", "echo '{}'", "exit 3"):
        login = login_of(a_client(tmp_path, answer), {})
        assert (login.is_logged_in, "no answer that is understood" in login.words) == (None, True)


def test_a_login_with_an_end_says_until_when(tmp_path: Path) -> None:
    answer = '{"loggedIn": true, "authMethod": "claude.ai", "loginExpiresAt": "2026-12-01"}'
    login = login_of(a_client(tmp_path, f"echo '{answer}'"), {})
    assert (login.is_logged_in, login.words) == (True, "claude.ai, until 2026-12-01")
