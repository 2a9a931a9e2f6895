//! What memory a relay takes for what it holds, against what is published for those who size hosts.
//!
//! Responsible for the table in `docs/operations.md`, which is read from there. Not responsible for memory that is never given back
//! (`churn`, `soak`), nor for what may wait for slow clients (`limits.queue-bytes`), nor for the kernel's part.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;

use rustix::process::{Resource, getrlimit, setrlimit};
use taciturn_protocol::wire::Method;

use crate::client::{Client, Over, peer_at};
use crate::running::{Running, Setup, eventually, loopback};
use crate::scale::{is_long, not_run};
use crate::vitals::{load, memory_kib, record};

const WORKERS: usize = 2;
/// Of a size of video, as the buffers of connections see them.
const PAYLOAD: [u8; 1200] = [7; 1200];
/// The most allocations of a mix, with a few descriptors for everything else.
const DESCRIPTORS: u64 = 18_000;
/// What a debug build makes once when it is first needed, in KiB.
const ONCE: f64 = 256.0;

/// KiB for one of each, as published.
#[derive(Debug)]
struct Published {
    program: f64,
    worker: f64,
    allocation: f64,
    /// For an allocation with an address of each family.
    second_address: f64,
    permission: f64,
    channel: f64,
    tcp: f64,
    tls: f64,
    resting: f64,
}

impl Published {
    fn read() -> Self {
        let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
        let page = fs::read_to_string(page).unwrap();
        let of = |what: &str| {
            let start = format!("| {what} | ");
            let row = page.lines().find_map(|line| line.strip_prefix(&start));
            let row = row.unwrap_or_else(|| panic!("docs/operations.md: no memory for {what}"));
            let figure = row.split(' ').next().unwrap().replace(',', "");
            figure
                .parse()
                .unwrap_or_else(|error| panic!("{what}: {figure}: {error}"))
        };
        Self {
            program: of("the program"),
            worker: of("each worker"),
            allocation: of("each allocation"),
            second_address: of("the second address of an allocation of both families"),
            permission: of("each permission"),
            channel: of("each channel"),
            tcp: of("each TCP connection"),
            tls: of("each TLS connection"),
            resting: of("each port at rest, for the minute after its call"),
        }
    }

    fn at_rest(&self) -> f64 {
        self.program + self.worker * WORKERS as f64
    }

    /// What these add.
    fn for_all(&self, held: &Held) -> f64 {
        [
            (held.allocations, self.allocation),
            (held.second_addresses, self.second_address),
            (held.permissions, self.permission),
            (held.channels, self.channel),
            (held.tcp, self.tcp),
            (held.tls, self.tls),
            (held.resting, self.resting),
        ]
        .into_iter()
        .map(|(count, each)| count as f64 * each)
        .sum()
    }
}

/// What a relay holds.
#[derive(Default)]
struct Held {
    allocations: u64,
    second_addresses: u64,
    permissions: u64,
    channels: u64,
    tcp: u64,
    tls: u64,
    resting: u64,
}

impl Held {
    /// The most of each, where one of them was held after the other.
    fn most(self, other: &Self) -> Self {
        Self {
            allocations: self.allocations.max(other.allocations),
            second_addresses: self.second_addresses.max(other.second_addresses),
            permissions: self.permissions.max(other.permissions),
            channels: self.channels.max(other.channels),
            tcp: self.tcp.max(other.tcp),
            tls: self.tls.max(other.tls),
            resting: self.resting.max(other.resting),
        }
    }
}

/// Allocations of one kind.
#[derive(Clone, Copy)]
struct Mix {
    name: &'static str,
    both_families: bool,
    /// Of ten allocations, those over TCP and those over TLS.
    streams: [u64; 2],
    /// Besides the one that the channels bring.
    permissions: u8,
    channels: u8,
    sizes: [u64; 3],
}

