"""What happens at the hub is on the page, without reloading and whatever becomes of the socket."""

import json
import urllib.request

import front_desk
import pytest
from harness import Hub, eventually
from playwright.sync_api import Page, Route, WebSocketRoute, expect
from portal import Window, live, press, sign_in

SOON_SECONDS, SIGN_IN_FIRST = 2.0, 4401


def mark(page: Page) -> None:
    """Leave something on the page that a reload would wipe away."""
    page.evaluate("window.kept = true")


def is_the_same(page: Page) -> bool:
    return bool(page.evaluate("window.kept === true"))


def test_a_run_of_two_rounds_finishes_on_the_page_without_reloading(window: Window) -> None:
    page = window().new_page()
    sign_in(page, "alice")
    before = page.locator("h1").inner_text()
    assert before.startswith("No run is active.")
    page.fill("#run-rounds", "2")
    page.fill("#run-epochs", "1")
    page.click("#start")
    page.wait_for_selector("text=The run is started.")
    mark(page)
    version = int(before.removesuffix(".").rsplit(" ", 1)[1])
    expect(page.locator("h1")).to_have_text(f"No run is active. The current model is version {version + 2}.")
    expect(page.locator("#model-head + .card-note")).to_have_text(f"version {version + 2}")
    assert is_the_same(page)


WATCH = """
    window.said = [];
    document.addEventListener("DOMContentLoaded", () => {
        const words = document.querySelector("[data-live-text]");
        if (!words) return;
        window.said.push(words.textContent);
        const more = { childList: true, characterData: true, subtree: true };
        new MutationObserver(() => window.said.push(words.textContent)).observe(words, more);
    });
"""


@pytest.mark.parametrize(
    ("failures", "said"), [(1, ["Connecting", "Live"]), (2, ["Connecting", "Reconnecting", "Live"])]
)
def test_a_page_that_was_just_loaded_connects_and_does_not_reconnect(
    window: Window, failures: int, said: list[str]
) -> None:
    page = window().new_page()
    sign_in(page, "alice")
    live(page)
    tries: list[WebSocketRoute] = []

    def pass_on(socket: WebSocketRoute) -> None:
        tries.append(socket)
        socket.close() if len(tries) <= failures else socket.connect_to_server()

    page.route_web_socket("**/ws/events/", pass_on)
    page.add_init_script(WATCH)
    page.reload()
    expect(page.locator(".live")).to_have_attribute("data-live", "on", timeout=120_000)
    assert page.evaluate("window.said") == said


def test_without_its_socket_a_page_still_learns_what_happens(window: Window, hub: Hub) -> None:
    page = window().new_page()
    sockets: list[WebSocketRoute] = []
    cut = False

    def pass_on(socket: WebSocketRoute) -> None:
        if cut:
            socket.close()
            return
        socket.connect_to_server()
        sockets.append(socket)

    page.route_web_socket("**/ws/events/", pass_on)
    sign_in(page, "alice")
    live(page)
    mark(page)
    cut = True
    sockets[-1].close()
    expect(page.locator(".live")).to_have_attribute("data-live", "off")
    hub.ask(front_desk.speak_up)
    expect(page.locator(".news li").first).to_contain_text("added a hospital")
    assert is_the_same(page)
    cut = False
    # The longer it was away, the more rarely it tries: three quarters of a minute apart at most.
    expect(page.locator(".live")).to_have_attribute("data-live", "on", timeout=120_000)


SLOW_HUB = """const fast = window.fetch;
window.fetch = async (address, how) => {
  if (how?.headers?.["X-Fragment"]) await new Promise((go) => setTimeout(go, 1500));
  return fast(address, how);
};"""


def test_a_page_keeps_up_where_events_come_faster_than_the_hub_answers(window: Window, hub: Hub) -> None:
    page = window().new_page()
    sign_in(page, "alice")
    page.add_init_script(SLOW_HUB)
    page.reload()
    expect(page.locator(".live")).to_have_attribute("data-live", "on")
    newest = page.locator(".news li").first
    before = newest.get_attribute("id")
    for _ in range(40):
        hub.ask(front_desk.speak_up)
        page.wait_for_timeout(200)
        if newest.get_attribute("id") != before:
            break
    assert newest.get_attribute("id") != before


