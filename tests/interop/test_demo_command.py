"""`taciturn demo` itself: the whole story that it tells, what it counts, and that nothing is left when it ends."""

import json
import os
import re
import signal
import socket

import pytest

import browser as chromium
from conftest import require
from demo_page import text, visit, wait_for, wait_for_frames
from demo_process import Demo, ask

# Relays come, drain and end within two minutes on an idle machine.
STORY_SECONDS = 420
pytestmark = pytest.mark.timeout(STORY_SECONDS + 60)


@pytest.fixture
def demos(tmp_path):
    """Starts demos that share a directory, and leaves none of their processes behind."""
    started = []
    directory = tmp_path / "tmp"
    directory.mkdir()

    def start(*arguments: str) -> Demo:
        started.append(Demo(directory, *arguments))
        return started[-1]

    yield start
    for demo in started:
        demo.kill()


def the_demo_shows_relays_launched_drained_and_ended_and_cuts_no_call(demos):
    """scaling rules, E: the whole story, told by the controller itself, and Ctrl-C leaves nothing."""
    demo = demos()

    def told():
        decisions = ask(f"{demo.api}v1/decisions?limit=500")["decisions"]
        done = [action for decision in decisions for action in decision["actions"] if done_(action)]
        acts = [next(iter(action["act"])) for action in done]
        reasons = {action["reason"] for action in done if "launch" in action["act"]}
        return acts.count("terminate") >= 1 and "drain" in acts and reasons - {"minimum"}

    demo.eventually(told, "no relay was launched for load, drained and ended", STORY_SECONDS)
    stood = demo.fleet()
    assert stood["begun"] > 25 and stood["cut"] == 0, (stood, demo.output)
    assert len({relay["zone"] for relay in stood["relays"]}) == 3, stood
    demo.eventually(lambda: " end " in demo.output, "the terminal does not tell of the end", 30)
    for verb in ("launch", "ready", "withhold", "drain"):
        assert re.search(rf"\d:\d\d  {verb} +local-\d-\d", demo.output), demo.output
    assert demo.run.stat().st_mode & 0o077 == 0, "others may look into the run's directory"
    demo.send(signal.SIGINT)
    assert demo.wait() == 0, demo.output
    assert re.search(r"\d+ begun, \d+ hung up, \d+ went on until now, 0 cut", demo.output), demo.output
    assert demo.left() == [] and demo.runs() == [], demo.output


def done_(action):
    """Whether an action was carried out."""
    return (action["outcome"] or {}).get("outcome") == "done"


def a_call_whose_relay_is_killed_counts_as_cut_and_what_a_killed_demo_leaves_is_ended(demos):
    """The count is no decoration: it can become more than zero. And kill -9 leaves nothing for longer than to the next start."""
    demo = demos()

    def busiest():
        relays = [relay for relay in demo.fleet()["relays"] if relay["calls"] >= 2]
        return max(relays, key=lambda relay: relay["calls"], default=None)

    victim = demo.eventually(busiest, "no relay carries calls")
    assert demo.fleet()["cut"] == 0, demo.output
    os.kill(demo.relay_pid(victim["id"]), signal.SIGKILL)
    demo.eventually(lambda: demo.fleet()["cut"] >= 1, "the calls of a relay that was killed are not counted")
    demo.eventually(lambda: re.search(r"cut: [1-9]", demo.output), "the terminal does not say so", 30)

    left_run = demo.run
    demo.process.kill()
    demo.process.wait()
    left = demo.left()
    assert len(left) >= 3 and left_run.exists(), "relays and controller go on without the demo"
    again = demos()
    assert again.run != left_run and not left_run.exists(), again.output
    assert "An earlier demo was killed" in again.output, again.output
    assert set(left) & set(again.left()) == set(), "what the killed demo had started goes on"
    again.send(signal.SIGTERM)
    assert again.wait() == 0, again.output
    assert again.left() == [] and again.runs() == [], again.output


def the_demo_goes_elsewhere_when_its_ports_are_taken_and_hurries_when_it_is_told_to(demos):
    """Somebody else's page and API are no reason not to start; a second Ctrl-C waits for nobody, and leaves nothing either."""
    with socket.create_server(("127.0.0.1", 0)) as page, _taken(9640):
        demo = demos("--page-port", str(page.getsockname()[1]))
        assert not demo.page.endswith(f":{page.getsockname()[1]}/") and not demo.api.endswith(":9640/"), demo.output
        demo.eventually(lambda: demo.fleet()["calls"] > 0, "no call begins")
        other = demos("--no-page")
        assert other.run != demo.run and other.api != demo.api, "two demos at a time"
        assert "A call to hold" not in other.output
        for each in (demo, other):
            each.send(signal.SIGINT)
        demo.eventually(lambda: "Ctrl-C again" in demo.output, "it does not end")
        demo.send(signal.SIGINT)
        assert demo.wait() == 0 and other.wait() == 0, demo.output + other.output
    assert demo.left() == [] and demo.runs() == [], demo.output


def _taken(port):
    """Somebody who has this port, if nobody else has it already."""
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError:
        return socket.create_server(("127.0.0.1", 0))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The small form: one relay and its page."""
    directory = tmp_path_factory.mktemp("small")
    demo = Demo(directory, "--relay-only")
    demo.eventually(lambda: "Ctrl-C ends it" in demo.output, "it does not start")
    yield demo, re.search(r"A call to look at: +(\S+)", demo.output).group(1)
    demo.send(signal.SIGINT)
    try:
        assert demo.wait() == 0
    finally:
        demo.kill()


@pytest.fixture(scope="module")
def visitor(tmp_path_factory):
    """A browser as it comes, with no authority of ours trusted."""
    require(*chromium.TOOLS)
    browser = chromium.start(tmp_path_factory.mktemp("visitor"), None)
    yield browser
    browser.quit()


def the_small_demo_prints_ice_servers_to_paste_and_the_address_of_its_page(small):
    """H-01: the JSON is complete as printed, and its credentials are those of the page or as good."""
    demo, url = small
    output = demo.output
    pasted, _ = json.JSONDecoder().raw_decode(output[output.rindex("{", 0, output.index('"iceServers"')) :])
    served = ask(f"{url}config.json")
    for ice_servers in (pasted["iceServers"], served["iceServers"]):
        urls = [url for entry in ice_servers for url in entry["urls"]]
        assert any(url.startswith("turns:") for url in urls) and any(url.startswith("turn:") for url in urls), urls
        assert all(entry["username"] and entry["credential"] for entry in ice_servers)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def the_small_demo_carries_a_call_in_a_browser_as_it_comes(small, visitor, transport):
    """T-02, T-27, H-01: nothing to install and nothing to trust, over UDP and TCP."""
    _, url = small
    visit(visitor, url, f"transport={transport}&autostart")
    wait_for(visitor, "connected")
    wait_for_frames(visitor, 30)
    shown = visitor.execute_script("return {...document.body.dataset}")
    assert shown["localCandidate"] == shown["remoteCandidate"] == "relay", shown
    assert shown["relayProtocol"] == transport, shown


def the_small_demo_says_what_is_missing_for_tls(small, visitor):
    """T-02: the certificate is made for this run, so a browser that was not told about it refuses, in plain words."""
    _, url = small
    visit(visitor, url, "transport=tls&autostart")
    wait_for(visitor, "failed")
    assert "does not trust the test certificate" in text(visitor, "problem")
