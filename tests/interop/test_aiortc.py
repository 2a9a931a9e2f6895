"""aiortc, WebRTC in Python: a data channel and encrypted video between two parties behind the server under test."""

import asyncio

import pytest
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import VideoStreamTrack
from aiortc.rtcconfiguration import RTCIceTransportPolicy

from credentials import wrong

CALL_SECONDS = 30
FRAMES = 15
MESSAGES = 20


@pytest.fixture(autouse=True)
def trusted(monkeypatch, certificates):
    """Let the default SSL context of this process trust the test authority."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def a_relay_only_call_carries_video_and_a_data_channel(server, transport):
    """T-02, T-27, T-62, T-71, A-13: frames are decoded and messages echoed, with relayed candidates only."""
    asyncio.run(asyncio.wait_for(_call(server, transport), CALL_SECONDS))


@pytest.mark.parametrize("fault", ["expired", "wrong"])
def a_call_with_unacceptable_credentials_has_no_candidate(server, fault):
    """S-27, H-03: the offer of a party that the relay refuses names no relayed address."""
    refused = server.credentials(seconds=-60) if fault == "expired" else wrong(server.credentials())

    async def offer():
        party = _party(server, "udp", refused)
        try:
            party.createDataChannel("refused")
            # aioice reports that nothing was gathered; other versions leave the offer empty.
            with pytest.raises(ConnectionError):
                await party.setLocalDescription(await party.createOffer())
                if "a=candidate:" not in party.localDescription.sdp:
                    raise ConnectionError("no candidate in the offer")
        finally:
            await party.close()

    asyncio.run(asyncio.wait_for(offer(), CALL_SECONDS))


def _party(server, transport, credentials=None) -> RTCPeerConnection:
    credentials = credentials or server.credentials("aiortc")
    ice_server = RTCIceServer(server.uri(transport), credentials.username, credentials.password)
    return RTCPeerConnection(RTCConfiguration([ice_server], iceTransportPolicy=RTCIceTransportPolicy.RELAY))


async def _call(server, transport):
    caller, callee = _party(server, transport), _party(server, transport)
    echoed, decoded = asyncio.Event(), asyncio.Event()
    watching = []
    try:
        caller.addTrack(VideoStreamTrack())
        channel = caller.createDataChannel("echo")
        received = []

        @channel.on("open")
        def on_open():
            for number in range(MESSAGES):
                channel.send(f"message {number}")

        @channel.on("message")
        def on_echo(message):
            received.append(message)
            if len(received) == MESSAGES:
                echoed.set()

        @callee.on("datachannel")
        def on_datachannel(theirs):
            theirs.on("message", theirs.send)

        @callee.on("track")
        def on_track(track):
            watching.append(asyncio.ensure_future(_watch(track, decoded)))

        await caller.setLocalDescription(await caller.createOffer())
        await callee.setRemoteDescription(_relayed_only(caller.localDescription))
        await callee.setLocalDescription(await callee.createAnswer())
        await caller.setRemoteDescription(_relayed_only(callee.localDescription))
        await asyncio.gather(echoed.wait(), decoded.wait())
        assert received == [f"message {number}" for number in range(MESSAGES)]
    finally:
        for task in watching:
            task.cancel()
        await asyncio.gather(caller.close(), callee.close())


async def _watch(track, decoded: asyncio.Event):
    for _ in range(FRAMES):
        await track.recv()
    decoded.set()


def _relayed_only(description: RTCSessionDescription) -> RTCSessionDescription:
    """Check that nothing but relayed candidates would ever be tried."""
    candidates = [line for line in description.sdp.splitlines() if line.startswith("a=candidate:")]
    assert candidates and all(" typ relay" in line for line in candidates), description.sdp
    return description
