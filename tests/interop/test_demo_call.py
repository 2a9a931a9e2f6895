"""A call from the demo's page through its fleet: it lives through the drain of the relays that carry it."""

import urllib.request

import pytest
from selenium.webdriver.common.by import By

import browser as chromium
from conftest import require
from demo_page import text, visit, wait_for, wait_for_frames
from demo_process import Demo, order
from test_demo_page import picture, resize

pytestmark = pytest.mark.timeout(240)
WIDTHS = [1280, 390]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A demo with the whole fleet."""
    demo = Demo(tmp_path_factory.mktemp("tmp"))
    try:
        demo.eventually(lambda: len(ready(demo)) >= 3, "no three relays are ready")
        yield demo
    finally:
        demo.kill()


@pytest.fixture(scope="module")
def trusting(demo, tmp_path_factory):
    """A browser that has imported the authority of this run, as the terminal says."""
    require(*chromium.TOOLS)
    home = tmp_path_factory.mktemp("trusting")
    authority = home / "authority.pem"
    with urllib.request.urlopen(f"{demo.page}test-authority.pem", timeout=10) as answer:
        authority.write_bytes(answer.read())
    browser = chromium.start(home, authority, "--hide-scrollbars")
    yield browser
    browser.quit()


def ready(demo):
    """The relays that new calls may go through."""
    return [relay for relay in demo.fleet()["relays"] if relay["offered"]]


def shown(browser):
    """What the page notes of its call."""
    return browser.execute_script("return {...document.body.dataset}")


def carrying(demo, browser):
    """The relays that the page says its call goes through."""
    return demo.eventually(lambda: shown(browser).get("relays", "").split(), "the page names no relay", 30)


def a_call_lives_through_the_drain_of_its_relays_and_the_next_lands_elsewhere(demo, trusting, screenshots):
    """Relay-only with video, set up from POST /v1/ice-servers; its relays drain, it goes on, and none is cut."""
    resize(trusting, 1280)
    visit(trusting, demo.page, "transport=udp&autostart")
    wait_for(trusting, "connected")
    wait_for_frames(trusting, 30)
    dataset = shown(trusting)
    assert dataset["localCandidate"] == dataset["remoteCandidate"] == "relay", dataset
    first = carrying(demo, trusting)
    assert all(relay in text(trusting, "status") for relay in first), text(trusting, "status")

    for relay in first:
        order(f"{demo.api}v1/relays/{relay}/drain")
    wanted = " ".join(f"{relay}=draining" for relay in first)
    demo.eventually(lambda: shown(trusting).get("relayStates") == wanted, "its relays do not drain", 120)
    assert "this one goes on" in text(trusting, "status"), text(trusting, "status")
    assert not set(first) & {relay["id"] for relay in ready(demo)}
    wait_for_frames(trusting, int(shown(trusting)["framesDecoded"]) + 150)
    for width in WIDTHS:
        resize(trusting, width)
        assert trusting.execute_script("return document.documentElement.scrollWidth <= window.innerWidth"), width
        picture(trusting, screenshots / f"demo-fleet-{width}-light-draining.png")
    resize(trusting, 1280)
    assert shown(trusting)["callState"] == "connected"

    trusting.find_element(By.ID, "toggle").click()
    wait_for(trusting, "idle")
    trusting.find_element(By.ID, "toggle").click()
    wait_for(trusting, "connected")
    wait_for_frames(trusting, 30)
    second = carrying(demo, trusting)
    assert not set(first) & set(second), (first, second)
    stood = demo.fleet()
    assert stood["begun"] > 0 and stood["cut"] == 0, (stood, demo.output)


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def a_call_reaches_its_relays_over_tcp_and_tls_too(demo, trusting, transport):
    """T-02: the paths for networks that let little out, with the authority of this run imported."""
    resize(trusting, 1280)
    visit(trusting, demo.page, f"transport={transport}&autostart")
    wait_for(trusting, "connected")
    wait_for_frames(trusting, 30)
    assert shown(trusting)["relayProtocol"] == transport


def the_page_shows_the_fleet_in_the_dark_and_on_a_phone(demo, trusting, screenshots):
    """Nothing is cut off or scrolled sideways, in a call through the fleet."""
    for width in WIDTHS:
        resize(trusting, width, dark=True)
        visit(trusting, demo.page, "transport=udp&autostart")
        wait_for(trusting, "connected")
        wait_for_frames(trusting, 60)
        carrying(demo, trusting)
        assert trusting.execute_script("return document.documentElement.scrollWidth <= window.innerWidth"), width
        picture(trusting, screenshots / f"demo-fleet-{width}-dark-call.png")
