//! The controller's HTTP API: connections from signalling servers, browsers and whoever else reaches it.
//!
//! Responsible for: an order reaches the loop only with the operator's token, credentials are given only to those who may have them,
//! and neither the shared secret nor a token stands in any answer. Not responsible for what is minted.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use taciturn_controller::api::self_test::TestDesk;
use taciturn_controller::api::{self, Api, Rounds};
use taciturn_controller::audit::Audit;
use taciturn_controller::clock::Clock;
use taciturn_controller::credentials::{Desk, Host, Limit, MintingSecret, Settings, Subject};
use taciturn_controller::fleet::{Fleet, InstanceId, Lifecycle, Relay, Snapshot, ZoneId};
use taciturn_controller::policy::{Policy, plan};
use taciturn_controller::reconcile::{Counters, Delivered, NotRevoked, Published, Wish};
use taciturn_controller::revocations::{Change, Revocations};
use taciturn_controller::self_test::{SelfTest, TicketKey};
use taciturn_controller::{metrics, observe};
use taciturn_plane::{Access, PreparedAccess, Token};
use taciturn_protocol::credentials::HmacHash;
use taciturn_protocol::time::UnixTime;

use crate::http;

const SECRET: &[u8] = b"fuzz-secret-that-no-answer-may-ever-have";
const TOKENS: [&str; 4] = [
    "fuzz-token-of-the-operator-0123456789abcdef",
    "fuzz-token-of-a-reader-0123456789abcdef0123",
    "fuzz-token-of-signalling-0123456789abcdef01",
    "a-token-of-nobody-0123456789abcdef0123456789",
];
const OPERATOR: usize = 0;
const SIGNALLING: usize = 2;
const STATUS: &[u8] = br#"{"phase":"ready","boot_id":"0f","sequence":7,"time":1,"ready":true,"load":{"allocations":3},
    "endpoints":{"addresses":["192.0.2.1"],"listeners":[{"transport":"udp","port":3478}]}}"#;

thread_local! {
    /// How many orders have reached the loop.
    static ORDERED: Cell<u32> = const { Cell::new(0) };
}

/// A loop that takes every order, and forgets it.
#[derive(Debug)]
struct Loop(Arc<Published>);

#[async_trait]
impl Rounds for Loop {
    fn latest(&self) -> Arc<Published> {
        Arc::clone(&self.0)
    }

    async fn order(&self, _: InstanceId, _: Wish) -> Result<String, String> {
        ORDERED.set(ORDERED.get() + 1);
        Ok("noted".to_owned())
    }

    async fn revoke(&self, change: Change) -> Result<Delivered, NotRevoked> {
        ORDERED.set(ORDERED.get() + 1);
        let list = Revocations::default().change(change, 7, UnixTime::from_secs(1));
        let list = list.map_err(NotRevoked::Change)?;
        assert_eq!(list.check(), Ok(()), "a list that no relay takes");
        Ok(Delivered {
            stamp: list.stamp(),
            told: 1,
            relays: 1,
            survives_restart: true,
        })
    }
}

static ROUTES: LazyLock<Router> = LazyLock::new(routes);

/// A connection to the API, from its first byte on; the first two bits of the input say whose token it shows.
pub fn connection(input: &[u8]) {
    let Some((&choice, input)) = input.split_first() else {
        return;
    };
    let whose = usize::from(choice & 3);
    let (sent, has_token) = http::spelled(input, TOKENS[whose]);
    ORDERED.set(0);
    let got = http::exchange(&ROUTES, sent, usize::from(choice >> 2) * 8);
    if !has_token || whose != OPERATOR {
        assert_eq!(ORDERED.get(), 0, "an order without the operator's token");
    }
    let has = |text: &[u8]| got.windows(text.len()).any(|part| part == text);
    assert!(
        !has(b"fuzz-secret") && !has(b"fuzz-token"),
        "a secret is told"
    );
    if !has_token || ![OPERATOR, SIGNALLING].contains(&whose) {
        assert!(
            // As values: the pages have a field of that type, and the description of the API names both.
            !has(b"\"credential\":\"") && !has(b"\"password\":\""),
            "given to a stranger"
        );
    }
}

