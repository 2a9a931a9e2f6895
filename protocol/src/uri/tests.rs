//! URIs as RFC 7065 and RFC 7064 have them, and what only looks like them.

#![expect(clippy::unwrap_used, reason = "tests")]

use alloc::format;
use alloc::string::{String, ToString};

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<ServerUri, UriError> {
    text.parse()
}

/// What a URI says once its defaults are filled in.
fn filled(text: &str) -> (Scheme, String, u16, UriTransport) {
    let uri = parse(text).unwrap();
    (
        uri.scheme,
        uri.host.to_string(),
        uri.port_or_default(),
        uri.transport_or_default(),
    )
}

/// U-01: host, port and transport are read; what is left out is 3478 over UDP, and 5349 over TLS for turns (RFC 7065 §3).
#[test]
fn what_is_left_out_has_the_default_of_its_scheme() {
    use Scheme::{Stun, Stuns, Turn, Turns};
    use UriTransport::{Tcp, Udp};
    for (text, scheme, host, port, transport) in [
        ("turn:example.org", Turn, "example.org", 3478, Udp),
        ("turns:example.org", Turns, "example.org", 5349, Tcp),
        ("turn:example.org:8000", Turn, "example.org", 8000, Udp),
        (
            "turn:example.org?transport=udp",
            Turn,
            "example.org",
            3478,
            Udp,
        ),
        (
            "turn:example.org?transport=tcp",
            Turn,
            "example.org",
            3478,
            Tcp,
        ),
        (
            "turns:example.org?transport=tcp",
            Turns,
            "example.org",
            5349,
            Tcp,
        ),
        (
            "turn:192.0.2.1:443?transport=tcp",
            Turn,
            "192.0.2.1",
            443,
            Tcp,
        ),
        ("turns:[2001:db8::1]:443", Turns, "[2001:db8::1]", 443, Tcp),
        ("turn:[2001:db8::1]", Turn, "[2001:db8::1]", 3478, Udp),
        (
            "TURN:Example.ORG?Transport=TCP",
            Turn,
            "Example.ORG",
            3478,
            Tcp,
        ),
        ("turn:example.org:", Turn, "example.org", 3478, Udp),
        ("turn:example.org.:00443", Turn, "example.org.", 443, Udp),
        ("stun:example.org", Stun, "example.org", 3478, Udp),
        ("stuns:example.org", Stuns, "example.org", 5349, Tcp),
    ] {
        assert_eq!(
            filled(text),
            (scheme, host.to_string(), port, transport),
            "{text}"
        );
    }
}

/// U-01: turns with transport udp is DTLS, which the text tells apart from TLS (RFC 7065 §3.2).
#[test]
fn turns_over_udp_is_told_apart() {
    let uri = parse("turns:example.org?transport=udp").unwrap();
    assert!(uri.scheme.is_secure());
    assert_eq!(uri.transport_or_default(), UriTransport::Udp);
}

