"""The page of `taciturn demo`, served here from its source file and held against the server under test."""

import json

import pytest
from selenium.webdriver.common.by import By

import browser as chromium
from conftest import require
from credentials import wrong
from demo_page import text, visit, wait_for, wait_for_frames
from server import ROOT

PAGE = ROOT / "src" / "demo" / "page" / "index.html"
WIDTHS = [1280, 768, 390]


@pytest.fixture(scope="module")
def answers(server):
    """What the page's server answers; tests change config.json in it."""
    credentials = server.credentials("demo")
    config = configuration(server, credentials)
    return {"/": ("text/html; charset=utf-8", PAGE.read_bytes()), "/config.json": config}


@pytest.fixture(scope="module")
def page(answers):
    """Address of the page."""
    pages = chromium.Pages(answers)
    yield pages.url
    pages.close()


@pytest.fixture(scope="module")
def trusting(tmp_path_factory, certificates):
    """A browser that trusts the test authority and shows a made-up camera."""
    require(*chromium.TOOLS)
    home = tmp_path_factory.mktemp("trusting")
    flags = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--hide-scrollbars")
    browser = chromium.start(home, certificates.authority, *flags)
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def distrusting(tmp_path_factory):
    """A browser that has never heard of the test authority."""
    require(*chromium.TOOLS)
    browser = chromium.start(tmp_path_factory.mktemp("distrusting"), None, "--hide-scrollbars")
    yield browser
    browser.quit()


def configuration(server, credentials) -> tuple[str, bytes]:
    """config.json, as the demo serves it."""
    urls = [server.uri(transport) for transport in ("udp", "tcp", "tls")]
    ice_servers = [{"urls": urls, "username": credentials.username, "credential": credentials.password}]
    answer = {"iceServers": ice_servers, "transports": ["udp", "tcp", "tls"], "realm": server.realm}
    return "application/json", json.dumps(answer).encode()


def resize(browser, width, height=1000, dark=False):
    """Give the page a viewport and a colour scheme."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def picture(browser, path):
    """A picture of the whole page, however long."""
    height = browser.execute_script("return document.documentElement.scrollHeight")
    width = browser.execute_script("return window.innerWidth")
    resize(browser, width, height, "dark" in path.name)
    browser.save_screenshot(str(path))


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def the_page_holds_a_relay_only_call_over_the_picked_transport(trusting, page, transport):
    """T-02, T-27, H-01, A-13: candidate types, round trip, frames and bytes are shown while the call runs."""
    resize(trusting, 1280)
    visit(trusting, page, f"transport={transport}&autostart")
    wait_for(trusting, "connected")
    wait_for_frames(trusting, 30)
    shown = trusting.execute_script("return {...document.body.dataset}")
    assert shown["localCandidate"] == shown["remoteCandidate"] == "relay", shown
    assert shown["relayProtocol"] == transport, shown
    assert "relay" in text(trusting, "candidates") and transport.upper() in text(trusting, "candidates")
    for identifier in ("round-trip-time", "bit-rate", "frames-decoded", "bytes-sent", "bytes-received"):
        assert any(character.isdigit() for character in text(trusting, identifier)), identifier
    assert text(trusting, "problem") == ""


def the_page_is_started_and_ended_from_the_keyboard(trusting, page):
    """The button follows the state, and an ended call leaves no connection behind."""
    resize(trusting, 1280)
    visit(trusting, page)
    button = trusting.find_element(By.ID, "toggle")
    button.send_keys("\n")
    wait_for(trusting, "connected")
    assert button.text == "End the call"
    button.send_keys("\n")
    wait_for(trusting, "idle")
    assert button.text == "Start the call"


def the_page_sends_the_camera_when_it_is_allowed(trusting, page):
    """The camera's picture takes the same way as the synthetic one."""
    resize(trusting, 1280)
    visit(trusting, page, "transport=udp&source=camera&autostart")
    wait_for(trusting, "connected")
    wait_for_frames(trusting, 10)


@pytest.mark.parametrize("fault", ["expired", "wrong"])
def the_page_says_in_plain_words_that_credentials_were_refused(trusting, page, server, answers, fault):
    """S-27, H-03: expired and wrong credentials end in a sentence that a person can act upon."""
    refused = server.credentials(seconds=-60) if fault == "expired" else wrong(server.credentials())
    accepted = answers["/config.json"]
    answers["/config.json"] = configuration(server, refused)
    try:
        resize(trusting, 1280)
        visit(trusting, page, "transport=tcp&autostart")
        wait_for(trusting, "failed")
        assert "refused the credentials (401)" in text(trusting, "problem")
    finally:
        answers["/config.json"] = accepted


def the_page_says_that_the_certificate_is_not_trusted(distrusting, page, screenshots):
    """T-02: an untrusted certificate ends the call before it begins, and the page names the likely cause."""
    resize(distrusting, 390)
    visit(distrusting, page, "transport=tls&autostart")
    wait_for(distrusting, "failed")
    assert "does not trust the test certificate" in text(distrusting, "problem")
    picture(distrusting, screenshots / "demo-390-untrusted.png")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def the_page_fits_its_window(trusting, page, screenshots, width, dark):
    """Nothing is cut off or scrolled sideways, idle and in a call; pictures are kept for a person to look at."""
    shade = "dark" if dark else "light"
    resize(trusting, width, dark=dark)
    visit(trusting, page, "transport=udp")
    picture(trusting, screenshots / f"demo-{width}-{shade}-idle.png")
    trusting.find_element(By.ID, "toggle").click()
    wait_for(trusting, "connected")
    wait_for_frames(trusting, 120)
    assert trusting.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    picture(trusting, screenshots / f"demo-{width}-{shade}-call.png")
