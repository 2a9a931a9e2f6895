"""`taciturn top` against a real controller, in a terminal of its own and without one."""

import fcntl
import http.server
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import threading
import time

import pytest

from local_fleet import LocalFleet
from server import binary, free_ports

pytestmark = pytest.mark.timeout(180)
PATIENCE_SECONDS = 30
TOKEN = "an-operator's-token-of-more-than-32-bytes"
TAKEN, GIVEN_BACK, COLOUR = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[38;5;"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Three relays, and a controller that asks for a token."""
    directory = tmp_path_factory.mktemp("fleet")
    (directory / "token").write_text(TOKEN)
    (directory / "token").chmod(0o600)
    fleet = LocalFleet(directory, "127.34", more_api=f'token-file = "{directory}/token"', token=TOKEN)
    try:
        fleet.until(lambda page: page["totals"]["states"].get("ready") == 3 and page["condition"] == "steady")
        yield fleet
    finally:
        fleet.close()


class Terminal:
    """A pseudo-terminal with the command in it."""

    def __init__(self, fleet, columns=80, rows=24, **surroundings):
        self.shown = b""
        self.pid, self.end = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm-256color", **surroundings)
            # The size has to be known before the first look at it.
            time.sleep(0.3)
            token = str(fleet.directory / "token")
            os.execv(binary(), [binary(), "top", "--url", fleet.url, "--token-file", token, "--interval", "500ms"])
        self.size(columns, rows)

    def size(self, columns, rows):
        """Another size, as when a window is drawn larger."""
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, shown) -> None:
        """Read until this holds of everything that was written."""
        for _ in range(PATIENCE_SECONDS * 10):
            if shown(self.shown):
                return
            if select.select([self.end], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self.end, 65536)
                except OSError:
                    break
        assert shown(self.shown), self.shown.decode(errors="replace")

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.end, keys)

    def ended(self) -> int:
        """Its exit code; the terminal is as it was."""
        self.until(lambda shown: shown.endswith(b"\x1b[?25h") or GIVEN_BACK in shown)
        for _ in range(PATIENCE_SECONDS * 10):
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            if select.select([self.end], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self.end, 65536)
                except OSError:
                    # Nothing is left that could write; what is waited for is its end.
                    time.sleep(0.1)
        assert pid, "it goes on"
        modes = termios.tcgetattr(self.end)[3]
        assert modes & termios.ECHO and modes & termios.ICANON, "the terminal is still raw"
        assert self.shown.count(TAKEN) == self.shown.count(GIVEN_BACK) == 1
        os.close(self.end)
        return os.waitstatus_to_exitcode(status)


def run(*arguments: str) -> subprocess.CompletedProcess:
    """The command without a terminal."""
    return subprocess.run([binary(), "top", *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("end", ["q", "escape", "ctrl-c", "SIGTERM", "SIGHUP"])
def the_terminal_is_given_back_by_every_end(fleet, end):
    """Keys and signals: the screen, the cursor and the modes are as they were, and the exit code says that it was asked for."""
    terminal = Terminal(fleet)
    terminal.until(lambda shown: b"STEADY" in shown and b"local-a" in shown)
    keys = {"q": b"q", "escape": b"\x1b", "ctrl-c": b"\x03"}
    if end in keys:
        terminal.type(keys[end])
    else:
        os.kill(terminal.pid, getattr(signal, end))
    assert terminal.ended() == 0


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (120, 40)])
def a_terminal_of_any_size_shows_the_fleet(fleet, columns, rows):
    """States are words, with colours beside them; another size is followed; keys scroll."""
    terminal = Terminal(fleet, columns, rows)
    terminal.until(lambda shown: b"STEADY" in shown and b"Need" in shown and b"quits" in shown)
    before = len(terminal.shown)
    terminal.size(columns + 10, rows + 5)
    os.kill(terminal.pid, signal.SIGWINCH)
    terminal.until(lambda shown: b"STEADY" in shown[before:])
    terminal.type(b"G")
    terminal.until(lambda shown: b"decisions" in shown)
    assert COLOUR in terminal.shown
    terminal.type(b"q")
    assert terminal.ended() == 0


def the_terminal_has_no_colour_where_nobody_wants_any(fleet):
    """NO_COLOR."""
    terminal = Terminal(fleet, NO_COLOR="1")
    terminal.until(lambda shown: b"STEADY" in shown)
    terminal.type(b"q")
    assert terminal.ended() == 0
    assert COLOUR not in terminal.shown


def a_controller_that_goes_away_is_told_of_and_found_again(fleet):
    """What is shown is old then, and says so, and that calls do not need the controller."""
    terminal = Terminal(fleet, 100, 40)
    terminal.until(lambda shown: b"STEADY" in shown)
    fleet.stop_controller()
    terminal.until(lambda shown: b"Calls are not affected" in shown or b"affected:" in shown)
    fleet.start()
    before = len(terminal.shown)
    terminal.until(lambda shown: b"STEADY" in shown[before:] or b"STARTING" in shown[before:])
    terminal.type(b"q")
    assert terminal.ended() == 0


def the_output_is_plain_text_where_there_is_no_terminal(fleet):
    """Once, and again and again until the reader has enough."""
    token = str(fleet.directory / "token")
    once = run("--url", fleet.url, "--token-file", token, "--once")
    assert once.returncode == 0 and once.stderr == ""
    for words in ("fleet clinic", "local-a", "1 ready", "Need", "Drains", "Last decisions"):
        assert words in once.stdout, once.stdout
    assert "\x1b" not in once.stdout
    command = [binary(), "top", "--url", fleet.url, "--token-file", token, "--interval", "500ms"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        heads = 0
        while heads < 2:
            heads += "fleet clinic" in running.stdout.readline()
        running.stdout.close()
        assert running.wait(30) == 0 and running.stderr.read() == ""


def a_stranger_is_told_what_is_wrong_and_what_to_do(fleet, tmp_path):
    """Nobody there, no token, another token, another program, a relay, a wrong address: each has its words, and exit code 1."""
    (tmp_path / "wrong").write_text("another token, which is not the one that is asked for")

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"hello\n")

        def log_message(self, *_):
            pass

    other = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    relay = next(iter(fleet.ask("/v1/fleet")["relays"]))["admin"]
    (nobody,) = free_ports(1)
    try:
        for arguments, words in [
            (["--url", f"http://127.0.0.1:{nobody}"], "no controller answers"),
            (["--url", fleet.url], "--token-file"),
            (["--url", fleet.url, "--token-file", str(tmp_path / "wrong")], "does not know the token"),
            (["--url", fleet.url, "--token-file", str(tmp_path / "none")], "cannot be read"),
            (["--url", f"http://127.0.0.1:{other.server_port}"], "is no controller"),
            (["--url", f"http://{relay}"], "is no controller"),
            (["--url", "127.0.0.1:9640"], "is no address of a controller"),
            (["--url", fleet.url.replace("http:", "https:")], "https needs --ca"),
            (["--url", f"unix:{tmp_path}/none.sock"], "no controller answers"),
        ]:
            refused = run(*arguments, "--once")
            assert refused.returncode == 1 and refused.stdout == "", (arguments, refused)
            assert words in refused.stderr and len(refused.stderr.splitlines()) == 1, (arguments, refused.stderr)
    finally:
        other.shutdown()
        other.server_close()