/// U-01: userinfo, paths, fragments, slashes, bare IPv6 addresses, escapes, zones and other transports are refused by name.
#[test]
fn what_only_looks_like_a_turn_uri_is_refused_by_name() {
    let long = format!("turn:{}", "a.".repeat(MAX_URI_BYTES));
    let long_name = format!("turn:{}", ["abcdefghi"; 26].join("."));
    let long_label = format!("turn:{}.org", "a".repeat(64));
    for (text, error) in [
        ("", UriError::Scheme),
        ("example.org", UriError::Scheme),
        ("http:example.org", UriError::Scheme),
        ("turn", UriError::Scheme),
        (" turn:example.org", UriError::Scheme),
        ("turn://example.org", UriError::Slashes),
        ("turn:user@example.org", UriError::UserInfo),
        ("turn:user:password@example.org", UriError::UserInfo),
        ("turn:example.org/", UriError::Path),
        ("turn:example.org:3478/a", UriError::Path),
        ("turn:example.org#a", UriError::Fragment),
        ("turn:", UriError::EmptyHost),
        ("turn::3478", UriError::EmptyHost),
        ("turn:2001:db8::1", UriError::Host),
        ("turn:[2001:db8::1", UriError::Host),
        ("turn:[2001:db8::1]3478", UriError::Host),
        ("turn:[192.0.2.1]", UriError::Host),
        ("turn:[fe80::1%eth0]", UriError::Host),
        ("turn:[v1.a]", UriError::Host),
        ("turn:ex%61mple.org", UriError::Host),
        ("turn:ex ample.org", UriError::Host),
        ("turn:b\u{fc}ro.example.org", UriError::Host),
        ("turn:-a.example.org", UriError::Host),
        ("turn:a..example.org", UriError::Host),
        ("turn:.", UriError::Host),
        ("turn:192.0.2.256", UriError::Host),
        ("turn:192.0.2", UriError::Host),
        ("turn:0x7f000001.1", UriError::Host),
        (&long_name, UriError::Host),
        (&long_label, UriError::Host),
        ("turn:example.org:0", UriError::Port),
        ("turn:example.org:65536", UriError::Port),
        ("turn:example.org:+443", UriError::Port),
        ("turn:example.org:a", UriError::Port),
        ("turn:example.org:99999999999999999999", UriError::Port),
        ("turn:example.org?", UriError::Query),
        ("turn:example.org?transport", UriError::Query),
        ("turn:example.org?ttl=1", UriError::Query),
        ("turn:example.org?transport=udp&a=b", UriError::Query),
        ("turn:example.org?transport=udp#a", UriError::Query),
        ("stun:example.org?transport=udp", UriError::Query),
        ("turn:example.org?transport=", UriError::Transport),
        ("turn:example.org?transport=sctp", UriError::Transport),
        ("turn:example.org?transport=tls", UriError::Transport),
        (&long, UriError::TooLong),
    ] {
        assert_eq!(parse(text), Err(error), "{text}");
    }
}

fn host() -> impl Strategy<Value = Host> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|octets| Host::V4(octets.into())),
        any::<[u16; 8]>().prop_map(|segments| Host::V6(segments.into())),
        "[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,20}[a-zA-Z0-9_])?(\\.[a-z0-9]{1,20}){0,4}\\.[a-z]{2,10}\\.?"
            .prop_map(Host::Name),
    ]
}

fn uri() -> impl Strategy<Value = ServerUri> {
    let scheme = prop::sample::select(Scheme::ALL.to_vec());
    let transport = prop::option::of(prop::sample::select(alloc::vec![
        UriTransport::Udp,
        UriTransport::Tcp
    ]));
    (scheme, host(), prop::option::of(1..=u16::MAX), transport).prop_map(
        |(scheme, host, port, transport)| ServerUri {
            scheme,
            host,
            port,
            transport: transport.filter(|_| scheme.is_relay()),
        },
    )
}

proptest! {
    /// U-01: every URI is read back as it was written.
    #[test]
    fn what_is_written_is_read_back(uri in uri()) {
        prop_assert_eq!(parse(&uri.to_string()), Ok(uri));
    }

    /// U-01: any text is refused or means one thing: what is understood of it, written down, is understood the same.
    #[test]
    fn any_text_is_refused_or_means_one_thing(text in "(turns?|stuns?|TURN|x)?:?[\\[\\]a-z0-9.:%@/#?=& \u{0}-\u{ff}-]{0,40}(\\?transport=(udp|tcp|x))?") {
        if let Ok(uri) = parse(&text) {
            prop_assert_eq!(parse(&uri.to_string()), Ok(uri));
        }
    }

    /// U-01: a URI with any one character put in is refused or read, and never read with a host that has that character
    /// where no host can have it.
    #[test]
    fn a_foreign_character_never_gets_into_the_host(uri in uri(), place in any::<prop::sample::Index>(), sign in any::<char>()) {
        let mut text = uri.to_string();
        let places: alloc::vec::Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        text.insert(*place.get(&places), sign);
        if let Ok(ServerUri { host: Host::Name(name), .. }) = parse(&text) {
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)));
        }
    }
}
