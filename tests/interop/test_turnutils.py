"""coturn's command-line clients against the server under test.

`turnutils_uclient -y` opens pairs of clients that reach each other only through their relayed addresses, counts what
arrives and reports the loss. All runs of this file start together and are collected one by one, as each takes
several seconds of the client's own fixed pauses.
"""

import collections
import re
import subprocess
import time

import pytest

from conftest import require
from credentials import wrong
from server import STATIC_USER

MESSAGES = 10
# Spaced so that two TLS records never arrive in one read: what the client counts is then the relay's loss.
SPACING_MILLISECONDS = 60
RUN_SECONDS = 45

Run = collections.namedtuple("Run", "status sent received lost output")

LOOPBACK = {"ipv4": "127.0.0.1", "ipv6": "::1"}
CALLS = [
    pytest.param(transport, family, delivery, id=f"{transport}-{family}-{delivery}")
    for transport in ("udp", "tcp", "tls")
    for family in ("ipv4", "ipv6")
    for delivery in ("channels", "indications")
]


class Client:
    """A running turnutils_uclient."""

    def __init__(self, server, transport, family, *flags, port=None, credentials=None, messages=MESSAGES):
        credentials = credentials or server.credentials("uclient")
        command = ["turnutils_uclient", "-u", credentials.username, "-w", credentials.password]
        command += ["-n", str(messages), "-z", str(SPACING_MILLISECONDS)]
        command += {"udp": [], "tcp": ["-t"], "tls": ["-t", "-S"]}[transport]
        command += [*flags, "-p", str(port or server.port(transport)), LOOPBACK[family]]
        self._command = command
        self._start()

    def _start(self):
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._deadline = time.monotonic() + RUN_SECONDS

    def finish(self) -> Run:
        """Wait for the end of the run and read its own figures.

        A run over TLS that lost something is made again, twice at most: where the machine stalls, records meet in one
        read in spite of the spacing. What a relay loses it would lose again.
        """
        run = self._finish()
        for _ in range(2):
            if "-S" in self._command and run.status == 0 and run.lost > 0:
                self._start()
                run = self._finish()
        return run

    def _finish(self) -> Run:
        try:
            output, _ = self._process.communicate(timeout=max(1, self._deadline - time.monotonic()))
        finally:
            self._process.kill()
        sent, received = _last_two_numbers(r"tot_send_msgs=(\d+), tot_recv_msgs=(\d+)", output)
        lost, _ = _last_two_numbers(r"Total lost packets (\d+) \(\d+\.\d+%\), total send dropped (\d+)", output)
        return Run(self._process.returncode, sent, received, lost, output)


@pytest.fixture(scope="module")
def client_to_client(request, server):
    """Start every selected run of the matrix at once."""
    require("turnutils_uclient")
    running = {}
    for item in request.session.items:
        callspec = getattr(item, "callspec", None)
        if callspec is None or "client_to_client" not in item.fixturenames:
            continue
        key = tuple(callspec.params[name] for name in ("transport", "family", "delivery"))
        running[key] = Client(server, key[0], key[1], "-m", "4", "-y", "-c", *_relayed(key[1]), *_delivery(key[2]))
    return running


@pytest.mark.parametrize(("transport", "family", "delivery"), CALLS)
def two_clients_lose_nothing_through_the_relay(client_to_client, transport, family, delivery):
    """T-02, T-09, T-27, T-44, T-52, T-62, T-71, A-13: pairs of clients reach each other's relayed address, unharmed."""
    run = client_to_client[transport, family, delivery].finish()
    assert run.status == 0, run.output
    assert run.sent == run.received == 4 * MESSAGES, run.output
    assert run.lost == 0, run.output


def an_even_port_and_its_reserved_sibling_carry_rtp_and_rtcp(server):
    """T-24: without -c the client asks for an even port, and claims its sibling from another 5-tuple by the token."""
    require("turnutils_uclient")
    run = Client(server, "udp", "ipv4", "-y").finish()
    assert run.status == 0, run.output
    assert run.sent == run.received > 0 and run.lost == 0, run.output


