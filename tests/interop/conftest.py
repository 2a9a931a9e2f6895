"""Fixtures: one server under test for the whole run, and the tools that a test may need.

A missing tool skips its tests on a developer's machine and says so; with CI=true it fails the run instead.
"""

import os
import pathlib
import shutil
import subprocess

import pytest
from xdist.scheduler import LoadScopeScheduling

import certificates as authority
import server as under_test


def require(*tools: str) -> None:
    """Skip the test, or fail it in CI, when one of the programs is not installed."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        message = f"not installed: {', '.join(missing)}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """The authority and server certificate of this run."""
    return authority.issue(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def server(tmp_path_factory, certificates):
    """The server under test, shared by all tests, as a relay is shared by its clients."""
    yield from under_test.start(tmp_path_factory.mktemp("server"), certificates)


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory) -> pathlib.Path:
    """Where pictures of the demo page go; INTEROP_SCREENSHOTS keeps them."""
    named = os.environ.get("INTEROP_SCREENSHOTS")
    if named is None:
        return tmp_path_factory.mktemp("screenshots")
    directory = pathlib.Path(named)
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@pytest.fixture
def echo_peer():
    """A turnutils_peer on loopback that echoes datagrams; gives its (IPv4 or IPv6) port."""
    require("turnutils_peer")
    started = []

    def start(host: str) -> int:
        (port,) = under_test.free_ports(1)
        started.append(
            subprocess.Popen(
                ["turnutils_peer", "-L", host, "-p", str(port)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        return port

    yield start
    for process in started:
        process.terminate()
        process.wait()


class ByFile(LoadScopeScheduling):
    """A file's tests run one after another, in one process, and so do all demos: they want the same ports."""

    def _split_scope(self, nodeid: str) -> str:
        name = nodeid.split("::", 1)[0]
        return "demos" if name.startswith("test_demo") else name


def pytest_xdist_make_scheduler(config, log):
    """What runs side by side: files, not tests."""
    return ByFile(config, log)


def pytest_sessionfinish(session):
    """In CI a skipped test is a test that did not run, and that is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return  # One of those that run tests; the one that began them counts.
    ours = under_test.under_test() == "taciturn"
    if os.environ.get("CI") == "true" and ours and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