fn routes() -> Router {
    let clock = Clock::start();
    let latest = Arc::new(published(clock));
    let operator = Token::new(TOKENS[OPERATOR].as_bytes());
    let access = PreparedAccess::new(Some(operator), None)
        .with_reader(Token::new(TOKENS[1].as_bytes()))
        .with_subject("signalling", Token::new(TOKENS[SIGNALLING].as_bytes()));
    let access = Arc::new(Access::new(access));
    let rounds: Arc<dyn Rounds> = Arc::new(Loop(Arc::clone(&latest)));
    let desk = Arc::new(Desk::new(Some(settings()), [7; 32]));
    desk.see(latest);
    // Nothing is written to it.
    let trail = std::env::temp_dir().join(format!("taciturn-fuzz-{}", std::process::id()));
    let audit = Arc::new(Audit::open(&trail, "fuzz", clock).expect("a folder for a trail"));
    std::fs::remove_file(&trail).expect("it was made just now");
    let revocations = Arc::new(Revocations::default());
    let metrics = metrics::all(
        &rounds,
        &audit,
        &access,
        &Arc::default(),
        &desk,
        &revocations,
        clock,
    );
    api::router(Arc::new(Api {
        rounds,
        audit,
        metrics: metrics.expect("sound metrics"),
        access,
        credentials: Arc::default(),
        clock,
        revocations,
        self_test: TestDesk {
            tests: Arc::new(SelfTest::new(TicketKey::new([7; TicketKey::BYTES]))),
            mint: Arc::clone(&desk) as _,
            url: None,
            encrypted: false,
            clock,
        },
        desk,
    }))
}

fn settings() -> Settings {
    let limit = Limit {
        rate: 1_000_000,
        burst: 1_000_000,
    };
    let secret = MintingSecret::new("2026-11", SECRET, HmacHash::Sha256);
    Settings {
        ttl: Duration::from_secs(3600),
        max_ttl: Duration::from_secs(86_400),
        host: Host {
            form: "{address}".to_owned(),
            tls_by_address: false,
        },
        relays: 2,
        query_key: true,
        secrets: vec![secret.expect("a sound secret")],
        subjects: BTreeMap::from([(
            Arc::from("signalling"),
            Subject {
                limit,
                max_ttl: None,
            },
        )]),
    }
}

/// A round with one relay that is ready.
fn published(clock: Clock) -> Published {
    let zone = ZoneId::try_from("az1").expect("a sound name");
    let id = InstanceId::try_from("i-1").expect("a sound name");
    let relay = Relay {
        id: id.clone(),
        zone: zone.clone(),
        instance_type: "c7gn.large".to_owned(),
        image: "lt-1/7".to_owned(),
        lifecycle: Lifecycle::InService,
        age: Duration::from_secs(9000),
        admin: Some("10.0.0.7:9641".parse().expect("an address")),
        report: Some(observe::report(STATUS).expect("a sound status")),
        report_age: Some(Duration::from_secs(1)),
        samples: 9,
        was_ready: true,
        answers_stun: Some(true),
        unhealthy: false,
        cordoned: false,
        keep: false,
        withheld_for: None,
        terminate_asked: false,
        newer_epoch: None,
    };
    let mut fleet = Fleet::default();
    fleet.listing.complete_for = Some(Duration::from_secs(2));
    fleet.relays.insert(id, relay);
    let mut policy = Policy {
        fleet: "fuzz".to_owned(),
        ..Policy::default()
    };
    policy.allowed_zones.insert(zone);
    let now = clock.now();
    Published {
        plan: plan(&fleet, &policy, now),
        snapshot: Snapshot {
            format: Snapshot::FORMAT.to_owned(),
            now,
            fleet,
        },
        policy: Arc::new(policy),
        outcomes: Vec::new(),
        decisions: VecDeque::new(),
        trend: Arc::default(),
        counters: Counters {
            rounds: 1,
            ..Counters::default()
        },
        dry_run: false,
        lease_seconds: 20.0,
    }
}
