"""The description of the controller's API against the controller that serves it, by other people's reading of both.

Schemathesis makes questions of the description, good and bad ones, and holds each answer against it. Not responsible for
routes that are missing in the description: a test beside the routes looks for those.
"""

import base64
import hashlib
import hmac
import json
import os
import pathlib
import signal
import subprocess
import time
import urllib.error
import urllib.request

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.control import SkipTest
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

import server as under_test


pytestmark = pytest.mark.timeout(180)

OPERATOR = "the-operators-token-in-these-tests"
SUBJECT = "a-signalling-servers-token-in-these-tests"
NETWORK = "127.31"
PATIENCE = 60
# What orders draw after them is another test's concern; these are asked of a relay that is not there.
EXAMPLES = 25


class Controller:
    """A controller with relays of its own, and its token."""

    def __init__(self, directory: pathlib.Path):
        (port,) = under_test.free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self.directory = directory
        for name, token in (("operator", OPERATOR), ("subject", SUBJECT)):
            path = directory / f"{name}.token"
            path.write_text(token)
            path.chmod(0o600)
        config = directory / "controller.toml"
        config.write_text(
            f"""
            fleet = "described"
            state-directory = "state"
            interval = "1s"
            [api]
            address = "127.0.0.1:{port}"
            token-file = "operator.token"
            [[credentials.subject]]
            name = "signalling"
            token-file = "subject.token"
            rate = 10000
            burst = 10000
            [sovereignty]
            allowed-zone-ids = ["local-a", "local-b"]
            [provider]
            kind = "local"
            [provider.local]
            zones = ["local-a", "local-b"]
            network = "{NETWORK}"
            [policy]
            min = 2
            max = 3
            quiet-after-start = "1s"
            """
        )
        config.chmod(0o600)
        self.log = (directory / "log").open("w")
        command = [under_test.binary(), "controller", "--config", config]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self.log)

    def ask(self, method: str, path: str, body: bytes | None = None, token: str = OPERATOR):
        """The status and body of an answer; 0 while there is none."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data=body, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b""

    def end(self) -> None:
        """Ends it, and the relays, which would go on without it."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=PATIENCE)
        self.log.close()
        for run in (self.directory / "state/relays/instances").glob("*/run.json"):
            try:
                os.kill(json.loads(run.read_text())["pid"], signal.SIGKILL)
            except (ProcessLookupError, KeyError):
                pass


@pytest.fixture(scope="module")
def controller(tmp_path_factory):
    """One for all of these tests, once it hands out credentials."""
    if under_test.under_test() != "taciturn" or under_test.binary() is None:
        pytest.skip("needs taciturn")
    running = Controller(tmp_path_factory.mktemp("controller"))
    try:
        deadline = time.monotonic() + PATIENCE
        while running.ask("POST", "/v1/ice-servers", b"{}", SUBJECT)[0] != 200:
            log = (running.directory / "log").read_text()
            assert time.monotonic() < deadline and running.process.poll() is None, log
            time.sleep(0.2)
        yield running
    finally:
        running.end()


def asked(controller, mode: GenerationMode):
    """A schema whose questions are only good, or only bad, ones."""
    schema = schemathesis.openapi.from_url(controller.url + "/v1/openapi.json")
    schema.config.generation.update(modes=[mode])
    return schema


def holds(controller, mode: GenerationMode, checks: list, token: str) -> int:
    """Asks each operation a bounded number of questions; how many were asked."""
    count = 0

    bounded = settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )

    def one(case):
        nonlocal count
        count += 1
        headers = {"Authorization": f"Bearer {token}"}
        answer = case.call(headers=headers, timeout=20)
        case.validate_response(answer, checks=checks, headers=headers)

    for found in asked(controller, mode).get_all_operations():
        operation = found.ok()
        try:
            bounded(given(case=operation.as_strategy(generation_mode=mode))(one))()
        except (SkipTest, Unsatisfiable):
            # Nothing of it can be wrong, as it takes nothing.
            assert mode == GenerationMode.NEGATIVE, operation.label
    return count


CONFORMS = [status_code_conformance, content_type_conformance, response_headers_conformance, response_schema_conformance]


def an_answer_to_what_the_description_allows_is_what_it_describes(controller):
    asked_in_all = holds(controller, GenerationMode.POSITIVE, [*CONFORMS, not_a_server_error], OPERATOR)
    assert asked_in_all > 100


def an_answer_to_what_it_does_not_allow_is_an_error_that_it_describes(controller):
    asked_in_all = holds(controller, GenerationMode.NEGATIVE, [*CONFORMS, not_a_server_error], OPERATOR)
    assert asked_in_all > 100


def a_signalling_servers_token_is_refused_in_the_described_form(controller):
    holds(controller, GenerationMode.POSITIVE, [*CONFORMS, not_a_server_error], SUBJECT)
    for path in ("/v1/fleet", "/metrics", "/v1/decisions"):
        status, text = controller.ask("GET", path, token=SUBJECT)
        assert status == 403 and "error" in json.loads(text)


def the_refusal_of_strangers_is_described(controller):
    holds(controller, GenerationMode.POSITIVE, CONFORMS, "nobody's token")


def a_snapshot_is_read_with_the_standard_library_alone(controller):
    """As a signalling server may do it, in whatever language."""
    status, text = controller.ask("GET", "/v1/snapshot", token=SUBJECT)
    assert status == 200
    header, payload, code = text.decode().split(".")

    def plain(part: str) -> bytes:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))

    assert json.loads(plain(header)) == {"alg": "HS256", "kid": "local"}
    secret = (controller.directory / "state/relays/secret.key").read_bytes().strip()
    key = hmac.digest(secret, b"taciturn snapshot 1", hashlib.sha256)
    assert hmac.compare_digest(plain(code), hmac.digest(key, f"{header}.{payload}".encode(), hashlib.sha256))
    said = json.loads(plain(payload))
    assert said["format"] == "taciturn-snapshot/1"
    assert {relay["zone"] for relay in said["relays"]} == {"local-a", "local-b"}
    assert abs(said["iat"] - time.time()) < 60 and said["exp"] == said["iat"] + 600