@pytest.mark.parametrize(
    ("client_family", "peer_family"), [("ipv4", "ipv6"), ("ipv6", "ipv4")], ids=["4-to-6", "6-to-4"]
)
@pytest.mark.parametrize("delivery", ["channels", "indications"])
def a_client_reaches_a_peer_of_the_other_family(server, echo_peer, client_family, peer_family, delivery):
    """T-69: what a client sends over one family reaches an echoing peer over the other, and returns."""
    require("turnutils_uclient")
    peer = LOOPBACK[peer_family]
    flags = ["-c", "-e", peer, "-r", str(echo_peer(peer)), *_relayed(peer_family), *_delivery(delivery)]
    run = Client(server, "udp", client_family, *flags).finish()
    assert run.status == 0, run.output
    assert run.sent == run.received == MESSAGES and run.lost == 0, run.output


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def an_auto_listener_takes_plain_tcp_and_tls_on_one_port(server, transport):
    """T-02: TURN over TCP and TURN over TLS share the port that a firewall leaves open."""
    require("turnutils_uclient")
    if server.auto_port is None:
        pytest.skip("only this project's relay has auto listeners")
    run = Client(server, transport, "ipv4", "-y", "-c", port=server.auto_port).finish()
    assert run.status == 0, run.output
    assert run.sent == run.received == 2 * MESSAGES and run.lost == 0, run.output


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def a_secret_on_the_command_line_mints_accepted_credentials(server, transport):
    """H-01, H-02: the client's own minting (-W, HMAC-SHA1) agrees with the server's."""
    require("turnutils_uclient")
    minted = ["turnutils_uclient", "-u", "alice", "-W", server.secret, "-n", "2", "-y", "-c"]
    minted += {"udp": [], "tcp": ["-t"], "tls": ["-t", "-S"]}[transport]
    run = subprocess.run(
        [*minted, "-p", str(server.port(transport)), "127.0.0.1"], capture_output=True, text=True, timeout=RUN_SECONDS
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Total lost packets 0 (" in run.stdout + run.stderr, run.stdout + run.stderr


def a_static_user_authenticates_with_a_password_that_the_relay_never_saw(server):
    """T-01: the relay holds the keys derived from a password, and the client proves that it knows the password."""
    require("turnutils_uclient")
    if server.name != "taciturn":
        pytest.skip("this server takes time-limited credentials only")
    run = Client(server, "udp", "ipv4", "-y", "-c", credentials=STATIC_USER).finish()
    assert run.status == 0, run.output
    assert run.sent == run.received == 2 * MESSAGES and run.lost == 0, run.output


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
@pytest.mark.parametrize("fault", ["expired", "wrong"])
def a_client_with_unacceptable_credentials_gets_no_allocation(server, transport, fault):
    """S-27, H-03: expired credentials and a password of another secret allocate nothing."""
    require("turnutils_uclient")
    refused = server.credentials(seconds=-60) if fault == "expired" else wrong(server.credentials())
    run = Client(server, transport, "ipv4", "-y", "-c", credentials=refused).finish()
    assert run.status != 0, run.output
    assert "Cannot complete Allocation" in run.output, run.output


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def a_stun_client_learns_its_mapped_address(server, family):
    """S-15, S-41: an unauthenticated Binding request is answered with the address that it came from."""
    require("turnutils_stunclient")
    run = subprocess.run(
        ["turnutils_stunclient", "-p", str(server.udp_port), LOOPBACK[family]],
        capture_output=True,
        text=True,
        timeout=15,
    )
    output = run.stdout + run.stderr
    assert run.returncode == 0, output
    assert f"UDP reflexive addr: {LOOPBACK[family]}:" in output, output


def _relayed(family: str) -> list[str]:
    return {"ipv4": ["-X"], "ipv6": ["-x"]}[family]


def _delivery(delivery: str) -> list[str]:
    return {"channels": [], "indications": ["-s"]}[delivery]


def _last_two_numbers(pattern: str, output: str) -> tuple[int, int]:
    """The last occurrence counts: the client prints its totals as it goes. (-1, -1) when it never got there."""
    found = re.findall(pattern, output)
    return (int(found[-1][0]), int(found[-1][1])) if found else (-1, -1)
