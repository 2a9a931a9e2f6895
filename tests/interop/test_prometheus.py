"""The dashboard and the alert rules against a real Prometheus that scrapes a relay with traffic.

What is asserted holds for every query that is shipped: it parses, every selector in it finds series of the relay, every
alternative that it names exists, and every label that a legend or an annotation shows is there. Not responsible for what
the figures are: the relay's own tests say that.
"""

import json
import pathlib
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request

import pytest

import boards
import prometheus
import server as under_test
from conftest import require
from credentials import wrong
from prometheus import PATIENCE

RUNBOOK = boards.ROOT / "docs" / "operations.md"
RULES = boards.ROOT / "alerts" / "relay.yml"
# Scraped and evaluated so often that a test need not wait; in service ten seconds are enough.
INTERVAL = "1s"
# Panels that are empty while nothing is the matter.
EMPTY_WHEN_WELL = {"Starts", "Time to the deadline", "Beyond the instance's allowances"}


class Monitored:
    """A relay with its admin API, and a Prometheus that scrapes it."""

    def __init__(self, relay, directory: pathlib.Path, asked: prometheus.Prometheus):
        self.relay = relay
        self.directory = directory
        self.prometheus = asked

    def query(self, expression: str) -> list[dict]:
        """The series that an expression gives now."""
        return self.prometheus.query(expression)

    def await_series(self, expression: str) -> list[dict]:
        """The same, once there are any."""
        return self.prometheus.await_series(expression, lambda: self.relay.log.read_text()[-2000:])

    def admin(self, method: str, path: str, body: dict | None = None) -> int:
        """One request to the relay's admin API; gives the status."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.relay.admin_port}{path}", method=method)
        request.add_header("Content-Type", "application/json")
        request.data = json.dumps(body).encode() if body else None
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code


@pytest.fixture(scope="module")
def monitored(tmp_path_factory, certificates):
    """A relay of its own, as these tests drain it and break its configuration."""
    if under_test.under_test() != "taciturn":
        pytest.skip("the queries are about this project's relay")
    require("prometheus", "promtool", "turnutils_uclient")
    directory = tmp_path_factory.mktemp("monitored")
    relays = under_test.start(directory, certificates)
    relay = next(relays)
    config = f"""global: {{ scrape_interval: {INTERVAL}, evaluation_interval: {INTERVAL} }}
rule_files: ["{RULES}"]
scrape_configs:
  - job_name: taciturn-relay
    static_configs: [{{ targets: ["127.0.0.1:{relay.admin_port}"] }}]
