"""docs/integration.md against a real controller: its commands, its answers, and credentials minted in each of its languages.

Not responsible for the examples, which have tests of their own, nor for the API's misuse.
"""

import base64
import hashlib
import hmac
import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request

import pytest

import boards
import fleet as fleets
import server as under_test
from conftest import require
from credentials import mint

PAGE = (boards.ROOT / "docs" / "integration.md").read_text()
TOKEN = "a-token-of-the-booking-system-with-more-than-32-characters"
OPERATOR = "a-token-of-the-operators-with-more-than-32-characters"
SECRET = "a shared secret of more than thirty-two characters"
NOW = 1795305600


def block(language: str, holding: str) -> str:
    """The one block of the page in this language that has these words."""
    (found,) = [text for text in re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE) if holding in text]
    return found


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A controller that mints for one signalling server."""
    if under_test.under_test() != "taciturn":
        pytest.skip("only this project has a fleet")
    require("curl")
    directory = tmp_path_factory.mktemp("integration")
    (directory / "booking.token").touch(0o600)
    (directory / "booking.token").write_text(TOKEN)
    more = '[credentials]\n[[credentials.subject]]\nname = "booking"\ntoken-file = "booking.token"\n'
    with fleets.running(directory, more, OPERATOR) as fleet:
        for zone in fleets.ZONES:
            fleet.relay_in(zone)
        yield fleet


def ask(fleet: fleets.Fleet, command: str, token: str = TOKEN) -> tuple[int, dict]:
    """A command of the page, as a shell runs it: curl's exit code and what was answered."""
    environment = {"PATH": os.environ["PATH"], "CONTROLLER": f"http://{fleet.address}", "TOKEN": token}
    run = subprocess.run(["bash", "-euo", "pipefail", "-c", command], env=environment, capture_output=True, text=True, timeout=30)
    return run.returncode, json.loads(run.stdout)


def a_question_of_the_page_is_answered_as_the_page_says(fleet):
    """The same keys as in the example, an entry for each of two relays, and a name that ends with the user."""
    code, answer = ask(fleet, block("sh", "/v1/ice-servers"))
    assert code == 0, answer
    shown = json.loads(block("json", "iceServers"))
    assert answer.keys() == shown.keys()
    assert len(answer["iceServers"]) == 2
    for server in answer["iceServers"]:
        assert server.keys() == shown["iceServers"][0].keys()
        assert server["username"] == f"{answer['expires']}:9f2c61"
        assert all(re.fullmatch(r"turns?:[^:]+:\d+\?transport=(udp|tcp)", url) for url in server["urls"])
        assert "transport=udp" in server["urls"][0], "UDP first"


def a_stranger_is_refused_in_words(fleet):
    """401 with words, of which curl makes a failure."""
    code, answer = ask(fleet, block("sh", "/v1/ice-servers"), token="x" * 40)
    assert code != 0
    assert answer.keys() == {"error"}
    assert "x" * 40 not in answer["error"]


def the_older_form_is_answered_too(fleet):
    """draft-uberti: username, password, ttl and uris."""
    code, answer = ask(fleet, block("sh", "/v1/turn"))
    assert code == 0, answer
    assert answer.keys() == {"username", "password", "ttl", "uris"}


def a_link_for_a_self_test_has_its_ticket_behind_the_hash(fleet):
    """What a server sees of the link has no ticket in it."""
    code, answer = ask(fleet, block("sh", "/v1/self-test/tickets"))
    assert code == 0, answer
    before, _, ticket = answer["url"].partition("#")
    assert ticket and "?" not in before
    assert "expires" in answer


