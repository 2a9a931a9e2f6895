//! From what a person or a signalling server names to the paths that are tried.
//!
//! Responsible for URIs, for what a bare host name stands for, and for the addresses behind a name. Not responsible for
//! trying (`probe`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use taciturn_protocol::address::{Family, Transport};
use taciturn_protocol::uri::{Host, Scheme, ServerUri, UriError, UriTransport};

use super::failure::Failure;
use super::{Route, Target, Trust};
use crate::net;

/// What a bare host name stands for: the ports that networks let out, fastest first.
const USUAL: [(Transport, u16); 4] = [
    (Transport::Udp, 3478),
    (Transport::Udp, 443),
    (Transport::Tcp, 443),
    (Transport::Tls, 443),
];

/// One way to a relay, before its name is resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// How.
    pub transport: Transport,
    /// Where.
    pub host: Host,
    /// The port there.
    pub port: u16,
}

/// What was named: a URI, or a host that stands for several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The ways that it stands for.
    pub paths: Vec<Path>,
}

/// Why it names no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// It is no URI.
    #[error(transparent)]
    Uri(#[from] UriError),
    /// Neither a URI nor a host.
    #[error(
        "is neither a turn: or turns: uri nor a host name; a port is written in a uri, such as turn:host:3478?transport=udp"
    )]
    Neither,
    /// A STUN server, which relays nothing.
    #[error("names a stun server, which relays nothing: name a turn: or turns: uri")]
    NoRelay,
    /// DTLS.
    #[error(
        "asks for DTLS (turns over udp), which is not spoken here: try turns without ?transport=udp"
    )]
    Dtls,
}

impl FromStr for Named {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        // A bare IPv6 address is what people paste.
        if let Ok(address) = text.parse() {
            return Ok(Self::usual(&Host::V6(address)));
        }
        if !text.contains(':') || text.starts_with('[') {
            let host: Host = text.parse().map_err(|_| PathError::Neither)?;
            return Ok(Self::usual(&host));
        }
        let uri = ServerUri::from_str(text).map_err(|error| {
            if error == UriError::Scheme {
                PathError::Neither
            } else {
                PathError::Uri(error)
            }
        })?;
        Ok(Self {
            paths: vec![Path::of_uri(&uri)?],
        })
    }
}

impl Named {
    fn usual(host: &Host) -> Self {
        Self {
            paths: USUAL
                .map(|(transport, port)| Path {
                    transport,
                    host: host.clone(),
                    port,
                })
                .to_vec(),
        }
    }
}

impl Path {
    /// The way that a URI stands for.
    ///
    /// # Errors
    /// When it stands for none that is spoken here.
    pub fn of_uri(uri: &ServerUri) -> Result<Self, PathError> {
        let transport = match (uri.scheme, uri.transport_or_default()) {
            (Scheme::Stun | Scheme::Stuns, _) => return Err(PathError::NoRelay),
            (Scheme::Turns, UriTransport::Udp) => return Err(PathError::Dtls),
            (Scheme::Turns, UriTransport::Tcp) => Transport::Tls,
            (Scheme::Turn, UriTransport::Tcp) => Transport::Tcp,
            (Scheme::Turn, UriTransport::Udp) => Transport::Udp,
        };
        Ok(Self {
            transport,
            host: uri.host.clone(),
            port: uri.port_or_default(),
        })
    }

    /// The way to a listener at this address.
    pub fn of_address(transport: Transport, address: SocketAddr) -> Self {
        let host = match address {
            SocketAddr::V4(v4) => Host::V4(*v4.ip()),
            SocketAddr::V6(v6) => Host::V6(*v6.ip()),
        };
        Self {
            transport,
            host,
            port: address.port(),
        }
    }

    /// The URI of this way.
    pub fn uri(&self) -> String {
        let (scheme, transport) = match self.transport {
            Transport::Udp => ("turn", "udp"),
            Transport::Tcp => ("turn", "tcp"),
            Transport::Tls => ("turns", "tcp"),
        };
        format!("{scheme}:{}?transport={transport}", self.place())
    }

    /// Host and port.
    pub fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// What to try: one target for each address family that this machine reaches, or one through the proxy.
    ///
    /// # Errors
    /// When the name has no address.
    pub async fn targets(
        &self,
        trust: &Trust,
        proxy: Option<SocketAddr>,
    ) -> Result<Vec<Target>, Failure> {
        let target = |route| Target {
            transport: self.transport,
            route,
            server_name: match &self.host {
                Host::Name(name) => name.trim_end_matches('.').to_owned(),
                Host::V4(address) => address.to_string(),
                Host::V6(address) => address.to_string(),
            },
            trust: trust.clone(),
            announce: None,
        };
        if let (Some(proxy), true) = (proxy, self.transport.is_stream()) {
            // The name is the proxy's to resolve: networks with a proxy often resolve nothing outside by themselves.
            let authority = self.place();
            return Ok(vec![target(Route::Proxy { proxy, authority })]);
        }
        let addresses = self.addresses().await?;
        Ok(addresses
            .into_iter()
            .map(|address| target(Route::Direct(address)))
            .collect())
    }

