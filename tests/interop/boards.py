"""The boards for Grafana and the alert rules: the queries in them, and whether they ask for what there is.

Responsible for reading the files and for judging a query by the series of a real scrape. Not responsible for what the
figures are.
"""

import dataclasses
import json
import pathlib
import re

from prometheus import Prometheus

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Series that exist elsewhere alone.
ELSEWHERE = {
    "taciturn_relay_ena_allowance_exceeded_packets_total": "network cards of AWS count exceeded allowances",
    "taciturn_controller_provider_desired_relays": "only providers with groups try to have a number",
}

METRIC = r"(?:taciturn_relay|taciturn_controller|process)_[a-z_]+|\bup\b"
SELECTOR = re.compile(rf"({METRIC})(\{{[^}}]*\}})?")
MATCHER = re.compile(r'([a-z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
GROUPED = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)")


@dataclasses.dataclass(frozen=True)
class Panel:
    """One query of a board, with its variables filled in, and the legend under it."""

    title: str
    query: str
    legend: str


def panels(name: str, fill: dict[str, str]) -> list[Panel]:
    """Every query that the board asks: of its panels and of its annotations."""
    board = _read(name)
    shown = [
        Panel(panel["title"], _filled(target["expr"], fill), target["legendFormat"])
        for panel in board["panels"]
        for target in panel.get("targets", [])
    ]
    shown += [
        Panel(each["name"], _filled(each["expr"], fill), each.get("titleFormat", ""))
        for each in board["annotations"]["list"]
        if "expr" in each
    ]
    return shown


def variables(name: str) -> list[tuple[str, str, str]]:
    """Name, metric and label of each variable whose values the board looks up."""
    found = []
    for variable in _read(name)["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()
            found.append((variable["name"], metric, label))
    return found


def _read(name: str) -> dict:
    return json.loads((ROOT / "dashboards" / f"{name}.json").read_text())


def _filled(query: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        query = query.replace(name, value)
    assert "$" not in query, f"an unknown variable in {query}"
    return query


def assert_selectors_find_series(prometheus: Prometheus, query: str) -> None:
    """Every metric that a query names exists, with every label that it names and every value that it asks for."""
    found = SELECTOR.findall(query)
    assert found, f"no metric of ours in {query}"
    known: set[str] = {"le"}
    for metric, matchers in found:
        if metric in ELSEWHERE:
            continue
        series = prometheus.query(metric)
        assert series, f"{metric} finds nothing, in {query}"
        known |= set().union(*(each["metric"] for each in series))
        for label, operator, values in MATCHER.findall(matchers):
            # What is left out need not be there, but it must be possible.
            wanted = [".+"] if operator in ("!=", "!~") or values == ".+" else values.split("|")
            for value in wanted:
                sign = "=~" if value == ".+" else "="
                one = f'{metric}{{{label}{sign}"{value}"}}'
                assert prometheus.query(one), f"{one} finds nothing, in {query}"
    if all(metric in ELSEWHERE for metric, _ in found):
        return
    grouped = {label.strip() for labels in GROUPED.findall(query) for label in labels.split(",") if label.strip()}
    assert grouped <= known, f"no metric has {sorted(grouped - known)}, in {query}"


def assert_legend_is_shown(series: list[dict], panel: Panel) -> None:
    """Each label of the legend is on each series."""
    for each in series:
        for label in re.findall(r"\{\{(\w+)\}\}", panel.legend):
            assert each["metric"].get(label), f"no label {label} in {each['metric']}, of {panel.query}"


def assert_rule_is_sound(prometheus: Prometheus, rule: dict) -> None:
    """A rule is healthy, asks for what there is, and shows labels that there are."""
    query, name = rule["query"], rule["name"]
    assert rule["health"] == "ok", f"{name}: {rule.get('lastError')}"
    assert_selectors_find_series(prometheus, query)
    assert rule["labels"].get("severity") in ("critical", "warning", "info"), name
    assert {"summary", "description", "runbook"} <= rule["annotations"].keys(), name
    assert rule["annotations"]["runbook"] == f"docs/operations.md#{name.lower()}"
    grouped = re.search(r"by \(([^)]*)\)", query)
    metric, _ = SELECTOR.search(query).groups()
    if grouped:
        available = {label.strip() for label in grouped[1].split(",")}
    elif metric in ELSEWHERE:
        available = {"instance", "allowance"}
    else:
        available = set(prometheus.query(metric)[0]["metric"])
    shown = re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"]))
    assert set(shown) <= available, f"{name} shows {shown}, of {available}"
