"""Every test here runs git with an empty home of its own."""

from tests.builders import own_home as own_home
