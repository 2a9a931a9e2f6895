//! A part of 127.0.0.0/8 that is free for the relays of one run, and the ports that they may open there.
//!
//! Responsible for finding it and for keeping other demos from it. Not responsible for which relay gets which address: the
//! controller's local provider has that from the network's first two numbers.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use anyhow::bail;

/// The second number of the networks that are tried. 127.0 and its neighbours are left to fleets that somebody runs by hand.
const SECOND: std::ops::RangeInclusive<u8> = 40..=120;
/// Whoever has this port of the network's first address has the network.
const CLAIM: u16 = 9640;
/// The port of each relay's admin API.
const ADMIN: u16 = 9641;
/// The port of TURN, and another for machines where a TURN server has it on all addresses.
pub(crate) const TURN: u16 = 3478;
const TURN_ELSEWHERE: u16 = 13478;
/// The port that passes most firewalls; not every user may open it.
pub(crate) const HTTPS: u16 = 443;
/// The port of TURN over TLS, where it is not that one.
const TURNS: u16 = 5349;

/// The network of one run. Nobody else takes it while it is held.
#[derive(Debug)]
pub(crate) struct Network {
    second: u8,
    zones: usize,
    per_zone: u8,
    /// The port of TURN over UDP and TCP.
    pub(crate) turn: u16,
    /// The port of TURN over TLS.
    pub(crate) tls: u16,
    _claim: UdpSocket,
}

impl Network {
    /// A network where so many relays in each of these zones can listen.
    pub(crate) fn find<const N: usize>(zones: [&str; N], per_zone: u8) -> anyhow::Result<Self> {
        let mut last = None;
        for second in SECOND {
            let first = Ipv4Addr::new(127, second, 0, 1);
            let Ok(claim) = UdpSocket::bind((first, CLAIM)) else {
                continue;
            };
            let mut network = Self {
                second,
                zones: zones.len(),
                per_zone,
                turn: TURN,
                tls: HTTPS,
                _claim: claim,
            };
            match network.taken() {
                None => return Ok(network),
                Some(taken) => last = Some(taken),
            }
        }
        match last {
            Some(taken) => bail!(
                "relays of the demo cannot listen on {taken}, nor on those of any other network that was tried; something \
                 listens on that port of all addresses: stop it while the demo runs"
            ),
            None => bail!("other demos hold every network from 127.40 to 127.120; end one of them"),
        }
    }

    /// Its first two numbers.
    pub(crate) fn prefix(&self) -> String {
        format!("127.{}", self.second)
    }

    /// The addresses that its relays may have.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let (second, zones, per_zone) = (self.second, self.zones, self.per_zone);
        let of_zone =
            move |zone| (1..=per_zone).map(move |number| Ipv4Addr::new(127, second, zone, number));
        (1..=u8::MAX).take(zones).flat_map(of_zone)
    }

    /// Picks the ports; returns what somebody else has of those that there is no choice of.
    fn taken(&mut self) -> Option<String> {
        let is_free_everywhere = |port| self.addresses().all(|ip| is_free(ip, port));
        let turn = [TURN, TURN_ELSEWHERE]
            .into_iter()
            .find(|port| is_free_everywhere(*port));
        let tls = [HTTPS, TURNS]
            .into_iter()
            .find(|port| is_free_everywhere(*port));
        let port = match (turn, tls) {
            (Some(turn), Some(tls)) if is_free_everywhere(ADMIN) => {
                (self.turn, self.tls) = (turn, tls);
                return None;
            }
            (None, _) => TURN_ELSEWHERE,
            (_, None) => TURNS,
            (Some(_), Some(_)) => ADMIN,
        };
        Some(format!("port {port} of {}.*.*", self.prefix()))
    }
}

/// For UDP and TCP. Also not free: a port that this user may not have.
fn is_free(ip: Ipv4Addr, port: u16) -> bool {
    UdpSocket::bind((ip, port)).is_ok() && TcpListener::bind((ip, port)).is_ok()
}

/// This port of loopback for the demo itself, or another when somebody has it.
pub(crate) fn free_port(wanted: u16) -> anyhow::Result<u16> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let listener = match bind(wanted) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => bind(0)?,
        outcome => outcome?,
    };
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_at_a_time_have_two_networks() {
        let first = Network::find(["a", "b", "c"], 2).expect("a network");
        let second = Network::find(["a", "b", "c"], 2).expect("another network");
        assert_ne!(first.prefix(), second.prefix());
        let addresses: Vec<Ipv4Addr> = first.addresses().collect();
        assert_eq!(addresses.len(), 6);
        assert!(addresses.iter().all(Ipv4Addr::is_loopback));
    }

    #[test]
    fn a_network_where_somebody_listens_is_passed_over() {
        let mut network = Network::find(["a", "b", "c"], 2).expect("a network");
        assert_eq!(network.taken(), None);
        let address = network.addresses().last().expect("some");
        let admin = TcpListener::bind((address, ADMIN)).expect("a network of our own");
        let taken = network.taken().expect("a reason");
        assert_eq!(taken, format!("port 9641 of {}.*.*", network.prefix()));
        drop(admin);
        let _somebody = UdpSocket::bind((address, network.turn)).expect("a network of our own");
        let before = network.turn;
        // Unless the other port was needed already, as a TURN server of this machine has the usual one.
        assert_eq!(network.taken().is_none(), before == TURN);
        assert_eq!(network.turn, TURN_ELSEWHERE);
    }

    #[test]
    fn a_port_that_somebody_has_is_replaced() {
        let somebody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let taken = somebody.local_addr().expect("an address").port();
        assert_ne!(free_port(taken).expect("another"), taken);
    }
}
