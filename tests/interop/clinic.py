"""A clinic's network: a network namespace of its own, with an address, a way out that leads nowhere, and a firewall.

Responsible for entering and leaving it and for what its firewall does. Whatever a test starts meanwhile runs in it: relays
and controller on loopback, where nobody else's ports are, and the browser. Not responsible for any of those.
"""

import contextlib
import ctypes
import os
import signal
import subprocess

# The clinic's own, which nobody is to be told: documentation prefixes (RFC 5737, RFC 3849).
ADDRESS = "192.0.2.77"
ADDRESS_V6 = "2001:db8:77::77"
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def network():
    """Moves this thread, and what it starts, into a new network; gives its firewall. Wants root."""
    with open("/proc/thread-self/ns/net", "rb") as before:
        _call("unshare", _CLONE_NEWNET)
        try:
            for command in (
                "ip link set lo up",
                "ip link add clinic type veth peer name street",
                f"ip address add {ADDRESS}/24 dev clinic",
                f"ip -6 address add {ADDRESS_V6}/64 dev clinic nodad",
                "ip link set clinic up",
                "ip link set street up",
                "ip route add default dev clinic",
            ):
                subprocess.run(command.split(), check=True)
            yield Firewall()
        finally:
            # Relays of the local provider outlive their controller.
            for process in inhabitants():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            _call("setns", before.fileno(), _CLONE_NEWNET)


class Firewall:
    """Shuts ways to the relays, for everybody in this network."""

    # The first byte of what a TCP segment carries: of a STUN message, and of a TLS handshake.
    STUN = "@ih,0,8 0x00"
    TLS = "@ih,0,8 0x16"

    def shut(self, *matches: str, silently: bool = True) -> None:
        """From now on packets that match one of these are dropped, or refused with an answer; and no others."""
        verdict = "drop" if silently else "reject"
        rules = "\n".join(f"{match} {verdict}" for match in matches)
        table = f"table inet clinic {{\nchain in {{\ntype filter hook input priority 0\n{rules}\n}}\n}}\n"
        rules = f"add table inet clinic\ndelete table inet clinic\n{table}"
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)

    def open(self) -> None:
        """Nothing is shut any more."""
        self.shut()


def inhabitants() -> list[int]:
    """The processes of this thread's network, without this one."""
    own = os.readlink("/proc/thread-self/ns/net")
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            # Others come and go meanwhile.
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{entry}/ns/net") == own:
                    found.append(int(entry))
    return found


def _call(name: str, *arguments: int) -> None:
    if getattr(_LIBC, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
