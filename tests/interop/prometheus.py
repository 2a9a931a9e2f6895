"""A real Prometheus on loopback: what it is told to scrape, and what it answers.

Responsible for its process and for asking its API. Not responsible for what is scraped, nor for which queries are asked
(`boards`).
"""

import contextlib
import json
import pathlib
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

import server as under_test

PATIENCE = 45


class Prometheus:
    """A running Prometheus; whatever it does not answer fails the test in its own words."""

    def __init__(self, directory: pathlib.Path, port: int):
        self._log = directory / "prometheus.log"
        self._root = f"http://127.0.0.1:{port}/"
        self._api = self._root + "api/v1/"

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

    def await_series(self, expression: str, else_say=lambda: "") -> list[dict]:
        """The same, once there are any; `else_say` gives what to look at when none come."""
        deadline = time.monotonic() + PATIENCE
        while not (series := self.query(expression)):
            assert time.monotonic() < deadline, f"nothing came of {expression}\n{else_say()}"
            time.sleep(0.2)
        return series

    def evaluated_rules(self) -> list[dict]:
        """Every rule of every group, once each has been evaluated."""
        deadline = time.monotonic() + PATIENCE
        while True:
            rules = [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]
            if rules and all(rule["health"] != "unknown" for rule in rules):
                return rules
            assert time.monotonic() < deadline, "rules that are not evaluated"
            time.sleep(0.2)

    def _answers(self) -> bool:
        # Until it is ready it says 503, which is an OSError too.
        with contextlib.suppress(OSError):
            urllib.request.urlopen(self._root + "-/ready", timeout=1).close()
            return True
        return False


@contextlib.contextmanager
def running(directory: pathlib.Path, config: str):
    """A Prometheus with this configuration, and series of its own."""
    (port,) = under_test.free_ports(1)
    file = directory / "prometheus.yml"
    file.write_text(config)
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={file}",
                f"--storage.tsdb.path={directory / 'series'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=directory,
        )
    try:
        prometheus = Prometheus(directory, port)
        deadline = time.monotonic() + PATIENCE
        while not prometheus._answers():
            log = prometheus._log.read_text()
            assert process.poll() is None and time.monotonic() < deadline, log
            time.sleep(0.1)
        yield prometheus
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
