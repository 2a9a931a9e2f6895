"""Time-limited credentials as a signalling server would mint them, written independently of the relay's own code.

`username = <expiry>:<user>`, `password = base64(HMAC(secret, username))`. Not responsible for the secret itself.
"""

import base64
import dataclasses
import hashlib
import hmac
import time


@dataclasses.dataclass(frozen=True)
class Credentials:
    """What a client is given: a user name that carries its own expiry, and a password that proves it."""

    username: str
    password: str


def mint(secret: str, user: str, seconds: int = 3600, digest=hashlib.sha1) -> Credentials:
    """Mint credentials that expire `seconds` from now; a negative number makes expired ones."""
    username = f"{int(time.time()) + seconds}:{user}"
    mac = hmac.new(secret.encode(), username.encode(), digest).digest()
    return Credentials(username, base64.b64encode(mac).decode())


def wrong(credentials: Credentials) -> Credentials:
    """The same user name with a password that another secret would have made."""
    expiry, user = credentials.username.split(":", 1)
    mac = hmac.new(b"not the secret of this server, but as long", credentials.username.encode(), hashlib.sha1)
    return Credentials(f"{expiry}:{user}", base64.b64encode(mac.digest()).decode())
