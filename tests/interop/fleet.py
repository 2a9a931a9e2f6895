"""A fleet on loopback: `taciturn controller` with the local provider, on addresses of this test's own.

Responsible for its configuration, its process, and for ending the relays that it has launched, which outlive it by design.
Not responsible for what is asked of it.
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import time
import urllib.error
import urllib.request

import server as under_test

ZONES = ["zone-a", "zone-b", "zone-c"]
PATIENCE = 45
# Hours of a day's fleet, in seconds.
POLICY = {
    "min": 3,
    "max": 6,
    "surge": 6,
    "slack": 0.0,
    "lead": "1s",
    "trend-window": "2s",
    "window": "3s",
    "up-step": 3,
    "up-period": "1s",
    "down-period": "1s",
    "quiet-after-launch": "2s",
    "quiet-after-start": "2s",
    "second-look": "1s",
    "list-ttl": "1s",
    "drain-deadline": "10m",
    "min-drain": "1s",
    "min-age": "1s",
    "stale-after": "6s",
}


class Fleet:
    """A controller that runs, and what it says."""

    def __init__(self, directory: pathlib.Path, port: int, more: str = "", token: str | None = None):
        self.directory = directory
        self.port = port
        # The operator's; without one whoever is on this machine is one.
        self.token = token
        # Sections that its configuration has beside the usual ones.
        self.more = more
        self.log = directory / "controller.log"
        self.file = directory / "controller.toml"
        # Not those of demos, which begin at 127.40, nor of tests in Rust, from 127.100 on; whoever runs at the same time has another.
        self.network = f"127.{200 + os.getpid() % 50}"
        self._process: subprocess.Popen | None = None

    @property
    def address(self) -> str:
        """Host and port of its API."""
        return f"127.0.0.1:{self.port}"

    def write(self, zones: list[str], **policy) -> None:
        """Its configuration, with these zones allowed and these keys of the policy changed."""
        guard = ""
        if self.token is not None:
            file = self.directory / "operator.token"
            file.touch(0o600)
            file.write_text(self.token)
            guard = f'token-file = "{file}"'
        keys = {**POLICY, **{name.replace("_", "-"): value for name, value in policy.items()}}
        self.file.write_text(
            f"""fleet = "interop"
state-directory = "{self.directory / 'state'}"
interval = "1s"
[api]
address = "{self.address}"
{guard}
[sovereignty]
allowed-zone-ids = {json.dumps(zones)}
[lease]
kind = "none"
[provider]
kind = "local"
[provider.local]
zones = {json.dumps(ZONES)}
network = "{self.network}"
relay-config = '''
channel-numbers = "rfc5766"
[capacity]
packets-per-second = 200000
bits-per-second = 1000000000
[overload]
busiest-core = 0
'''
[policy]
"""
            + "".join(f"{name} = {json.dumps(value)}\n" for name, value in keys.items())
            + self.more
        )

    def start(self) -> None:
        """Starts it; what it launches is awaited by whoever needs it."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(under_test.binary()), "controller", "--config", str(self.file)],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
            )

    def reload(self) -> None:
        """Has it read its configuration again."""
        self._process.send_signal(signal.SIGHUP)

    def request(self, method: str, path: str, body: dict | None = None) -> tuple[int, str]:
        """One request to its API; gives status and body."""
        request = urllib.request.Request(f"http://{self.address}{path}", method=method)
        if self.token is not None:
            request.add_header("Authorization", f"Bearer {self.token}")
        if method == "POST":
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body or {}).encode()
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def targets(self) -> list[dict]:
        """What it says to Prometheus; nothing while it is in doubt."""
        with contextlib.suppress(OSError):
            status, body = self.request("GET", "/v1/prometheus/targets")
            return json.loads(body) if status == 200 else []
        return []

    def relay_in(self, zone: str) -> tuple[str, str]:
        """Id and address of a relay of this zone, once one is ready."""
        deadline = time.monotonic() + PATIENCE
        while True:
            for target in self.targets():
                labels = target["labels"]
                if labels["__meta_taciturn_zone_id"] == zone and labels["__meta_taciturn_state"] == "ready":
                    return labels["__meta_taciturn_instance_id"], target["targets"][0].split(":")[0]
            assert time.monotonic() < deadline, f"no relay in {zone}:\n{self.log.read_text()[-3000:]}"
            time.sleep(0.2)

    def secret(self) -> str:
        """What the local relays' credentials are minted with."""
        return (self.directory / "state" / "relays" / "secret.key").read_text().strip()

    def end(self) -> None:
        """Ends the controller, and then its relays: each by its number, and only if it is one of these."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for run in (self.directory / "state" / "relays" / "instances").glob("*/run.json"):
            pid = json.loads(run.read_text())["pid"]
            with contextlib.suppress(OSError):
                if str(run.parent) in pathlib.Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "):
                    os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def running(directory: pathlib.Path, more: str = "", token: str | None = None, **policy):
    """A fleet with a relay in each zone on its way."""
    (port,) = under_test.free_ports(1)
    fleet = Fleet(directory, port, more, token)
    fleet.write(ZONES, **policy)
    try:
        fleet.start()
        yield fleet
    finally:
        fleet.end()
