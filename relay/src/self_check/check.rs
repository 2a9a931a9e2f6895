//! The check itself: one path after the other, for as long as the relay runs.
//!
//! Responsible for what is tried next and for telling about changes, once each. Not responsible for judging (`findings`).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use taciturn_protocol::address::{Family, Transport};
use tracing::{info, warn};

use super::findings::{Advertised, Findings, Outcome, Picture};
use super::sources::SelfCheckSources;
use crate::clock::Clock;
use crate::config::ListenerTransport;
use crate::listener::tls::TlsSettings;
use crate::probe::paths::from_inside;
use crate::probe::{self, Announce, Effort, Failure, Login, Route, Target, Trust};
use crate::readiness::SharedReadiness;
use crate::relayed::AddressPair;
use crate::run::BoundListener;

/// Enough to see that payloads pass both ways, and next to nothing for the relay to do.
const EFFORT: Effort = Effort {
    count: 4,
    size: 64,
    pace: Duration::ZERO,
    patience: Duration::from_secs(2),
};

/// What the self-check is made from.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) listeners: Vec<BoundListener>,
    pub(crate) pairs: Vec<AddressPair>,
    pub(crate) login: Login,
    pub(crate) interval: Duration,
    pub(crate) sources: SelfCheckSources,
    pub(crate) tls: Option<Arc<TlsSettings>>,
    pub(crate) readiness: Arc<SharedReadiness>,
    pub(crate) findings: Arc<Findings>,
    pub(crate) clock: Clock,
}

/// The relay's own client.
#[derive(Debug)]
pub(crate) struct SelfCheck {
    parts: Parts,
    turns: Vec<Turn>,
    picture: Picture,
}

/// One thing to try, with its place in the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// A listener, as it is reached from this host.
    Path {
        index: usize,
        transport: Transport,
        address: SocketAddr,
    },
    /// A listener by an advertised address.
    Advertised {
        index: usize,
        transport: Transport,
        address: SocketAddr,
    },
}

impl SelfCheck {
    pub(crate) fn new(parts: Parts) -> Self {
        let paths = paths(&parts.listeners);
        let advertised = advertised(&parts.listeners, &parts.pairs);
        let transports: Vec<Transport> = paths.iter().map(|(transport, _)| *transport).collect();
        let picture = Picture::unknown(&transports, advertised.len());
        let paths = paths.into_iter().enumerate();
        let advertised = advertised.into_iter().enumerate();
        let turns = paths
            .map(|(index, (transport, address))| Turn::Path {
                index,
                transport,
                address,
            })
            .chain(
                advertised.map(|(index, (transport, address))| Turn::Advertised {
                    index,
                    transport,
                    address,
                }),
            )
            .collect();
        parts.findings.publish(picture.clone());
        Self {
            parts,
            turns,
            picture,
        }
    }

    /// Checks until its task is ended.
    pub(crate) async fn run(mut self) {
        let mut next = 0;
        loop {
            let Some(turn) = self.turns.get(next).copied() else {
                return;
            };
            let again = match turn {
                Turn::Path {
                    index,
                    transport,
                    address,
                } => self.check_path(index, transport, address).await,
                Turn::Advertised {
                    index,
                    transport,
                    address,
                } => self.check_advertised(index, transport, address).await,
            };
            self.parts.findings.publish(self.picture.clone());
            let failing = self.parts.findings.is_failing();
            self.parts.readiness.set_self_check_failing(failing);
            // The first failure is looked into before anything else is.
            if !again {
                next = (next + 1) % self.turns.len();
            }
            tokio::time::sleep(self.parts.interval).await;
        }
    }

