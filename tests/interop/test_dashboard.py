"""The dashboard of a real controller with relays of its own, as people see it in Chromium: growth, drain, freeze, silence.

States that are hard to come by are shown from documents that the controller has given before, with a word or two changed.
"""

import copy
import json
import pathlib
import re

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

import browser as chromium
from conftest import require
from local_fleet import CAPACITY, Clients, LocalFleet
from server import ROOT

PAGES = ROOT / "controller" / "src" / "api" / "pages" / "dashboard"
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
WIDTHS = [1280, 390]
PATIENCE_SECONDS = 60
# The story takes a while.
pytestmark = pytest.mark.timeout(300)
TOKEN = "a-reader's-token-of-more-than-32-bytes"
MARKUP = '<img src=x onerror="window.planted=1"><script>window.planted=1</script>'


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser of its own."""
    require(*chromium.TOOLS)
    browser = chromium.start(tmp_path_factory.mktemp("chromium"), None, "--hide-scrollbars")
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Three relays in three zones, and their controller."""
    fleet = LocalFleet(tmp_path_factory.mktemp("fleet"), "127.33")
    try:
        fleet.until(lambda page: page["totals"]["states"].get("ready") == 3 and page["condition"] == "steady")
        yield fleet
    finally:
        fleet.close()


@pytest.fixture(scope="module")
def clients(fleet):
    """Clients of those relays."""
    clients = Clients(fleet)
    yield clients
    clients.close()


@pytest.fixture(scope="module")
def recorded(browser):
    """Shows a document in place of a controller's; gives the address."""
    answers = {"/": (TYPES[".html"], (PAGES / "index.html").read_bytes())}
    for path in PAGES.iterdir():
        answers[f"/assets/dashboard/{path.name}"] = (TYPES[path.suffix], path.read_bytes())
    pages = chromium.Pages(answers)

    def show(document: dict, width: int = 1280, dark: bool = False) -> None:
        answers["/v1/overview"] = ("application/json", json.dumps(document).encode())
        size(browser, width, dark=dark)
        visit(browser, pages.url)

    yield show
    pages.close()


