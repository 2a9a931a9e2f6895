//! The API over real connections, around a loop that says what a test wants.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod described;
mod minting;
mod revocations;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Mutex;

use serde_json::Value;
use taciturn_plane::{Bounded, Listener, PreparedAccess, Token};
use taciturn_protocol::status::Phase;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::audit::Audit;
use crate::fleet::{DrainReport, Fleet, Lifecycle, Relay, Report, Snapshot, ZoneId};
use crate::metrics;
use crate::observe::Mark;
use crate::policy::{Alarm, AlarmKind, Brake, Need, Plan, Policy};
use crate::reconcile::{Counters, Decision};
use crate::self_test::{SelfTest, TicketKey};

const TOKEN: &str = "a-controller-token-of-more-than-32-bytes";
const DRAIN: &str = "/v1/relays/i-1/drain";

/// A loop that shows what a test has put there, and takes every order.
#[derive(Debug)]
struct Told {
    latest: Mutex<Arc<Published>>,
    orders: Mutex<Vec<(String, &'static str)>>,
    refuses: Option<String>,
    revocations: Arc<Revocations>,
}

#[async_trait]
impl Rounds for Told {
    fn latest(&self) -> Arc<Published> {
        Arc::clone(&self.latest.lock().unwrap())
    }

    async fn order(&self, relay: InstanceId, wish: Wish) -> Result<String, String> {
        if let Some(words) = &self.refuses {
            return Err(words.clone());
        }
        let mut orders = self.orders.lock().unwrap();
        orders.push((relay.to_string(), wish.as_str()));
        Ok("noted".to_owned())
    }

