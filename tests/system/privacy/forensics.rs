//! Forensics, the one case in which a log names clients and users in full, and pseudonyms, which it has otherwise.
//!
//! Not responsible for what a log must never say (`privacy`).

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use taciturn_relay::clock::Clock;

use super::{HOME, PEER_HOME, USER, link_from, start};
use crate::canaries::Canaries;
use crate::client::{Client, Link, Over};
use crate::running::{Running, Setup, eventually};

/// A point in time as the configuration has it.
fn datetime(unix: u64) -> String {
    let days = i64::try_from(unix / 86_400).unwrap();
    let mut year = 1970;
    let mut left = days;
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    while left >= 365 + i64::from(is_leap(year)) {
        left -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let lengths = [
        31,
        28 + i64::from(is_leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let mut month = 1;
    for length in lengths {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    let (hour, minute, second) = (unix / 3600 % 24, unix / 60 % 60, unix % 60);
    format!(
        "{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z",
        left + 1
    )
}

/// The records of this relay with this message.
fn records(relay: &Running, message: &str) -> Vec<serde_json::Value> {
    let log = relay.log();
    let records = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    records
        .filter(|record| record["message"] == message)
        .collect()
}

/// forensics name clients and users in full, hostile names in one escaped word, for the time that was said.
#[test]
fn forensics_tell_who_it_was_and_end_by_themselves() {
    assert_eq!(datetime(951_825_600), "2000-02-29T12:00:00Z");
    assert_eq!(datetime(1_795_334_400), "2026-11-22T08:00:00Z");
    let until = Clock::start().unix().as_secs() + 20;
    let relay = start(
        "debug",
        "json",
        &format!("forensics-until = {}", datetime(until)),
    );
    assert_eq!(relay.metric("taciturn_relay_forensics"), 1);
    let on = "forensics on: addresses and user names are logged in full";
    assert_eq!(records(&relay, on)[0]["level"], "ERROR");
    let names: [(&[u8], &str); 6] = [
        (
            b"Xq7\r\n{\"message\":\"forged\"}",
            "Xq7\\x0d\\x0a\\x7b\\x22message\\x22:\\x22forged\\x22\\x7d",
        ),
        (b"Xq7\x1B[2J", "Xq7\\x1b\\x5b2J"),
        (b"Xq7%n%s", "Xq7\\x25n\\x25s"),
        (b"Xq7\0behind", "Xq7\\x00behind"),
        ("Xq7\u{202E}txt".as_bytes(), "Xq7\\xe2\\x80\\xaetxt"),
        (b"Xq7\xFF\xFE", "Xq7\\xff\\xfe"),
    ];
    for (name, shown) in names {
        let before = records(&relay, "allocation ended").len();
        let mut client = Client::strangely_named(link_from(HOME, &relay, Over::Udp), name);
        let relayed = client.allocate();
        client.release();
        eventually("a record of the end", || {
            records(&relay, "allocation ended").len() == before + 1
        });
        let record = &records(&relay, "allocation ended")[before];
        let Link::Udp(socket) = &client.link else {
            unreachable!("it is over UDP")
        };
        let own = socket.local_addr().unwrap();
        assert_eq!(own.ip(), IpAddr::V4(HOME));
        assert_eq!(record["client_address"], own.to_string());
        assert_eq!(record["relayed_address"], relayed.to_string());
        let logged = record["user_name"].as_str().unwrap();
        let (_, subject) = logged.split_once(':').unwrap();
        assert_eq!(subject, shown);
        assert!(record["client"].is_string() && record["user"].is_string());
    }
    assert!(!relay.log().contains("\"message\":\"forged\""));

    let over = records_eventually(&relay, "forensics off: its time is over");
    assert_eq!(over["level"], "ERROR");
    assert_eq!(relay.metric("taciturn_relay_forensics"), 0);
    assert!(Clock::start().unix().as_secs() >= until);
    let before = relay.log().len();
    let mut client = Client::new(link_from(HOME, &relay, Over::Udp), USER);
    client.allocate();
    client.release();
    let ended = records(&relay, "allocation ended").len();
    eventually("a record after the end", || {
        records(&relay, "allocation ended").len() > names.len()
    });
    let record = &records(&relay, "allocation ended")[names.len()];
    assert!(ended <= names.len() + 1);
    assert_eq!(record.get("client_address"), None);
    let mut canaries = Canaries::default();
    canaries.plant_address("client's address", HOME.into());
    canaries.plant("user", USER.as_bytes());
    canaries.assert_silent("the log", &relay.log()[before..]);
}

/// The first record with this message, which takes up to half a minute.
fn records_eventually(relay: &Running, message: &str) -> serde_json::Value {
    for _ in 0..600 {
        if let Some(record) = records(relay, message).pop() {
            return record;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("no {message:?} in\n{}", relay.log());
}

/// One client is one pseudonym, whatever the port and the credential; two are two; another key makes others.
#[test]
fn records_of_one_client_can_be_put_together_and_no_more() {
    let of = |relay: &Running, home: Ipv4Addr, user: &str| {
        let before = records(relay, "allocation ended").len();
        let mut client = Client::new(link_from(home, relay, Over::Udp), user);
        client.allocate();
        client.release();
        eventually("a record of the end", || {
            records(relay, "allocation ended").len() > before
        });
        let record = records(relay, "allocation ended").pop().unwrap();
        ["client", "user"].map(|field| {
            let name = record[field].as_str().unwrap().to_owned();
            assert!(
                name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{name}"
            );
            name
        })
    };
    let relay = start("info", "json", "");
    let first = of(&relay, HOME, "alice");
    assert_eq!(of(&relay, HOME, "alice"), first);
    let other = of(&relay, PEER_HOME, "bob");
    assert_ne!(other[0], first[0]);
    assert_ne!(other[1], first[1]);
    let same_key = start("info", "json", "");
    assert_eq!(of(&same_key, HOME, "alice"), first);
    let mut setup = Setup::on_loopback(1);
    setup.log_level = "info";
    let own_key = setup.start();
    assert_ne!(of(&own_key, HOME, "alice")[0], first[0]);
}

/// A reload switches forensics on and off, and the log says so each time.
#[test]
fn forensics_follow_the_configuration() {
    let relay = start("info", "json", "");
    let text = fs::read_to_string(relay.directory().join("relay.toml")).unwrap();
    assert_eq!(relay.metric("taciturn_relay_forensics"), 0);
    let in_an_hour = datetime(Clock::start().unix().as_secs() + 3600);
    let on = text.replace(
        "[log]\n",
        &format!("[log]\nforensics-until = {in_an_hour}\n"),
    );
    relay.rewrite("relay.toml", &on);
    eventually("forensics", || {
        relay.metric("taciturn_relay_forensics") == 1
    });
    let mut client = Client::new(link_from(HOME, &relay, Over::Udp), USER);
    client.allocate();
    relay.rewrite("relay.toml", &text);
    eventually("no forensics", || {
        relay.metric("taciturn_relay_forensics") == 0
    });
    client.release();
    eventually("a record", || {
        records(&relay, "allocation ended").len() == 1
    });
    assert!(!relay.log().contains(&HOME.to_string()));
    for message in [
        "forensics on: addresses and user names are logged in full",
        "forensics off: addresses and user names are no longer logged",
    ] {
        assert_eq!(records(&relay, message).len(), 1, "{message}");
    }
}

/// Whoever turns the log up and forensics on in one go is no exception, nor is whoever has a log of errors alone.
#[test]
fn no_level_hides_that_forensics_are_on() {
    let relay = start("error", "json", "");
    let text = fs::read_to_string(relay.directory().join("relay.toml")).unwrap();
    let in_an_hour = datetime(Clock::start().unix().as_secs() + 3600);
    let on = text
        .replace(
            "[log]\n",
            &format!("[log]\nforensics-until = {in_an_hour}\n"),
        )
        .replace("level = \"error\"", "level = \"info\"");
    assert!(on.contains("level = \"info\""));
    relay.rewrite("relay.toml", &on);
    eventually("forensics", || {
        relay.metric("taciturn_relay_forensics") == 1
    });
    let said = "forensics on: addresses and user names are logged in full";
    eventually("a record of that", || records(&relay, said).len() == 1);
}
