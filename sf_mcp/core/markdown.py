"""Text from people and models inside a Markdown document: it shows as it was written, and no more.

https://spec.commonmark.org/0.31.2/#backslash-escapes, and the autolinks and tables of
https://github.github.com/gfm/.
"""

import re

from sf_mcp.core.text import one_line

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~&#@$])")
_AT_THE_START = re.compile(r"^([-+=:]|\d{1,9}[.)])")
_LINK = re.compile(r":(?=//)|(?<=www)\.", re.IGNORECASE)

LONGEST = 300
"""Characters of one piece of text; the whole of it stands in the project's state."""


def escaped(text: str, limit: int = LONGEST) -> str:
    """Return the text on one line, as text and nothing else wherever in a line it is put."""
    plain = _SPECIAL.sub(r"\\\1", one_line(text, limit))
    plain = _LINK.sub(lambda found: f"\\{found[0]}", plain)
    return _AT_THE_START.sub(lambda found: f"{found[1][:-1]}\\{found[1][-1]}", plain)


def row(*cells: str) -> str:
    """Return one line of a table; the cells are escaped already."""
    return f"| {' | '.join(cell or ' ' for cell in cells)} |"
