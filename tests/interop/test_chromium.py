"""Headless Chromium: relay-only calls with video and a data channel, and the refusals that a browser must see."""

import pytest

import browser as chromium
from conftest import require
from credentials import Credentials, wrong

BLANK = {"/": ("text/html", b"<!doctype html><title>Interop</title>")}


@pytest.fixture(scope="module")
def page():
    """A page in a secure context, for scripts to run in."""
    pages = chromium.Pages(BLANK)
    yield pages.url
    pages.close()


@pytest.fixture(scope="module")
def trusting(tmp_path_factory, certificates, page):
    """A browser that trusts the test authority."""
    require(*chromium.TOOLS)
    browser = chromium.start(tmp_path_factory.mktemp("trusting"), certificates.authority)
    browser.get(page)
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def distrusting(tmp_path_factory, page):
    """A browser that has never heard of the test authority."""
    require(*chromium.TOOLS)
    browser = chromium.start(tmp_path_factory.mktemp("distrusting"), None)
    browser.get(page)
    yield browser
    browser.quit()


def ice_server(server, transport: str, credentials: Credentials, host: str = "127.0.0.1") -> dict:
    """An entry of `iceServers` with one URL."""
    return {
        "urls": [server.uri(transport, host)],
        "username": credentials.username,
        "credential": credentials.password,
    }


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def a_relay_only_call_shows_video_and_echoes_messages(server, trusting, transport, host):
    """T-02, T-27, T-62, T-71, A-13, H-01: the call runs over the picked transport, by relayed candidates alone."""
    report = chromium.call(trusting, ice_server(server, transport, server.credentials("chromium"), host))
    assert "failure" not in report, report
    assert {candidate["type"] for candidate in report["candidates"]} == {"relay"}, report
    before, after = report["before"], report["after"]
    assert after["localType"] == after["remoteType"] == "relay", report
    assert after["localRelayProtocol"] == transport, report
    assert after["framesDecoded"] - before["framesDecoded"] >= 15, report
    assert after["bytesSent"] > before["bytesSent"] and after["bytesReceived"] > before["bytesReceived"], report
    assert report["echoed"] == 8 and report["videoWidth"] > 0, report
    assert report["connectionState"] == "connected", report


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def a_call_passes_where_a_firewall_leaves_one_port_open(server, trusting, transport):
    """T-02: TURN over TCP and over TLS share one port, as they would share 443."""
    if server.auto_port is None:
        pytest.skip("only this project's relay has auto listeners")
    credentials = server.credentials("chromium")
    entry = ice_server(server, transport, credentials)
    entry["urls"] = [url.replace(f":{server.port(transport)}?", f":{server.auto_port}?") for url in entry["urls"]]
    report = chromium.call(trusting, entry, 1.0)
    assert "failure" not in report, report
    assert report["after"]["localRelayProtocol"] == transport and report["after"]["framesDecoded"] > 0, report


@pytest.mark.parametrize("fault", ["expired", "wrong"])
@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def a_browser_with_unacceptable_credentials_is_told_401(server, trusting, transport, fault):
    """S-27, H-03: expired and wrong credentials give no candidate and an icecandidateerror that says 401."""
    refused = server.credentials(seconds=-60) if fault == "expired" else wrong(server.credentials())
    report = chromium.gather(trusting, ice_server(server, transport, refused))
    assert report["candidates"] == [], report
    assert report["gathering"] == "complete", report
    assert report["errors"] and {error["errorCode"] for error in report["errors"]} == {401}, report


def an_untrusted_certificate_is_refused_by_the_browser(server, distrusting):
    """T-02: TURN over TLS is worth its name, as a browser that does not know the authority reports 701."""
    credentials = server.credentials("chromium")
    report = chromium.gather(distrusting, ice_server(server, "tls", credentials))
    assert report["candidates"] == [], report
    assert report["errors"] and {error["errorCode"] for error in report["errors"]} == {701}, report
    # The same browser is served where no certificate is needed: it was the certificate, not the machine.
    assert chromium.gather(distrusting, ice_server(server, "tcp", credentials))["candidates"] != []