def a_snapshot_is_what_the_page_says_and_a_credential_minted_from_it_is_let_in(fleet):
    """Verified by the page's words alone: form, key, payload; then a relay of it is called with a mint of our own."""
    require("turnutils_uclient")
    request = urllib.request.Request(f"http://{fleet.address}/v1/snapshot", headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        text, tag = answer.read().decode(), answer.headers["ETag"]
    header, payload, signature = text.split(".")
    key = hmac.new(fleet.secret().encode(), b"taciturn snapshot 1", hashlib.sha256).digest()
    expected = hmac.new(key, f"{header}.{payload}".encode(), hashlib.sha256).digest()
    assert hmac.compare_digest(expected, _unpadded(signature))
    assert json.loads(_unpadded(header)) == {"alg": "HS256", "kid": "local"}
    said = json.loads(_unpadded(payload))
    assert {"format", "fleet", "iat", "exp", "ttl", "relays"} <= said.keys()
    assert said["format"] == "taciturn-snapshot/1" and said["iat"] < said["exp"] <= said["iat"] + 600
    assert {relay["zone"] for relay in said["relays"]} == set(fleets.ZONES)
    for relay in said["relays"]:
        assert {"id", "zone", "region", "urls", "weight"} <= relay.keys() and 1 <= relay["weight"] <= 1000
    request.add_header("If-None-Match", tag)
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except urllib.error.HTTPError as error:
        assert error.code == 304
    host = said["relays"][0]["urls"][0].split(":")[1]
    credentials = mint(fleet.secret(), "9f2c61", digest=hashlib.sha256)
    command = ["turnutils_uclient", "-u", credentials.username, "-w", credentials.password, "-y", "-c", "-n", "2", "-p", "3478", host]
    assert subprocess.run(command, capture_output=True, timeout=30).returncode == 0


def a_user_who_is_revoked_as_the_page_says_gets_nothing_more(fleet):
    """The operator's command, then 403 with words that do not repeat the name; a signalling server may not revoke."""
    revoke = [line for line in block("shell", '"user"').splitlines() if '"user"' in line][0]
    code, answer = ask(fleet, revoke.replace("$OPERATOR", "$TOKEN"))
    assert code != 0 and "error" in answer
    code, answer = ask(fleet, revoke.replace("$OPERATOR", "$TOKEN"), token=OPERATOR)
    assert code == 0, answer
    code, answer = ask(fleet, block("sh", "/v1/ice-servers"))
    assert code != 0 and "revoked" in answer["error"] and "9f2c61" not in answer["error"]


@pytest.mark.parametrize("language", ["sh", "js", "python", "php"])
def a_credential_minted_in_a_language_of_the_page_is_the_one_that_relays_expect(language, tmp_path):
    """Each snippet against a mint of our own: the same name gives the same password."""
    secret = tmp_path / "secret.key"
    secret.write_text(SECRET + "\n")
    if language == "sh":
        command = ["bash", "-c", block("sh", "openssl") + 'echo "{\\"username\\": \\"$username\\", \\"credential\\": \\"$credential\\"}"']
    elif language == "js":
        require("node")
        script = block("js", "createHmac") + f'console.log(JSON.stringify(mint("{SECRET}", "9f2c61", 3600, {NOW})));'
        command = ["node", "-e", script]
    elif language == "python":
        script = block("python", "def mint") + f'\nimport json; print(json.dumps(mint("{SECRET}", "9f2c61", 3600, {NOW})))'
        command = ["python3", "-c", script]
    else:
        if shutil.which("php") is None:
            # Not among the tools of this suite: whoever has it tries it.
            assert "hash_hmac('sha256', $username, $secret, true)" in block("php", "function mint")
            return
        command = ["php", "-r", block("php", "function mint") + f"echo json_encode(mint('{SECRET}', '9f2c61'));"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert run.returncode == 0, run.stderr
    minted = json.loads(run.stdout)
    expiry, user = minted["username"].split(":")
    assert user == "9f2c61"
    if language in ("js", "python"):
        assert int(expiry) == NOW + 3600
    else:
        assert abs(int(expiry) - time.time() - 3600) < 60
    assert minted["credential"] == _password(minted["username"])


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _password(username: str) -> str:
    """By this suite's own mint, at whatever time the name says."""
    return base64.b64encode(hmac.new(SECRET.encode(), username.encode(), hashlib.sha256).digest()).decode()
