"""The self-test page in Chromium: every path open, each shut, and everything else that keeps a test from being made.

The module's thread is in a network of its own meanwhile, in which relays have port 443 and a firewall can be told what to shut.
"""

import os
import re
import socket
import time
import urllib.error
import urllib.request

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import browser as chromium
import certificates as authority
import clinic
import self_test_page as page
import server as under_test
from clinic import Firewall
from conftest import require
from self_test_page import API, PUBLIC, RELAYS, outcomes, report, run_test, text, visit, wait_for_end
from test_demo_page import resize

WORKS, BLOCKED = "Works", "Blocked"
ALL = ("UDP 3478", "UDP 443", "TCP 443", "TLS 443")
OWN_SECRET = "clinic-secret-of-more-than-thirty-two-characters"


@pytest.fixture(scope="module")
def firewall():
    """The firewall of the clinic's network, in which everything of this module runs."""
    require(*chromium.TOOLS, "ip", "nft")
    if under_test.under_test() != "taciturn":
        pytest.skip("only this project has a self-test")
    if os.geteuid() != 0:
        message = "a network of its own wants root"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    with clinic.network() as firewall:
        yield firewall


@pytest.fixture(scope="module")
def trust(firewall, tmp_path_factory):
    """The authority of this module's relays."""
    own = ("127.35.9.1", "127.35.9.2", "127.35.9.3")
    return authority.issue(tmp_path_factory.mktemp("trust"), *RELAYS, *own)


@pytest.fixture(scope="module")
def fleet(firewall, trust, tmp_path_factory):
    """A controller and its relays; it has to be there still in the end, unless a test has ended it."""
    fleet = page.start(tmp_path_factory.mktemp("clinic"), trust)
    yield fleet
    assert fleet.process.poll() in (None, 0), fleet.log.read_text()


@pytest.fixture(scope="module")
def visitor(firewall, trust, tmp_path_factory):
    """A browser in the clinic."""
    browser = chromium.start(tmp_path_factory.mktemp("visitor"), trust.authority, "--hide-scrollbars")
    browser.set_window_size(1280, 1000)
    yield browser
    browser.quit()


@pytest.fixture
def shut(firewall):
    """Shuts ways for one test."""
    yield firewall.shut
    firewall.open()


def picture(browser, path) -> None:
    """A picture of the whole page, however long, once it is painted at that length."""
    size = "return [window.innerWidth, document.documentElement.scrollHeight]"
    resize(browser, *browser.execute_script(size), "dark" in path.name)
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(arguments[0], 200)))")
    browser.save_screenshot(str(path))


def shown(browser) -> str:
    """All that there is to read, the report among it."""
    return browser.find_element(By.TAG_NAME, "main").text + report(browser)


def the_page_finds_every_path_of_an_open_network(fleet, visitor, screenshots):
    """T-02, H-01: four paths, each by itself, with round trip and loss; nothing is left to do, and nothing left this origin."""
    resize(visitor, 1280)
    assert run_test(visitor, fleet.ticket()) == "done"
    assert outcomes(visitor) == dict.fromkeys(ALL, WORKS)
    assert text(visitor, "headline") == "Calls from this room will work."
    assert text(visitor, "meaning") == "Every way to the relay is open."
    assert text(visitor, "advice") == ""
    rows = visitor.execute_script("return [...document.querySelectorAll('#rows tr')].map((row) => row.innerText)")
    assert all(re.search(r"\d+\sms\s\(.*\d+\sms\)\s+0\s%", row) for row in rows), rows
    assert len(re.findall(r"0 of 100 messages lost", report(visitor))) == 4, report(visitor)
    picture(visitor, screenshots / "self-test-1280-light-works.png")
    asked = visitor.execute_script("return performance.getEntriesByType('resource').map(({ name }) => name)")
    assert asked and all(url.startswith((f"{PUBLIC}/", "data:")) for url in asked), asked
    kept = "return [document.cookie, localStorage.length, sessionStorage.length]"
    assert visitor.execute_script(kept) == ["", 0, 0]
    assert visitor.execute_async_script("indexedDB.databases().then(arguments[0])") == []


