import pytest

from sf_mcp.core.path_patterns import matches, pattern_problem


@pytest.mark.parametrize(
    ("pattern", "means", "means_not"),
    [
        ("CHANGELOG.md", ["CHANGELOG.md"], ["docs/CHANGELOG.md", "CHANGELOGxmd", "changelog.md"]),
        ("docs/*.md", ["docs/a.md", "docs/.md"], ["docs/a/b.md", "docs/a.mdx", "a.md"]),
        ("docs/**", ["docs/a", "docs/a/b"], ["docs", "docsy/a"]),
        ("**/a.lock", ["a.lock", "x/a.lock", "x/y/a.lock"], ["xa.lock", "x/ba.lock"]),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["az", "a/bz"]),
        ("v?.txt", ["v1.txt"], ["v.txt", "v10.txt", "v/.txt"]),
        ("[a]+(b).c", ["[a]+(b).c"], ["a.c", "aab.c"]),
        ("x**y", ["xy", "xaby"], ["x/y"]),
        ("*", ["a", "line\nbreak"], ["a/b"]),
    ],
)
def test_a_pattern_means_whole_paths(pattern: str, means: list[str], means_not: list[str]) -> None:
    assert [path for path in means + means_not if matches(path, [pattern])] == means


def test_one_of_several_patterns_is_enough_and_none_is_not() -> None:
    assert matches("b", ["a", "b"])
    assert not matches("b", [])


@pytest.mark.parametrize("pattern", ["/a", "a/", "./a", "a/../b", "a//b", "a\\b", ""])
def test_what_can_never_be_a_path_is_told(pattern: str) -> None:
    assert pattern_problem(pattern)


def test_what_can_be_one_has_no_problem() -> None:
    assert pattern_problem("docs/**/*.md") is None