def size(browser, width, height=1000, dark=False):
    """Give the page a viewport and a colour scheme."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [
        {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def visit(browser, url):
    """Open it, and wait until something is shown."""
    browser.get("about:blank")
    browser.get(url)
    wait(browser, lambda: browser.execute_script("return document.body.dataset.connection") == "heard")


def wait(browser, shown):
    """Wait until this holds of the page."""
    WebDriverWait(browser, PATIENCE_SECONDS, 0.1).until(
        lambda _: shown(), f"not so: {browser.find_element(By.TAG_NAME, 'body').text[:3000]}"
    )


def text(browser, identifier) -> str:
    """What is read there, on one line, with spaces that break."""
    words = browser.execute_script("return document.getElementById(arguments[0]).textContent", identifier)
    return re.sub(r"\s+", " ", words).strip()


def condition(browser) -> str:
    """The word for the whole."""
    return browser.execute_script("return document.body.dataset.condition ?? ''")


def picture(browser, path: pathlib.Path, width, dark=False):
    """A picture of the whole page."""
    size(browser, width, browser.execute_script("return document.documentElement.scrollHeight"), dark)
    browser.save_screenshot(str(path))


def addresses(fleet) -> dict[str, str]:
    """Where each relay that is ready listens."""
    relays = fleet.ask("/v1/fleet")["relays"]
    return {relay["id"]: relay["admin"].rsplit(":", 1)[0] for relay in relays if relay["state"] == "ready"}


@pytest.fixture(scope="module")
def documents(browser, fleet, clients) -> dict[str, dict]:
    """The story, watched as it happens: growth by load, a drain, a freeze. What the controller said in each state is kept."""
    said = {"steady": fleet.ask()}
    size(browser, 1280)
    visit(browser, fleet.url)
    assert condition(browser) == "steady" and browser.title.startswith("Steady"), browser.title
    assert text(browser, "f-need") == "3" and "3 ready" not in text(browser, "zones")

    for address in addresses(fleet).values():
        clients.allocate(address, CAPACITY // 2 + 1)
    wait(browser, lambda: condition(browser) == "growing")
    said["growing"] = fleet.until(lambda page: page["condition"] == "growing")
    assert "on its way" in text(browser, "headline") or "on their way" in text(browser, "headline")
    assert "launching" in text(browser, "zones") and browser.title.startswith("Growing"), browser.title
    wait(browser, lambda: int(text(browser, "f-need")) > 3 and text(browser, "f-allocations") == "15")
    assert "launch" in text(browser, "decisions")
    fleet.until(lambda page: page["totals"]["states"].get("ready", 0) > 3 and page["condition"] == "steady")

    loaded = sorted(relay["id"] for relay in fleet.ask("/v1/fleet")["relays"] if (relay["load"]["allocations"] or 0) > 0)
    fleet.order(loaded[0], "drain")
    wait(browser, lambda: condition(browser) == "shrinking" and loaded[0] in text(browser, "drains"))
    said["draining"] = fleet.until(lambda page: page["drains"])
    drains = text(browser, "drains")
    assert "5" in drains and " left" in drains and "min" in drains, drains
    assert "no relay is being drained" not in browser.find_element(By.ID, "main").text.lower()
    assert "drain begun" in text(browser, "marks")

    whole = fleet.config.read_text()
    fleet.config.write_text(f"{whole}\nnonsense = \n")
    fleet.reload()
    wait(browser, lambda: condition(browser) == "frozen")
    said["frozen"] = fleet.until(lambda page: page["condition"] == "frozen")
    notices = text(browser, "notices")
    assert "Frozen." in notices and "Nothing is taken away: the configuration on the disk is broken" in notices, notices
    assert "Frozen" in text(browser, "announce") and browser.title.startswith("Frozen")
    fleet.config.write_text(whole)
    fleet.reload()
    wait(browser, lambda: "Frozen" not in text(browser, "notices"))

    clients.release(99)
    wait(browser, lambda: loaded[0] not in text(browser, "drains") and "ended" in text(browser, "marks"))
    assert not browser.get_log("browser")
    return said


def the_growth_the_drain_and_the_freeze_are_shown_as_they_happen(documents):
    """The story of the fixture, which asserts what stands on the page at each step."""
    assert set(documents) == {"steady", "growing", "draining", "frozen"}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("state", ["steady", "growing", "draining", "frozen"])
def a_state_fits_its_window_and_can_be_read(browser, documents, recorded, screenshots, state, width, dark):
    """Nothing is scrolled sideways, and every text stands out from what is behind it by 4.5 to 1; pictures are kept."""
    recorded(documents[state], width, dark)
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    for details in browser.find_elements(By.TAG_NAME, "summary"):
        if details.is_displayed():
            details.click()
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    faint = browser.execute_script(CONTRAST)
    assert faint["looked"] > 60 and faint["faint"] == [], faint
    for details in browser.find_elements(By.TAG_NAME, "summary"):
        if details.is_displayed():
            details.click()
    picture(browser, screenshots / f"dashboard-{width}-{'dark' if dark else 'light'}-{state}.png", width, dark)


# Text that stands out too little from what is behind it, by the formula of WCAG 2.
CONTRAST = """
const parts = (colour) => (colour.match(/[\\d.]+/g) ?? []).map(Number);
const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
  .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