def the_test_can_be_run_again(fleet, visitor):
    """The button follows the state, and the second test begins with a clean page."""
    assert run_test(visitor, fleet.ticket()) == "done"
    button = visitor.find_element(By.ID, "run")
    assert button.text == "Run the test again"
    button.click()
    assert visitor.execute_script("return document.body.dataset.state") == "running"
    assert button.text == "Testing…" and button.get_attribute("aria-disabled") == "true"
    assert report_is_hidden(visitor)
    # A second click while it runs begins nothing.
    button.click()
    assert wait_for_end(visitor) == "done"
    assert outcomes(visitor) == dict.fromkeys(ALL, WORKS)


def report_is_hidden(browser) -> bool:
    """Whether there is no report to be seen."""
    return not browser.find_element(By.ID, "for-it").is_displayed()


@pytest.mark.parametrize(
    ("closed", "match"),
    [
        ("UDP 3478", "udp dport 3478"),
        ("UDP 443", "udp dport 443"),
        ("TCP 443", f"tcp dport 443 {Firewall.STUN}"),
        ("TLS 443", f"tcp dport 443 {Firewall.TLS}"),
    ],
)
def a_path_that_is_shut_is_the_one_that_is_named(fleet, visitor, shut, closed, match):
    """T-02: one of the four is shut in silence: that one, and no other, is blocked, and IT is told what to open, and to where."""
    shut(match)
    assert run_test(visitor, fleet.ticket()) == "done"
    assert outcomes(visitor) == {**dict.fromkeys(ALL, WORKS), closed: BLOCKED}
    assert text(visitor, "headline") == "Calls from this room will work."
    assert text(visitor, "meaning").startswith(f"{closed} is not open.")
    transport, port = closed.split()
    carried = "UDP" if transport == "UDP" else "TCP"
    wanted = f"{closed}: nothing came back. Ask IT to allow {carried} from this network to port {port} of "
    assert wanted in text(visitor, "advice-list"), text(visitor, "advice-list")
    for relay in RELAYS:
        assert relay in text(visitor, "advice-list")
        assert re.search(rf"^ +{carried} port {port} of .*{re.escape(relay)}", report(visitor), re.M), report(visitor)


def a_network_that_says_no_is_told_from_one_that_is_silent(fleet, visitor, shut, screenshots):
    """T-02: a port that is refused costs no time, and IT sees the difference."""
    shut("tcp dport 443", silently=False)
    began = time.monotonic()
    assert run_test(visitor, fleet.ticket()) == "done"
    assert time.monotonic() - began < 40
    assert outcomes(visitor) == {"UDP 3478": WORKS, "UDP 443": WORKS, "TCP 443": BLOCKED, "TLS 443": BLOCKED}
    assert "TCP 443: this network turns it away. Ask IT to allow TCP" in text(visitor, "advice-list")
    assert "turned away after" in report(visitor) and "ICE error 701" in report(visitor), report(visitor)
    resize(visitor, 390)
    picture(visitor, screenshots / "self-test-390-light-partly.png")
    resize(visitor, 1280)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def the_slower_way_is_named_where_udp_is_shut(fleet, visitor, shut, screenshots, dark):
    """T-02: the verdict names the one thing that IT should open."""
    shade = "dark" if dark else "light"
    shut("udp dport 3478", "udp dport 443")
    resize(visitor, 1280, dark=dark)
    assert run_test(visitor, fleet.ticket()) == "done"
    assert outcomes(visitor) == {"UDP 3478": BLOCKED, "UDP 443": BLOCKED, "TCP 443": WORKS, "TLS 443": WORKS}
    assert text(visitor, "headline") == "Calls will work, but only over the slower way."
    assert text(visitor, "meaning") == "Ask IT to open UDP 3478 to 127.35.1.1, 127.35.2.1."
    for width in (1280, 390):
        resize(visitor, width, dark=dark)
        assert visitor.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
        picture(visitor, screenshots / f"self-test-{width}-{shade}-slower.png")
    resize(visitor, 1280)


