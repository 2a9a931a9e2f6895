//! Whether this machine gives the relay what its limits promise to clients: descriptors, memory, socket buffers.
//!
//! Responsible for saying so, with the figures and the remedy. Not responsible for refusing anything: a machine
//! that is too small for the worst case may be large enough for every day.

use tracing::{info, warn};

use crate::config::{Config, ListenerTransport};
use crate::net;
use crate::relayed::RelayedAddresses;

use super::bind::Granted;
use super::ground::worker_count;

/// Descriptors beside those of clients and UDP listeners: other listeners, workers, log, admin API, libraries.
const OWN_DESCRIPTORS: u64 = 100;

/// Raises the limit of descriptors as far as it goes, and warns where it, memory or buffers fall short. At start, and when
/// limits have changed.
pub(crate) fn check(config: &Config, addresses: &RelayedAddresses, buffers: Option<Granted>) {
    match net::raise_fd_limit() {
        Ok(limit) => {
            info!(
                before = limit.before,
                now = limit.now,
                "limit of open descriptors"
            );
            let needed = descriptors(config, addresses);
            if limit.now < needed {
                warn!(
                    limit = limit.now,
                    needed,
                    "fewer open descriptors are allowed than [limits] promises to clients; set LimitNOFILE= in the unit, or \
                     lower allocations and connections"
                );
            }
        }
        Err(error) => warn!(%error, "the limit of open descriptors stays as it is"),
    }
    let queues = queue_bytes(config);
    if let Some(memory) = memory_bytes()
        && queues > memory / 2
    {
        warn!(
            queues,
            memory,
            "slow TCP and TLS clients could fill more than half of the memory; lower [limits] queue-bytes or connections"
        );
    }
    if let Some(granted) = buffers.filter(|granted| !granted.is_enough()) {
        warn!(
            receive = granted.receive,
            send = granted.send,
            wanted = Granted::WANTED,
            "the kernel grants UDP listeners smaller buffers, so that bursts may be lost; raise net.core.rmem_max and \
             net.core.wmem_max"
        );
    }
}

/// What clients can take at most, a socket for each family of an allocation and one for each connection; and what each worker
/// has of each UDP listener: sockets for media, for requests, and for the media of those who crowd others out.
fn descriptors(config: &Config, addresses: &RelayedAddresses) -> u64 {
    let has = |v4| {
        addresses
            .pairs()
            .iter()
            .any(|pair| pair.bind.is_ipv4() == v4)
    };
    let families = u64::from(has(true)) + u64::from(has(false));
    let of_clients = u64::from(config.limits.allocations) * families + connections(config);
    let udp = config
        .listeners
        .iter()
        .filter(|listener| listener.transport == ListenerTransport::Udp);
    of_clients + 3 * (udp.count() * worker_count(config)) as u64 + OWN_DESCRIPTORS
}

/// What may wait for slow clients at most.
fn queue_bytes(config: &Config) -> u64 {
    connections(config).saturating_mul(config.limits.queue_bytes as u64)
}

fn connections(config: &Config) -> u64 {
    let streams = config
        .listeners
        .iter()
        .any(|listener| listener.transport != ListenerTransport::Udp);
    if streams {
        u64::from(config.limits.connections)
    } else {
        0
    }
}

fn memory_bytes() -> Option<u64> {
    total_memory(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

/// The line `MemTotal:  16384 kB`.
fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::relayed::AddressPair;

    fn config(transport: &str) -> Config {
        let text = format!(
            "realm = \"r\"\nworkers = 3\n[[listener]]\ntransport = \"{transport}\"\naddress = \"127.0.0.1:0\"\n[[secret]]\nid = \"a\"\n\
             value = \"0123456789abcdef0123456789abcdef\"\n[limits]\nallocations = 10\nconnections = 1000\n\
             queue-bytes = 100000"
        );
        let mut read = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
        crate::config::parse(&text, Path::new("relay.toml"), &mut read).unwrap()
    }

    #[test]
    fn clients_are_promised_a_descriptor_for_each_family_and_connection() {
        let pair = |ip: &str| AddressPair {
            bind: ip.parse().unwrap(),
            advertise: ip.parse().unwrap(),
        };
        let v4 = RelayedAddresses::from_pairs(vec![pair("10.0.0.1"), pair("10.0.0.2")]);
        let both = RelayedAddresses::from_pairs(vec![pair("10.0.0.1"), pair("2001:db8::1")]);
        assert_eq!(descriptors(&config("udp"), &v4), 119);
        assert_eq!(descriptors(&config("tcp"), &v4), 1110);
        assert_eq!(descriptors(&config("tcp"), &both), 1120);
        assert_eq!(queue_bytes(&config("tcp")), 100_000_000);
        assert_eq!(queue_bytes(&config("udp")), 0);
    }

    #[test]
    fn the_memory_is_read_from_its_line() {
        let meminfo = "MemFree:  1 kB\nMemTotal:       16384 kB\nSwapTotal: 0 kB\n";
        assert_eq!(total_memory(meminfo), Some(16 << 20));
        for wrong in [
            "",
            "MemTotal:",
            "MemTotal: 5",
            "MemTotal: 99999999999999999999 kB",
        ] {
            assert_eq!(total_memory(wrong), None, "{wrong}");
        }
        assert!(memory_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
