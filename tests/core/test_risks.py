"""What deserves a second look in a merge request, and what does not."""

import pytest

from sf_mcp.core.changes import FileChange, Line, lines_of
from sf_mcp.core.risks import Manifest, RiskKind, is_test_file, risks_of
from sf_mcp.core.secrets import bits_of, secret_in

# Put together here, so that nobody's scanner takes this file for a leak.
BODY = "R4nd0mQz7TyWp2LkVb9XsMc3HgJf6NdEa8Uo"
GITHUB = "ghp" + "_" + BODY
AWS = "AK" + "IA" + "QZ7RW3TYB5NCX2MD"
STRIPE = "sk" + "_live_" + BODY[:28]
SLACK = "xox" + "b-" + "284719305528-" + BODY[:24]


def a_file(path: str, how: str = "changed", **facts: object) -> FileChange:
    return FileChange(
        **{"path": path, "was": "", "how": how, "added": 1, "removed": 0, "size": 10, **facts}  # type: ignore[arg-type]
    )


def lines(path: str, *, added: str = "", removed: str = "") -> list[Line]:
    return [
        Line(path, number, text, is_added)
        for texts, is_added in ((removed, False), (added, True))
        for number, text in enumerate(texts.split("\n") if texts else (), 1)
    ]


def seen(
    *changed: list[Line], files: list[FileChange] | None = None, **more: object
) -> list[tuple[str, str, str]]:
    every = [line for some in changed for line in some]
    touched = files or [a_file(path) for path in dict.fromkeys(line.path for line in every)]
    return [
        (risk.kind.value, risk.path, risk.text)
        for risk in risks_of(touched, every, **more)  # type: ignore[arg-type]
    ]


# -- secrets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (f"token = '{GITHUB}'", "a GitHub token"),
        (f"AWS_ACCESS_KEY_ID={AWS}", "an AWS access key"),
        (f'stripe.api_key = "{STRIPE}"', "a Stripe key"),
        (f"SLACK: {SLACK}", "a Slack token"),
        (f'password = "{BODY[:24]}"', "a value named like a secret"),
        (f'"clientSecret": "{BODY}",', "a value named like a secret"),
        (f"url = postgres://admin:{BODY[:16]}@db.acme.io/app", "a password in a URL"),
    ],
)
def test_a_secret_is_found_and_never_repeated(text: str, what: str) -> None:
    found = secret_in(text)
    assert found is not None
    assert found.startswith(what)
    assert BODY[:8] not in found
    assert AWS[4:10] not in found


@pytest.mark.parametrize(
    "text",
    [
        "password = os.environ['PASSWORD']",
        'password = "correct horse battery"',
        'API_KEY = "your-api-key-goes-here-0000"',
        'token = "xxxxxxxxxxxxxxxxxxxxxxxx"',
        'client_secret = "${CLIENT_SECRET_2024}"',
        'secret_name = "projects/my-app/secrets/database-1"',
        "AWS_ACCESS_KEY_ID=AK" + "IAIOSFODNN7EXAMPLE",
        "token = 'ghp" + "_" + "x" * 36 + "'",
        "see https://github.com/acme/app/commit/4b825dc642cb6eb9a060e54bf8d69288fbee4904",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "uuid = '123e4567-e89b-12d3-a456-426614174000'",
        "def test_the_password_of_a_user_is_hashed_before_it_is_stored_2(): ...",
        "redis://user:password1@localhost:6379/0",
        "postgres://app:s3cr3tpw99@db.example.com/app",
        "PRIVATE_KEY_HEADER = '-----BEGIN RSA PRIVATE KEY-----'",
        'access_key_path = "config/keys/access_key_v2.json"',
        "sk-learn-contrib-extras-and-more-words-in-a-row",
    ],
)
def test_what_only_speaks_of_secrets_is_none(text: str) -> None:
    assert secret_in(text) is None


def test_a_private_key_needs_its_key() -> None:
    begin = "-----BEGIN OPENSSH PRIVATE KEY-----"
    assert secret_in(
        begin, "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW"
    )
    assert secret_in(begin, "is how such a file begins.") is None


def test_in_a_test_only_a_real_tokens_shape_counts() -> None:
    assert secret_in(f'password = "{BODY[:24]}"', is_test=True) is None
    assert secret_in(f'"{GITHUB}"', is_test=True) is not None


def test_a_secret_is_told_with_its_place_and_a_line_that_was_only_moved_is_not() -> None:
    line = f"TOKEN = '{GITHUB}'"
    (risk,) = risks_of([a_file("app.py")], lines("app.py", added=f"x = 1\n{line}"))
    assert (risk.kind, risk.path, risk.line) == (RiskKind.SECRET, "app.py", 2)
    assert seen(lines("app.py", added=line, removed=line)) == []