    /// The first address of each family that this machine has a route for; of whatever there is, if it has none for any.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, Failure> {
        let name = match &self.host {
            Host::V4(address) => return Ok(vec![SocketAddr::from((*address, self.port))]),
            Host::V6(address) => return Ok(vec![SocketAddr::from((*address, self.port))]),
            Host::Name(name) => name.as_str(),
        };
        let found: Vec<SocketAddr> = resolve(name, self.port).await?;
        let first_of = |family| found.iter().find(|found| Family::of(found) == family);
        let firsts: Vec<SocketAddr> = [Family::V4, Family::V6]
            .into_iter()
            .filter_map(first_of)
            .copied()
            .collect();
        let reachable: Vec<SocketAddr> = firsts
            .iter()
            .copied()
            .filter(|address| {
                address.ip().is_loopback() || net::primary_address(Family::of(address)).is_some()
            })
            .collect();
        Ok(if reachable.is_empty() {
            firsts
        } else {
            reachable
        })
    }
}

/// Where a listener is reached from its own host: one on every address over loopback of its family.
pub const fn from_inside(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(v4) if v4.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(v6) if v6.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, bound.port())
}

/// The addresses of a name, as this machine resolves it.
///
/// # Errors
/// When there is none.
pub async fn resolve(name: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let found = tokio::net::lookup_host((name, port)).await;
    let found: Vec<SocketAddr> = found.map_err(|_| Failure::Name)?.collect();
    if found.is_empty() {
        return Err(Failure::Name);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uris(text: &str) -> Vec<String> {
        let named: Named = text.parse().expect("it names paths");
        named.paths.iter().map(Path::uri).collect()
    }

    #[test]
    fn a_bare_host_stands_for_the_four_ports_that_networks_let_out() {
        for (text, host) in [
            ("turn.example.org", "turn.example.org"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "[2001:db8::1]"),
            ("[2001:db8::1]", "[2001:db8::1]"),
        ] {
            let expected = [
                format!("turn:{host}:3478?transport=udp"),
                format!("turn:{host}:443?transport=udp"),
                format!("turn:{host}:443?transport=tcp"),
                format!("turns:{host}:443?transport=tcp"),
            ];
            assert_eq!(uris(text), expected);
        }
    }

    /// U-01: a URI stands for one path, with what it leaves out filled in.
    #[test]
    fn a_uri_stands_for_one_path() {
        for (text, expected) in [
            ("turn:a.example", "turn:a.example:3478?transport=udp"),
            (
                "turn:a.example:443?transport=tcp",
                "turn:a.example:443?transport=tcp",
            ),
            ("turns:a.example", "turns:a.example:5349?transport=tcp"),
        ] {
            assert_eq!(uris(text), [expected]);
        }
    }

    /// U-01: what cannot be tried is refused with what to write instead.
    #[test]
    fn what_names_no_path_is_refused_with_what_to_write() {
        for (text, error) in [
            ("", PathError::Neither),
            ("a.example:3478", PathError::Neither),
            ("https://a.example", PathError::Neither),
            ("[2001:db8::1", PathError::Neither),
            ("stun:a.example", PathError::NoRelay),
            ("turns:a.example?transport=udp", PathError::Dtls),
            ("turn://a.example", PathError::Uri(UriError::Slashes)),
        ] {
            assert_eq!(text.parse::<Named>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_listener_on_every_address_is_reached_over_loopback_of_its_family() {
        for (bound, expected) in [
            ("0.0.0.0:3478", "127.0.0.1:3478"),
            ("[::]:3478", "[::1]:3478"),
            ("192.0.2.1:3478", "192.0.2.1:3478"),
        ] {
            let bound = bound.parse().expect("an address");
            assert_eq!(from_inside(bound).to_string(), expected);
        }
    }

    #[tokio::test]
    async fn a_proxy_is_given_the_name_and_udp_goes_without_it() {
        let trust = Trust::Pinned(Vec::new().into());
        let proxy = Some(SocketAddr::from(([127, 0, 0, 9], 3128)));
        let named: Named = "192.0.2.1".parse().expect("an address");
        let [udp, _, tcp, _] = named.paths.as_slice() else {
            unreachable!("a host stands for four paths")
        };
        let udp = udp.targets(&trust, proxy).await.expect("an address");
        assert_eq!(udp[0].route, Route::Direct(([192, 0, 2, 1], 3478).into()));
        let tcp = tcp
            .targets(&trust, proxy)
            .await
            .expect("no name to resolve");
        let authority = "192.0.2.1:443".to_owned();
        assert_eq!(
            tcp[0].route,
            Route::Proxy {
                proxy: ([127, 0, 0, 9], 3128).into(),
                authority
            }
        );
    }
}
