"""Headless Chromium with a home directory of its own, driven through chromedriver.

Responsible for starting it with or without the test authority trusted, and for the scripts that tests run in a page.
Not responsible for what the scripts measure.
"""

import http.server
import os
import pathlib
import shutil
import subprocess
import threading

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

TOOLS = ("chromium", "chromedriver", "certutil")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A page that is not in front must not be slowed down: several tests measure.
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
)
CALL_SCRIPT = pathlib.Path(__file__).with_name("call.js").read_text()


def start(home: pathlib.Path, authority: pathlib.Path | None, *flags: str) -> webdriver.Chrome:
    """Start Chromium with `home` as its home; `authority` is a certificate to trust, or None."""
    database = home / ".pki" / "nssdb"
    database.mkdir(parents=True)
    _certutil(database, "-N", "--empty-password")
    if authority is not None:
        _certutil(database, "-A", "-n", "interop", "-t", "C,,", "-i", str(authority))
    options = Options()
    options.binary_location = shutil.which("chromium")
    for flag in (*FLAGS, *flags, f"--user-data-dir={home / 'profile'}"):
        options.add_argument(flag)
    surroundings = {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home), "XDG_CACHE_HOME": str(home)}
    surroundings.pop("XDG_DATA_HOME", None)
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver"), env=surroundings))
    browser.set_script_timeout(40)
    return browser


def call(browser: webdriver.Chrome, ice_server: dict, seconds: float = 2.0) -> dict:
    """Hold a relay-only call between two peer connections of one page; see `call.js` for what comes back."""
    return _run(browser, "call", ice_server, seconds)


def gather(browser: webdriver.Chrome, ice_server: dict) -> dict:
    """Gather relayed candidates only, and report them with every `icecandidateerror`."""
    return _run(browser, "gather", ice_server)


def _run(browser, function, *arguments):
    script = f"{CALL_SCRIPT}\nconst given = [...arguments], done = given.pop();\n"
    script += f"{function}(...given).then(done, (reason) => done({{ failure: String(reason) }}));"
    return browser.execute_async_script(script, *arguments)


class Pages:
    """A web server on loopback: WebRTC wants a secure context, and loopback is one."""

    def __init__(self, answers: dict[str, tuple[str, bytes]]):
        """`answers` maps a path to its media type and body; it may be changed while serving."""

        class Answering(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                media_type, body = answers.get(self.path, ("text/plain", b"not found"))
                self.send_response(200 if self.path in answers else 404)
                self.send_header("Content-Type", media_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Address of `/`."""
        return f"http://127.0.0.1:{self._server.server_port}/"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def _certutil(database: pathlib.Path, action: str, *arguments: str) -> None:
    subprocess.run(["certutil", action, "-d", f"sql:{database}", *arguments], check=True, capture_output=True)
