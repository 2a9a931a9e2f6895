//! What happens, drawn from the seed: what clients want, what strangers try, what the network and the operator do.
//!
//! Responsible for drawing; not for carrying anything out (`world`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::ask::{Ask, Families, Port};
use crate::dice::Dice;
use crate::network::Weather;
use crate::relay::{ADVERTISED, Configuration, INTERFACE, LISTENERS};

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(s: [u16; 8]) -> IpAddr {
    let [a, b, c, d, e, f, g, h] = s;
    IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h))
}

/// Peers that anybody may reach.
pub(crate) const OPEN: [SocketAddr; 5] = [
    SocketAddr::new(v4(8, 8, 8, 8), 5000),
    SocketAddr::new(v4(8, 8, 8, 8), 5001),
    SocketAddr::new(v4(9, 9, 9, 9), 5000),
    SocketAddr::new(v4(1, 1, 1, 1), 443),
    SocketAddr::new(v6([0x2600, 0x1F00, 0, 0, 0, 0, 0, 9]), 6000),
];
/// Of those, what a policy may close.
const CLOSABLE: [IpAddr; 2] = [v4(9, 9, 9, 9), v6([0x2600, 0x1F00, 0, 0, 0, 0, 0, 9])];
const CLOSABLE_PORT: u16 = 5001;
/// A port that is closed on every address.
const CLOSED_PORT: u16 = 53;
/// Denied unless the operator opens it.
const PRIVATE: IpAddr = v4(10, 0, 0, 1);
/// Never reached, whatever the operator opens.
const NEVER: [IpAddr; 9] = [
    v4(127, 0, 0, 1),
    v4(169, 254, 169, 254),
    v4(0, 0, 0, 0),
    v4(224, 0, 0, 1),
    v6([0, 0, 0, 0, 0, 0, 0, 1]),
    v6([0, 0, 0, 0, 0, 0xFFFF, 0x0808, 0x0808]),
    v6([0x64, 0xFF9B, 0, 0, 0, 0, 0x0A00, 1]),
    v6([0x2002, 0x7F00, 1, 0, 0, 0, 0, 1]),
    v6([0xFE80, 0, 0, 0, 0, 0, 0, 1]),
];

/// Every address that nobody may ever reach: the relay's own host is among them.
pub(crate) fn never() -> Vec<IpAddr> {
    let own = [INTERFACE, LISTENERS[0].ip(), LISTENERS[1].ip()];
    NEVER.into_iter().chain(own).collect()
}

/// Addresses that only the operator opens.
pub(crate) fn private() -> Vec<IpAddr> {
    vec![PRIVATE]
}

/// Ports of [`place`] that no configuration opens.
pub(crate) const CLOSED_PORTS: [u16; 2] = [CLOSED_PORT, 3];

/// A peer that somebody may think of: open, closed, forbidden, or another client of this relay.
pub(crate) fn place(
    dice: &mut Dice,
    relayed: &[SocketAddr],
    configuration: &Configuration,
) -> SocketAddr {
    match dice.below(20) {
        0..=10 => *dice.pick(&OPEN),
        11 => SocketAddr::new(PRIVATE, 5000),
        12 | 13 => SocketAddr::new(*dice.pick(&never()), 5000),
        14 => SocketAddr::new(v4(8, 8, 8, 8), *dice.pick(&CLOSED_PORTS)),
        15 => *dice.pick(&LISTENERS),
        // A relayed address of this relay with a port that no relayed socket can have.
        16 => SocketAddr::new(*dice.pick(&ADVERTISED), 5000),
        17 => {
            let port = *configuration.ports.start() + u16::try_from(dice.below(4)).expect("few");
            SocketAddr::new(*dice.pick(&ADVERTISED), port)
        }
        _ if relayed.is_empty() => OPEN[0],
        _ => *dice.pick(relayed),
    }
}