def a_network_that_lets_nothing_through_has_a_report_to_send(fleet, visitor, shut, screenshots):
    """T-02: nothing works, and everything that IT needs is in the report."""
    shut("udp dport { 443, 3478 }", "tcp dport 443")
    resize(visitor, 390)
    assert run_test(visitor, fleet.ticket()) == "done"
    assert outcomes(visitor) == dict.fromkeys(ALL, BLOCKED)
    assert text(visitor, "headline") == "Calls from this room will not work yet."
    assert len(re.findall(r"^ +(?:UDP|TCP) port \d+ of 127", report(visitor), re.M)) == 4, report(visitor)
    picture(visitor, screenshots / "self-test-390-light-blocked.png")
    resize(visitor, 1280)


@pytest.mark.timeout(200)
def a_relay_that_one_rule_forgot_is_not_taken_for_a_closed_port(fleet, visitor, shut):
    """T-02: one relay is silent and the other answers: the path works, and the rule has to be mended."""
    answer = page.ask(f"{API}/v1/self-test/ice-servers", {})
    assert {relay["host"] for relay in answer["paths"][0]["relays"]} == set(RELAYS)
    # Which of them is tried first is drawn anew each time, so both are shut to one transport each.
    shut(f"ip daddr {RELAYS[0]} udp dport 3478", f"ip daddr {RELAYS[1]} udp dport 443")
    forgotten = set()
    for _ in range(6):
        assert run_test(visitor, fleet.ticket()) == "done"
        assert outcomes(visitor) == dict.fromkeys(ALL, WORKS)
        advice = text(visitor, "advice-list") if visitor.find_element(By.ID, "advice").is_displayed() else ""
        forgotten |= set(re.findall(r"(UDP \d+): open to one relay and not to another. Ask IT to allow it to 127", advice))
        if forgotten:
            break
    assert forgotten, "in six tests the relay that is shut was never tried first"


def a_certificate_that_is_not_trusted_is_told_from_a_shut_port(fleet, tmp_path_factory, screenshots):
    """T-02: a browser that does not know the authority: TLS alone fails, and a firewall that looks inside is named."""
    browser = chromium.start(tmp_path_factory.mktemp("distrusting"), None, "--hide-scrollbars")
    try:
        resize(browser, 390)
        assert run_test(browser, fleet.ticket()) == "done"
        wanted = {**dict.fromkeys(ALL, WORKS), "TLS 443": "Certificate not trusted"}
        assert outcomes(browser) == wanted
        assert "this browser does not trust the certificate that it was shown" in text(browser, "advice-list")
        assert "certificate not trusted after" in report(browser)
        picture(browser, screenshots / "self-test-390-light-untrusted.png")
    finally:
        browser.quit()


def a_relay_that_refuses_is_not_blamed_on_the_network(firewall, visitor, trust, tmp_path_factory):
    """S-27: the controller mints with another secret than the relay has: the password is refused, and IT is left alone."""
    directory = tmp_path_factory.mktemp("refusing")
    page.start_relay(directory / "relay", trust, "127.35.9.1", OWN_SECRET)
    link = page.watch_relay(directory / "controller", "127.35.9.1", 9651, OWN_SECRET[::-1])
    assert run_test(visitor, f"{link}/self-test") == "done"
    assert outcomes(visitor) == dict.fromkeys(ALL, "Password refused")
    assert text(visitor, "headline") == "The test could not be finished."
    assert "This room's network is not the reason" in text(visitor, "meaning")
    assert "ICE error 401" in report(visitor) and "To be allowed" not in report(visitor), report(visitor)


@pytest.mark.timeout(120)
def a_relay_that_drains_is_busy_and_not_blocked(firewall, visitor, trust, tmp_path_factory):
    """T-29: between two rounds a relay that drains is still named; it says so itself, and the visitor comes back later."""
    directory = tmp_path_factory.mktemp("draining")
    page.start_relay(directory / "relay", trust, "127.35.9.2", OWN_SECRET)
    link = page.watch_relay(directory / "controller", "127.35.9.2", 9652, OWN_SECRET, interval="30s")
    order = {"deadline": int(time.time()) + 3600, "reason": "kernel update", "epoch": 0}
    page.ask("http://127.35.9.2:9641/v1/drain", order)
    assert run_test(visitor, f"{link}/self-test") == "done"
    assert outcomes(visitor) == dict.fromkeys(ALL, "Relay busy")
    assert "takes no new calls just now" in text(visitor, "advice-list")
    assert re.search(r"ICE error (300|508)", report(visitor)), report(visitor)


# --- Tickets and what else is in the way -------------------------------------------------------------------------------


