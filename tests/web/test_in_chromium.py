"""The way in and the stream in a real browser: what it sends, what it refuses, what it keeps."""

import json
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from sf_mcp.core.identity import PERSON
from sf_mcp.web import stream
from tests.builders import a_plan
from tests.web.builders_server import SECONDS, Served, served

CHROMIUM = "/usr/bin/chromium"
MILLISECONDS = SECONDS * 1000

LISTEN = """async () => {
  const { subscribe } = await import("/static/server.js");
  window.seen = { numbers: [], titles: [], links: [] };
  subscribe({
    onOverview: (overview) => { seen.titles = overview.plans.map((plan) => plan.title); },
    onEvents: (events) => seen.numbers.push(...events.map((event) => event.number)),
    onLink: (link) => seen.links.push({ isLive: link.isLive, remedy: link.refusal?.remedy }),
  });
}"""
CALL = """async ([name, given]) => {
  const { call } = await import("/static/server.js");
  try { return { result: await call(name, given) }; }
  catch ({ code, message, remedy }) { return { code, message, remedy }; }
}"""


@pytest.fixture(scope="module")
def chromium() -> Generator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    with served(tmp_path_factory.mktemp("served")) as one:
        yield one


@pytest.fixture
def context(chromium: Browser) -> Generator[BrowserContext]:
    context = chromium.new_context()
    context.set_default_timeout(MILLISECONDS)
    yield context
    context.close()


def _signed_in(server: Served, context: BrowserContext) -> Page:
    page = context.new_page()
    page.goto(f"http://{server.host}{server.link()}")
    page.wait_for_url(f"http://{server.host}/*")
    return page


def _call(page: Page, name: str, **arguments: Any) -> Any:
    return page.evaluate(CALL, [name, arguments])


def _wait(page: Page, expression: str) -> None:
    page.wait_for_function(f"() => {expression}", timeout=MILLISECONDS)


def _wait_until_nobody_listens(server: Served) -> None:
    assert server.app is not None
    deadline = time.monotonic() + SECONDS
    while server.app.listeners:
        assert time.monotonic() < deadline, "somebody still listens"
        time.sleep(0.01)