/// One thing that happens. Numbers of clients are taken modulo how many there are.
#[derive(Clone, Debug)]
pub(crate) enum Whim {
    /// A client says something to a peer that it reaches, or to some other.
    Talks {
        client: usize,
        to_known: bool,
        length: usize,
    },
    /// ChannelData with a number of nobody's choice.
    TalksByChannel {
        client: usize,
        number: u16,
    },
    /// A peer says something to a relayed address.
    PeerTalks {
        length: usize,
    },
    /// A client asks for something more, or something odd.
    Asks {
        client: usize,
        ask: Wish,
    },
    /// Its next allocation is asked for like this.
    WantsAllocation {
        client: usize,
        ask: Ask,
    },
    /// A client goes.
    HangsUp {
        client: usize,
    },
    /// And comes back.
    Returns {
        client: usize,
    },
    /// Two clients want to reach each other through this relay.
    Introduces {
        one: usize,
        other: usize,
    },
    /// A client renews nothing for a while.
    Hangs {
        client: usize,
        time: Duration,
    },
    /// The NAT before a client forgets it, or its connection breaks.
    Rebinds {
        client: usize,
    },
    Weather(Weather),
    /// Requests with guessed passwords.
    Forges {
        client: usize,
        times: usize,
    },
    /// A packet of before once more, from its sender's address or from a thief's.
    Replays {
        by_thief: bool,
    },
    Rubbish {
        length: usize,
    },
    /// A Binding indication, which keeps a NAT open.
    KeepsAlive {
        client: usize,
    },
    /// Many requests without proof from one address.
    Floods {
        count: usize,
    },
    Order(Order),
    /// Nothing for a long time.
    Silence(Duration),
}

/// What a client asks for on top.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    Binding,
    Permit(usize),
    Bind(u16),
    Refresh {
        lifetime: Option<u32>,
        only_v4: Option<bool>,
    },
    /// With the token that it was given, or one of its own making.
    Claim {
        is_made_up: bool,
    },
}

/// What an operator does.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    Drain(bool),
    Shed(bool),
    Alternates(bool),
    Policy {
        closed: Option<usize>,
        closes_port: bool,
        opens_private: bool,
    },
    /// A new secret, and whether the one before it stays good.
    Secret {
        keeps_last: bool,
    },
    NonceKey {
        keeps_last: bool,
    },
    Limit(usize),
    /// For so many seconds; none of them: all revocations are lifted.
    Revoke {
        user: Option<u8>,
        secret: bool,
        seconds: u64,
    },
    Lift,
    /// The wall clock is that far off from now on, in seconds.
    Clock(i64),
    Restart {
        keeps_keys: bool,
    },
    End {
        nth: usize,
        is_stale: bool,
    },
    Exhausted(bool),
    /// Another program takes so many of the ports.
    InUse(usize),
}

/// The configuration of a seed.
pub(crate) fn configuration(dice: &mut Dice) -> Configuration {
    let first = 50_000 + u16::try_from(dice.below(2)).expect("small");
    let count = *dice.pick(&[4_u16, 9, 24]);
    Configuration {
        ports: first..=first + count - 1,
        quarantine: Duration::from_secs(60),
        max_lifetime: Duration::from_secs(900),
        max_age: Duration::from_secs(*dice.pick(&[500, 86_400])),
        max_ttl: Duration::from_secs(86_400),
        nonce_lifetime: Duration::from_secs(*dice.pick(&[90, 600])),
        per_user: *dice.pick(&[2, 3, 100]),
        total: *dice.pick(&[3, 1000]),
        limit: *dice.pick(&[2, 4, 64]),
        rate: if dice.happens(150) { 10 } else { 0 },
        closed: Vec::new(),
        closed_port: None,
        opens_private: false,
        secrets: vec![0],
        nonce_keys: vec![0],
        revoked_users: Vec::new(),
        revoked_secrets: Vec::new(),
        knows_another: dice.happens(300),
    }
}

/// The addresses and the port that an order closes.
pub(crate) fn closed(closed: Option<usize>, closes_port: bool) -> (Vec<IpAddr>, Option<u16>) {
    let ips = closed.map(|nth| CLOSABLE[nth % CLOSABLE.len()]);
    (
        ips.into_iter().collect(),
        closes_port.then_some(CLOSABLE_PORT),
    )
}

/// How long until the next thing happens.
pub(crate) fn pause(dice: &mut Dice) -> Duration {
    let most = *dice.pick(&[100, 1000, 5000, 15_000]);
    dice.time(Duration::from_millis(most))
}