"""
    try:
        with prometheus.running(directory, config) as asked:
            monitored = Monitored(relay, directory, asked)
            monitored.await_series("up == 1")
            # Figures from before the traffic, so that there is growth to compute rates from.
            monitored.await_series("count_over_time(taciturn_relay_load_samples_total[1m]) >= 2")
            _make_traffic(relay)
            monitored.await_series("sum(increase(taciturn_relay_forwarded_packets_total[1m])) > 0")
            yield monitored
    finally:
        for _ in relays:
            pass


def _make_traffic(relay) -> None:
    """Pairs of clients over each transport, and one with a wrong password."""
    proven, unproven = relay.credentials("uclient"), wrong(relay.credentials("uclient"))
    runs = []
    for transport, flags in (("udp", []), ("tcp", ["-t"]), ("tls", ["-t", "-S"])):
        for credentials in (proven, unproven) if transport == "udp" else (proven,):
            command = ["turnutils_uclient", "-u", credentials.username, "-w", credentials.password, "-y", "-c"]
            command += ["-n", "5", "-z", "20", *flags, "-p", str(relay.port(transport)), "127.0.0.1"]
            runs.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    for run in runs:
        try:
            run.wait(PATIENCE)
        finally:
            run.kill()


def _panels() -> list[boards.Panel]:
    return boards.panels("relay", {"$instance": ".+", "$__rate_interval": "5m"})


@pytest.mark.parametrize(("rules", "names"), [("relay", "TaciturnRelay"), ("controller", "Taciturn(?:Controller|Fleet)")])
def the_alert_rules_are_well_formed_and_each_fires_on_what_it_is_for(rules, names):
    """promtool's own judgement, and the rules' cases: one for each alert, and a calm one in which none fires."""
    require("promtool")
    cases = RULES.with_name(f"{rules}_test.yml")
    rules = RULES.with_name(f"{rules}.yml")
    for arguments in (["check", "rules", rules], ["test", "rules", cases]):
        run = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=60)
        assert run.returncode == 0, run.stdout + run.stderr
    alerts = set(re.findall(r"- alert: (\w+)", rules.read_text()))
    tried = set(re.findall(r'alertname="(\w+)"', cases.read_text()))
    assert alerts == tried, "an alert without a case, or a case without an alert"
    explained = set(re.findall(rf"^#+ ({names}\w+)$", RUNBOOK.read_text(), re.MULTILINE))
    assert alerts == explained, "an alert that the runbook does not explain, or explains in vain"


def the_scrape_is_whole_and_prometheus_takes_every_line(monitored):
    """No line of the exposition is refused: as many samples arrive as the relay shows."""
    with urllib.request.urlopen(f"http://127.0.0.1:{monitored.relay.admin_port}/metrics", timeout=10) as answer:
        shown = answer.read().decode()
    lines = [line for line in shown.splitlines() if not line.startswith("#")]
    scraped = monitored.await_series("scrape_samples_scraped")
    assert [int(each["value"][1]) for each in scraped] == [len(lines)]
    run = subprocess.run(["promtool", "check", "metrics"], input=shown, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("panel", [pytest.param(each, id=each.title) for each in _panels()])
def a_panel_shows_series_of_a_real_scrape(monitored, panel):
    """Each query of the board parses and gives series, whose labels its legend shows."""
    boards.assert_selectors_find_series(monitored.prometheus, panel.query)
    series = monitored.query(panel.query)
    if panel.title not in EMPTY_WHEN_WELL:
        assert series, f"nothing comes of {panel.query}"
    boards.assert_legend_is_shown(series, panel)


@pytest.mark.parametrize(
    "query",
    [
        "taciturn_relay_colours",
        'taciturn_relay_phase{phase="blue"}',
        'taciturn_relay_phase{colour!="blue"}',
        "sum by (colour) (taciturn_relay_phase)",
    ],
)
def a_query_for_what_no_relay_shows_is_noticed(monitored, query):
    """The judge itself: a metric, a value and a label that there are not."""
    with pytest.raises(AssertionError):
        boards.assert_selectors_find_series(monitored.prometheus, query)


def an_alert_names_what_the_relay_shows(monitored):
    """Each rule is loaded and healthy, each selector finds series, and each annotation shows labels that there are."""
    for rule in monitored.prometheus.evaluated_rules():
        boards.assert_rule_is_sound(monitored.prometheus, rule)


def a_refused_reload_raises_its_alert(monitored):
    """A configuration that cannot be read: Prometheus sees it, and sees its end."""
    raised = 'ALERTS{alertname="TaciturnRelayConfigReloadFailed"}'
    assert not monitored.query(raised)
    file = monitored.directory / "relay.toml"
    good = file.read_text()
    file.write_text("realm = \n")
    monitored.await_series("taciturn_relay_config_reload_failed == 1")
    monitored.await_series(raised)
    file.write_text(good)
    monitored.await_series("taciturn_relay_config_reload_failed == 0")


def a_drain_that_does_not_end_raises_its_alerts(monitored):
    """A drain past its deadline with calls left, and one that is under way, are both on their way to somebody's desk."""
    relay = monitored.relay
    credentials = relay.credentials("stays")
    command = ["turnutils_uclient", "-u", credentials.username, "-w", credentials.password, "-y", "-c"]
    command += ["-n", "10000", "-z", "100", "-p", str(relay.udp_port), "127.0.0.1"]
    caller = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        monitored.await_series("taciturn_relay_allocations > 0")
        order = {"deadline": int(time.time()) + 3, "reason": "a test", "epoch": 1}
        assert monitored.admin("POST", "/v1/drain", order) == 200
        for name in ("TaciturnRelayDrainDeadlinePassed", "TaciturnRelayDrainsTooLong"):
            monitored.await_series(f'ALERTS{{alertname="{name}"}}')
        assert not monitored.query('ALERTS{alertname="TaciturnRelayNotReady"}'), "a drain is no fault"
        assert monitored.query("taciturn_relay_ready == 0")
    finally:
        caller.send_signal(signal.SIGKILL)
        caller.wait()
        assert monitored.admin("DELETE", "/v1/drain") == 200