def hold_what_scripts_ask(route: Route) -> None:
    if route.request.resource_type == "document":
        route.continue_()


# The page itself keeps how its socket ended: whoever asks Playwright may find it gone with the page that held it.
KEEP_THE_END = """
    const Real = window.WebSocket;
    window.WebSocket = class extends Real {
        constructor(...given) {
            super(...given);
            this.addEventListener("close", (end) => {
                sessionStorage.setItem("end", JSON.stringify({ code: end.code, at: Date.now() }));
            });
        }
    };
"""


def test_signing_out_in_another_tab_closes_this_one(window: Window, complaints: list[str]) -> None:
    context = window()
    page, other = context.new_page(), context.new_page()
    sign_in(page, "dora")
    page.add_init_script(KEEP_THE_END)
    page.reload()
    live(page)
    # A page that goes away closes its socket too: that of the page before is not the one asked about.
    page.evaluate("sessionStorage.clear()")
    # What the page asks by itself gets no answer any more: only the socket tells it.
    page.route(lambda url: "/api/" in url or url.endswith("/"), hold_what_scripts_ask)
    other.goto("/")
    with other.expect_response("**/accounts/logout/") as signed_out:
        other.click("text=Sign out")
    timing = signed_out.value.request.timing
    page.wait_for_url("**/accounts/login/**")
    end = json.loads(page.evaluate("sessionStorage.getItem('end')"))
    assert end["code"] == SIGN_IN_FIRST
    assert end["at"] - (timing["startTime"] + timing["responseStart"]) < 1000 * SOON_SECONDS
    # What the page asked in the moment of signing out is rightly refused; the browser's console shows that.
    complaints[:] = [line for line in complaints if "status of 403 (Forbidden)" not in line]


def test_what_a_reader_types_and_is_asked_stays_while_the_page_changes(window: Window, hub: Hub) -> None:
    page = window().new_page()
    sign_in(page, "alice")
    live(page)
    page.fill("#run-rounds", "7")
    newest = page.locator(".news li").first
    before = newest.get_attribute("id")
    hub.ask(front_desk.speak_up)
    expect(newest).not_to_have_attribute("id", str(before))
    assert page.input_value("#run-rounds") == "7"
    assert page.evaluate("document.activeElement.id") == "run-rounds"


def test_an_abort_is_asked_about_first(window: Window) -> None:
    page = window().new_page()
    sign_in(page, "alice")
    page.fill("#run-rounds", "900")
    press(page, "#start", "#abort")
    page.click("#abort")
    dialog = page.locator("dialog[open]")
    expect(dialog).to_contain_text("nothing of it is published")
    dialog.get_by_role("button", name="Cancel").click()
    page.click("#abort")
    dialog.get_by_role("button", name="Abort the run").click()
    page.wait_for_selector("text=The run is aborted.")
    expect(page.locator("#start")).to_be_visible()


# Swagger UI has a block for each call; ReDoc a menu entry and a section, both named after it.
BLOCKS = "nodes => nodes.length"
SECTIONS = """nodes => new Set(nodes.map(node => node.dataset.sectionId.split("operation/")[1])).size"""


@pytest.mark.parametrize(
    ("path", "call", "count"), [("/docs", ".opblock", BLOCKS), ("/redoc", "[data-section-id*='operation/']", SECTIONS)]
)
def test_the_apis_pages_list_every_call(window: Window, address: str, path: str, call: str, count: str) -> None:
    with urllib.request.urlopen(f"{address}/api/schema") as answer:
        schema = json.load(answer)
    verbs = {"get", "put", "post", "delete", "patch"}
    expected = sum(len(verbs & calls.keys()) for calls in schema["paths"].values())
    page = window().new_page()
    page.goto(path)
    page.wait_for_selector(call)
    eventually(lambda: page.eval_on_selector_all(call, count) == expected, f"{expected} calls on {path}")
