"""The self-test page as a visitor meets it, and the fleet behind it: a controller with relays of its own on loopback.

Responsible for starting both inside the clinic's network (clinic.py) and for reading what the page shows. Not responsible
for what it should show.
"""

import base64
import dataclasses
import hashlib
import hmac
import json
import os
import pathlib
import signal
import subprocess
import time
import urllib.error
import urllib.request

from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

import server as under_test
from certificates import Certificates

RELAYS = ("127.35.1.1", "127.35.2.1")
API = "http://127.0.0.1:9640"
PUBLIC = "http://127.0.0.1:8443"
START_SECONDS = 45
PATIENCE_SECONDS = 60

_LISTENERS = """listener = [
  {{ transport = "udp", address = "{address}:3478" }},
  {{ transport = "udp", address = "{address}:443" }},
  {{ transport = "auto", address = "{address}:443" }},
]
[tls]
certificate = "{chain}"
key = "{key}"
[self-check]
interval = "0s"
"""


@dataclasses.dataclass
class Fleet:
    """A controller, its state directory and its log."""

    process: subprocess.Popen
    state: pathlib.Path
    log: pathlib.Path

    def stop(self) -> None:
        """End it; its relays go on."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)

    def ticket(self, **wanted) -> str:
        """A link, as an operator makes it."""
        return ask(f"{API}/v1/self-test/tickets", wanted)["url"]

    def forge(self, expires: int, uses: int = 5) -> str:
        """A ticket by the controller's own key: one that nobody would have to wait for until it has expired."""
        ticket = b"\x01" + os.urandom(12) + expires.to_bytes(8, "big") + uses.to_bytes(2, "big")
        tag = hmac.digest((self.state / "tickets.key").read_bytes(), ticket, hashlib.sha256)[:16]
        return base64.urlsafe_b64encode(ticket + tag).decode()


def start(directory: pathlib.Path, certificates: Certificates) -> Fleet:
    """A fleet of two relays in two zones, each with a listener for every path; once both may be named."""
    relay = _LISTENERS.format(address="{address}", chain=certificates.chain, key=certificates.key)
    fleet = run(
        directory / "fleet",
        f"""[api]
address = "127.0.0.1:9640"
[self-test]
address = "127.0.0.1:8443"
url = "{PUBLIC}"
[provider]
kind = "local"
[provider.local]
zones = ["local-a", "local-b"]
network = "127.35"
relay-config = '''
{relay}'''
[credentials]
tls-by-address = true
""",
        "[policy]\nmin = 2\nmax = 2",
    )
    wait_for_paths(API, relays=2)
    return fleet


def start_relay(directory: pathlib.Path, certificates: Certificates, address: str, secret: str) -> None:
    """A relay that no controller has launched."""
    directory.mkdir()
    file = directory / "relay.toml"
    file.touch(0o600)
    file.write_text(
        f"""realm = "clinic"
workers = 1
{_LISTENERS.format(address=address, chain=certificates.chain, key=certificates.key)}
[relayed]
addresses = ["{address}"]
[[secret]]
id = "own"
value = "{secret}"
[peers]
allow-loopback = true
[admin]
address = "{address}:9641"
[sovereignty]
zone-id = "local-a"
allowed-zone-ids = ["local-a"]
"""
    )
    with (directory / "relay.log").open("wb") as output:
        command = [str(under_test.binary()), "relay", "--config", str(file)]
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)


def watch_relay(directory: pathlib.Path, address: str, port: int, secret: str, interval: str = "1s") -> str:
    """A controller that names this one relay; gives the address of its page."""
    run(
        directory,
        f"""[api]
address = "127.0.0.1:{port}"
[provider]
kind = "static"
[[provider.static.relay]]
id = "relay-1"
zone-id = "local-a"
admin = "{address}:9641"
[credentials]
tls-by-address = true
[[credentials.secret]]
id = "own"
value = "{secret}"
""",
        '[policy]\nstale-after = "2m"',
        interval,
    )
    page = f"http://127.0.0.1:{port}"
    wait_for_paths(page, relays=1)
    return page


def run(directory: pathlib.Path, sections: str, policy: str = "", interval: str = "1s") -> Fleet:
    """Start a controller with these sections."""
    state = directory / "state"
    state.mkdir(parents=True)
    config = directory / "controller.toml"
    config.touch(0o600)
    config.write_text(
        f"""fleet = "clinic"
state-directory = "{state}"
interval = "{interval}"
[relays]
probe-port = 0
[sovereignty]
allowed-zone-ids = ["local-a", "local-b"]
[lease]
kind = "none"
{sections}
{policy}
"""
    )
    log = directory / "controller.log"
    with log.open("wb") as output:
        command = [str(under_test.binary()), "controller", "--config", str(config)]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    return Fleet(process, state, log)


def ask(url: str, body: dict, headers: dict | None = None) -> dict:
    """The JSON of an answer to a POST."""
    headers = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def wait_for_paths(page: str, relays: int) -> None:
    """Wait until this controller names four paths to so many relays."""
    deadline = time.monotonic() + START_SECONDS
    last = "nothing was asked"
    while time.monotonic() < deadline:
        try:
            paths = ask(f"{page}/v1/self-test/ice-servers", {})["paths"]
            if len(paths) == 4 and all(len(path["relays"]) == relays for path in paths):
                return
            last = json.dumps(paths)
        except urllib.error.HTTPError as error:
            last = error.read().decode()
        except OSError as error:
            last = str(error)
        time.sleep(0.5)
    raise TimeoutError(f"{page} does not name what it should: {last}")


# --- The page -----------------------------------------------------------------------------------------------------------


def visit(browser, link: str) -> None:
    """Open the page afresh: a change of the fragment alone would not load it again."""
    browser.get("about:blank")
    browser.get(link)


def run_test(browser, link: str) -> str:
    """Open the page and run its test; gives the state that it ends in."""
    visit(browser, link)
    browser.find_element(By.ID, "run").click()
    return wait_for_end(browser)


def wait_for_end(browser) -> str:
    """Wait until the test has come to its end; gives the state."""
    state = "return document.body.dataset.state"
    WebDriverWait(browser, PATIENCE_SECONDS, 0.1).until(
        lambda _: browser.execute_script(state) in ("done", "failed"),
        f"still {browser.execute_script(state)}: {text(browser, 'verdict')}",
    )
    return browser.execute_script(state)


def text(browser, identifier: str) -> str:
    """The text that a visitor reads in an element."""
    return browser.find_element(By.ID, identifier).text


def report(browser) -> str:
    """The report for IT."""
    return browser.execute_script("return document.getElementById('report').value")


def outcomes(browser) -> dict[str, str]:
    """The word for the outcome of each way."""
    rows = browser.execute_script(
        "return [...document.querySelectorAll('#rows tr')].map((row) => [row.cells[0].textContent, row.cells[1].textContent])"
    )
    return dict(rows)