    /// Whether it is to be tried again at once.
    async fn check_path(
        &mut self,
        index: usize,
        transport: Transport,
        address: SocketAddr,
    ) -> bool {
        let began = self.parts.clock.instant();
        let pins = self.pins();
        let target = self.target(transport, address, None);
        let mut checked = probe::check(&target, &self.parts.login, EFFORT).await;
        if matches!(checked, Err(Failure::TlsOther { .. })) && pins != self.pins() {
            // The certificate was replaced between two looks at it.
            let target = self.target(transport, address, None);
            checked = probe::check(&target, &self.parts.login, EFFORT).await;
        }
        let took = self.parts.clock.instant().saturating_since(began);
        let outcome = match &checked {
            Ok(_) => Outcome::Success,
            Err(failure) if failure.is_full() => Outcome::Full,
            Err(_) => Outcome::Failure,
        };
        let changed = self.picture.note(index, outcome, took);
        let transport = transport.as_str();
        match checked {
            Err(failure) if changed => warn!(
                transport, %address, problem = failure.code(), reason = %failure,
                "self-check fails: the relay's own client cannot call through this listener"
            ),
            Ok(_) | Err(_) if changed => info!(transport, %address, "self-check works again"),
            Ok(_) | Err(_) => {}
        }
        outcome == Outcome::Failure && !self.picture.fails(index)
    }

    async fn check_advertised(
        &mut self,
        index: usize,
        transport: Transport,
        address: SocketAddr,
    ) -> bool {
        let target = self.target(transport, address, Some(address.ip()));
        let proved = probe::prove(&target, &self.parts.login, EFFORT.patience).await;
        let Some(result) = leads_to(&proved) else {
            return false;
        };
        let before = self.picture.advertised_is_foreign();
        let news = self.picture.note_advertised(index, result);
        let transport = transport.as_str();
        match result {
            Advertised::Ok if news => {
                info!(transport, %address, "self-check: the advertised address leads to this relay");
            }
            Advertised::Silent if news => warn!(
                transport, %address,
                "self-check: nothing answers at the advertised address, which may be a NAT that does not lead back inside; \
                 taciturn probe from outside tells"
            ),
            Advertised::Foreign if news => warn!(
                transport, %address,
                "self-check: another server answers at the advertised address; look at [relayed] advertise"
            ),
            Advertised::Ok | Advertised::Silent | Advertised::Foreign => {}
        }
        result == Advertised::Foreign && !before && !self.picture.advertised_is_foreign()
    }

    /// The relay's own certificates, of which the next handshake shows one.
    fn pins(&self) -> Arc<[CertificateDer<'static>]> {
        let tls = self.parts.tls.as_ref();
        tls.map(|tls| tls.leaves()).unwrap_or_default()
    }

    fn target(&self, transport: Transport, address: SocketAddr, seen_as: Option<IpAddr>) -> Target {
        Target {
            transport,
            route: Route::Direct(address),
            server_name: address.ip().to_string(),
            // The one in force: after a reload the new one.
            trust: Trust::Pinned(self.pins()),
            announce: Some(Announce {
                sources: self.parts.sources.clone(),
                seen_as,
            }),
        }
    }
}

/// What an attempt to prove an address says about it; a server without room says nothing.
fn leads_to(proved: &Result<(), Failure>) -> Option<Advertised> {
    match proved {
        Ok(()) => Some(Advertised::Ok),
        Err(failure) if failure.is_full() => None,
        Err(failure) if failure.is_refusal() => Some(Advertised::Foreign),
        Err(_) => Some(Advertised::Silent),
    }
}

/// Every listener as it is reached from this host: one on every address over loopback.
fn paths(listeners: &[BoundListener]) -> Vec<(Transport, SocketAddr)> {
    let each = listeners.iter().flat_map(|listener| {
        let address = from_inside(listener.address);
        transports(listener.transport)
            .iter()
            .map(move |transport| (*transport, address))
    });
    each.collect()
}

const fn transports(listener: ListenerTransport) -> &'static [Transport] {
    match listener {
        ListenerTransport::Udp => &[Transport::Udp],
        ListenerTransport::Tcp => &[Transport::Tcp],
        ListenerTransport::Tls => &[Transport::Tls],
        ListenerTransport::Auto => &[Transport::Tcp, Transport::Tls],
    }
}

