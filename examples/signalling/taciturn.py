#!/usr/bin/env python3
"""A signalling server's way to TURN credentials, in Python's standard library alone.

It asks the fleet's controller (POST /v1/ice-servers). When no controller answers, it mints by itself, from the last
snapshot of the fleet that it has verified (GET /v1/snapshot), until that expires. Calls never depend on the controller.

As a server for trying out, which answers GET /ice-servers?user=ID:

    python3 taciturn.py --controller http://127.0.0.1:9640 --token-file signalling.token --secret 2026-11=turn.key

Copy `Taciturn` into your own server: `poll()` every few seconds in a thread, `ice_servers(user)` for each client that has
logged in. `user` is an opaque id of yours: never a name or an address of a person, as it travels to the relays.

Nothing here logs a token, a secret, a password or a user.
"""

import argparse
import base64
import hashlib
import hmac
import http.client
import http.server
import json
import random
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

# A controller that does not answer within this time is one that is away.
PATIENCE = 1.5
LONGEST_ANSWER = 1024 * 1024


class Refused(Exception):
    """There are no credentials for this user, and why; the controller said so, or nobody can know better."""


class Taciturn:
    """One fleet.

    `secrets` are the relays' shared secrets by their ids, the newest first; `clock` gives the unix time in seconds.
    `algorithm` is the `hash` of those secrets: sha256, or sha1 for relays that are told so.
    """

    def __init__(self, controller, token, secrets, clock=time.time, algorithm="sha256"):
        self.controller = controller.rstrip("/")
        self.token = token
        self.secrets = dict(secrets)
        self.clock = clock
        self.algorithm = algorithm
        self._snapshot = None  # the payload of the last one that was verified
        self._tag = None  # its ETag

    def ice_servers(self, user, ttl=3600):
        """What a browser's RTCPeerConnection takes: {"iceServers": [...], ...}. Raises Refused."""
        # These are names for the controller and the relays alike, whatever they are in other languages.
        if not re.fullmatch(r"[!-~]{1,128}", user):
            raise Refused("a user is 1 to 128 printable ASCII characters without blanks")
        body = json.dumps({"user": user, "ttl": ttl}).encode()
        try:
            status, answer, _ = self._ask("POST", "/v1/ice-servers", body)
        except OSError:
            return self._mint(user, ttl)
        if status == 200:
            return json.loads(answer)
        if 400 <= status < 500 and status != 429:
            # It knows this user, or us, and says no. Minting all the same would go behind its back.
            raise Refused(f"the controller refuses: HTTP status {status}")
        return self._mint(user, ttl)

    def poll(self):
        """Fetches the snapshot if there is a new one. Call it every few seconds; an error leaves the old one in place."""
        headers = {"If-None-Match": self._tag} if self._tag else {}
        try:
            status, text, tag = self._ask("GET", "/v1/snapshot", None, headers)
        except OSError:
            return
        if status == 200:
            payload = self.verified(text.decode("ascii", "replace"))
            # One from before the one that we have may be somebody's who kept it.
            if self._snapshot is None or payload["iat"] >= self._snapshot["iat"]:
                self._snapshot, self._tag = payload, tag

    def verified(self, text):
        """The payload of a snapshot that one of our secrets has signed and that has not expired. Raises Refused."""
        try:
            head, body, code = text.split(".")
            header = json.loads(unpadded(head))
            secret = self.secrets.get(header.get("kid"))
            code = unpadded(code)
        except (ValueError, AttributeError, TypeError):
            raise Refused("the snapshot is no signed text (JWS)") from None
        # The algorithm is ours to say, never the text's.
        if header.get("alg") != "HS256" or secret is None:
            raise Refused("the snapshot is signed in another way, or with another secret than ours")
        key = hmac.digest(secret, b"taciturn snapshot 1", "sha256")
        right = hmac.digest(key, f"{head}.{body}".encode(), "sha256")
        if not hmac.compare_digest(right, code):
            raise Refused("the snapshot was changed, or is not from our controller")
        payload = json.loads(unpadded(body))
        if payload["format"] != "taciturn-snapshot/1":
            raise Refused("the snapshot is of another format; this program is too old for it")
        if self.clock() >= payload["exp"]:
            raise Refused("the snapshot has expired")
        # It would pass for good long after the fleet has changed.
        if payload["iat"] > self.clock() + 600:
            raise Refused("the snapshot is from the future: one of two clocks is wrong")
        return payload

    def _mint(self, user, ttl):
        """Credentials from the snapshot: what the controller would have answered, as of a few minutes ago."""
        snapshot, now = self._snapshot, int(self.clock())
        if snapshot is None:
            raise Refused("no controller answers, and there is no snapshot of the fleet yet")
        if now >= snapshot["exp"]:
            ago = now - snapshot["exp"]
            raise Refused(f"no controller answers, and the snapshot of the fleet expired {ago} s ago")
        secret = next(iter(self.secrets.values()))
        username = f"{now + ttl}:{user}"
        code = hmac.digest(secret, username.encode(), self.algorithm)
        proof = {"username": username, "credential": base64.b64encode(code).decode()}
        servers = [{"urls": relay["urls"], **proof} for relay in two_of(snapshot["relays"])]
        return {"iceServers": servers, "ttl": ttl, "expires": now + ttl}

    def _ask(self, method, path, body=None, headers=None):
        """Status, body and ETag. Raises OSError when nobody answers in time."""
        request = urllib.request.Request(self.controller + path, data=body, method=method, headers=headers or {})
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        if body is not None:
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, answer.read(LONGEST_ANSWER), answer.headers.get("ETag")
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, answer.read(LONGEST_ANSWER), None
        except http.client.HTTPException as error:
            raise OSError("no answer that can be read") from error