def test_a_link_signs_a_browser_in_and_it_stays_signed_in(
    server: Served, context: BrowserContext
) -> None:
    trouble: list[str] = []
    page = context.new_page()
    page.on("console", lambda one: trouble.append(one.text) if one.type == "error" else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.goto(f"http://{server.host}{server.link()}")
    page.wait_for_function("!location.hash.includes('key')")

    assert page.evaluate("document.cookie") == ""
    assert _call(page, "list_plans") == {"result": []}
    page.reload()
    assert _call(page, "list_plans") == {"result": []}
    tab = context.new_page()
    tab.goto(f"http://{server.host}/")
    assert _call(tab, "create_plan", title="Made here")["result"]["plan"]["title"] == "Made here"
    refused = _call(tab, "get_plan", plan="P99")
    assert (refused["code"], bool(refused["remedy"])) == ("not_found", True)
    assert trouble == []


def test_a_browser_without_a_link_is_told_what_to_do(
    server: Served, context: BrowserContext
) -> None:
    page = context.new_page()
    page.goto(f"http://{server.host}/")
    assert "Run sf open" in page.inner_text("body")


def test_many_tabs_share_one_stream_and_all_of_them_are_told(
    server: Served, context: BrowserContext
) -> None:
    """A browser opens six connections to a server: with a stream each, the seventh tab is dead."""
    tabs = [_signed_in(server, context)]
    for _ in range(7):
        tabs.append(context.new_page())
        tabs[-1].goto(f"http://{server.host}/")
    for tab in tabs:
        tab.evaluate(LISTEN)
    a_plan(server.project, "For all")
    for tab in tabs:
        _wait(tab, "seen.titles.includes('For all')")
        assert "result" in _call(tab, "list_plans")
    assert server.app is not None
    assert server.app.listeners == 1
    tabs[0].close()
    a_plan(server.project, "For the rest")
    for tab in tabs[1:]:
        _wait(tab, "seen.titles.includes('For the rest')")


def test_a_tab_whose_worker_died_says_so_and_starts_another(
    server: Served, chromium: Browser, context: BrowserContext
) -> None:
    context.clock.install()
    page = _signed_in(server, context)
    page.evaluate(LISTEN)
    _wait(page, "seen.links.at(-1)?.isLive === true")

    session: Any = chromium.new_browser_cdp_session()
    targets = session.send("Target.getTargets")["targetInfos"]
    workers = [one["targetId"] for one in targets if one["type"] == "shared_worker"]
    for worker in workers:
        session.send("Target.closeTarget", {"targetId": worker})
    _wait_until_nobody_listens(server)
    page.clock.fast_forward(46_000)

    _wait(page, "seen.links.some((link) => !link.isLive) && seen.links.at(-1).isLive")
    a_plan(server.project, "Seen again")
    _wait(page, "seen.titles.includes('Seen again')")


def test_a_page_without_shared_workers_listens_by_itself(
    server: Served, context: BrowserContext
) -> None:
    context.add_init_script("delete globalThis.SharedWorker")
    page = _signed_in(server, context)
    page.evaluate(LISTEN)
    a_plan(server.project, "Seen all the same")
    _wait(page, "seen.titles.includes('Seen all the same')")


def test_an_open_page_goes_on_after_a_restart_and_misses_nothing(
    server: Served, context: BrowserContext
) -> None:
    page = _signed_in(server, context)
    page.evaluate(LISTEN)
    _wait(page, "seen.links.at(-1)?.isLive === true")
    a_plan(server.project, "Before")
    first = server.project.services.fleet.newest_event()
    _wait(page, f"seen.numbers.includes({first})")

    server.stop()
    _wait(page, "seen.links.at(-1).isLive === false")
    assert _call(page, "list_plans")["code"] == "unreachable"
    server.project.reopen()
    a_plan(server.project, "Meanwhile")
    server.start()

    last = server.project.services.fleet.newest_event()
    _wait(page, f"seen.numbers.includes({last})")
    _wait(page, "seen.titles.includes('Meanwhile')")
    numbers = page.evaluate("seen.numbers")
    assert numbers == list(range(numbers[0], last + 1))
    assert page.evaluate("seen.links.at(-1)")["isLive"] is True


def test_a_page_that_is_signed_out_says_how_to_sign_in_and_goes_on_when_it_is(
    server: Served, context: BrowserContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CHECK_SECONDS", 0.05)
    page = _signed_in(server, context)
    page.evaluate(LISTEN)
    _wait(page, "seen.links.at(-1)?.isLive === true")

    server.project.services.browsers.sign_out_browsers(PERSON)
    _wait(page, "seen.links.at(-1).remedy?.includes('sf open')")
    assert _call(page, "list_plans")["code"] == "unauthorized"

    _signed_in(server, context)  # in another tab, as `sf open` does
    _wait(page, "seen.links.at(-1).isLive === true")
    assert "result" in _call(page, "list_plans")


def test_nothing_in_the_page_can_turn_text_into_code(
    server: Served, context: BrowserContext
) -> None:
    page = _signed_in(server, context)
    outcome = page.evaluate(
        """async () => {
          const tried = {};
          const attempt = (name, action) => {
            try { action(); tried[name] = "done"; } catch (error) { tried[name] = error.name; }
          };
          attempt("markup", () => { document.body.innerHTML = "<img src=x onerror=alert(1)>"; });
          attempt("worker", () => new Worker("/static/workers.js"));
          attempt("policy", () => trustedTypes.createPolicy("mine", {}));
          const script = document.createElement("script");
          attempt("script", () => { script.textContent = "window.ran = 1"; });
          const { startWorker } = await import("/static/workers.js");
          attempt("foreign", () => startWorker("../../evil.js"));
          attempt("absolute", () => startWorker("https://evil.example/a.js"));
          const own = startWorker("stream.js");
          own.terminate();
          return tried;
        }"""
    )
    assert outcome == dict.fromkeys(outcome, "TypeError")
    assert page.evaluate("window.ran") is None


# -- another site --------------------------------------------------------------------------------


class _Elsewhere(BaseHTTPRequestHandler):
    def __init__(self, page: str, *arguments: Any) -> None:
        self._page = page
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(self._page.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def _site(page: str) -> Generator[str]:
    """Serve a page on another port of this host, as a session's development server does."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Elsewhere, page)) as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{site.server_port}"
        finally:
            site.shutdown()
            thread.join()


ATTACK = """<!doctype html><body><script>
window.attack = async (server, key) => {
  const got = {};
  const json = { "Content-Type": "application/json" };
  const tries = {
    read: [`/api/list_plans`, { method: "POST", credentials: "include", body: "{}" }],
    blind: [`/api/pause_fleet`,
            { method: "POST", mode: "no-cors", credentials: "include", body: "{}" }],
    keyed: [`/api/pause_fleet`, { method: "POST", credentials: "include", body: "{}",
            headers: { ...json, "X-Stoneforge-Key": key } }],
    file: [`/static/server.js`, { credentials: "include" }],
  };
  for (const [name, [path, how]] of Object.entries(tries)) {
    try { got[name] = (await fetch(server + path, how)).type; }
    catch (error) { got[name] = error.name; }
  }
  got.stream = await new Promise((done) => {
    const source = new EventSource(`${server}/api/events?key=${key}`, { withCredentials: true });
    source.onopen = () => done("open");
    source.onerror = () => { source.close(); done("refused"); };
  });
  got.script = await new Promise((done) => {
    const script = document.createElement("script");
    script.src = `${server}/static/server.js`;
    script.type = "module";
    script.onload = () => done("run");
    script.onerror = () => done("refused");
    document.body.append(script);
  });
  const frame = document.createElement("iframe");
  frame.name = "frame";
  document.body.append(frame);
  const sent = (action, fields) => new Promise((done) => {
    frame.onload = () => done();
    const form = document.createElement("form");
    Object.assign(form, { method: "POST", target: "frame", enctype: "text/plain", action });
    const field = document.createElement("input");
    Object.assign(field, { name: '{"reason":"', value: '"}' });
    form.append(field);
    document.body.append(form);
    form.submit();
  });
  await sent(`${server}/api/pause_fleet`);
  await new Promise((done) => { frame.onload = done; frame.src = `${server}/`; });
  try { got.frame = frame.contentDocument ? "seen" : "closed"; } catch { got.frame = "closed"; }
  return got;
};
</script></body>"""


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_page_of_another_site_reads_and_changes_nothing(
    server: Served, context: BrowserContext, name: str
) -> None:
    """Even from another port of the host, where the cookie goes along, and with a stolen key."""
    own = _signed_in(server, context)
    key = own.evaluate("localStorage.getItem('stoneforge-key')")
    before = server.project.event_kinds()
    with _site(ATTACK) as site:
        foreign = context.new_page()
        foreign.goto(f"http://{site.replace('127.0.0.1', name)}/")
        got = foreign.evaluate(
            "([server, key]) => attack(server, key)", [f"http://{server.host}", key]
        )
    # An opaque answer: the page cannot tell that it was a refusal.
    assert got.pop("blind") in ("opaque", "TypeError")
    assert got == {
        "read": "TypeError",
        "keyed": "TypeError",
        "file": "TypeError",
        "stream": "refused",
        "script": "refused",
        "frame": "closed",
    }, json.dumps(got)
    assert server.project.event_kinds() == before


def test_who_follows_a_link_of_another_site_is_one_step_from_the_page(
    server: Served, context: BrowserContext
) -> None:
    """A strict cookie does not go along with the first step."""
    _signed_in(server, context)
    with _site(f'<!doctype html><a href="http://{server.host}/">the page</a>') as site:
        page = context.new_page()
        page.goto(f"http://{site.replace('127.0.0.1', 'localhost')}/")
        page.click("a")
        page.click("text=open the page")
        page.wait_for_selector("#page", state="attached")
    assert "result" in _call(page, "list_plans")
