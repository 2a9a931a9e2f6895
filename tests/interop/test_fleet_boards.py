"""The fleet's boards and alert rules against a real Prometheus that found the relays through a real controller.

What is asserted holds for every query that is shipped: it parses, asks for what there is, and is answered with series, or is
listed here with the reason why not. The scrape configuration is the one that operators are told to use. Not responsible for
what the figures are.
"""

import re
import subprocess
import urllib.request

import pytest
import yaml

import boards
import fleet as fleets
import prometheus
import server as under_test
from conftest import require
from credentials import mint

PAGE = boards.ROOT / "docs" / "operations.md"
INTERVAL = "1s"
FILL = {
    "$controller": ".+",
    "$instance": ".+",
    "$zone": ".+",
    "$dimension": ".+",
    "$__rate_interval": "5m",
}
# Queries that nothing answers while nothing is the matter, by the panel and what it shows.
EMPTY_WHEN_WELL = {
    ("Holds removals back", "{{reason}}"): "nothing does",
    ("Alarms", "{{kind}}"): "nobody has to come",
    ("Frozen", "nothing is taken away: {{reason}}"): "nothing does",
    ("Wanted and there", "the provider's"): boards.ELSEWHERE["taciturn_controller_provider_desired_relays"],
    ("Leads", "{{instance}} is a dry run"): "it is none",
}


class Watched:
    """A fleet, the Prometheus that watches it, and callers."""

    def __init__(self, fleet: fleets.Fleet, asked: prometheus.Prometheus):
        self.fleet = fleet
        self.prometheus = asked
        self.callers: list[subprocess.Popen] = []

    def await_series(self, expression: str) -> list[dict]:
        """What an expression gives, once it gives something."""
        return self.prometheus.await_series(expression, lambda: self.fleet.log.read_text()[-3000:])

    def call(self, address: str) -> None:
        """A call through the relay at this address, until the tests are over."""
        credentials = mint(self.fleet.secret(), "stays")
        command = ["turnutils_uclient", "-u", credentials.username, "-w", credentials.password, "-y", "-c"]
        command += ["-n", "100000", "-z", "50", "-p", "3478", address]
        self.callers.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))


def _scrape_config(address: str) -> str:
    """The configuration of docs/operations.md, for this controller, and so often that a test need not wait."""
    (block,) = re.findall(r"```yaml\n(scrape_configs:.*?)```", PAGE.read_text(), re.DOTALL)
    config = yaml.safe_load(block.replace("127.0.0.1:9640", address))
    for job in config["scrape_configs"]:
        for found in job.get("http_sd_configs", []):
            found["refresh_interval"] = INTERVAL
    config["global"] = {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL}
    config["rule_files"] = [str(boards.ROOT / "alerts" / f"{rules}.yml") for rules in ("relay", "controller")]
    return yaml.safe_dump(config)


@pytest.fixture(scope="module")
def watched(tmp_path_factory, certificates):
    """One relay has been drained and cut, another one drains with a call on it."""
    if under_test.under_test() != "taciturn":
        pytest.skip("only this project has a fleet")
    require("prometheus", "turnutils_uclient")
    directory = tmp_path_factory.mktemp("fleet")
    (port,) = under_test.free_ports(1)
    # A door of its own, so that there is a certificate that ends.
    more = f'[self-test]\naddress = "127.0.0.1:{port}"\ncertificate = "{certificates.chain}"\nkey = "{certificates.key}"\n'
    with (
        fleets.running(directory, more, drain_deadline="5s") as fleet,
        prometheus.running(directory, _scrape_config(fleet.address)) as asked,
    ):
        watched = Watched(fleet, asked)
        try:
            _live(watched)
            yield watched
        finally:
            for caller in watched.callers:
                caller.kill()
                caller.wait()


def _live(watched: Watched) -> None:
    """Makes it grow, drain and end, with Prometheus watching all the time."""
    fleet = watched.fleet
    watched.await_series('count(up{job="taciturn-relay"} == 1) == 3')
    watched.await_series("count_over_time(taciturn_controller_rounds_total[1m]) >= 2")
    relay, address = fleet.relay_in("zone-a")
    assert fleet.request("POST", "/v1/ice-servers")[0] == 200
    watched.call(address)
    watched.await_series('taciturn_relay_allocations{zone="zone-a"} > 0')
    assert fleet.request("POST", f"/v1/relays/{relay}/drain")[0] == 200
    watched.await_series("increase(taciturn_controller_drain_deadline_hits_total[5m]) > 0")
    watched.await_series("increase(taciturn_controller_drain_seconds_count[5m]) > 0")
    watched.await_series("increase(taciturn_controller_launch_seconds_count[5m]) > 0")
    fleet.write(fleets.ZONES, drain_deadline="10m")
    fleet.reload()
    watched.await_series('taciturn_controller_config_reloads_total{result="taken"} > 0')
    relay, address = fleet.relay_in("zone-b")
    watched.call(address)
    watched.await_series('taciturn_relay_allocations{zone="zone-b"} > 0')
    assert fleet.request("POST", f"/v1/relays/{relay}/drain")[0] == 200
    watched.await_series("taciturn_relay_drain_remaining_allocations > 0")
    watched.await_series('sum(taciturn_controller_relays{state="draining"}) > 0')


