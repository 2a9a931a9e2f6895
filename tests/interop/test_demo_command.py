"""`taciturn demo` itself: what it prints, what it serves, and a call through the relay that it started."""

import json
import re
import signal
import subprocess
import time
import urllib.request

import pytest

import browser as chromium
import server as under_test
from conftest import require
from demo_page import text, visit, wait_for, wait_for_frames

START_SECONDS = 15


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A running demo: (what it has printed so far, address of its page)."""
    if under_test.under_test() != "taciturn":
        pytest.skip("only this project has a demo")
    (port,) = under_test.free_ports(1)
    printed = tmp_path_factory.mktemp("demo") / "printed.txt"
    with printed.open("wb") as output:
        process = subprocess.Popen(
            [str(under_test.binary()), "demo", "--page-port", str(port)], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        url = f"http://127.0.0.1:{port}/"
        _wait_until_served(process, url, printed)
        yield printed, url
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def visitor(tmp_path_factory):
    """A browser as it comes, with no authority of ours trusted."""
    require(*chromium.TOOLS)
    browser = chromium.start(tmp_path_factory.mktemp("visitor"), None)
    yield browser
    browser.quit()


def the_demo_prints_ice_servers_to_paste_and_the_address_of_its_page(demo):
    """H-01: the JSON is complete as printed, and its credentials are those of the page or as good."""
    printed, url = demo
    output = printed.read_text()
    assert re.search(r"http://(127\.0\.0\.1|localhost):\d+", output), output
    pasted, _ = json.JSONDecoder().raw_decode(output[output.rindex("{", 0, output.index('"iceServers"')) :])
    served = json.load(urllib.request.urlopen(f"{url}config.json", timeout=5))
    for ice_servers in (pasted["iceServers"], served["iceServers"]):
        urls = [url for entry in ice_servers for url in entry["urls"]]
        assert any(url.startswith("turns:") for url in urls) and any(url.startswith("turn:") for url in urls), urls
        assert all(entry["username"] and entry["credential"] for entry in ice_servers)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def the_demo_carries_a_call_in_a_browser_as_it_comes(demo, visitor, transport):
    """T-02, T-27, H-01: nothing to install and nothing to trust, over UDP and TCP."""
    _, url = demo
    visit(visitor, url, f"transport={transport}&autostart")
    wait_for(visitor, "connected")
    wait_for_frames(visitor, 30)
    shown = visitor.execute_script("return {...document.body.dataset}")
    assert shown["localCandidate"] == shown["remoteCandidate"] == "relay", shown
    assert shown["relayProtocol"] == transport, shown


def the_demo_says_what_is_missing_for_tls(demo, visitor):
    """T-02: the certificate is made for this run, so a browser that was not told about it refuses, in plain words."""
    _, url = demo
    visit(visitor, url, "transport=tls&autostart")
    wait_for(visitor, "failed")
    assert "does not trust the test certificate" in text(visitor, "problem")


def _wait_until_served(process, url, printed):
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the demo ended with {process.returncode}:\n{printed.read_text()}")
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"no page at {url}:\n{printed.read_text()}")
