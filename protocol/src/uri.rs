//! `turn:`, `turns:`, `stun:` and `stuns:` URIs (RFC 7065, RFC 7064), strictly.
//!
//! Responsible for their syntax and for what they leave to defaults. Not responsible for resolving names, nor for whether
//! anything answers there. They look like URLs and are none: no authority, no path, no userinfo, so no generic URI parser
//! is used (RFC 7065 §3.1).

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

#[cfg(test)]
mod tests;

/// Longest URI that is read, in bytes: a host name has at most 253.
pub const MAX_URI_BYTES: usize = 512;
/// Longest host name and longest label in it, in bytes (RFC 1035 §2.3.4).
const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;
/// The port when none is written: in the clear, and over TLS or DTLS (RFC 7065 §3.2, RFC 7064 §3.2).
const DEFAULT_PORT: u16 = 3478;
const DEFAULT_SECURE_PORT: u16 = 5349;

/// What the URI promises to be found there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// A STUN server.
    Stun,
    /// A STUN server over TLS or DTLS.
    Stuns,
    /// A relay.
    Turn,
    /// A relay over TLS or DTLS.
    Turns,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Self; 4] = [Self::Stun, Self::Stuns, Self::Turn, Self::Turns];

    /// The word before the colon.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stun => "stun",
            Self::Stuns => "stuns",
            Self::Turn => "turn",
            Self::Turns => "turns",
        }
    }

    /// Whether it names a relay, and not just a server that tells addresses.
    pub const fn is_relay(self) -> bool {
        matches!(self, Self::Turn | Self::Turns)
    }

    /// Whether TLS or DTLS is demanded.
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Stuns | Self::Turns)
    }
}

/// Who is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name, as it is in the DNS; not resolved.
    Name(String),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address, written in brackets.
    V6(Ipv6Addr),
}

/// What carries the messages: TCP under `turns:` is TLS, UDP under `turns:` is DTLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UriTransport {
    /// `?transport=udp`
    Udp,
    /// `?transport=tcp`
    Tcp,
}

impl UriTransport {
    /// The word after `?transport=`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// A URI, with what it says and nothing that it leaves out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerUri {
    /// What is promised to be there.
    pub scheme: Scheme,
    /// Where.
    pub host: Host,
    /// The port that is written; see [`ServerUri::port_or_default`].
    pub port: Option<u16>,
    /// The transport that is written; see [`ServerUri::transport_or_default`].
    pub transport: Option<UriTransport>,
}

/// Why a text is no URI of a STUN or TURN server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UriError {
    /// More than [`MAX_URI_BYTES`].
    TooLong,
    /// It begins with none of the four schemes.
    Scheme,
    /// `//` after the scheme, as in a URL.
    Slashes,
    /// Something before an `@`.
    UserInfo,
    /// A `/` after the host.
    Path,
    /// A `#`.
    Fragment,
    /// No host.
    EmptyHost,
    /// Neither a name as the DNS has it, nor an IPv4 address, nor an IPv6 address in brackets.
    Host,
    /// Not a number from 1 to 65535.
    Port,
    /// Something after `?` that is not `transport=`, or anything after `?` with a STUN scheme.
    Query,
    /// A transport other than `udp` and `tcp`: legal to write (RFC 7065 §3.1), unknown to us.
    Transport,
}

impl UriError {
    /// What is wrong, and how to mend it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "longer than 512 bytes",
            Self::Scheme => "does not begin with turn:, turns:, stun: or stuns:",
            Self::Slashes => "has // after the scheme: write turn:host, not turn://host",
            Self::UserInfo => "has an @: credentials do not belong in the uri",
            Self::Path => "has a /: there is no path in such a uri",
            Self::Fragment => "has a #: there is no fragment in such a uri",
            Self::EmptyHost => "has no host",
            Self::Host => {
                "the host is neither a name, nor an ipv4 address, nor an ipv6 address in brackets"
            }
            Self::Port => "the port is not a number from 1 to 65535",
            Self::Query => {
                "only ?transport=udp and ?transport=tcp may follow, and only with turn: and turns:"
            }
            Self::Transport => "the transport is neither udp nor tcp",
        }
    }
}

impl fmt::Display for UriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::error::Error for UriError {}

