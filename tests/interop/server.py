"""The server under test, as its own process on loopback.

Responsible for writing its configuration, starting it, waiting until it answers, and ending it. `SERVER_UNDER_TEST`
names it: `taciturn` (default; `TACITURN_BIN` overrides the path of the binary) or `coturn`, which shows that the
clients and this suite work on a machine before blame is laid on the relay. Not responsible for any client.
"""

import dataclasses
import hashlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

from certificates import Certificates
from credentials import Credentials, mint

REALM = "interop.example.org"
SECRET = "interop-secret-of-more-than-thirty-two-characters"
# A user with a password of its own, for clients that know nothing of time-limited credentials.
STATIC_USER = Credentials("gateway-1", "a password that was typed once")
ROOT = pathlib.Path(__file__).resolve().parents[2]
START_SECONDS = 15


@dataclasses.dataclass(frozen=True)
class Server:
    """Where a running server listens. Every port serves 127.0.0.1 and ::1."""

    name: str
    udp_port: int
    tcp_port: int
    tls_port: int
    auto_port: int | None
    admin_port: int | None
    certificates: Certificates
    pid: int
    log: pathlib.Path
    realm: str = REALM
    secret: str = SECRET

    def port(self, transport: str) -> int:
        """The port for `udp`, `tcp` or `tls`."""
        return {"udp": self.udp_port, "tcp": self.tcp_port, "tls": self.tls_port}[transport]

    def uri(self, transport: str, host: str = "127.0.0.1") -> str:
        """The TURN URI (RFC 7065) that a browser takes for `udp`, `tcp` or `tls`."""
        host = f"[{host}]" if ":" in host else host
        scheme = "turns" if transport == "tls" else "turn"
        carried_by = "udp" if transport == "udp" else "tcp"
        return f"{scheme}:{host}:{self.port(transport)}?transport={carried_by}"

    def credentials(self, user: str = "interop", seconds: int = 3600) -> Credentials:
        """Credentials of this server's secret."""
        return mint(self.secret, user, seconds)


def binary() -> pathlib.Path | None:
    """The program to start, or None when this machine does not have it."""
    if under_test() == "coturn":
        found = shutil.which("turnserver")
        return pathlib.Path(found) if found else None
    named = os.environ.get("TACITURN_BIN")
    built = [ROOT / "target" / profile / "taciturn" for profile in ("release", "debug")]
    candidates = [pathlib.Path(named)] if named else built
    return next((path for path in candidates if path.is_file()), None)


def under_test() -> str:
    """`taciturn` or `coturn`."""
    name = os.environ.get("SERVER_UNDER_TEST", "taciturn")
    if name not in ("taciturn", "coturn"):
        raise ValueError(f"SERVER_UNDER_TEST is {name!r}: use taciturn or coturn")
    return name


def start(directory: pathlib.Path, certificates: Certificates):
    """Start the server and yield it; a generator, so that a fixture ends it whatever the tests did."""
    program = binary()
    if program is None:
        raise FileNotFoundError(f"no binary of {under_test()}: build it, or name it in TACITURN_BIN")
    ports = free_ports(5)
    write = _coturn if under_test() == "coturn" else _taciturn
    command = write(program, directory, certificates, ports)
    printed = directory / "server.log"
    with printed.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=directory)
    udp, tcp, tls, auto, admin = ports
    ours = under_test() == "taciturn"
    server = Server(
        under_test(), udp, tcp, tls, auto if ours else None, admin if ours else None, certificates, process.pid, printed
    )
    try:
        _wait_until_it_answers(process, server)
        yield server
        # It served every client, so it has to be there still, and none of its threads may have given up.
        log = server.log.read_text(errors="replace")
        if process.poll() is not None or "panicked at" in log:
            raise RuntimeError(f"{server.name} did not survive its clients (status {process.poll()}):\n{log}")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_ports(count: int) -> list[int]:
    """Ports that are free for UDP and TCP on both loopback addresses."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        # Below the relayed range, or the relay itself could hand the port out.
        if port < 49152 and port not in found and _is_free(port):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with socket.socket(family, kind) as probe:
                try:
                    probe.bind((host, port))
                except OSError:
                    return False
    return True


def _taciturn(program, directory, certificates, ports) -> list[str]:
    udp, tcp, tls, auto, admin = ports
    listeners = "\n".join(
        f'[[listener]]\ntransport = "{transport}"\naddress = "{host}:{port}"'
        for transport, port in (("udp", udp), ("tcp", tcp), ("tls", tls), ("auto", auto))
        for host in ("127.0.0.1", "[::1]")
    )
    # The keys of RFC 8489 §9.2.2 and §18.5.1, derived here and not by the program under test.
    identity = f"{STATIC_USER.username}:{REALM}:{STATIC_USER.password}".encode()
    keys = directory / "gateway-1.key"
    keys.write_text(
        f"""user: {STATIC_USER.username}
