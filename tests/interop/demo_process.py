"""`taciturn demo` as a process: started in a directory of its own, asked how it stands, ended, and what it has left.

Not responsible for the page's call (`demo_page`), nor for judging.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import time
import urllib.request

import pytest

import server as under_test

START_SECONDS = 60
END_SECONDS = 30


class Demo:
    """A demo that runs, and all that it has started."""

    def __init__(self, directory: pathlib.Path, *arguments: str):
        """Start it; `directory` is its TMPDIR, and several may share one."""
        if under_test.under_test() != "taciturn":
            pytest.skip("only this project has a demo")
        self.directory = directory
        self._printed = directory.parent / f"{directory.name}-{time.monotonic_ns()}.txt"
        (port,) = under_test.free_ports(1)
        command = [str(under_test.binary()), "demo", *arguments]
        if not {"--page-port", "--no-page"} & set(arguments):
            command += ["--page-port", str(port)]
        with self._printed.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TMPDIR": str(directory)},
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._printed.read_text()

    def place(self, label: str) -> str:
        """The address or path that it prints behind this label."""
        found = self.eventually(lambda: re.search(rf"{label} +(\S+)", self.output), f"no {label}", START_SECONDS)
        return found.group(1)

    @property
    def page(self) -> str:
        """Address of the page."""
        return self.place("A call to hold")

    @property
    def api(self) -> str:
        """Address of the controller's API, and of its dashboard."""
        return self.place("The dashboard")

    @property
    def run(self) -> pathlib.Path:
        """The directory of this run."""
        return pathlib.Path(self.place("The configuration")).parent

    def fleet(self) -> dict:
        """What the page is told of relays and calls."""
        return ask(f"{self.page}fleet.json")

    def eventually(self, look, what, seconds=240):
        """What `look` returns as soon as that is something."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = look()
            if found:
                return found
            if self.process.poll() is not None:
                raise AssertionError(f"{what}, and the demo ended with {self.process.returncode}:\n{self.output}")
            time.sleep(0.2)
        raise AssertionError(f"{what}:\n{self.output}")

    def relay_pid(self, identifier: str) -> int:
        """The process of a relay, as the controller has noted it."""
        noted = self.run / "state" / "relays" / "instances" / identifier / "run.json"
        return json.loads(noted.read_text())["pid"]

    def send(self, number: signal.Signals) -> None:
        """Signal the demo itself, and nobody else."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(END_SECONDS)

    def kill(self) -> None:
        """For a test that is over, whatever became of it: nothing may go on."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in self.left():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def left(self) -> list[int]:
        """Processes that run with a configuration below the demo's directory."""
        wanted = str(self.directory).encode()
        return [pid for pid, words in command_lines() if any(word.startswith(wanted) for word in words)]

    def runs(self) -> list[pathlib.Path]:
        """The directories of runs that are still there."""
        return list(self.directory.glob("taciturn-demo-*/run-*"))


def ask(url: str) -> dict:
    """The JSON at an address."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def order(url: str) -> dict:
    """Send an order of the operator."""
    request = urllib.request.Request(url, data=b"{}", headers={"Content-Type": "application/json"}, method="POST")
    return ask(request)


def command_lines():
    """The command line of every process, word by word."""
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield int(path.parent.name), path.read_bytes().split(b"\0")
        except OSError:
            continue