def a_link_that_is_of_no_use_says_why(fleet, visitor, screenshots):
    """A-40: no ticket, half of one, one that was changed, one that has expired and one that is used up."""
    now = int(time.time())
    link = fleet.ticket()
    head, ticket = link.split("#t=")
    changed = ticket[:30] + ("A" if ticket[30] != "A" else "B") + ticket[31:]
    for use, words in [
        ("", "This link is not complete."),
        ("#t=", "This link is not complete."),
        (f"#t={ticket[:40]}", "This link is not valid."),
        (f"#t={changed}", "This link is not valid."),
        (f"#t={fleet.forge(now - 1)}", "This link has expired."),
        (f"#t={fleet.forge(now + 60, uses=0)}", "This link has been used as often as it may be."),
    ]:
        assert run_test(visitor, head + use) == "failed"
        assert text(visitor, "headline") == words, use
        assert text(visitor, "meaning") and report_is_hidden(visitor)
    resize(visitor, 390)
    picture(visitor, screenshots / "self-test-390-light-used-up.png")
    resize(visitor, 1280)
    # The key is its owner's alone, and what it makes is good as long as it says.
    assert (fleet.state / "tickets.key").stat().st_mode & 0o777 == 0o600
    page.ask(f"{PUBLIC}/v1/self-test/ice-servers", {}, {"Authorization": f"Bearer {fleet.forge(now + 60)}"})


def a_link_that_is_tried_too_often_waits(fleet, visitor):
    """A-40: a ticket has a rate, and the page says that it is too early, not that it is over."""
    link = fleet.ticket()
    authorization = {"Authorization": f"Bearer {link.split('#t=')[1]}"}
    with pytest.raises(urllib.error.HTTPError) as refused:
        for _ in range(10):
            page.ask(f"{PUBLIC}/v1/self-test/ice-servers", {}, authorization)
    assert refused.value.code == 429 and int(refused.value.headers["Retry-After"]) >= 1
    assert run_test(visitor, link) == "failed"
    assert text(visitor, "headline") == "Too many tests at once."


def a_browser_without_webrtc_is_told_to_use_another(fleet, tmp_path_factory):
    """A browser that hides WebRTC cannot call, whatever the network."""
    browser = chromium.start(tmp_path_factory.mktemp("without"), None)
    try:
        browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": "delete window.RTCPeerConnection"})
        assert run_test(browser, fleet.ticket()) == "failed"
        assert text(browser, "headline") == "This browser cannot make video calls."
    finally:
        browser.quit()


def a_controller_that_cannot_be_reached_is_told_from_relays_that_cannot(fleet, visitor, shut):
    """The page was loaded, and then its server is out of reach."""
    visit(visitor, fleet.ticket())
    shut("tcp dport 8443", silently=False)
    visitor.find_element(By.ID, "run").click()
    assert wait_for_end(visitor) == "failed"
    assert text(visitor, "headline") == "This page cannot reach its own server."


# --- How it is used ----------------------------------------------------------------------------------------------------


def the_page_is_used_from_the_keyboard_and_read_aloud(fleet, visitor):
    """Names and roles as assistive technology finds them; the verdict is in a live region."""
    visit(visitor, fleet.ticket())
    keys = visitor.switch_to.active_element
    keys.send_keys(Keys.TAB)
    assert visitor.switch_to.active_element.get_attribute("id") == "run"
    visitor.switch_to.active_element.send_keys(Keys.ENTER)
    nodes = accessible(visitor)
    assert ("progressbar", "0 of 4 ways tried…") in nodes or any(role == "progressbar" for role, _ in nodes)
    assert wait_for_end(visitor) == "done"
    assert visitor.switch_to.active_element.get_attribute("id") == "run", "the focus stays where it was"
    nodes = accessible(visitor)
    for node in [
        ("heading", "Will video calls work from this room?"),
        ("status", "Result"),
        ("columnheader", "Way"),
        ("columnheader", "Result"),
        ("columnheader", "Round trip"),
        ("columnheader", "Lost"),
        *(("rowheader", name) for name in ALL),
        ("textbox", "Report for your IT people"),
        ("button", "Copy the report"),
        ("button", "Run the test again"),
    ]:
        assert node in nodes, (node, nodes)
    for wanted in ("report", "copy"):
        visitor.switch_to.active_element.send_keys(Keys.TAB)
        assert visitor.switch_to.active_element.get_attribute("id") == wanted