impl ServerUri {
    /// The port: 3478, or 5349 over TLS and DTLS, when none is written.
    pub const fn port_or_default(&self) -> u16 {
        match self.port {
            Some(port) => port,
            None if self.scheme.is_secure() => DEFAULT_SECURE_PORT,
            None => DEFAULT_PORT,
        }
    }

    /// The transport: UDP in the clear and TCP (that is, TLS) otherwise when none is written, as browsers have it.
    pub const fn transport_or_default(&self) -> UriTransport {
        match self.transport {
            Some(transport) => transport,
            None if self.scheme.is_secure() => UriTransport::Tcp,
            None => UriTransport::Udp,
        }
    }
}

impl FromStr for ServerUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        if text.len() > MAX_URI_BYTES {
            return Err(UriError::TooLong);
        }
        let (scheme, rest) = text.split_once(':').ok_or(UriError::Scheme)?;
        let scheme = Scheme::ALL
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(scheme))
            .ok_or(UriError::Scheme)?;
        if rest.starts_with("//") {
            return Err(UriError::Slashes);
        }
        let (place, query) = match rest.split_once('?') {
            Some((place, query)) => (place, Some(query)),
            None => (rest, None),
        };
        for (sign, error) in [
            ('#', UriError::Fragment),
            ('@', UriError::UserInfo),
            ('/', UriError::Path),
        ] {
            if place.contains(sign) {
                return Err(error);
            }
        }
        let (host, port) = split_port(place)?;
        Ok(Self {
            scheme,
            host: host.parse()?,
            port: port.map(parse_port).transpose()?.flatten(),
            transport: query.map(|query| parse_query(scheme, query)).transpose()?,
        })
    }
}

impl fmt::Display for ServerUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.scheme.as_str(), self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        if let Some(transport) = self.transport {
            write!(f, "?transport={}", transport.as_str())?;
        }
        Ok(())
    }
}

impl FromStr for Host {
    type Err = UriError;

    /// A name, an IPv4 address, or an IPv6 address in brackets (RFC 3986 §3.2.2, without escapes and zones).
    fn from_str(text: &str) -> Result<Self, UriError> {
        if text.is_empty() {
            return Err(UriError::EmptyHost);
        }
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(UriError::Host)?;
            return inner.parse().map(Self::V6).map_err(|_| UriError::Host);
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::V4(address));
        }
        if is_name(text) {
            Ok(Self::Name(text.to_owned()))
        } else {
            Err(UriError::Host)
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// Host and what follows a colon after it.
fn split_port(place: &str) -> Result<(&str, Option<&str>), UriError> {
    if place.starts_with('[') {
        let end = place.find(']').ok_or(UriError::Host)?;
        let (host, rest) = place.split_at_checked(end + 1).ok_or(UriError::Host)?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(UriError::Host),
        };
    }
    match place.split_once(':') {
        // An IPv6 address without brackets.
        Some((_, port)) if port.contains(':') => Err(UriError::Host),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((place, None)),
    }
}

/// The port; nothing after the colon is legal, and means the default (RFC 3986 §3.2.3).
fn parse_port(digits: &str) -> Result<Option<u16>, UriError> {
    if digits.is_empty() {
        return Ok(None);
    }
    // A sign would be read as part of a number.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(UriError::Port);
    }
    match digits.parse() {
        Ok(0) | Err(_) => Err(UriError::Port),
        Ok(port) => Ok(Some(port)),
    }
}

fn parse_query(scheme: Scheme, query: &str) -> Result<UriTransport, UriError> {
    let (key, value) = query.split_once('=').ok_or(UriError::Query)?;
    if !scheme.is_relay() || !key.eq_ignore_ascii_case("transport") {
        return Err(UriError::Query);
    }
    if value.contains(['&', '#', '?', '/']) {
        return Err(UriError::Query);
    }
    [UriTransport::Udp, UriTransport::Tcp]
        .into_iter()
        .find(|known| known.as_str().eq_ignore_ascii_case(value))
        .ok_or(UriError::Transport)
}

/// A name as it is in the DNS: labels of letters, digits, hyphens and underscores. One whose last label is a number would be
/// taken for a misspelt address, by us and by resolvers.
fn is_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    name.len() <= MAX_NAME_BYTES
        && name.split('.').all(is_label)
        && name
            .rsplit('.')
            .next()
            .is_some_and(|last| !last.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= MAX_LABEL_BYTES
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}
