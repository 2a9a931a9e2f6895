//! Tickets as somebody would bend them, their counts, the key's file, and the paths that are named.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;
use taciturn_protocol::time::Instant;

use super::*;

const BEGIN: u64 = 1_790_000_000;

fn key() -> TicketKey {
    TicketKey::new([7; TicketKey::BYTES])
}

fn at(seconds: u64) -> Now {
    Now {
        instant: Instant::from_nanos(1_000_000_000) + Duration::from_secs(seconds),
        unix: UnixTime::from_secs(BEGIN + seconds),
    }
}

/// A fleet of these relays, and a secret that mints what can be recognised.
#[derive(Debug)]
struct Fleet {
    relays: Vec<Reachable>,
    secret: bool,
}

impl Fleet {
    fn of(relays: &[(&str, &[&str])]) -> Self {
        let relays = relays.iter().map(|(relay, urls)| Reachable {
            relay: (*relay).to_owned(),
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        });
        Self {
            relays: relays.collect(),
            secret: true,
        }
    }

    fn whole() -> Self {
        Self::of(&[("i-1", &["turn:192.0.2.1:3478?transport=udp"])])
    }
}

impl Mint for Fleet {
    fn mint(&self, user: &str, ttl: Duration, now: Now) -> Result<Minted, Denied> {
        let expires = now.unix.plus_secs(ttl.as_secs());
        if !self.secret {
            return Err(Denied::NoRelay);
        }
        Ok(Minted {
            username: format!("{}:{user}", expires.as_secs()),
            credential: "secret".to_owned(),
            expires,
            relays: self.relays.clone(),
        })
    }
}

fn asked(own: &SelfTest, ticket: &str, now: Now) -> Result<Test, Denied> {
    own.test(Asker::Holder(ticket.as_bytes()), &Fleet::whole(), now)
}

#[test]
fn a_ticket_is_good_until_its_time_is_over() {
    let own = SelfTest::new(key());
    let (ticket, expires) = own.ticket(TICKET_TTL, at(0)).unwrap();
    assert_eq!(ticket.len(), 52, "{ticket}");
    assert_eq!(expires, at(24 * 3600).unix);
    let test = asked(&own, &ticket, at(24 * 3600 - 1)).unwrap();
    assert_eq!(test.paths[0].name, "UDP 3478");
    assert_eq!(
        asked(&own, &ticket, at(24 * 3600)).err(),
        Some(Denied::Expired)
    );
}

/// What a browser is given says nothing of anybody, is good for minutes, and is another each time.
#[test]
fn credentials_are_short_and_name_nobody() {
    let own = SelfTest::new(key());
    let test = || own.test(Asker::Known, &Fleet::whole(), at(0)).unwrap();
    let (one, other) = (test(), test());
    assert_eq!((one.ttl, one.expires), (300, at(300).unix));
    let (_, user) = one.username.split_once(":self-test-").unwrap();
    assert!(
        user.len() == 16 && user.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{user}"
    );
    assert_ne!(one.username, other.username);
    assert!(!format!("{own:?}").contains("7, 7"));
}

#[test]
fn nobody_asks_without_a_ticket_where_one_is_needed() {
    let own = SelfTest::new(key());
    let denied = own.test(Asker::Nobody, &Fleet::whole(), at(0));
    assert_eq!(denied.err(), Some(Denied::NoTicket));
    assert_eq!(asked(&own, "", at(0)).err(), Some(Denied::Forged));
}

#[test]
fn another_key_makes_other_tickets() {
    let other = TicketKey::new([8; TicketKey::BYTES]);
    let ticket = Ticket {
        id: TicketId([1; 12]),
        expires: at(60).unix,
        uses: 5,
    };
    assert_eq!(key().open(key().seal(&ticket).as_bytes()), Some(ticket));
    assert_eq!(key().open(other.seal(&ticket).as_bytes()), None);
}