/// Each has much of something that the others have little of. Room for an allocation's permissions and channels doubles with the
/// fifth, the ninth and so on: published is what they take just after that.
const MIXES: [Mix; 3] = [
    Mix {
        name: "calls over UDP, with two permissions and a channel each",
        both_families: false,
        streams: [0, 0],
        permissions: 1,
        channels: 1,
        sizes: [1000, 5000, 15_000],
    },
    Mix {
        name: "conferences over UDP, with 18 permissions and 17 channels each",
        both_families: false,
        streams: [0, 0],
        permissions: 17,
        channels: 17,
        sizes: [1000, 5000, 12_000],
    },
    Mix {
        name: "calls over TCP and, seven of ten, TLS",
        both_families: false,
        streams: [3, 7],
        permissions: 1,
        channels: 1,
        sizes: [1000, 3000, 8000],
    },
];

/// Far from a usual call: here the bound alone is judged.
const OTHERS: [Mix; 2] = [
    Mix {
        name: "both families over UDP, with 33 permissions and 17 channels each",
        both_families: true,
        streams: [0, 0],
        permissions: 32,
        channels: 17,
        sizes: [500, 1000, 3700],
    },
    Mix {
        name: "meshes over UDP, with five permissions and four channels each",
        both_families: false,
        streams: [0, 0],
        permissions: 4,
        channels: 4,
        sizes: [1000, 5000, 15_000],
    },
];

impl Mix {
    fn over(&self, number: u64) -> Over {
        let [tcp, tls] = self.streams;
        match number % 10 {
            turn if turn < tcp => Over::Tcp,
            turn if turn < tcp + tls => Over::Tls,
            _ => Over::Udp,
        }
    }

    /// So many of them, each of a user of its own, and each with a payload behind it in both directions.
    fn open(&self, relay: &Running, size: u64, peers: &[UdpSocket]) -> Vec<Client> {
        (0..size)
            .map(|number| {
                let mut client = Client::of(relay, self.over(number), &format!("user-{number}"));
                let relayed = if self.both_families {
                    client.allocate_both()[0]
                } else {
                    client.allocate()
                };
                let permitted = client.request(Method::CreatePermission, |w| {
                    for last in 1..=self.permissions {
                        let peer = Ipv4Addr::new(127, 0, 0, last);
                        w.xor_peer_address(SocketAddr::from((peer, 9)));
                    }
                });
                assert_eq!(permitted.code(), 0);
                for (channel, peer) in (0x4000..).zip(&peers[..usize::from(self.channels)]) {
                    client.bind(channel, peer.local_addr().unwrap());
                }
                client.send_channel(0x4000, &PAYLOAD);
                assert_eq!(peers[0].recv(&mut [0; 2048]).unwrap(), PAYLOAD.len());
                peers[0].send_to(&PAYLOAD, relayed).unwrap();
                assert_eq!(client.channel_payload(0x4000), PAYLOAD);
                client
            })
            .collect()
    }

    fn held(&self, size: u64) -> Held {
        let [tcp, tls] = self.streams.map(|of_ten| size / 10 * of_ten);
        Held {
            allocations: size,
            second_addresses: if self.both_families { size } else { 0 },
            // A channel brings a permission for its peer's address, which all peers here share.
            permissions: size * (u64::from(self.permissions) + 1),
            channels: size * u64::from(self.channels),
            tcp,
            tls,
            resting: 0,
        }
    }
}

fn peers() -> Vec<UdpSocket> {
    let at = SocketAddr::from((loopback(), 0));
    (0..17).map(|_| peer_at(at)).collect()
}

fn start() -> Running {
    let mut setup = Setup::on_loopback(WORKERS);
    setup.relayed = format!(
        "addresses = [\"{}\", \"::1\"]\nports = \"20000-49999\"",
        loopback()
    );
    setup.limits += "\nallocations = 20000\nconnections = 20000\nconnections-per-source = 0";
    setup.start()
}

