//! URIs of servers, as operators and provisioning files write them.
//!
//! Responsible for: what is read is written in one form, which reads as the same; nothing that belongs into no such URI is in it.

use taciturn_protocol::uri::{Host, MAX_URI_BYTES, ServerUri};

/// A text as a `turn:`, `turns:`, `stun:` or `stuns:` URI.
pub fn turn(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let uri: ServerUri = match text.parse() {
        Ok(uri) => uri,
        // What is wrong is said without what was written, which may hold a password.
        Err(error) => return assert!(error.to_string().len() < 100),
    };
    assert!(text.len() <= MAX_URI_BYTES);
    assert!(!text.contains(['@', '#', '/', '&', ' ', '%']) && text.is_ascii());
    assert!(uri.port != Some(0) && uri.port_or_default() != 0);
    assert!(uri.transport.is_none() || uri.scheme.is_relay());
    if let Host::Name(name) = &uri.host {
        assert!(!name.is_empty() && name.len() <= 254);
        assert!(name.parse::<std::net::IpAddr>().is_err());
    }
    let written = uri.to_string();
    assert_eq!(written.parse().as_ref(), Ok(&uri), "{written}");
    let short = written.len() <= text.len() + 40;
    assert!(short, "an address grows when it is written: {written}");
}
