//! The desk: who gets credentials, for how long, with which secret, and when nobody does.

use taciturn_protocol::credentials::password_for;
use taciturn_protocol::time::UnixTime;

use super::*;

const ASKS: &str = "signalling-1";

#[derive(Debug)]
struct These {
    users: Vec<&'static str>,
    keys: Vec<&'static str>,
}

impl Revoked for These {
    fn user(&self, user: &str, _: UnixTime) -> bool {
        self.users.contains(&user)
    }

    fn key(&self, id: &str, _: UnixTime) -> bool {
        self.keys.contains(&id)
    }
}

fn desk() -> Desk {
    let desk = Desk::new(Some(settings()), [7; 32]);
    desk.see(Arc::new(round(calm(3, 10.0), policy(), NOW)));
    desk
}

fn user(name: &str) -> Wanted {
    Wanted {
        user: Some(name.to_owned()),
        ..Wanted::default()
    }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn an_answer_is_what_browsers_take() {
    let answer = desk().mint(ASKS, &user("al\"ice"), NOW).unwrap();
    let text = json(&answer.ice_servers());
    let expires = NOW.unix.as_secs() + 3600;
    let name = format!("{expires}:al\"ice");
    let password = password_for(SECRET, HmacHash::Sha256, name.as_bytes());
    assert_eq!(
        (&text["ttl"], &text["expires"]),
        (&3600.into(), &expires.into())
    );
    let servers = text["iceServers"].as_array().unwrap();
    assert_eq!(servers.len(), 2);
    for server in servers {
        assert_eq!(server["username"], name);
        assert_eq!(server["credential"], password);
        let url = server["urls"][0].as_str().unwrap();
        assert!(url.starts_with("turn:192.0.2."), "{url}");
    }
    let turn = json(&answer.turn());
    assert_eq!(
        (&turn["username"], &turn["password"]),
        (&name.into(), &password.into())
    );
    assert_eq!(turn["uris"].as_array().unwrap().len(), 2);
}

#[test]
fn who_has_no_name_gets_one_of_its_own() {
    let desk = desk();
    let name = || {
        let answer = desk.mint(ASKS, &Wanted::default(), NOW).unwrap();
        answer.credentials.username
    };
    let (one, other) = (name(), name());
    assert_ne!(one, other);
    assert!(one.len() > 40, "{one}");
}

#[test]
fn what_there_is_not_is_refused_in_words() {
    let desk = desk();
    let long = "u".repeat(498);
    for (wanted, begins) in [
        (user("a\nb"), "user"),
        (user("a\u{0}"), "user"),
        (user("\u{202e}"), "user"),
        (user(&long), "user"),
        (
            Wanted {
                ttl: Some(Duration::ZERO),
                ..Wanted::default()
            },
            "ttl",
        ),
        (
            Wanted {
                ttl: Some(Duration::from_secs(86_401)),
                ..Wanted::default()
            },
            "ttl",
        ),
        (
            Wanted {
                ttl: Some(Duration::MAX),
                ..Wanted::default()
            },
            "ttl",
        ),
        (
            Wanted {
                relays: Some(0),
                ..Wanted::default()
            },
            "relays",
        ),
        (
            Wanted {
                relays: Some(5),
                ..Wanted::default()
            },
            "relays",
        ),
    ] {
        let refused = desk.mint(ASKS, &wanted, NOW).unwrap_err();
        assert!(
            matches!(&refused, Refused::Wrong(words) if words.starts_with(begins)),
            "{wanted:?}: {refused:?}"
        );
    }
    assert!(desk.mint(ASKS, &user(&"u".repeat(497)), NOW).is_ok());
    assert!(desk.mint(ASKS, &user("a:b c:ä"), NOW).is_ok());
    let most = Wanted {
        ttl: Some(Duration::from_secs(86_400)),
        relays: Some(4),
        ..Wanted::default()
    };
    let answer = desk.mint(ASKS, &most, NOW).unwrap();
    assert_eq!(answer.credentials.expires, NOW.unix.plus_secs(86_400));
    assert_eq!(answer.relays.len(), 3);
}

#[test]
fn a_subject_may_have_less_time_than_others() {
    let mut settings = settings();
    let name: Arc<str> = Arc::from(ASKS);
    settings.subjects.get_mut(&name).unwrap().max_ttl = Some(Duration::from_secs(600));
    let desk = desk();
    desk.configure(Some(settings));
    let answer = desk.mint(ASKS, &Wanted::default(), NOW).unwrap();
    assert_eq!(answer.ttl, Duration::from_secs(600));
    let more = Wanted {
        ttl: Some(Duration::from_secs(601)),
        ..Wanted::default()
    };
    assert!(matches!(
        desk.mint(ASKS, &more, NOW),
        Err(Refused::Wrong(_))
    ));
    assert!(desk.mint("signalling-2", &more, NOW).is_ok());
}

/// Calls do not depend on the loop: what it offered last is good for five minutes, and no longer.
#[test]
fn a_loop_that_stands_still_stops_no_call_for_five_minutes() {
    let desk = desk();
    assert!(desk.mint(ASKS, &Wanted::default(), later(300)).is_ok());
    assert!(desk.snapshot(later(300)).is_ok());
    let refused = desk.mint(ASKS, &Wanted::default(), later(301)).unwrap_err();
    assert_eq!(
        refused,
        Refused::NoFleet("the fleet was last seen 301 s ago".to_owned())
    );
    assert!(desk.snapshot(later(301)).is_err());
    desk.see(Arc::new(round(calm(3, 10.0), policy(), later(302))));
    assert!(desk.mint(ASKS, &Wanted::default(), later(303)).is_ok());
}

#[test]
fn without_a_fleet_or_a_relay_nobody_is_sent_anywhere() {
    let desk = Desk::new(Some(settings()), [7; 32]);
    let mut before = round(calm(3, 10.0), policy(), NOW);
    before.counters.rounds = 0;
    desk.see(Arc::new(before));
    let mint = || desk.mint(ASKS, &Wanted::default(), NOW).unwrap_err();
    assert!(matches!(mint(), Refused::NoFleet(_)));
    let mut drained = calm(1, 0.0);
    crate::policy::tests::drains(&mut drained, "r0", 60, 5);
    desk.see(Arc::new(round(drained, policy(), NOW)));
    assert_eq!(mint(), Refused::NoRelay);
    assert_eq!(desk.snapshot(NOW), Err(Refused::NoRelay));
    desk.configure(None);
    assert_eq!(mint(), Refused::NotConfigured);
    assert_eq!(desk.admit(ASKS, NOW), Err(Refused::NotConfigured));
}

#[test]
fn the_newest_secret_that_is_good_mints() {
    let desk = desk();
    let password = |desk: &Desk| {
        desk.mint(ASKS, &user("u"), NOW)
            .map(|answer| answer.credentials.password.len())
    };
    assert_eq!(password(&desk), Ok(44), "SHA-256 of the newest");
    desk.obey(Box::new(These {
        users: vec!["u"],
        keys: vec!["2026-11"],
    }));
    assert_eq!(password(&desk), Err(Refused::RevokedUser));
    let answer = desk.mint(ASKS, &user("v"), NOW).unwrap();
    let name = answer.credentials.username.as_bytes();
    assert_eq!(
        answer.credentials.password,
        password_for(OLDER, HmacHash::Sha1, name)
    );
    let text = desk.snapshot(NOW).unwrap();
    assert_eq!(SnapshotKey::named_in(&text).as_deref(), Ok("2026-10"));
    desk.obey(Box::new(These {
        users: vec![],
        keys: vec!["2026-11", "2026-10"],
    }));
    assert_eq!(password(&desk), Err(Refused::NoSecret));
    assert_eq!(desk.snapshot(NOW), Err(Refused::NoSecret));
}

/// A revoked user is the one that the relay sees, in whatever form the name came.
#[test]
fn a_revoked_user_is_recognised_in_every_spelling() {
    let desk = desk();
    desk.obey(Box::new(These {
        users: vec!["\u{e4} b"],
        keys: vec![],
    }));
    for spelling in ["\u{e4} b", "a\u{308} b", "\u{e4}\u{a0}b"] {
        let refused = desk.mint(ASKS, &user(spelling), NOW).map(drop);
        assert_eq!(refused, Err(Refused::RevokedUser), "{spelling:?}");
    }
}

/// whoever asks too often waits, and nobody else.
#[test]
fn each_subject_has_its_own_rate() {
    let desk = desk();
    let slow = "signalling-2";
    let admitted = |now| (0..50).filter(|_| desk.admit(slow, now).is_ok()).count();
    assert_eq!(admitted(NOW), 3, "its burst");
    let Err(Refused::Rate(wait)) = desk.admit(slow, NOW) else {
        panic!("it is out of answers");
    };
    assert_eq!(wait, Duration::from_millis(500));
    assert!(desk.admit(ASKS, NOW).is_ok());
    assert_eq!(admitted(later(1)), 2, "a second's worth");
    // A reload is no way around it.
    desk.configure(Some(settings()));
    assert_eq!(admitted(later(1)), 0);
    assert_eq!(admitted(later(60)), 3, "never more than the burst");
    assert!(desk.admit("operator", NOW).is_ok() && desk.admit("local", NOW).is_ok());
    assert!(desk.admit("taken out meanwhile", NOW).is_err());
}

#[test]
fn counts_say_how_many_and_never_for_whom() {
    use taciturn_plane::metrics::Metrics;

    let desk = Arc::new(desk());
    for name in ["alice", "bob"] {
        desk.mint(ASKS, &user(name), NOW).unwrap();
    }
    desk.mint(ASKS, &user("\n"), NOW).unwrap_err();
    let text = Metrics::new(vec![Box::new(desk)])
        .unwrap()
        .encode()
        .unwrap();
    for line in [
        "taciturn_controller_credentials_minted_total{subject=\"signalling-1\"} 2",
        "taciturn_controller_credentials_refused_total{reason=\"request\"} 1",
        "taciturn_controller_credentials_offered_relays{zone=\"a\"} 1",
    ] {
        assert!(text.lines().any(|each| each == line), "{line}\n{text}");
    }
    assert!(!text.contains("alice"), "{text}");
}