/// For each advertised address that is not the bound one, the listener by which it is tried: one that is bound to the same
/// address or to every address of its family, UDP before TCP before TLS.
fn advertised(listeners: &[BoundListener], pairs: &[AddressPair]) -> Vec<(Transport, SocketAddr)> {
    let behind_nat = pairs.iter().filter(|pair| pair.advertise != pair.bind);
    let tried = behind_nat.filter_map(|pair| {
        let leads_there = |listener: &&BoundListener| {
            let ip = listener.address.ip();
            ip == pair.bind
                || (ip.is_unspecified() && Family::of_ip(&ip) == Family::of_ip(&pair.advertise))
        };
        let each = listeners.iter().filter(leads_there).flat_map(|listener| {
            transports(listener.transport)
                .iter()
                .map(|transport| (*transport, listener.address.port()))
        });
        let (transport, port) = each.min_by_key(|(transport, _)| *transport)?;
        Some((transport, SocketAddr::new(pair.advertise, port)))
    });
    tried.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(transport: ListenerTransport, address: &str) -> BoundListener {
        BoundListener {
            transport,
            address: address.parse().expect("an address"),
        }
    }

    fn path(transport: Transport, address: &str) -> (Transport, SocketAddr) {
        (transport, address.parse().expect("an address"))
    }

    #[test]
    fn every_listener_is_reached_from_this_host_and_auto_by_both_transports() {
        let listeners = [
            bound(ListenerTransport::Udp, "0.0.0.0:3478"),
            bound(ListenerTransport::Tls, "[::]:5349"),
            bound(ListenerTransport::Auto, "192.0.2.1:443"),
        ];
        let expected = [
            path(Transport::Udp, "127.0.0.1:3478"),
            path(Transport::Tls, "[::1]:5349"),
            path(Transport::Tcp, "192.0.2.1:443"),
            path(Transport::Tls, "192.0.2.1:443"),
        ];
        assert_eq!(paths(&listeners), expected);
    }

    #[test]
    fn an_advertised_address_is_tried_by_a_listener_that_it_can_lead_to() {
        let listeners = [
            bound(ListenerTransport::Tcp, "0.0.0.0:443"),
            bound(ListenerTransport::Udp, "0.0.0.0:3478"),
            bound(ListenerTransport::Udp, "10.0.0.6:3479"),
            bound(ListenerTransport::Tls, "[2001:db8::1]:5349"),
        ];
        let pair = |bind: &str, advertise: &str| AddressPair {
            bind: bind.parse().expect("an address"),
            advertise: advertise.parse().expect("an address"),
        };
        let pairs = [
            pair("10.0.0.5", "203.0.113.5"),
            pair("10.0.0.7", "10.0.0.7"),
            pair("2001:db8::1", "2001:db8::2"),
            pair("2001:db8::8", "2001:db8::9"),
        ];
        let expected = [
            path(Transport::Udp, "203.0.113.5:3478"),
            path(Transport::Tls, "[2001:db8::2]:5349"),
        ];
        assert_eq!(advertised(&listeners, &pairs), expected);
    }

    #[test]
    fn only_a_refusal_by_a_turn_server_makes_an_address_foreign() {
        assert_eq!(leads_to(&Ok(())), Some(Advertised::Ok));
        assert_eq!(leads_to(&Err(Failure::Full)), None);
        for failure in [Failure::Credentials, Failure::Unproven, Failure::Code(400)] {
            assert_eq!(leads_to(&Err(failure)), Some(Advertised::Foreign));
        }
        for failure in [
            Failure::Silent,
            Failure::Refused,
            Failure::Http,
            Failure::Closed,
        ] {
            assert_eq!(leads_to(&Err(failure)), Some(Advertised::Silent));
        }
    }
}
