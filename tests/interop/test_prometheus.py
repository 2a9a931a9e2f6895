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
import urllib.parse
import urllib.request

import pytest

import server as under_test
from conftest import require
from credentials import wrong

ROOT = pathlib.Path(__file__).resolve().parents[2]
RUNBOOK = ROOT / "docs" / "operations.md"
RULES = ROOT / "alerts" / "relay.yml"
DASHBOARD = ROOT / "dashboards" / "relay.json"
# Scraped and evaluated so often that a test need not wait; in service ten seconds are enough.
INTERVAL = "1s"
PATIENCE = 45

# Series that exist on some hosts alone: network cards of AWS count exceeded allowances.
ON_OTHER_HOSTS = {"taciturn_relay_ena_allowance_exceeded_packets_total"}
# Panels that are empty while nothing is the matter.
EMPTY_WHEN_WELL = {"Time to the deadline", "Beyond the instance's allowances"}

METRIC = r"(?:taciturn_relay|process)_[a-z_]+|\bup\b"
SELECTOR = re.compile(rf"({METRIC})(\{{[^}}]*\}})?")
MATCHER = re.compile(r'([a-z_]+)=~?"([^"]*)"')


class Monitored:
    """A relay with its admin API, and a Prometheus that scrapes it."""

    def __init__(self, relay, directory: pathlib.Path, port: int):
        self.relay = relay
        self.directory = directory
        self._api = f"http://127.0.0.1:{port}/api/v1/"

    def ask(self, path: str, **parameters) -> dict:
        """One answer of the API; what it says about a query that it refuses is the failure's text."""
        url = self._api + path + "?" + urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            pytest.fail(f"{parameters}: {error.read().decode(errors='replace')}")

    def query(self, expression: str) -> list[dict]:
        """The series that an expression gives now."""
        result = self.ask("query", query=expression)
        return result["result"] if isinstance(result["result"], list) else []

    def await_series(self, expression: str) -> list[dict]:
        """The same, once there are any."""
        deadline = time.monotonic() + PATIENCE
        while not (series := self.query(expression)):
            assert time.monotonic() < deadline, f"nothing came of {expression}\n{self.relay.log.read_text()[-2000:]}"
            time.sleep(0.2)
        return series

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
    (port,) = under_test.free_ports(1)
    config = directory / "prometheus.yml"
    config.write_text(
        f"""global: {{ scrape_interval: {INTERVAL}, evaluation_interval: {INTERVAL} }}
rule_files: ["{RULES}"]
scrape_configs:
  - job_name: taciturn-relay
    static_configs: [{{ targets: ["127.0.0.1:{relay.admin_port}"] }}]
"""
    )
    with (directory / "prometheus.log").open("wb") as log:
        prometheus = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={directory / 'series'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=directory,
        )
    try:
        monitored = Monitored(relay, directory, port)
        _await_start(monitored, prometheus)
        # Figures from before the traffic, so that there is growth to compute rates from.
        monitored.await_series("count_over_time(taciturn_relay_load_samples_total[1m]) >= 2")
        _make_traffic(relay)
        monitored.await_series("sum(increase(taciturn_relay_forwarded_packets_total[1m])) > 0")
        yield monitored
    finally:
        prometheus.terminate()
        try:
            prometheus.wait(15)
        except subprocess.TimeoutExpired:
            prometheus.kill()
            prometheus.wait()
        for _ in relays:
            pass


def _await_start(monitored: Monitored, prometheus: subprocess.Popen) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        log = (monitored.directory / "prometheus.log").read_text()
        assert prometheus.poll() is None, log
        try:
            if monitored.query("up == 1"):
                return
        except OSError:
            pass
        time.sleep(0.1)
    pytest.fail(f"Prometheus does not scrape the relay:\n{log}")


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


def _panels() -> list[tuple[str, str, str]]:
    """Title, query and legend of everything that the dashboard shows, with its variables filled in."""
    dashboard = json.loads(DASHBOARD.read_text())
    shown = [
        (panel["title"], target["expr"], target["legendFormat"])
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    ]
    shown += [
        (each["name"], each["expr"], each.get("titleFormat", ""))
        for each in dashboard["annotations"]["list"]
        if "expr" in each
    ]
    fill = {"$instance": ".+", "$__rate_interval": "5m"}
    return [(title, _filled(query, fill), legend) for title, query, legend in shown]


def _filled(query: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        query = query.replace(name, value)
    assert "$" not in query, f"an unknown variable in {query}"
    return query


def _assert_selectors_find_series(monitored: Monitored, query: str) -> None:
    """Every metric that a query names exists, with every value of a label that it names."""
    found = SELECTOR.findall(query)
    assert found, f"no metric of the relay in {query}"
    for metric, matchers in found:
        if metric in ON_OTHER_HOSTS:
            continue
        assert monitored.query(metric + matchers), f"{metric}{matchers} finds nothing, in {query}"
        for label, values in MATCHER.findall(matchers):
            if values == ".+":
                continue
            for value in values.split("|"):
                one = f'{metric}{{{label}="{value}"}}'
                assert monitored.query(one), f"{one} finds nothing, in {query}"


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


@pytest.mark.parametrize(("title", "query", "legend"), [pytest.param(*each, id=each[0]) for each in _panels()])
def a_panel_shows_series_of_a_real_scrape(monitored, title, query, legend):
    """Each query of the dashboard parses and gives series, whose labels its legend shows."""
    _assert_selectors_find_series(monitored, query)
    series = monitored.query(query)
    if title not in EMPTY_WHEN_WELL and title != "Starts":
        assert series, f"nothing comes of {query}"
    for each in series:
        for label in re.findall(r"\{\{(\w+)\}\}", legend):
            assert each["metric"].get(label), f"no label {label} in {each['metric']}, of {query}"


def an_alert_names_what_the_relay_shows(monitored):
    """Each rule is loaded and healthy, each selector finds series, and each annotation shows labels that there are."""
    (group,) = monitored.ask("rules")["groups"]
    deadline = time.monotonic() + PATIENCE
    while any(rule["health"] == "unknown" for rule in group["rules"]) and time.monotonic() < deadline:
        time.sleep(0.2)
        (group,) = monitored.ask("rules")["groups"]
    for rule in group["rules"]:
        query, name = rule["query"], rule["name"]
        assert rule["health"] == "ok", f"{name}: {rule.get('lastError')}"
        _assert_selectors_find_series(monitored, query)
        assert rule["labels"].get("severity") in ("critical", "warning", "info"), name
        assert {"summary", "description", "runbook"} <= rule["annotations"].keys(), name
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{name.lower()}"
        grouped = re.search(r"by \(([^)]*)\)", query)
        metric, _ = SELECTOR.search(query).groups()
        if grouped:
            available = {label.strip() for label in grouped[1].split(",")}
        elif metric in ON_OTHER_HOSTS:
            available = {"instance", "allowance"}
        else:
            available = set(monitored.query(metric)[0]["metric"])
        shown = re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"]))
        assert set(shown) <= available, f"{name} shows {shown}, of {available}"


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