def test_lock_files_full_of_hashes_are_not_looked_through_for_secrets() -> None:
    text = f'integrity secret = "{BODY}"'
    assert seen(lines("web/package-lock.json", added=text)) == []


def test_a_file_that_usually_holds_secrets_is_told_and_its_example_is_not() -> None:
    files = [a_file(".env", "added"), a_file(".env.example", "added"), a_file("k/id_rsa", "added")]
    assert [path for _, path, _ in seen(files=files)] == [".env", "k/id_rsa"]
    assert seen(files=[a_file(".env", "changed")]) == []


# -- tests -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "text", "name"),
    [
        ("tests/test_app.py", "    def test_it_adds(self):", "test_it_adds"),
        ("src/app.test.ts", "  it('adds', async () => {", "adds"),
        ("app_test.go", "func TestAdds(t *testing.T) {", "TestAdds"),
        ("spec/app_spec.rb", '  it "adds" do', "adds"),
        ("src/test/java/AppTest.java", "    public void adds() {", "adds"),
        ("src/lib.rs", "    #[test]\n    fn adds() {", "adds"),
    ],
)
def test_a_removed_test_is_told_by_its_name_and_one_that_moved_or_was_renamed_is_not(
    path: str, text: str, name: str
) -> None:
    gone = lines(path, removed=text)
    assert seen(gone) == [("tests", path, f"1 test is removed: {name}")]
    assert seen(gone, lines(path.replace("app", "other"), added=text)) == []
    assert seen(gone, lines(path, added=text.replace(name, f"{name}Up"))) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("tests/test_app.py", "    @pytest.mark.skip(reason='later')"),
        ("tests/test_app.py", "@unittest.skipIf(True, 'later')"),
        ("tests/test_app.py", "    @pytest.mark.xfail"),
        ("tests/test_app.py", "pytestmark = pytest.mark.skip"),
        ("src/app.spec.js", "  it.skip('adds', () => {"),
        ("src/app.spec.js", "xdescribe('sums', () => {"),
        ("src/app.spec.tsx", "  describe.only('sums', () => {"),
        ("app_test.go", '	t.Skip("later")'),
        ("src/test/java/AppTest.java", '    @Disabled("later")'),
        ("src/lib.rs", "    #[ignore]"),
        ("spec/app_spec.rb", '  xit "adds" do'),
        ("spec/app_spec.rb", '    skip "later"'),
    ],
)
def test_a_test_that_is_marked_to_be_skipped_is_told_and_a_moved_mark_is_not(
    path: str, text: str
) -> None:
    ((kind, where, words),) = seen(lines(path, added=text))
    assert (kind, where, text.strip() in words) == ("tests", path, True)
    assert seen(lines(path, added=text, removed=text)) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("src/app.py", "    def test_connection(self):"),
        ("src/parser.js", "  skip(text) {"),
        ("tests/test_app.py", "    assert lines.skip(1) == []"),
        ("src/wizard.go", "	s.Skip(3)"),
        ("tests/fixtures/broken.py", "@pytest.mark.skip"),
        ("docs/testing.md", "@pytest.mark.skip"),
    ],
)
def test_what_is_no_test_is_not_taken_for_one(path: str, text: str) -> None:
    assert seen(lines(path, added=text)) == []
    assert seen(lines(path, removed=text)) == []


def test_a_deleted_test_file_is_told_unless_its_tests_are_elsewhere_now() -> None:
    file = [a_file("tests/test_app.py", "deleted", size=0)]
    text = "def test_one():\ndef test_two():"
    gone = lines("tests/test_app.py", removed=text)
    assert seen(gone, files=file) == [
        ("tests", "tests/test_app.py", "the test file is deleted with test_one, test_two")
    ]
    moved = [*file, a_file("tests/core/test_app.py", "added")]
    assert seen(gone, lines("tests/core/test_app.py", added=text), files=moved) == []


def test_tests_are_known_by_the_customs_of_their_language() -> None:
    for path in ("tests/test_a.py", "a_test.go", "web/__tests__/a.tsx", "x/AppTests.java"):
        assert is_test_file(path)
    for path in ("latest.py", "contest/a.py", "src/attest.js", "tests/data/a.py", "tests/a.json"):
        assert not is_test_file(path)


# -- dependencies and the rest ---------------------------------------------------------------------

PYPROJECT = """
[project]
dependencies = ["requests>=2", "Typing_Extensions"]
[project.optional-dependencies]
dev = ["pytest"]
"""


MODULES = """
require (
	example.com/a v1.1.0
	golang.org/x/b v0.1.0 // indirect
)
"""
CRATES = """
[dependencies]
a = "2"
[target.'cfg(unix)'.dev-dependencies]
b = {version = "1"}
"""
POM = """
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <dependencies>
    <dependency><groupId>g</groupId><artifactId>b</artifactId></dependency>
  </dependencies>
</project>
"""
NODE, MORE_NODE = '{"dependencies": {"a": "1"}}', '{"devDependencies": {"a": "2", "b": "1"}}'
REQUIRED = "a==2\n# b\n-r c.txt\nd[x]>=1 ; python_version>'3'\n"