const behind = (node) => {
  for (let up = node; up; up = up.parentElement) {
    const colour = parts(getComputedStyle(up).backgroundColor);
    if (colour.length === 3 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
let looked = 0;
const faint = [];
while (walker.nextNode()) {
  const node = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || node.closest(".unseen, noscript, option") || node.getClientRects().length === 0) continue;
  const style = getComputedStyle(node);
  const [one, two] = [light(parts(node.ownerSVGElement ? style.fill : style.color)), light(behind(node))].sort((a, b) => b - a);
  looked += 1;
  if ((one + 0.05) / (two + 0.05) < 4.5) faint.push([walker.currentNode.data.trim(), (one + 0.05) / (two + 0.05)]);
}
return { looked, faint };
"""


def the_live_region_speaks_of_a_change_once(browser, documents, recorded):
    """What has not changed is not said again with each answer: the region's text stays, though documents keep coming."""
    recorded(documents["frozen"])
    browser.execute_script(
        "window.said = 0; window.asked = performance.getEntriesByName(location.origin + '/v1/overview').length;"
        "new MutationObserver(() => { window.said += 1; }).observe(document.getElementById('announce'),"
        " { childList: true, characterData: true, subtree: true });"
    )
    asked = "return performance.getEntriesByName(location.origin + '/v1/overview').length - window.asked"
    wait(browser, lambda: browser.execute_script(asked) >= 3)
    assert browser.execute_script("return window.said") == 0
    assert "Frozen" in text(browser, "announce")


def a_text_that_is_shown_is_never_read_as_markup(browser, documents, recorded):
    """A-40: ids, zones, reasons and words are shown as they are, whatever is in them."""
    planted = copy.deepcopy(documents["draining"])

    planted.update(fleet=MARKUP, headline=MARKUP, summary=MARKUP, version=MARKUP)
    planted["brakes"] = [{"kind": MARKUP, "relay": None, "words": MARKUP}]
    planted["alarms"] = [{"kind": MARKUP, "relay": MARKUP, "words": MARKUP}]
    planted["zones"][0].update(zone=MARKUP, states={MARKUP: 1})
    planted["drains"][0].update(relay=MARKUP, zone=MARKUP, reason=MARKUP, source=MARKUP)
    planted["relays"][0].update(id=MARKUP, zone=MARKUP, state=MARKUP, version=MARKUP, image=MARKUP, not_ready_because=[MARKUP])
    planted["need"]["reasons"][0].update(reason=MARKUP, words=MARKUP)
    planted["loads"][0].update(dimension=MARKUP)
    planted["chart"]["marks"] = [{"time": planted["time"], "done": MARKUP, "relays": 1}]
    planted["decisions"][0].update(
        summary=MARKUP,
        brakes=[MARKUP],
        actions=[{"act": MARKUP, "target": MARKUP, "reason": MARKUP, "words": MARKUP, "outcome": MARKUP, "outcome_words": MARKUP}],
    )
    recorded(planted)
    assert browser.execute_script("return window.planted") is None
    assert browser.find_elements(By.CSS_SELECTOR, "img, body script") == []
    for identifier in ("fleet", "headline", "notices", "zones", "drains", "relays", "reasons", "decisions", "marks"):
        assert '<img src=x onerror="window' in text(browser, identifier), identifier


def the_page_asks_nobody_else_and_runs_nothing_else(browser, fleet, documents):
    """A-40: every request goes where the page came from, and the policy stops what somebody might put into it."""
    size(browser, 1280)
    visit(browser, fleet.url)
    asked = browser.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert len(asked) >= 6 and all(name.startswith(fleet.url) for name in asked), asked
    assert not browser.get_log("browser")
    stopped = browser.execute_async_script(
        """const done = arguments[0], stopped = [];
        document.addEventListener("securitypolicyviolation", (event) => stopped.push(event.effectiveDirective));
        const script = document.createElement("script");
        script.textContent = "window.planted = 1";
        document.body.append(script);
        const picture = document.createElement("img");
        picture.src = "http://127.0.0.2:9/";
        document.body.append(picture);
        fetch("http://127.0.0.2:9/").catch(() => setTimeout(() => done([stopped, window.planted ?? null]), 200));"""
    )
    assert sorted(stopped[0]) == ["connect-src", "img-src", "script-src-elem"] and stopped[1] is None, stopped
    browser.get_log("browser")


def the_page_is_walked_with_the_keyboard(browser, documents, recorded):
    """The first key leads past the head; everything that does something is reached in order, and is seen to be."""
    recorded(documents["draining"])
    walked = []
    for _ in range(40):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        here = browser.execute_script(
            "const at = document.activeElement, style = getComputedStyle(at);"
            "return [at.tagName, at.id || at.getAttribute('aria-label') || at.textContent.trim().slice(0, 30), style.outlineStyle, style.outlineWidth]"
        )
        if here[0] == "BODY":
            break
        walked.append(here)
    tags = [tag for tag, *_ in walked]
    assert walked[0][:2] == ["A", "Skip to the fleet"], walked
    assert "SELECT" in tags and tags.count("SUMMARY") == 2, walked
    names = " ".join(name for _, name, *_ in walked)
    assert "drains-table" in names and "relays-table" in names, walked
    assert all(outline != "none" and width != "0px" for _, _, outline, width in walked), walked
    # The skip link and a disclosure, each by its key.
    visit(browser, browser.current_url)
    browser.switch_to.active_element.send_keys(Keys.TAB)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.execute_script("return document.activeElement.id") == "main"
    tables = browser.find_element(By.CSS_SELECTOR, "details summary")
    tables.send_keys(Keys.ENTER)
    rows = browser.find_elements(By.CSS_SELECTOR, "#points tr")
    assert rows and rows[0].is_displayed() and any(character.isdigit() for character in rows[0].text)


def a_screen_reader_is_given_names_and_roles(browser, documents, recorded):
    """The tree that assistive technology is given: landmarks, one heading of the first level, named tables and controls."""
    recorded(documents["frozen"])
    nodes = [node for node in browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"] if not node["ignored"]]

    def named(role):
        return [node.get("name", {}).get("value", "") for node in nodes if node["role"]["value"] == role]

    def properties(node):
        return {each["name"]: each["value"].get("value") for each in node.get("properties", [])}

    assert len(named("main")) == len(named("banner")) == len(named("contentinfo")) == 1
    headings = [(properties(node)["level"], node["name"]["value"]) for node in nodes if node["role"]["value"] == "heading"]
    assert [name for level, name in headings if level == 1] == ["Frozen"], headings
    wanted = {"Demand and capacity", "Need by reason", "Fleet by zone", "Drains", "Last decisions", "Relays"}
    assert wanted <= {name for level, name in headings if level == 2}, headings
    charts = [name for name in named("image") + named("img") if name.startswith("Demand and capacity in allocations")]
    assert len(charts) == 1 and "drains begun 1" in charts[0], charts
    for role in ("combobox", "DisclosureTriangle", "link", "button", "region", "textbox"):
        assert all(named(role)), (role, named(role))
    assert len(named("columnheader")) >= 14 and "Allocations left" in named("columnheader")
    assert any("draining" in name for name in named("cell") + named("gridcell") + named("StaticText"))
    status = next(node for node in nodes if node["role"]["value"] == "status")
    assert properties(status).get("live") == "polite", status


def the_times_are_those_of_the_reader_and_utc_when_pointed_at(browser, documents, recorded):
    """Each time element says UTC in its tip; the text is the device's own time."""
    browser.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "Australia/Sydney"})
    try:
        recorded(documents["draining"])
        times = browser.execute_script(
            "return [...document.querySelectorAll('time')].map((time) => [time.textContent, time.title, time.dateTime])"
        )
    finally:
        browser.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": ""})
    assert len(times) > 5 and all(title.endswith(" UTC") for _, title, _ in times), times
    assert all(shown[-8:] != title[11:19] for shown, title, _ in times), times


@pytest.mark.parametrize(
    ("change", "word", "words"),
    [
        ({"condition": "standby", "headline": "This controller only watches", "leadership": {"words": "held by another"}}, "Standby", "held by another"),
        ({"dry_run": True}, "Steady", "Nothing is launched, drained or ended"),
        ({"condition": "stuck", "headline": "What is shown is old", "age_seconds": 95.0}, "Stuck", ""),
        ({"condition": "empty", "relays": [], "zones": [], "drains": [], "decisions": [], "loads": []}, "Empty", ""),
        ({"condition": "of a later version"}, "Steady", ""),
    ],
    ids=["standby", "dry run", "stuck", "empty", "unknown"],
)
def a_state_that_is_hard_to_come_by_says_so_in_words(browser, documents, recorded, change, word, words):
    """Standby, dry run, a loop that has stopped, an empty fleet, and a word of a later version."""
    recorded({**documents["steady"], **change})
    assert text(browser, "condition") == word and browser.title.startswith(word)
    assert words in text(browser, "notices"), text(browser, "notices")
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


def a_page_that_is_not_seen_asks_nothing(browser, documents, recorded):
    """While the tab is hidden nothing is asked; when it is seen again, at once."""
    recorded(documents["steady"])
    asked = "return performance.getEntriesByName(location.origin + '/v1/overview').length"
    hide = "Object.defineProperty(document, 'hidden', { configurable: true, get: () => arguments[0] });"
    hide = f"const is = arguments[0]; {hide.replace('arguments[0]', 'is')} document.dispatchEvent(new Event('visibilitychange'));"
    browser.execute_script(hide, True)
    # One that was under way may still come.
    browser.execute_async_script("setTimeout(arguments[0], 1000)")
    before = browser.execute_script(asked)
    browser.execute_async_script("setTimeout(arguments[0], 5000)")
    assert browser.execute_script(asked) == before
    browser.execute_script(hide, False)
    wait(browser, lambda: browser.execute_script(asked) > before)


def a_controller_that_is_gone_leaves_the_page_honest_and_comes_back(browser, fleet, documents, screenshots):
    """What is shown says how old it is and that calls do not need the controller; it goes on by itself when that is back."""
    size(browser, 1280)
    visit(browser, fleet.url)
    fleet.stop_controller()
    wait(browser, lambda: browser.execute_script("return document.body.dataset.connection") == "lost")
    notices = text(browser, "notices")
    assert "What is shown is old. The controller was last heard" in notices and "Calls are not affected" in notices, notices
    assert browser.title.startswith("Not heard") and "last heard" in text(browser, "headline")
    assert text(browser, "f-need") == "3", "what was known is still shown"
    picture(browser, screenshots / "dashboard-1280-light-gone.png", 1280)
    fleet.start()
    wait(browser, lambda: browser.execute_script("return document.body.dataset.connection") == "heard")
    assert "What is shown is old" not in text(browser, "notices")
    browser.get_log("browser")


def a_token_is_asked_for_kept_in_the_tab_and_forgotten_when_it_is_wrong(browser, tmp_path, screenshots):
    """A-40: without the token nothing of the fleet is shown; with it an empty fleet says that it is empty."""
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    (tmp_path / "reader").write_text(TOKEN[::-1])
    (tmp_path / "reader").chmod(0o600)
    more = f'token-file = "{tmp_path}/token"\nreader-token-file = "{tmp_path}/reader"'
    empty = LocalFleet(tmp_path, "127.33", more_api=more, token=TOKEN, least=0)
    try:
        size(browser, 390)
        browser.get(empty.url)
        wait(browser, lambda: browser.find_element(By.ID, "token-form").is_displayed())
        assert not browser.find_element(By.ID, "main").is_displayed()
        assert browser.execute_script("return document.activeElement.id") == "token"
        picture(browser, screenshots / "dashboard-390-light-token.png", 390)
        browser.find_element(By.ID, "token").send_keys("not the token of this controller", Keys.ENTER)
        wait(browser, lambda: "not the one" in text(browser, "token-words"))
        assert browser.execute_script("return sessionStorage.length") == 0
        browser.find_element(By.ID, "token").send_keys(TOKEN[::-1], Keys.ENTER)
        wait(browser, lambda: condition(browser) == "empty")
        assert "There is no relay" in text(browser, "headline") and text(browser, "no-relays") == "There is none."
        assert TOKEN[::-1] not in browser.execute_script("return document.documentElement.outerHTML + location.href")
        browser.refresh()
        wait(browser, lambda: condition(browser) == "empty")
        picture(browser, screenshots / "dashboard-390-light-empty.png", 390)
    finally:
        browser.execute_script("sessionStorage.clear()")
        browser.get_log("browser")
        empty.close()