/// Memory when the relay holds this, by its own count.
fn memory_with(relay: &Running, held: &Held) -> f64 {
    let expected = [
        ("allocations", held.allocations),
        ("permissions", held.permissions),
        ("channels", held.channels),
        ("connections", held.tcp + held.tls),
    ];
    eventually("all that was asked for, and nothing else", || {
        expected
            .iter()
            .all(|(what, count)| load(relay, what) == *count)
    });
    memory_kib(relay) as f64
}

fn close(relay: &Running, mut clients: Vec<Client>) {
    clients.iter_mut().for_each(Client::release);
    drop(clients);
    eventually("nothing held", || {
        load(relay, "allocations") + load(relay, "connections") == 0
    });
}

/// In a debug build the program itself takes more, so only what is added is judged.
fn in_short(published: &Published) {
    let peers = peers();
    for mix in MIXES {
        let relay = start();
        let warm = mix.held(10);
        let clients = mix.open(&relay, 10, &peers);
        let before = memory_with(&relay, &warm);
        close(&relay, clients);
        let held = mix.held(150);
        let clients = mix.open(&relay, 150, &peers);
        let added = memory_with(&relay, &held) - before;
        let most = published.for_all(&held) - published.for_all(&warm) + ONCE;
        record(mix.name, format!("{added} KiB added, at most {most:.0}"));
        assert!(added <= most, "{}: {added} KiB, not {most:.0}", mix.name);
        drop(clients);
        relay.crash();
    }
}

/// Never more than published, and not less than nine tenths of it.
fn in_full(published: &Published) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    if limit.current.is_some_and(|most| most < DESCRIPTORS) {
        not_run("memory", "18,000 descriptors for a process");
        return;
    }
    let peers = peers();
    let mut faults = Vec::new();
    let close = MIXES.map(|mix| (mix, 90.0));
    let bound_alone = OTHERS.map(|mix| (mix, 0.0));
    let mixes = close.into_iter().chain(bound_alone);
    for (mix, size, least) in
        mixes.flat_map(|(mix, least)| mix.sizes.map(|size| (mix, size, least)))
    {
        let relay = start();
        let held = mix.held(size);
        let clients = mix.open(&relay, size, &peers);
        let memory = memory_with(&relay, &held);
        let bound = published.at_rest() + published.for_all(&held);
        let share = memory / bound * 100.0;
        record(
            mix.name,
            format!("{size}: {memory} KiB of {bound:.0}, {share:.1} %"),
        );
        if !(least..=100.0).contains(&share) {
            faults.push(format!("{}, {size}: {share:.1} %", mix.name));
        }
        drop(clients);
        relay.crash();
    }
    assert!(faults.is_empty(), "{faults:#?}");
    one_after_the_other(published, &peers);
}

/// What ended calls have held is there for others, with up to a tenth of room between that fits none of them.
fn one_after_the_other(published: &Published, peers: &[UdpSocket]) {
    let relay = start();
    let mut most = Held::default();
    for mix in [MIXES, MIXES].concat() {
        let size = mix.sizes[1];
        let clients = mix.open(&relay, size, peers);
        most = most.most(&mix.held(size));
        most.resting = most.resting.max(load(&relay, "ports_quarantined"));
        let memory = memory_with(&relay, &mix.held(size));
        let bound = published.at_rest() + published.for_all(&most);
        record(
            "on one relay, one after the other",
            format!("{}, {size}: {memory} KiB of {bound:.0}", mix.name),
        );
        assert!(memory <= bound * 1.1, "{memory} KiB, not {bound:.0}");
        close(&relay, clients);
    }
}

/// G-13: memory is at most what is published for what the relay holds, whatever it holds most of; and not so much less that the
/// published figures would mislead.
#[test]
fn memory_is_what_is_published_for_it() {
    let published = Published::read();
    if is_long() {
        in_full(&published);
    } else {
        in_short(&published);
    }
}