@pytest.mark.parametrize(
    ("path", "old", "new", "names"),
    [
        ("pyproject.toml", PYPROJECT, PYPROJECT.replace('"pytest"', '"pytest", "b~=1"'), "b"),
        ("pyproject.toml", PYPROJECT, PYPROJECT.replace("Typing_Ext", "typing-ext"), ""),
        ("requirements-dev.txt", "a==1\n", REQUIRED, "d"),
        ("package.json", NODE, MORE_NODE, "b"),
        ("go.mod", "require example.com/a v1.0.0\n", MODULES, "golang.org/x/b"),
        ("Cargo.toml", "[dependencies]\na = '1'\n", CRATES, "b"),
        ("Gemfile", "gem 'a'\n", "gem 'a', '~> 2'\n  gem \"b\"\n", "b"),
        ("pom.xml", "", POM, "g:b"),
        ("package.json", "{}", "{ not json", ""),
        ("pom.xml", "", "<!DOCTYPE x [<!ENTITY e 'eeee'>]><project/>", ""),
    ],
)
def test_a_new_dependency_is_told_by_name_and_an_upgrade_is_not(
    path: str, old: str, new: str, names: str
) -> None:
    found = seen(manifests=[Manifest(path=f"app/{path}", old=old, new=new)])
    wanted = [("dependency", f"app/{path}", f"a dependency is added: {names}")] if names else []
    assert found == wanted


def test_what_the_target_deleted_and_this_brings_back_is_told() -> None:
    files = [a_file("old.py", "added"), a_file("new.py", "added"), a_file("kept.py")]
    found = seen(files=files, deleted_since={"old.py", "kept.py", "other.py"})
    assert [(kind, path) for kind, path, _ in found] == [("brought back", "old.py")]


def test_changes_of_the_ci_are_told() -> None:
    files = [a_file(".github/workflows/test.yml"), a_file(".github/README.md"), a_file("ci.py")]
    assert seen(files=files) == [
        ("ci", ".github/workflows/test.yml", "configuration of the CI is changed")
    ]


def test_large_files_and_compiled_ones_are_told_and_a_picture_is_not() -> None:
    binary = {"added": None, "removed": None}
    files = [
        a_file("a.png", "added", size=80_000, **binary),
        a_file("b.zip", "added", size=3_000_000, **binary),
        a_file("c.so", "added", size=9_000, **binary),
        a_file("d.json", "added", size=5_000_000),
        a_file("e.zip", "deleted", size=0, **binary),
    ]
    assert [(path, text) for _, path, text in seen(files=files)] == [
        ("b.zip", "a large binary file is added (3.0 MB)"),
        ("c.so", "a compiled file is added (9000 bytes)"),
        ("d.json", "a large file is added (5.0 MB)"),
    ]


def test_files_that_others_are_at_work_on_are_told() -> None:
    assert seen(files=[a_file("a.py")], touched_by={"a.py": ["T2", "T3"]}) == [
        ("hot", "a.py", "T2, T3 are at work on this file too")
    ]


def test_the_worst_comes_first() -> None:
    every = [
        *lines("tests/test_a.py", removed="def test_a():"),
        *lines("a.py", added=f"t = '{GITHUB}'"),
    ]
    assert [kind for kind, _, _ in seen(every, touched_by={"a.py": ["T2"]})] == [
        "secret",
        "tests",
        "hot",
    ]


# -- patches ---------------------------------------------------------------------------------------

PATCH = """\
diff --git a/a b.py b/a b.py
index 1..2 100644
--- a/a b.py\t
+++ b/a b.py\t
@@ -3 +3,2 @@ def f():
-old
+++ b/not/a/header
+new
@@ -9,0 +11 @@
+last
\\ No newline at end of file
diff --git a/gone.py b/gone.py
--- a/gone.py
+++ /dev/null
@@ -1 +0,0 @@
--- a/looks/like/one
"""


def test_the_lines_of_a_patch_have_their_places_and_content_is_never_a_header() -> None:
    assert list(lines_of(PATCH.splitlines())) == [
        Line("a b.py", 3, "old", False),
        Line("a b.py", 3, "++ b/not/a/header", True),
        Line("a b.py", 4, "new", True),
        Line("a b.py", 11, "last", True),
        Line("gone.py", 1, "-- a/looks/like/one", False),
    ]


def test_entropy_is_that_of_the_characters() -> None:
    assert (bits_of(""), bits_of("aaaa"), bits_of("abcd")) == (0.0, 0.0, 2.0)
