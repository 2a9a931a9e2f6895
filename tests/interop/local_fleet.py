"""A controller with relays as processes of this machine, and allocations on them that rise and fall.

Responsible for starting it, for load, and for ending everything that was started. Not responsible for what is looked at.
The policy's hours are seconds, and a relay carries eight allocations, so that a handful of clients moves the fleet.
"""

import asyncio
import json
import os
import pathlib
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

from aioice import turn

from credentials import mint
from server import binary, free_ports

PATIENCE_SECONDS = 60
CAPACITY = 8
POLICY = """
max = 6
surge = 6
slack = 0.0
lead = "1s"
trend-window = "2s"
window = "3s"
up-step = 3
up-period = "1s"
launches-per-hour = 200
down-step = 1
down-period = "1s"
quiet-after-launch = "2s"
quiet-after-start = "2s"
second-look = "1s"
list-ttl = "1s"
drain-deadline = "10m"
min-drain = "1s"
ready-timeout = "30s"
min-age = "1s"
stale-after = "6s"
backoff = "2s"
backoff-max = "4s"
"""


class LocalFleet:
    """One controller and its relays."""

    def __init__(self, directory: pathlib.Path, network: str, more_api: str = "", token: str | None = None, least: int = 3):
        """`token` is the operator's, where `more_api` asks for one; `least` is the policy's minimum."""
        self.directory = directory
        self.token = token
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}/"
        self.config = directory / "controller.toml"
        self.program = binary()
        self.write(network, more_api, least)
        self.log = (directory / "controller.log").open("ab")
        self.process = None
        self.start()

    def write(self, network: str, more_api: str, least: int) -> None:
        """The configuration."""
        zones = json.dumps(["local-a", "local-b", "local-c"])
        self.config.write_text(
            f"""fleet = "clinic"
state-directory = "{self.directory}/state"
interval = "1s"
[api]
address = "127.0.0.1:{self.port}"
{more_api}
[relays]
timeout = "1s"
[sovereignty]
allowed-zone-ids = {zones}
[lease]
kind = "none"
[provider]
kind = "local"
[provider.local]
zones = {zones}
network = "{network}"
boot-time = "3s"
relay-config = '''
[overload]
busiest-core = 0
[self-check]
interval = "0s"
'''
[policy]
min = {least}
{POLICY}
[policy.forecast]
mode = "off"
[policy.capacity.default]
allocations = {CAPACITY}
"""
        )

    def start(self) -> None:
        """Start the controller, or another after the one before was ended."""
        command = [self.program, "controller", "--config", self.config]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT)
        self.until(lambda _: True)

    def ask(self, path: str = "/v1/overview") -> dict:
        """What the controller answers."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        request = urllib.request.Request(self.url.rstrip("/") + path, headers=headers)
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)

    def until(self, shown) -> dict:
        """The first overview of which this holds."""
        last = None
        for _ in range(PATIENCE_SECONDS * 5):
            try:
                last = self.ask()
                if shown(last):
                    return last
            except (urllib.error.URLError, ConnectionError) as error:
                last = error
            if self.process.poll() is not None:
                break
            time.sleep(0.2)
        log = (self.directory / "controller.log").read_text()[-2000:]
        raise AssertionError(f"it never came to that: {json.dumps(last, default=str)[:3000]}\n{log}")

    def order(self, relay: str, what: str, method: str = "POST") -> None:
        """An operator's order about one relay."""
        request = urllib.request.Request(
            f"{self.url}v1/relays/{relay}/{what}", b"{}", {"Content-Type": "application/json"}, method=method
        )
        urllib.request.urlopen(request, timeout=20).close()

    def reload(self) -> None:
        """Have the configuration read again."""
        self.process.send_signal(signal.SIGHUP)

    def stop_controller(self) -> None:
        """The relays go on."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)

    def secret(self) -> bytes:
        """The secret of all relays."""
        return (self.directory / "state" / "relays" / "secret.key").read_bytes().strip()

    def close(self) -> None:
        """End the controller and then its relays, each by its own id."""
        self.stop_controller()
        mine = str(self.directory).encode()
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[1:3] == [b"relay", b"--config"] and len(words) > 3 and words[3].startswith(mine):
                os.kill(int(entry.name), signal.SIGKILL)
        self.log.close()


class Clients:
    """TURN clients that hold allocations until they are told to let go."""

    def __init__(self, fleet: LocalFleet):
        self.fleet = fleet
        self.held = []
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def allocate(self, address: str, count: int) -> None:
        """So many more on the relay at this address."""
        asyncio.run_coroutine_threadsafe(self._allocate(address, count), self.loop).result(60)

    async def _allocate(self, address, count):
        for number in range(count):
            minted = mint(self.fleet.secret().decode(), f"client-{len(self.held)}-{number}")
            transport, _ = await turn.create_turn_endpoint(
                asyncio.DatagramProtocol, (address, 3478), username=minted.username, password=minted.password
            )
            self.held.append(transport)

    def release(self, count: int) -> None:
        """Let go of the latest so many."""

        async def let_go():
            for _ in range(min(count, len(self.held))):
                self.held.pop().close()
            await asyncio.sleep(0.2)

        asyncio.run_coroutine_threadsafe(let_go(), self.loop).result(60)

    def close(self) -> None:
        """Let go of all."""
        self.release(len(self.held))
        self.loop.call_soon_threadsafe(self.loop.stop)