realm: {REALM}
md5:{hashlib.md5(identity).hexdigest()}
sha256:{hashlib.sha256(identity).hexdigest()}
"""
    )
    keys.chmod(0o600)
    config = directory / "relay.toml"
    config.touch(0o600)
    config.write_text(
        f"""realm = "{REALM}"
workers = 2
# turnutils_uclient picks channel numbers from the older, wider range.
channel-numbers = "rfc5766"
{listeners}
[relayed]
addresses = ["127.0.0.1", "::1"]
[tls]
certificate = "{certificates.chain}"
key = "{certificates.key}"
[[secret]]
id = "interop"
value = "{SECRET}"
[[user]]
name = "{STATIC_USER.username}"
key-file = "{keys}"
[peers]
allow-loopback = true
[limits]
allocations-per-user = 1000
unauthenticated-per-second = 0
# Clients leave allocations behind, and nobody waits for those at the end.
[drain]
stop-after = "0s"
[admin]
address = "127.0.0.1:{admin}"
"""
    )
    return [str(program), "relay", "--config", str(config)]


def _coturn(program, directory, certificates, ports) -> list[str]:
    # Its plain port serves UDP and TCP alike; a second plain port keeps the two apart, as the relay's listeners are.
    udp, tcp, tls, alternate, _ = ports
    config = directory / "turnserver.conf"
    config.write_text(
        f"""listening-ip=127.0.0.1
listening-ip=::1
relay-ip=127.0.0.1
relay-ip=::1
listening-port={udp}
alt-listening-port={tcp}
tls-listening-port={tls}
alt-tls-listening-port={alternate}
aux-server=127.0.0.1:{tcp}
aux-server=[::1]:{tcp}
min-port=49152
max-port=65535
realm={REALM}
use-auth-secret
static-auth-secret={SECRET}
cert={certificates.chain}
pkey={certificates.key}
allow-loopback-peers
no-cli
no-rfc5780
no-software-attribute
userdb={directory / "turndb"}
pidfile={directory / "turnserver.pid"}
log-file=stdout
simple-log
verbose
"""
    )
    return [str(program), "-c", str(config)]


def _wait_until_it_answers(process: subprocess.Popen, server: Server) -> None:
    """Wait for a Binding response on every UDP and an accepted connection on every stream listener."""
    deadline = time.monotonic() + START_SECONDS
    missing = "nothing was tried"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{server.name} ended with {process.returncode}:\n{server.log.read_text()}")
        missing = _first_silent_listener(server)
        if missing is None:
            return
        time.sleep(0.1)
    raise TimeoutError(f"{server.name} does not answer on {missing}:\n{server.log.read_text()}")


def _first_silent_listener(server: Server) -> str | None:
    binding_request = bytes.fromhex("000100002112a442") + os.urandom(12)
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.settimeout(0.3)
            try:
                probe.connect((host, server.udp_port))
                probe.send(binding_request)
                probe.recv(2048)
            except OSError:
                return f"udp {host}"
        for port in (server.tcp_port, server.tls_port):
            try:
                socket.create_connection((host, port), 0.3).close()
            except OSError:
                return f"tcp {host} {port}"
    return None
