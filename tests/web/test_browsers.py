"""Browsers: a link lets one in, once; what they bring is checked; their time is bounded."""

from collections.abc import Generator

import pytest

from sf_mcp.core.identity import PERSON
from sf_mcp.service.browsers import LINK_TERM, LONGEST, MOST_LINKS, RENEWED_AFTER, TERM
from tests.builders import a_plan
from tests.web.builders_server import Browser, Served, count, served


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    with served(tmp_path_factory.mktemp("served")) as one:
        yield one


def _is_in(server: Served, browser: Browser) -> bool:
    answer = server.ask_as(browser, "list_plans")
    assert answer.status in (200, 401)
    page = server.request("GET", "/", headers={"Cookie": browser.cookie})
    assert page.status == answer.status
    return answer.status == 200


def test_a_link_lets_a_browser_in_as_the_person(server: Served) -> None:
    browser = server.let_in()

    assert _is_in(server, browser)
    assert server.ask_as(browser, "create_plan", {"title": "Seen"}).status == 200
    last = server.ask("read_log", limit=1).json[-1]
    assert (last["kind"], last["actor"]) == ("plan_created", "person")


def test_the_cookie_is_for_this_server_alone_and_no_script_sees_it(server: Served) -> None:
    answer = server.request("GET", server.link())

    given = answer.headers["set-cookie"]
    assert given.startswith(f"stoneforge-{server.port}=")
    assert {part.strip().lower() for part in given.split(";")[1:]} == {
        "httponly",
        "path=/",
        "samesite=strict",
    }
    assert answer.headers["cache-control"] == "no-store"


def test_neither_secret_is_kept(server: Served) -> None:
    link, browser = server.link(), server.let_in()

    stored = server.project.layout.database.read_bytes() + b"".join(
        path.read_bytes() for path in server.project.layout.folder.glob("state.db-*")
    )
    secret = browser.cookie.partition("=")[2]
    for one in (secret, browser.key, link.partition("=")[2]):
        assert len(one) > 40
        assert one.encode() not in stored


def test_a_link_that_is_used_twice_lets_nobody_stay(server: Served) -> None:
    """Of two who have a link one is not the person (RFC 6749, section 4.1.2)."""
    link = server.link()
    first = server.request("GET", link)
    browser = Browser(
        first.headers["set-cookie"].partition(";")[0],
        first.headers["location"].removeprefix("/#key="),
    )
    assert _is_in(server, browser)

    second = server.request("GET", link)

    assert (second.status, "set-cookie" in second.headers) == (401, False)
    assert b"used already" in second.body
    assert b"sf open" in second.body
    assert not _is_in(server, browser)


def test_the_browser_that_a_link_has_let_in_may_follow_it_again(server: Served) -> None:
    link = server.link()
    first = server.request("GET", link)
    cookie = first.headers["set-cookie"].partition(";")[0]

    again = server.request("GET", link, headers={"Cookie": cookie})

    assert (again.status, again.headers["location"]) == (303, "/")
    browser = Browser(cookie, first.headers["location"].removeprefix("/#key="))
    assert _is_in(server, browser)


def test_a_link_is_not_used_up_by_a_look_ahead(server: Served) -> None:
    link = server.link()
    assert server.request("HEAD", link).status == 503
    assert server.request("GET", link, headers={"Sec-Purpose": "prefetch"}).status == 503
    assert server.request("GET", link).status == 303


def test_a_link_that_is_too_old_or_guessed_lets_nobody_in(server: Served) -> None:
    link = server.link()
    server.project.clock.advance(seconds=LINK_TERM.total_seconds())
    for path in (link, "/open?code=guessed", "/open?code=", "/open", "/open?code=%00%ff"):
        answer = server.request("GET", path)
        assert (answer.status, "set-cookie" in answer.headers) == (401, False)
    assert count(server.project, "browsers") == 0


def test_of_many_links_the_oldest_gives_way(server: Served) -> None:
    link = server.link()
    for _ in range(MOST_LINKS):
        server.project.services.browsers.open_page(PERSON)
    assert server.request("GET", link).status == 401


def test_a_second_browser_is_let_in_beside_the_first(server: Served) -> None:
    first, second = server.let_in(), server.let_in()

    assert _is_in(server, first)
    assert _is_in(server, second)
    mixed = Browser(first.cookie, second.key)
    assert server.ask_as(mixed, "list_plans").status == 401


def test_a_browser_goes_on_after_a_restart(server: Served) -> None:
    browser = server.let_in()
    server.restart()
    assert _is_in(server, browser)


def test_a_browser_that_is_not_used_is_signed_out_and_forgotten(server: Served) -> None:
    browser = server.let_in()
    server.project.clock.advance(seconds=TERM.total_seconds())

    assert not _is_in(server, browser)
    server.let_in()
    assert count(server.project, "browsers") == 1


def test_a_browser_that_is_used_stays_for_longer_but_not_for_ever(server: Served) -> None:
    browser = server.let_in()
    for _ in range(3):
        server.project.clock.advance(seconds=TERM.total_seconds() - 1)
        assert _is_in(server, browser)
    server.project.clock.advance(seconds=1)
    assert _is_in(server, browser)

    for _ in range(int(LONGEST / (TERM / 2))):
        server.project.clock.advance(seconds=TERM.total_seconds() / 2)
        server.ask_as(browser, "list_plans")
    assert not _is_in(server, browser)


def test_a_browser_that_asks_often_is_not_written_down_each_time(server: Served) -> None:
    browser = server.let_in()
    server.project.clock.advance(seconds=RENEWED_AFTER.total_seconds() - 1)
    with server.project.services.workspace.read() as tx:
        before = tx.db.total_changes
    for _ in range(5):
        assert _is_in(server, browser)
    with server.project.services.workspace.read() as tx:
        assert tx.db.total_changes == before


def test_renewing_the_persons_token_signs_every_browser_out(server: Served) -> None:
    first, second = server.let_in(), server.let_in()
    server.project.services.sessions.ensure_person_token(PERSON, renew=True)
    assert not _is_in(server, first)
    assert not _is_in(server, second)


def test_signing_out_ends_browsers_and_links(server: Served) -> None:
    browser, link = server.let_in(), server.link()

    assert server.ask("sign_out_browsers").json == 1

    assert not _is_in(server, browser)
    assert server.request("GET", link).status == 401
    assert server.ask("read_log", limit=1).json[-1]["kind"] == "browsers_signed_out"


def test_a_page_may_not_let_others_in_nor_speak_as_the_launcher(server: Served) -> None:
    browser = server.let_in()
    for name in ("open_page", "session_ended", "session_heard", "take_over_context", "poll"):
        answer = server.ask_as(browser, name)
        assert (answer.status, answer.json["code"]) == (403, "not_allowed")
    own = {"Cookie": browser.cookie, "X-Stoneforge-Key": browser.key}
    own |= {"Origin": f"http://{server.host}"}
    assert server.request("POST", "/hooks", b"{}", headers=own).status == 403
    # What is no token makes no program of it.
    for name in ("open_page", "poll"):
        answer = server.ask_as(browser, name, headers={"Authorization": "Basic eA=="})
        assert answer.status == 403
    assert server.ask_as(browser, "sign_out_browsers").json == 1


def test_markup_in_a_title_stays_text(server: Served) -> None:
    title = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
    a_plan(server.project, title)
    answer = server.ask_as(server.let_in(), "list_plans")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert title in [one["plan"]["title"] for one in answer.json]