proptest! {
    /// a ticket with one bit changed anywhere, cut, made longer or written in another alphabet is none.
    #[test]
    fn a_bent_ticket_is_none(id: [u8; 12], expires: u64, uses: u16, bit in 0..52_usize * 8, cut in 0..52_usize) {
        let ticket = Ticket { id: TicketId(id), expires: UnixTime::from_secs(expires), uses };
        let text = key().seal(&ticket);
        prop_assert_eq!(key().open(text.as_bytes()), Some(ticket));
        let mut bent = text.clone().into_bytes();
        bent[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(key().open(&bent), None);
        prop_assert_eq!(key().open(&text.as_bytes()[..cut]), None);
        for more in ["=", "A", "\n", " "] {
            prop_assert_eq!(key().open(format!("{text}{more}").as_bytes()), None);
        }
    }

    /// A ticket whose fields somebody rewrote, with everything that it showed them kept, is none either.
    #[test]
    fn a_longer_life_cannot_be_written_into_a_ticket(id: [u8; 12], expires in 1..u64::MAX / 2, more in 1..u64::MAX / 2) {
        use base64ct::{Base64UrlUnpadded, Encoding};
        let text = key().seal(&Ticket { id: TicketId(id), expires: UnixTime::from_secs(expires), uses: 3 });
        let mut bytes = Base64UrlUnpadded::decode_vec(&text).unwrap();
        bytes[13..21].copy_from_slice(&(expires + more).to_be_bytes());
        let longer = Base64UrlUnpadded::encode_string(&bytes);
        prop_assert_eq!(key().open(longer.as_bytes()), None);
    }

    /// Nothing that anybody sends is taken for a ticket, and nothing panics.
    #[test]
    fn noise_is_no_ticket(noise in prop::collection::vec(any::<u8>(), 0..80)) {
        prop_assert_eq!(key().open(&noise), None);
    }

    /// However often and whenever it is shown, a ticket is honoured as often as it says and not once more.
    #[test]
    fn a_ticket_is_never_honoured_beyond_its_budget(budget in 0..20_u16, waits in prop::collection::vec(0..30_u64, 0..80)) {
        let mut uses = Uses::default();
        let ticket = Ticket { id: TicketId([3; 12]), expires: UnixTime::from_secs(u64::MAX), uses: budget };
        let mut now = at(0);
        let mut honoured = 0;
        for wait in waits {
            now = Now { instant: now.instant + Duration::from_secs(wait), ..now };
            honoured += u16::from(uses.take(Some(&ticket), now).is_ok());
        }
        prop_assert!(honoured <= budget, "{honoured} of {budget}");
    }
}

#[test]
fn a_ticket_that_is_shown_too_often_waits_and_one_that_is_used_up_does_not_come_back() {
    let mut uses = Uses::default();
    let ticket = Ticket {
        id: TicketId([3; 12]),
        expires: at(9_000).unix,
        uses: 7,
    };
    for _ in 0..5 {
        assert_eq!(uses.take(Some(&ticket), at(0)), Ok(()));
    }
    let wait = Spent::TooOften(Duration::from_secs(5));
    assert_eq!(uses.take(Some(&ticket), at(0)), Err(wait));
    assert_eq!(uses.take(Some(&ticket), at(5)), Ok(()));
    assert_eq!(uses.take(Some(&ticket), at(10)), Ok(()));
    assert_eq!(uses.take(Some(&ticket), at(8_000)), Err(Spent::UsedUp));
}

#[test]
fn all_tickets_together_have_a_rate_and_one_that_waits_for_it_loses_nothing() {
    let mut uses = Uses::default();
    for id in 0..50 {
        let ticket = Ticket {
            id: TicketId([id; 12]),
            expires: at(9_000).unix,
            uses: 1,
        };
        assert_eq!(uses.take(Some(&ticket), at(0)), Ok(()));
    }
    let last = Ticket {
        id: TicketId([99; 12]),
        expires: at(9_000).unix,
        uses: 1,
    };
    let wait = Spent::TooOften(Duration::from_secs(1));
    assert_eq!(uses.take(Some(&last), at(0)), Err(wait));
    assert_eq!(uses.take(None, at(0)), Err(wait));
    assert_eq!(uses.take(Some(&last), at(1)), Ok(()));
}

#[test]
fn counts_are_kept_for_a_bounded_number_of_tickets_and_given_up_as_they_end() {
    let mut uses = Uses::default();
    let ticket = |number: u32, expires| {
        let mut id = [0; 12];
        id[..4].copy_from_slice(&number.to_be_bytes());
        Ticket {
            id: TicketId(id),
            expires: at(expires).unix,
            uses: 1,
        }
    };
    for number in 0..5_000 {
        // Slowly enough for the rate of all.
        let _ = uses.take(Some(&ticket(number, 1_000)), at(u64::from(number) / 10));
    }
    assert_eq!(uses.len(), Uses::MOST_TICKETS);
    let late = ticket(6_000, 9_000);
    assert!(matches!(
        uses.take(Some(&late), at(900)),
        Err(Spent::TooOften(_))
    ));
    assert_eq!(uses.take(Some(&late), at(1_001)), Ok(()));
    assert_eq!(uses.len(), 1);
}

#[test]
fn the_key_is_made_once_and_for_its_owner_alone() {
    let directory = std::env::temp_dir().join(format!("taciturn-self-test-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let (ticket, _) = SelfTest::open(&directory)
        .unwrap()
        .ticket(TICKET_TTL, at(0))
        .unwrap();
    let file = directory.join(KEY_FILE);
    let mode = |file: &Path| std::fs::metadata(file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o600);
    // The next controller of this directory honours it.
    let next = SelfTest::open(&directory).unwrap();
    assert!(asked(&next, &ticket, at(1)).is_ok());

    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(SelfTest::open(&directory), Err(KeyError::Open(_))));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    for wrong in [31, 33] {
        std::fs::write(&file, vec![0; wrong]).unwrap();
        assert!(matches!(
            SelfTest::open(&directory),
            Err(KeyError::Length(_))
        ));
    }
    std::fs::remove_file(&file).unwrap();
    // Half of one that a crash has left is in nobody's way.
    std::fs::write(file.with_file_name(format!("{KEY_FILE}.new")), b"half").unwrap();
    let anew = SelfTest::open(&directory).unwrap();
    assert_eq!(asked(&anew, &ticket, at(1)).err(), Some(Denied::Forged));
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn paths_have_the_words_and_the_order_of_firewalls() {
    let urls: &[&str] = &[
        "turns:192.0.2.1:443?transport=tcp",
        "turn:192.0.2.1:443?transport=tcp",
        "turn:192.0.2.1:443?transport=udp",
        "turn:192.0.2.1:3478?transport=udp",
        "turn:192.0.2.1:3478?transport=tcp",
        "turns:192.0.2.1:443?transport=udp",
        "stun:192.0.2.1:3478",
        "nonsense",
    ];
    let fleet = Fleet::of(&[
        ("i-1", urls),
        (
            "i-2",
            &["turn:[2001:db8::1]?transport=udp", "turns:r2.example.org"],
        ),
        ("i-3", &["turn:192.0.2.3?transport=udp"]),
    ]);
    let test = SelfTest::new(key())
        .test(Asker::Known, &fleet, at(0))
        .unwrap();
    let names: Vec<&str> = test.paths.iter().map(|path| path.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "UDP 3478", "UDP 443", "TCP 443", "TLS 443", "TCP 3478", "TLS 5349"
        ]
    );
    let hosts: Vec<&str> = test.paths[0]
        .relays
        .iter()
        .map(|each| each.host.as_str())
        .collect();
    assert_eq!(hosts, ["192.0.2.1", "[2001:db8::1]"]);
    let shown = serde_json::to_value(&test).unwrap();
    assert_eq!(shown["paths"][3]["transport"], "tls");
    assert_eq!(shown["paths"][5]["relays"][0]["relay"], "i-2");
    assert_eq!(
        shown["paths"][5]["relays"][0]["url"],
        "turns:r2.example.org"
    );
}

#[test]
fn without_relays_or_secrets_there_is_nothing_to_try() {
    let own = SelfTest::new(key());
    let denied = own.test(Asker::Known, &Fleet::of(&[]), at(0));
    assert_eq!(denied.err(), Some(Denied::NoRelay));
    let mut silent = Fleet::whole();
    silent.secret = false;
    assert_eq!(
        own.test(Asker::Known, &silent, at(0)).err(),
        Some(Denied::NoRelay)
    );
}