def two_of(relays):
    """Two relays by chance and weight, in different zones where there are any."""
    first = random.choices(relays, [relay["weight"] for relay in relays])[0]
    others = [relay for relay in relays if relay is not first]
    others = [relay for relay in others if relay["zone"] != first["zone"]] or others
    return [first] + random.choices(others, [relay["weight"] for relay in others])[:1] if others else [first]


def unpadded(text):
    """base64url without padding."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def read_secret(written):
    """ID=FILE; blanks around what is in the file are none of the secret."""
    name, _, path = written.partition("=")
    with open(path, "rb") as file:
        return name, file.read().strip()


def main():
    parser = argparse.ArgumentParser(description="Hands out TURN credentials of a fleet.")
    parser.add_argument("--controller", required=True, help="http://HOST:PORT")
    parser.add_argument("--token-file", help="the token of this signalling server")
    parser.add_argument("--secret", action="append", required=True, metavar="ID=FILE", help="newest first")
    parser.add_argument("--listen", default="127.0.0.1:8085", metavar="HOST:PORT")
    options = parser.parse_args()
    token = open(options.token_file).read().strip() if options.token_file else None
    fleet = Taciturn(options.controller, token, map(read_secret, options.secret))

    def polling():
        while True:
            try:
                fleet.poll()
            except Refused as why:
                print(f"snapshot refused: {why}", flush=True)
            time.sleep(5)

    class Door(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked = urllib.parse.urlsplit(self.path)
            # In your server: the user who has logged in, and never one whom the client names.
            user = urllib.parse.parse_qs(asked.query).get("user", [""])[0]
            try:
                status, answer = 200, fleet.ice_servers(user)
            except Refused as why:
                status, answer = 503, {"error": str(why)}
            text = json.dumps(answer).encode()
            self.send_response(status if asked.path == "/ice-servers" else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Cache-Control", "no-store")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            """Says nothing: the path has a user in it."""

    threading.Thread(target=polling, daemon=True).start()
    host, _, port = options.listen.rpartition(":")
    server = http.server.ThreadingHTTPServer((host, int(port)), Door)
    print(f"listening on http://{host}:{server.server_port}/ice-servers?user=ID", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