/// The next thing that happens.
pub(crate) fn whim(dice: &mut Dice, is_rated: bool) -> Whim {
    let client = dice.small(64);
    match dice.below(100) {
        0..=27 => Whim::Talks {
            client,
            to_known: dice.happens(800),
            length: dice.small(200),
        },
        28..=30 => Whim::TalksByChannel {
            client,
            number: *dice.pick(&[0x4000, 0x4001, 0x4002, 0x4FFF]),
        },
        31..=40 => Whim::PeerTalks {
            length: dice.small(200),
        },
        41..=55 => Whim::Asks {
            client,
            ask: wish(dice),
        },
        56..=59 => Whim::WantsAllocation {
            client,
            ask: allocate(dice),
        },
        60 | 61 => Whim::HangsUp { client },
        62 | 63 => Whim::Returns { client },
        64 | 65 => Whim::Hangs {
            client,
            time: dice.time(Duration::from_secs(700)),
        },
        66 | 67 => Whim::Rebinds { client },
        68..=71 => Whim::Weather(Weather::drawn(dice)),
        72 | 73 => Whim::Forges {
            client,
            times: *dice.pick(&[1, 1, 6]),
        },
        74..=76 => Whim::Replays {
            by_thief: dice.happens(500),
        },
        77 | 78 => Whim::Rubbish {
            length: dice.small(60),
        },
        79 if dice.happens(300) => Whim::KeepsAlive { client },
        79 => Whim::Introduces {
            one: client,
            other: dice.small(64),
        },
        80 if is_rated => Whim::Floods { count: 35 },
        80..=82 => Whim::Silence(dice.time(Duration::from_secs(400))),
        _ => Whim::Order(order(dice)),
    }
}

fn wish(dice: &mut Dice) -> Wish {
    match dice.below(10) {
        0 => Wish::Binding,
        1..=3 => Wish::Permit(dice.small(4)),
        4..=6 => Wish::Bind(*dice.pick(&[0x4000, 0x4001, 0x4002, 0x4003, 0x3FFF, 0x5000])),
        7 | 8 => Wish::Refresh {
            lifetime: *dice.pick(&[None, Some(0), Some(1), Some(700), Some(u32::MAX)]),
            only_v4: *dice.pick(&[None, None, Some(true), Some(false)]),
        },
        _ => Wish::Claim {
            is_made_up: dice.happens(300),
        },
    }
}

fn allocate(dice: &mut Dice) -> Ask {
    let families = *dice.pick(&[Families::V4, Families::V6, Families::Both]);
    let port = match families {
        // A pair cannot be asked for in both families.
        Families::Both => *dice.pick(&[Port::Any, Port::Even]),
        Families::V4 | Families::V6 => *dice.pick(&[Port::Any, Port::Even, Port::Pair]),
    };
    Ask::Allocate {
        lifetime: *dice.pick(&[None, Some(0), Some(650), Some(5000)]),
        port,
        families,
    }
}

fn order(dice: &mut Dice) -> Order {
    match dice.below(15) {
        0 => Order::Drain(dice.happens(500)),
        1 => Order::Shed(dice.happens(500)),
        2 => Order::Alternates(dice.happens(500)),
        3..=5 => Order::Policy {
            closed: dice.happens(600).then(|| dice.small(2)),
            closes_port: dice.happens(400),
            opens_private: dice.happens(400),
        },
        6 => Order::Secret {
            keeps_last: dice.happens(500),
        },
        7 => Order::NonceKey {
            keeps_last: dice.happens(500),
        },
        8 => Order::Limit(*dice.pick(&[0, 1, 2, 64])),
        9 => Order::Revoke {
            user: dice
                .happens(700)
                .then(|| u8::try_from(dice.below(3)).expect("small")),
            secret: dice.happens(300),
            seconds: 1 + dice.below(400),
        },
        10 => Order::Lift,
        11 => Order::Clock(*dice.pick(&[0, 0, 1, -1, 10, -10, 700, -700, 86_400, -86_400])),
        12 => Order::Restart {
            keeps_keys: dice.happens(500),
        },
        13 => Order::End {
            nth: dice.small(4),
            is_stale: dice.happens(300),
        },
        _ if dice.happens(500) => Order::Exhausted(dice.happens(300)),
        _ => Order::InUse(dice.small(8)),
    }
}