    async fn revoke(&self, change: Change) -> Result<Delivered, NotRevoked> {
        if let Some(words) = &self.refuses {
            return Err(NotRevoked::NotLeading(words.clone()));
        }
        let unix = taciturn_protocol::time::UnixTime::from_secs(1);
        let list = self.revocations.change(change, 7, unix);
        let list = list.map_err(NotRevoked::Change)?;
        Ok(Delivered {
            stamp: list.stamp(),
            told: 1,
            relays: 2,
            survives_restart: true,
        })
    }
}

fn zone(name: &str) -> ZoneId {
    ZoneId::try_from(name).unwrap()
}

fn relay(id: &str, phase: Phase) -> Relay {
    let drain = (phase == Phase::Draining).then(|| DrainReport {
        source: "operator".to_owned(),
        started: taciturn_protocol::time::UnixTime::from_secs(1_000),
        deadline: taciturn_protocol::time::UnixTime::from_secs(2_000),
        reason: "surplus".to_owned(),
        allocations_remaining: 3,
        ..DrainReport::default()
    });
    Relay {
        id: InstanceId::try_from(id).unwrap(),
        zone: zone("az1"),
        instance_type: "c7gn.large".to_owned(),
        image: "lt-1/7".to_owned(),
        lifecycle: Lifecycle::InService,
        age: Duration::from_secs(9_000),
        admin: Some("10.0.0.7:9641".parse().unwrap()),
        report: Some(Report {
            phase,
            ready: phase == Phase::Ready,
            drain,
            ..Report::default()
        }),
        report_age: Some(Duration::from_secs(1)),
        samples: 9,
        was_ready: true,
        answers_stun: None,
        unhealthy: false,
        cordoned: false,
        keep: false,
        withheld_for: None,
        terminate_asked: false,
        newer_epoch: None,
    }
}

/// A round with these relays, as of now.
fn round(clock: Clock, relays: Vec<Relay>) -> Published {
    let mut fleet = Fleet::default();
    fleet.listing.complete_for = Some(Duration::from_secs(2));
    for relay in relays {
        fleet.relays.insert(relay.id.clone(), relay);
    }
    let mut policy = Policy {
        fleet: "test".to_owned(),
        ..Policy::default()
    };
    policy.allowed_zones.insert(zone("az1"));
    let plan = Plan {
        summary: "nothing to do".to_owned(),
        ..Plan::default()
    };
    Published {
        snapshot: Snapshot {
            format: Snapshot::FORMAT.to_owned(),
            now: clock.now(),
            fleet,
        },
        plan,
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

struct Served {
    address: SocketAddr,
    told: Arc<Told>,
}

impl Served {
    async fn with(published: Published, clock: Clock, token: Option<&str>) -> Self {
        Self::of(
            Told {
                latest: Mutex::new(Arc::new(published)),
                orders: Mutex::default(),
                refuses: None,
                revocations: Arc::default(),
            },
            clock,
            token,
        )
        .await
    }

    async fn of(told: Told, clock: Clock, token: Option<&str>) -> Self {
        let token = token.map(|token| Token::new(token.as_bytes()));
        let desk = Desk::new(None, [7; 32]);
        Self::by(told, clock, PreparedAccess::new(token, None), desk).await
    }

    async fn by(told: Told, clock: Clock, access: PreparedAccess, desk: Desk) -> Self {
        let told = Arc::new(told);
        let access = Arc::new(Access::new(access));
        let name = format!(
            "taciturn-api-{}-{:p}",
            std::process::id(),
            Arc::as_ptr(&told)
        );
        let trail = std::env::temp_dir().join(name);
        let audit = Arc::new(Audit::open(&trail, "test", clock).unwrap());
        std::fs::remove_file(&trail).unwrap();
        let rounds: Arc<dyn Rounds> = Arc::clone(&told) as _;
        let desk = Arc::new(desk);
        let api = Arc::new(Api {
            metrics: metrics::all(
                &rounds,
                &audit,
                &access,
                &Arc::default(),
                &desk,
                &told.revocations,
                clock,
            )
            .unwrap(),
            rounds,
            audit,
            access: Arc::clone(&access),
            credentials: Arc::default(),
            revocations: Arc::clone(&told.revocations),
            clock,
            self_test: TestDesk {
                tests: Arc::new(SelfTest::new(TicketKey::new([7; TicketKey::BYTES]))),
                mint: Arc::clone(&desk) as _,
                url: None,
                encrypted: false,
                clock,
            },
            desk,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Bounded::new(Listener::Tcp(listener), access);
        tokio::spawn(async move { axum::serve(listener, router(api)).await });
        Self { address, told }
    }

    /// The status and the body of the answer to these bytes.
    async fn raw(&self, request: &str) -> (u16, String) {
        let (code, _, body) = self.whole(request).await;
        (code, body)
    }

    /// The status, the head in lower case and the body.
    async fn whole(&self, request: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (code, head.to_ascii_lowercase(), body.to_owned())
    }

    async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let length = body.len();
        self.raw(&format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        ))
        .await
    }

    async fn json(&self, path: &str) -> Value {
        let (code, body) = self.ask("GET", path, "", "").await;
        assert_eq!(code, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }
}

const JSON: &str = "Content-Type: application/json\r\n";

#[tokio::test]
async fn a_loop_that_goes_round_is_ready_and_one_that_does_not_is_not() {
    let clock = Clock::start();
    let served = Served::with(round(clock, vec![]), clock, None).await;
    assert_eq!(served.ask("GET", "/live", "", "").await.0, 200);
    assert_eq!(served.ask("GET", "/ready", "", "").await.0, 200);

    let mut before_the_first = round(clock, vec![]);
    before_the_first.counters.rounds = 0;
    let served = Served::with(before_the_first, clock, None).await;
    assert_eq!(served.ask("GET", "/live", "", "").await.0, 200);
    let (code, words) = served.ask("GET", "/ready", "", "").await;
    assert_eq!(
        (code, words.as_str()),
        (503, "no round has come to its end yet\n")
    );
}

#[tokio::test]
async fn the_fleet_is_shown_with_what_the_plan_thinks_of_each_relay() {
    let clock = Clock::start();
    let mut offshore = relay("i-3", Phase::Ready);
    offshore.zone = zone("nz-az1");
    let mut latest = round(
        clock,
        vec![
            relay("i-1", Phase::Ready),
            relay("i-2", Phase::Draining),
            offshore,
        ],
    );
    latest
        .plan
        .offered
        .push(InstanceId::try_from("i-1").unwrap());
    latest.plan.alarms.push(Alarm {
        kind: AlarmKind::Sovereignty,
        relay: Some(InstanceId::try_from("i-3").unwrap()),
        words: "it is offshore".to_owned(),
    });
    let served = Served::with(latest, clock, None).await;
    let page = served.json("/v1/fleet").await;
    assert_eq!(page["fleet"], "test");
    let states: Vec<&str> = (0..3)
        .map(|index| page["relays"][index]["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["ready", "draining", "ready"]);
    assert_eq!(page["relays"][0]["offered"], true);
    assert_eq!(page["relays"][1]["drain"]["allocations_remaining"], 3);
    assert_eq!(page["relays"][2]["offshore"], true);
    assert_eq!(page["relays"][2]["alarms"][0], "it is offshore");

    // What `taciturn plan --fleet` reads.
    let snapshot = served.json("/v1/fleet?form=snapshot").await;
    let read: Snapshot = serde_json::from_value(snapshot).unwrap();
    assert_eq!(read.fleet, served.told.latest().snapshot.fleet);
    for wrong in ["?form=table", "?form=snapshot&form=snapshot", "?x=1"] {
        let (code, _) = served
            .ask("GET", &format!("/v1/fleet{wrong}"), "", "")
            .await;
        assert_eq!(code, 400, "{wrong}");
    }
}

#[tokio::test]
async fn decisions_are_shown_with_their_reasons_the_latest_first() {
    let clock = Clock::start();
    let mut latest = round(clock, vec![]);
    for number in 1..=5 {
        latest.decisions.push_back(Arc::new(Decision {
            round: number,
            time: clock.unix(),
            epoch: 7,
            summary: format!("decision {number}"),
            need: Need::default(),
            brakes: vec![Brake::RefreshActive],
            alarms: Vec::new(),
            actions: Vec::new(),
        }));
    }
    let served = Served::with(latest, clock, None).await;
    let shown = |page: &Value| -> Vec<u64> {
        let page = page["decisions"].as_array().unwrap();
        page.iter()
            .map(|each| each["round"].as_u64().unwrap())
            .collect()
    };
    let all = served.json("/v1/decisions").await;
    assert_eq!(shown(&all), [5, 4, 3, 2, 1]);
    assert_eq!(all["decisions"][0]["brakes"][0]["brake"], "refresh_active");
    let some = served.json("/v1/decisions?limit=2&before=4").await;
    assert_eq!(shown(&some), [3, 2]);
    for wrong in ["?limit=-1", "?limit=x", "?after=2"] {
        let (code, _) = served
            .ask("GET", &format!("/v1/decisions{wrong}"), "", "")
            .await;
        assert_eq!(code, 400, "{wrong}");
    }
}

/// Relays are listed until they are gone, whatever they do meanwhile.
#[tokio::test]
async fn prometheus_is_given_every_relay_until_it_is_gone() {
    let clock = Clock::start();
    let mut gone = relay("i-3", Phase::Ready);
    gone.lifecycle = Lifecycle::Unlisted;
    let mut ending = relay("i-4", Phase::Drained);
    ending.lifecycle = Lifecycle::Terminating;
    ending.admin = Some("[2001:db8::7]:9641".parse().unwrap());
    let mut booting = relay("i-5", Phase::Launching);
    booting.lifecycle = Lifecycle::Pending;
    booting.admin = None;
    let relays = vec![
        relay("i-1", Phase::Ready),
        relay("i-2", Phase::Draining),
        gone,
        ending,
        booting,
    ];
    let served = Served::with(round(clock, relays), clock, None).await;
    let targets = served.json("/v1/prometheus/targets").await;
    let listed: Vec<(&str, &str)> = targets
        .as_array()
        .unwrap()
        .iter()
        .map(|each| {
            let labels = &each["labels"];
            (
                labels["__meta_taciturn_instance_id"].as_str().unwrap(),
                labels["__meta_taciturn_state"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        listed,
        [("i-1", "ready"), ("i-2", "draining"), ("i-4", "ending")]
    );
    assert_eq!(targets[0]["targets"], serde_json::json!(["10.0.0.7:9641"]));
    assert_eq!(targets[2]["targets"][0], "[2001:db8::7]:9641");
    let labels = &targets[0]["labels"];
    assert_eq!(labels["__meta_taciturn_zone_id"], "az1");
    assert_eq!(labels["__meta_taciturn_image"], "lt-1/7");
    assert_eq!(labels["__meta_taciturn_instance_type"], "c7gn.large");
}

/// In doubt it is 503, never `[]`, for which Prometheus would forget every relay.
#[tokio::test]
async fn a_list_in_doubt_is_refused_and_an_empty_one_is_only_said_of_an_empty_fleet() {
    let clock = Clock::start();
    let whole = || round(clock, vec![relay("i-1", Phase::Ready)]);
    let mut no_round = whole();
    no_round.counters.rounds = 0;
    let mut no_list = round(clock, vec![]);
    no_list.snapshot.fleet.listing.complete_for = None;
    let mut fault = round(clock, vec![]);
    fault.snapshot.fleet.listing.fault = Some("it shrank by more than half".to_owned());
    let mut old = whole();
    old.snapshot.fleet.listing.complete_for = Some(Duration::from_secs(61));
    let mut nowhere = whole();
    for relay in nowhere.snapshot.fleet.relays.values_mut() {
        relay.admin = None;
    }
    for (doubtful, words) in [
        (no_round, "no round"),
        (no_list, "has not given a complete list"),
        (fault, "it shrank by more than half"),
        (old, "61 s old"),
        (nowhere, "the address of none is known"),
    ] {
        let served = Served::with(doubtful, clock, None).await;
        let (code, body) = served.ask("GET", "/v1/prometheus/targets", "", "").await;
        assert_eq!(code, 503, "{body}");
        assert!(body.contains(words), "{body}");
        assert!(body.contains("keep the targets that you have"), "{body}");
    }
    let served = Served::with(round(clock, vec![]), clock, None).await;
    let targets = served.json("/v1/prometheus/targets").await;
    assert_eq!(targets, serde_json::json!([]));
}

#[tokio::test]
async fn operators_order_drains_and_marks_and_are_told_what_becomes_of_it() {
    let clock = Clock::start();
    let served = Served::with(round(clock, vec![relay("i-1", Phase::Ready)]), clock, None).await;
    for (method, path, order) in [
        ("POST", DRAIN, "drain"),
        ("DELETE", DRAIN, "undrain"),
        ("POST", "/v1/relays/i-1/keep", "keep"),
        ("DELETE", "/v1/relays/i-1/keep", "release"),
    ] {
        for body in ["", "{}"] {
            let (code, body) = served.ask(method, path, JSON, body).await;
            assert_eq!(code, 200, "{body}");
            let answer: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(
                (&answer["relay"], &answer["order"]),
                (&"i-1".into(), &order.into())
            );
        }
        let mut orders = served.told.orders.lock().unwrap();
        let taken = std::mem::take(&mut *orders);
        assert_eq!(
            taken,
            [("i-1".to_owned(), order), ("i-1".to_owned(), order)]
        );
    }
}

#[tokio::test]
async fn an_order_that_makes_no_sense_does_nothing() {
    let clock = Clock::start();
    let served = Served::with(round(clock, vec![relay("i-1", Phase::Ready)]), clock, None).await;
    let long = format!("/v1/relays/{}/drain", "a".repeat(200));
    for (method, path, headers, body, code) in [
        ("POST", "/v1/relays/i-2/drain", JSON, "", 404),
        ("POST", "/v1/relays/%0a/drain", JSON, "", 400),
        ("POST", "/v1/relays/%ff/drain", JSON, "", 400),
        ("POST", long.as_str(), JSON, "", 400),
        ("POST", DRAIN, "", "", 415),
        ("POST", DRAIN, "Content-Type: text/plain\r\n", "{}", 415),
        ("POST", DRAIN, JSON, "{", 400),
        ("POST", DRAIN, JSON, "[]", 400),
        ("POST", DRAIN, JSON, "{\"deadline\": 5}", 400),
        ("POST", "/v1/relays/i-1/drain?now=1", JSON, "", 400),
        ("PUT", DRAIN, JSON, "", 405),
        ("GET", DRAIN, "", "", 405),
        ("POST", "/v1/fleet", JSON, "", 405),
        ("POST", "/v1/relays/i-1", JSON, "", 404),
        ("GET", "/v1/ice-servers-elsewhere", "", "", 404),
        (
            "POST",
            DRAIN,
            "Content-Type: application/json\r\nOrigin: https://evil.example\r\n",
            "{}",
            403,
        ),
        (
            "POST",
            DRAIN,
            "Content-Type: application/json\r\nSec-Fetch-Site: cross-site\r\n",
            "{}",
            403,
        ),
    ] {
        let (answered, body) = served.ask(method, path, headers, body).await;
        assert_eq!(answered, code, "{method} {path} {headers} {body}");
        assert!(body.contains("\"error\""), "{method} {path}: {body}");
        assert!(body.len() < 500, "{body}");
    }
    let oversized = "x".repeat(17 * 1024);
    assert_eq!(served.ask("POST", DRAIN, JSON, &oversized).await.0, 413);
    let rebound = "GET /v1/fleet HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(served.raw(rebound).await.0, 421);
    assert!(served.told.orders.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_order_that_the_loop_turns_down_says_why() {
    let clock = Clock::start();
    let told = Told {
        latest: Mutex::new(Arc::new(round(clock, vec![relay("i-1", Phase::Ready)]))),
        orders: Mutex::default(),
        revocations: Arc::default(),
        refuses: Some("this controller does not lead".to_owned()),
    };
    let served = Served::of(told, clock, None).await;
    let (code, body) = served.ask("POST", DRAIN, JSON, "").await;
    assert_eq!(code, 409);
    assert!(body.contains("this controller does not lead"), "{body}");
}

#[tokio::test]
async fn the_overview_is_the_latest_round_on_one_page() {
    let clock = Clock::start();
    let latest = round(
        clock,
        vec![relay("i-1", Phase::Ready), relay("i-2", Phase::Draining)],
    );
    let served = Served::with(latest, clock, None).await;
    let page = served.json("/v1/overview").await;
    assert_eq!(page["format"], "taciturn-overview/1");
    assert_eq!(page["totals"]["states"]["draining"], 1);
    assert_eq!(page["drains"][0]["allocations_remaining"], 3);
    assert_eq!(page["summary"], "nothing to do");
    assert_eq!(served.ask("GET", "/v1/overview?x=1", "", "").await.0, 400);
    let mut stuck = round(clock, vec![]);
    stuck.counters.rounds = 0;
    let served = Served::with(stuck, clock, None).await;
    let page = served.json("/v1/overview").await;
    assert_eq!(page["condition"], "starting");
    assert_eq!(page["doubt"], "no round has come to its end yet");
}

/// the dashboard itself has nothing of the fleet in it, is kept to its own origin, and reads what it shows as any reader.
#[tokio::test]
async fn the_dashboard_is_open_and_empty_and_what_it_shows_is_not() {
    let clock = Clock::start();
    let latest = round(clock, vec![relay("i-1", Phase::Ready)]);
    let served = Served::with(latest, clock, Some(TOKEN)).await;
    for path in [
        "/",
        "/assets/dashboard/page.js",
        "/assets/dashboard/page.css",
    ] {
        let (code, body) = served.ask("GET", path, "", "").await;
        assert_eq!(code, 200, "{path}");
        assert!(!body.contains("i-1"), "{path}");
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let asked = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(asked.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let head = answer.split("\r\n\r\n").next().unwrap().to_lowercase();
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self';",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
        ] {
            assert!(head.contains(header), "{path}: {header} in {head}");
        }
    }
    let page = "Sec-Fetch-Site: same-origin\r\n";
    assert_eq!(served.ask("GET", "/v1/overview", page, "").await.0, 401);
    let reading = format!("{page}Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(served.ask("GET", "/v1/overview", &reading, "").await.0, 200);
    let other = format!("Sec-Fetch-Site: cross-site\r\nAuthorization: Bearer {TOKEN}\r\n");
    assert_eq!(served.ask("GET", "/v1/overview", &other, "").await.0, 403);
    // It orders nothing, whatever it has.
    let headers = format!("{reading}{JSON}");
    assert_eq!(served.ask("POST", DRAIN, &headers, "").await.0, 403);
    assert!(served.told.orders.lock().unwrap().is_empty());
}

/// the controller has the same door: beyond health nothing is answered without the token, nothing done, and the token never repeated.
#[tokio::test]
async fn without_the_token_there_is_health_and_nothing_else() {
    let clock = Clock::start();
    let latest = round(clock, vec![relay("i-1", Phase::Ready)]);
    let served = Served::with(latest, clock, Some(TOKEN)).await;
    for path in ["/live", "/ready"] {
        assert_eq!(served.ask("GET", path, "", "").await.0, 200, "{path}");
    }
    for (method, path) in [
        ("GET", "/metrics"),
        ("GET", "/v1/fleet"),
        ("GET", "/v1/decisions"),
        ("GET", "/v1/audit"),
        ("GET", "/v1/prometheus/targets"),
        ("POST", DRAIN),
        ("DELETE", DRAIN),
        ("POST", "/v1/relays/i-1/keep"),
        ("GET", "/nowhere"),
        ("GET", "//ready"),
    ] {
        for header in [
            "",
            "Authorization: Bearer\r\n",
            "Authorization: Bearer a-controller-token-of-more-than-32-bytez\r\n",
            "Authorization: Basic YWRtaW46YWRtaW4=\r\n",
        ] {
            let headers = format!("{JSON}{header}");
            let (code, body) = served.ask(method, path, &headers, "").await;
            assert_eq!(code, 401, "{method} {path} {header}");
            assert!(!body.contains(TOKEN));
        }
    }
    assert!(served.told.orders.lock().unwrap().is_empty());
    let headers = format!("{JSON}Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(served.ask("POST", DRAIN, &headers, "").await.0, 200);
    let (code, text) = served.ask("GET", "/metrics", &headers, "").await;
    assert_eq!(code, 200);
    assert!(
        text.contains("taciturn_controller_api_refusals_total{reason=\"token\"} 40"),
        "{text}"
    );
}

/// Names, units and help as Prometheus wants them; no address and no name of a relay is a label.
#[tokio::test]
async fn metrics_are_named_as_prometheus_wants_them() {
    let clock = Clock::start();
    let mut latest = round(
        clock,
        vec![relay("i-1", Phase::Ready), relay("i-2", Phase::Draining)],
    );
    latest.plan.brakes.push(Brake::RefreshActive);
    latest
        .counters
        .actions
        .insert(("launch", "load", "no_capacity"), 2);
    latest
        .counters
        .provider_requests
        .insert(("list", "throttled"), 3);
    latest
        .counters
        .launch_seconds
        .observe(Duration::from_secs(20));
    let served = Served::with(latest, clock, None).await;
    let (_, text) = served.ask("GET", "/metrics", "", "").await;
    for line in [
        "taciturn_controller_relays{state=\"ready\",zone=\"az1\"} 1",
        "taciturn_controller_relays{state=\"draining\",zone=\"az1\"} 1",
        "taciturn_controller_relays{state=\"lost\",zone=\"az1\"} 0",
        "taciturn_controller_frozen{reason=\"refresh_active\"} 1",
        "taciturn_controller_frozen{reason=\"stale_relays\"} 0",
        "taciturn_controller_actions_total{action=\"launch\",reason=\"load\",outcome=\"no_capacity\"} 2",
        "taciturn_controller_launch_failures_total{code=\"no_capacity\"} 2",
        "taciturn_controller_provider_throttled_total 3",
        "taciturn_controller_launch_seconds_bucket{le=\"15\"} 0",
        "taciturn_controller_launch_seconds_bucket{le=\"30\"} 1",
        "taciturn_controller_launch_seconds_bucket{le=\"+Inf\"} 1",
        "taciturn_controller_launch_seconds_count 1",
        "taciturn_controller_audit_lines 1",
    ] {
        assert!(
            text.lines().any(|each| each == line),
            "no {line} in\n{text}"
        );
    }
    let overdue = text
        .lines()
        .find_map(|line| line.strip_prefix("taciturn_controller_drain_overdue_seconds "))
        .unwrap();
    assert!(overdue.parse::<f64>().unwrap() > 1e9, "{overdue}");
    assert!(
        !text.contains("i-1") && !text.contains("10.0.0.7"),
        "{text}"
    );
    for (name, help, is_counter) in served_names(&served, clock) {
        let ours = name.starts_with("taciturn_controller_") || name == "process_start_time_seconds";
        assert!(ours, "{name}");
        assert_eq!(name.ends_with("_total"), is_counter, "{name}");
        assert!(help.ends_with('.'), "{name}: {help}");
        let page = include_str!("../../../docs/operations.md");
        let Some(short) = name.strip_prefix("taciturn_controller_") else {
            continue;
        };
        assert!(
            page.contains(&format!("`{short}`")) || page.contains(&format!("`{short}{{")),
            "docs/operations.md does not say what {name} means and what to do about it"
        );
    }
}

fn served_names(served: &Served, clock: Clock) -> Vec<(String, String, bool)> {
    let rounds: Arc<dyn Rounds> = Arc::clone(&served.told) as _;
    let access = Arc::new(Access::new(PreparedAccess::new(None, None)));
    let trail = std::env::temp_dir().join(format!("taciturn-names-{}", std::process::id()));
    let audit = Arc::new(Audit::open(&trail, "test", clock).unwrap());
    std::fs::remove_file(&trail).unwrap();
    let desk = Arc::new(Desk::new(None, [7; 32]));
    metrics::all(
        &rounds,
        &audit,
        &access,
        &Arc::default(),
        &desk,
        &Arc::default(),
        clock,
    )
    .unwrap()
    .names()
}

/// a connection that says nothing more is not waited for by the others.
#[tokio::test]
async fn a_slow_client_keeps_nobody_waiting() {
    let clock = Clock::start();
    let served = Served::with(round(clock, vec![]), clock, None).await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream
            .write_all(b"POST /v1/relays/i-1/drain HTTP/1.1\r\nHost: localhost\r\nContent-")
            .await
            .unwrap();
        slow.push(stream);
    }
    assert_eq!(served.ask("GET", "/live", "", "").await.0, 200);
    drop(slow);
}

#[tokio::test]
async fn the_audit_trails_head_is_told_so_that_it_can_be_kept_elsewhere() {
    let clock = Clock::start();
    let served = Served::with(round(clock, vec![]), clock, None).await;
    let state = served.json("/v1/audit").await;
    assert_eq!(state["head"]["seq"], 1);
    assert_eq!(state["head"]["hash"].as_str().unwrap().len(), 64);
    assert_eq!(state["fault"], Value::Null);
}

/// The marks are the loop's words.
#[test]
fn orders_have_the_loops_words() {
    assert_eq!(Wish::Mark(Mark::Keep).as_str(), "keep");
    assert_eq!(Wish::Mark(Mark::Release).as_str(), "release");
}
