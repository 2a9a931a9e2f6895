"""aioice, an ICE library in Python, with both parties behind the server under test."""

import asyncio
import hashlib
import ssl

import aioice
import pytest
from aioice import stun, turn

from credentials import mint, wrong

ECHOES = 50
# Lengths around a padding boundary and one that fills a usual path MTU.
LENGTHS = [1, 2, 3, 4, 5, 100, 1200]


@pytest.fixture
def trusted(monkeypatch, certificates):
    """Let the default SSL context of this process trust the test authority."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))


def relay_only(server, transport, controlling, credentials=None, host="127.0.0.1") -> aioice.Connection:
    """A party that has no way out but the relay."""
    credentials = credentials or server.credentials(f"aioice-{controlling}")
    return aioice.Connection(
        ice_controlling=controlling,
        turn_server=(host, server.port(transport)),
        turn_username=credentials.username,
        turn_password=credentials.password,
        turn_transport="udp" if transport == "udp" else "tcp",
        turn_ssl=transport == "tls",
        transport_policy=aioice.TransportPolicy.RELAY,
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def two_parties_exchange_datagrams_of_many_lengths(server, trusted, transport, host):
    """T-02, T-27, T-41, T-62, T-71, A-13: two relay-only parties connect, and each length arrives whole both ways."""
    asyncio.run(_exchange(server, transport, host))


@pytest.mark.parametrize(("one", "other"), [("udp", "tcp"), ("udp", "tls"), ("tcp", "tls")])
def two_parties_on_different_transports_meet(server, trusted, one, other):
    """T-02, A-13: a party that only gets TCP or TLS out of its network reaches one that has UDP."""
    asyncio.run(_exchange(server, one, "127.0.0.1", other))


def a_party_whose_credentials_were_minted_with_sha_256_is_served(server):
    """H-02: HMAC-SHA-256 proves a time-limited name as HMAC-SHA1 does."""
    if server.name != "taciturn":
        pytest.skip("this server knows HMAC-SHA1 only")
    minted = mint(server.secret, "aioice", digest=hashlib.sha256)
    assert [candidate.type for candidate in asyncio.run(_candidates(server, "udp", minted))] == ["relay"]


@pytest.mark.parametrize("fault", ["expired", "wrong"])
@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def a_party_with_unacceptable_credentials_is_told_401(server, trusted, transport, fault):
    """S-27, H-03: expired credentials and a password of another secret are answered 401, and gather no candidate."""
    refused = server.credentials(seconds=-60) if fault == "expired" else wrong(server.credentials())
    with pytest.raises(stun.TransactionFailed) as failure:
        asyncio.run(_allocate(server, transport, refused))
    assert failure.value.response.error_code == 401
    assert asyncio.run(_candidates(server, transport, refused)) == []


def a_party_that_does_not_trust_the_certificate_gathers_no_candidate(server):
    """T-02: without the test authority, the TLS handshake ends before anything is asked of the relay."""
    with pytest.raises(ssl.SSLCertVerificationError):
        asyncio.run(_allocate(server, "tls", server.credentials()))
    assert asyncio.run(_candidates(server, "tls", server.credentials())) == []


async def _allocate(server, transport, credentials):
    endpoint, _ = await turn.create_turn_endpoint(
        asyncio.DatagramProtocol,
        ("127.0.0.1", server.port(transport)),
        credentials.username,
        credentials.password,
        ssl=transport == "tls" or None,
        transport="udp" if transport == "udp" else "tcp",
    )
    endpoint.close()


async def _candidates(server, transport, credentials) -> list[aioice.Candidate]:
    party = relay_only(server, transport, True, credentials)
    try:
        await party.gather_candidates()
        return party.local_candidates
    finally:
        await party.close()


async def _exchange(server, transport, host, other=None):
    one = relay_only(server, transport, True, host=host)
    two = relay_only(server, other or transport, False, host=host)
    try:
        await asyncio.gather(one.gather_candidates(), two.gather_candidates())
        for party in (one, two):
            assert [candidate.type for candidate in party.local_candidates] == ["relay"]
        await _introduce(one, two)
        await _introduce(two, one)
        await asyncio.gather(one.connect(), two.connect())
        for number in range(ECHOES):
            payload = bytes([number]) * LENGTHS[number % len(LENGTHS)]
            await one.send(payload)
            assert await asyncio.wait_for(two.recv(), 5) == payload
            await two.send(payload[::-1] + b"!")
            assert await asyncio.wait_for(one.recv(), 5) == payload[::-1] + b"!"
    finally:
        await asyncio.gather(one.close(), two.close())


async def _introduce(to: aioice.Connection, of: aioice.Connection):
    to.remote_username, to.remote_password = of.local_username, of.local_password
    for candidate in of.local_candidates:
        await to.add_remote_candidate(candidate)
    await to.add_remote_candidate(None)