def accessible(browser) -> set[tuple[str, str]]:
    """Role and name of everything in the accessibility tree."""
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    return {
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"] and "role" in node
    }


def the_report_is_copied_or_selected(fleet, visitor):
    """By the button where the browser lets a page copy, and by hand where it does not."""
    assert run_test(visitor, fleet.ticket()) == "done"
    permissions = {"origin": PUBLIC, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    visitor.execute_cdp_cmd("Browser.grantPermissions", permissions)
    visitor.find_element(By.ID, "copy").click()
    wait_for_words(visitor, "Copied.")
    assert visitor.execute_async_script("navigator.clipboard.readText().then(arguments[0])") == report(visitor)
    visitor.execute_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    visitor.find_element(By.ID, "copy").click()
    wait_for_words(visitor, "press Ctrl+C")
    assert visitor.execute_script("return getSelection().toString()") == report(visitor)


def wait_for_words(browser, words) -> None:
    """Wait until the page says so about the copy."""
    deadline = time.monotonic() + 10
    while words not in text(browser, "copied"):
        assert time.monotonic() < deadline, text(browser, "copied")
        time.sleep(0.05)


@pytest.mark.parametrize("width", [1280, 390])
def the_page_fits_its_window_before_and_during_the_test(fleet, visitor, screenshots, width):
    """Nothing is cut off or scrolled sideways; pictures are kept for a person to look at."""
    fits = "return document.documentElement.scrollWidth <= window.innerWidth"
    resize(visitor, width)
    visit(visitor, fleet.ticket())
    assert visitor.execute_script(fits)
    picture(visitor, screenshots / f"self-test-{width}-light-idle.png")
    visitor.find_element(By.ID, "run").click()
    time.sleep(2)
    assert visitor.execute_script(fits)
    picture(visitor, screenshots / f"self-test-{width}-light-running.png")
    assert wait_for_end(visitor) == "done"
    assert visitor.execute_script(fits)
    picture(visitor, screenshots / f"self-test-{width}-light-done.png")
    resize(visitor, 1280)


# --- What it does not say ----------------------------------------------------------------------------------------------


def the_report_names_relays_and_nothing_of_the_clinic(fleet, visitor, shut):
    """A-40: no address but those of relays, no name of this machine, no ticket and no password."""
    shut("udp dport 3478")
    link = fleet.ticket()
    assert run_test(visitor, link) == "done"
    words = shown(visitor)
    addresses = set(re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", report(visitor)))
    versions = set(re.findall(r"Chrome/([\d.]+)", report(visitor)))
    assert addresses - versions == set(RELAYS), report(visitor)
    for private in (clinic.ADDRESS, clinic.ADDRESS_V6, "fe80", socket.gethostname(), os.environ.get("USER", "root"),
                    link.split("#t=")[1], "self-test-", "credential"):
        assert private not in words, private


def the_listener_of_its_own_serves_the_page_and_nothing_else(fleet):
    """A-40: it may face the internet."""
    for path in ("/", "/live", "/metrics", "/v1/fleet", "/v1/overview", "/v1/openapi.json", "/assets/", "/v1/audit"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(PUBLIC + path, timeout=10)
        assert refused.value.code == 404, path
    for path in ("/v1/self-test/tickets", "/v1/ice-servers"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            page.ask(PUBLIC + path, {})
        assert refused.value.code == 404, path
    with urllib.request.urlopen(f"{PUBLIC}/self-test", timeout=10) as answer:
        assert "connect-src 'self'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Set-Cookie"] is None


def the_controllers_log_says_nothing_of_visitors(fleet, visitor):
    """A-40: that a ticket was made is logged; not the ticket, not who used it, not what they were given."""
    link = fleet.ticket()
    assert run_test(visitor, link) == "done"
    fleet.stop()
    log = fleet.log.read_text()
    assert "a ticket for the self-test was made" in log
    for private in (link.split("#t=")[1], "#t=", ":self-test-", clinic.ADDRESS, "Mozilla", "Bearer"):
        assert private not in log, private
    assert "panicked at" not in log
