"""The README's generated parts are those of the program."""

from tests.readme import README, renewed


def test_the_readmes_tables_and_diagrams_are_up_to_date() -> None:
    text = README.read_text()
    assert renewed(text) == text, "run `python tests/readme.py --write`"
