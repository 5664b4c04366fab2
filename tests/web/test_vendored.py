"""The page's libraries are what their authors published, unchanged."""

import hashlib
from pathlib import Path

import sf_mcp.web

FOLDER = Path(sf_mcp.web.__file__).parent / "static" / "vendor"
OURS = ("README.md", "SHA256SUMS")


def test_every_vendored_file_is_the_published_one_and_none_is_beside_them() -> None:
    lines = (FOLDER / "SHA256SUMS").read_text().splitlines()
    listed = {name: digest for digest, name in (line.split("  ") for line in lines)}

    found = {
        str(path.relative_to(FOLDER)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in FOLDER.rglob("*")
        if path.is_file() and path.name not in OURS
    }

    assert found == listed