def _shown(*names: str) -> list:
    return [
        pytest.param(panel, id=f"{name}: {panel.title}: {panel.legend}")
        for name in names
        for panel in boards.panels(name, FILL)
    ]


@pytest.mark.parametrize("panel", _shown("fleet", "drain"))
def a_panel_shows_series_of_a_fleet_that_was_discovered(watched, panel):
    """Each query of the boards asks for what there is and gives series, whose labels its legend shows."""
    boards.assert_selectors_find_series(watched.prometheus, panel.query)
    series = watched.prometheus.query(panel.query)
    if (panel.title, panel.legend) not in EMPTY_WHEN_WELL:
        assert series, f"nothing comes of {panel.query}"
    boards.assert_legend_is_shown(series, panel)


@pytest.mark.parametrize("name", ["fleet", "drain", "relay"])
def a_variable_of_a_board_has_values(watched, name):
    """What one picks a board's relays, zones and controllers by."""
    for variable, metric, label in boards.variables(name):
        assert watched.prometheus.query(f'{metric}{{{label}=~".+"}}'), f"nothing to choose for {variable} of {name}"


@pytest.mark.parametrize("name", ["fleet", "drain", "relay"])
def a_panel_has_a_place_and_a_name_of_its_own(name):
    """Grafana shows what it is given: two panels with one number or in one place hide each other."""
    panels = boards._read(name)["panels"]
    numbers = [panel["id"] for panel in panels]
    assert len(set(numbers)) == len(numbers)
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies over {taken[x, y]}"
                taken[x, y] = panel["title"]
        assert panel["type"] == "row" or panel["description"], f"{panel['title']} says nothing"


def the_relays_that_prometheus_finds_are_those_that_the_controller_shows(watched):
    """Service discovery: each relay once, by its id and zone, draining ones among them."""
    listed = {
        (target["labels"]["__meta_taciturn_instance_id"], target["labels"]["__meta_taciturn_zone_id"])
        for target in watched.fleet.targets()
    }
    assert len(listed) >= 4, listed
    for instance, zone in listed:
        found = watched.await_series(f'up{{job="taciturn-relay", instance="{instance}", zone="{zone}"}} == 1')
        assert len(found) == 1, found


def an_alert_of_either_file_names_what_the_fleet_shows(watched):
    """Each rule is loaded and evaluated without an error, and shows labels that there are."""
    rules = watched.prometheus.evaluated_rules()
    assert len(rules) > 40, [rule["name"] for rule in rules]
    for rule in rules:
        if rule["name"] in ("TaciturnRelayCertificateExpires", "TaciturnRelayCertificateExpiresSoon"):
            # Local relays have no certificate; these two are tried where there is one, with the relay's own rules.
            assert rule["health"] == "ok", rule
            continue
        boards.assert_rule_is_sound(watched.prometheus, rule)


def an_operator_is_told_of_every_metric_of_the_controller(watched):
    """Each family of a scrape is in the tables of docs/operations.md."""
    with urllib.request.urlopen(f"http://{watched.fleet.address}/metrics", timeout=10) as answer:
        families = re.findall(r"^# TYPE taciturn_controller_(\w+) ", answer.read().decode(), re.MULTILINE)
    assert len(families) > 30
    page = PAGE.read_text()
    missing = [family for family in families if f"`{family}`" not in page and f"`{family}{{" not in page]
    assert not missing, f"docs/operations.md does not say what these mean: {missing}"


def the_end_of_a_relay_with_calls_on_it_raises_its_alert(watched):
    """A drain whose deadline came before its last call."""
    watched.await_series('ALERTS{alertname="TaciturnFleetCutsCalls", alertstate="firing"}')


def a_zone_that_is_not_allowed_any_more_raises_its_alert(watched):
    """A relay that is where calls may not be: somebody is called, and both boards show why nothing is taken away."""
    assert not watched.prometheus.query('ALERTS{alertname="TaciturnFleetOffshore"}')
    watched.fleet.write([zone for zone in fleets.ZONES if zone != "zone-c"], drain_deadline="10m")
    watched.fleet.reload()
    watched.await_series('ALERTS{alertname="TaciturnFleetOffshore", alertstate="firing"}')
    for title in ("Holds removals back", "Alarms"):
        (panel,) = [panel for panel in boards.panels("fleet", FILL) if panel.title == title]
        boards.assert_legend_is_shown(watched.await_series(panel.query), panel)
