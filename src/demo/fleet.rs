//! The whole story on one machine: a controller, relays in three pretended zones, and calls that rise and fall.
//!
//! ```text
//!   place, network, configuration --> controller (a process) --> relays (processes)
//!                                        |  ^ POST /v1/ice-servers   ^
//!                    /v1/fleet, decisions|  |                        | TURN
//!              screen <-- story <--------'  '--- crowd: schedule, call, tally
//!                                                page: a call by hand
//! ```
//!
//! Responsible for the order of things: everything that was started is ended, whatever happens. Not responsible for deciding
//! about relays, which is the controller's affair: the demo only calls.

mod ask;
mod call;
mod configuration;
mod controller;
mod crowd;
mod network;
mod place;
mod processes;
mod schedule;
mod screen;
mod story;
mod tally;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::certificate::{self, TestAuthority};
use super::page::{self, Demonstrated};
use super::{println, settings};
use crate::cli::DemoOptions;
use ask::Api;
use controller::Controller;
use crowd::Count;
use network::Network;
use place::Place;
use screen::Screen;
use story::{Relay, Story};

/// How often the controller is asked how it stands: as often as it looks itself.
const LOOK: Duration = Duration::from_secs(1);
/// A controller that has ended is started again after this time, so that a fleet without one can be looked at.
const WITHOUT: Duration = Duration::from_secs(10);
/// The controller's usual port.
const API_PORT: u16 = 9640;

/// What is known of the run, for everybody who shows it.
#[derive(Debug, Default)]
struct Known {
    count: Count,
    relays: Mutex<Vec<Relay>>,
    story: Mutex<Story>,
}

impl Known {
    fn relays(&self) -> MutexGuard<'_, Vec<Relay>> {
        self.relays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn story(&self) -> MutexGuard<'_, Story> {
        self.story.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn summary(&self) -> String {
        let (tally, story) = (self.count.now(), self.story());
        format!(
            "Calls: {} begun, {} hung up, {} went on until now, {} cut. Relays: {} launched, {} drained, {} ended.",
            tally.begun,
            tally.hung_up,
            tally.live(),
            tally.cut,
            story.launched,
            story.drained,
            story.ended
        )
    }
}

/// What the page's calls go through.
#[derive(Debug)]
pub(crate) struct Fleet {
    api: Api,
    known: Arc<Known>,
    /// The authority of this run, for a browser to import.
    pub(crate) authority_pem: String,
}

impl Fleet {
    /// Fresh credentials, as a signalling server asks for them.
    pub(crate) async fn ice_servers(&self) -> anyhow::Result<Value> {
        let asked = json!({"user": "visitor"});
        let mut answer = self.api.ice_servers(&asked).await?;
        answer["transports"] = json!(["udp", "tcp", "tls"]);
        answer["realm"] = configuration::REALM.into();
        answer["dashboard"] = format!("http://{}/", self.api.address).into();
        Ok(answer)
    }

    /// Where a visitor tries each path to the relays, for a while.
    pub(crate) async fn self_test(&self) -> anyhow::Result<String> {
        let answer = self.api.post("/v1/self-test/tickets", &json!({})).await?;
        let url = answer.success()?["url"].as_str().map(str::to_owned);
        url.context("the controller's answer has no url")
    }

    /// The relays and the calls, as they were a moment ago.
    pub(crate) fn shown(&self) -> Value {
        let tally = self.known.count.now();
        let relay = |relay: &Relay| {
            let calls = relay.address.map_or(0, |address| tally.through(address));
            json!({
                "id": relay.id,
                "zone": relay.zone,
                "state": relay.state,
                "offered": relay.offered,
                "address": relay.address,
                "calls": calls,
            })
        };
        json!({
            "relays": self.known.relays().iter().map(relay).collect::<Vec<_>>(),
            "calls": tally.live(),
            "begun": tally.begun,
            "cut": tally.cut,
            "turned_away": tally.turned_away,
        })
    }
}

pub(crate) fn run(options: DemoOptions) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the demo cannot start")?;
    runtime.block_on(demonstrate(options))
}

async fn demonstrate(options: DemoOptions) -> anyhow::Result<()> {
    let mut stop = Stop::listen()?;
    let (place, cleared) = tokio::select! {
        made = Place::make() => made?,
        () = stop.asked() => return Ok(()),
    };
    let known = Arc::new(Known::default());
    let outcome = tokio::select! {
        outcome = show(options, &place, cleared, &known) => outcome,
        () = stop.asked() => Ok(()),
    };
    // What is told from here on may have no reader any more; the end comes about all the same.
    let told = match &outcome {
        Ok(()) => {
            println("\nEnding the relays and the controller. Ctrl-C again does not wait for them.")
        }
        Err(_) => Ok(()),
    };
    let cleared = tokio::select! {
        cleared = place.clear(true) => cleared,
        () = stop.asked() => place.clear(false).await,
    };
    outcome.and(cleared).and(told)?;
    println(&known.summary())?;
    println("All of them have ended, and nothing is left behind. Good-bye.")
}

/// Starts everything and tells of it until it is dropped.
async fn show(
    options: DemoOptions,
    place: &Place,
    cleared: usize,
    known: &Arc<Known>,
) -> anyhow::Result<()> {
    if cleared > 0 {
        println(
            "An earlier demo was killed; what it had left running is ended, and its directory is removed.\n",
        )?;
    }
    let network = Network::find(configuration::ZONES, configuration::PER_ZONE)?;
    let authority = authority(place, &network)?;
    let api = Api {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, network::free_port(API_PORT)?)),
        token: settings::random_secret()?,
    };
    place.write("signalling.token", &api.token)?;
    let text = configuration::text(api.address, place.path(), &network);
    let config = place.write("controller.toml", &text)?;
    let log = place.path().join("controller.log");
    let mut controller = Controller::start(&config, log.clone())?;
    controller.answers(&api).await?;
    let page = if options.no_page {
        None
    } else {
        let fleet = Arc::new(Fleet {
            api: api.clone(),
            known: Arc::clone(known),
            authority_pem: authority.authority_pem,
        });
        Some(page::serve(Demonstrated::Fleet(fleet), options.page_port).await?)
    };
    println(&opening(&api, page, &config, &network))?;
    let mut told = JoinSet::new();
    told.spawn(tell(api.clone(), Arc::clone(known)));
    loop {
        tokio::select! {
            Some(ended) = told.join_next() => return ended.context("the demo has ended early")?,
            status = controller.ended() => {
                println(&format!(
                    "\n        The controller has ended ({}). Relays and calls go on without it; in {} s it is started again.\n",
                    status?,
                    WITHOUT.as_secs()
                ))?;
                tokio::time::sleep(WITHOUT).await;
                controller = Controller::start(&config, log.clone())?;
                controller.answers(&api).await?;
            }
        }
    }
}

/// Tells what happens, and lets the crowd in as soon as there is a relay for it.
async fn tell(api: Api, known: Arc<Known>) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut screen = Screen::open();
    let mut crowd = JoinSet::new();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        look.tick().await;
        let (fleet, decisions) =
            tokio::join!(api.read("/v1/fleet"), api.read("/v1/decisions?limit=50"));
        let (elapsed, tally) = (begun.elapsed(), known.count.now());
        // While the controller is away, the last that was heard of relays stands.
        if let (Ok(fleet), Ok(decisions)) = (&fleet, &decisions) {
            let relays = story::relays(fleet);
            let events = known.story().tell(&relays, decisions, &tally);
            for event in events {
                screen.event(elapsed, &event)?;
            }
            *known.relays() = relays;
        }
        let relays = known.relays().clone();
        if crowd.is_empty() && relays.iter().any(|relay| relay.offered) {
            crowd.spawn(crowd::call_about(api.clone(), known.count.clone()));
        }
        screen.standing(elapsed, &relays, &tally)?;
    }
}

/// The certificate that all relays of this run show, for every address that one of them may have.
fn authority(place: &Place, network: &Network) -> anyhow::Result<TestAuthority> {
    let addresses = network.addresses().map(|address| address.to_string());
    let authority = certificate::make(addresses).context("the test certificate cannot be made")?;
    place.write("certificate.pem", &authority.certificate_pem)?;
    place.write("key.pem", &authority.key_pem)?;
    Ok(authority)
}

fn opening(api: &Api, page: Option<SocketAddr>, config: &Path, network: &Network) -> String {
    let mut text =
        "A fleet on this machine: a controller, relays in three pretended zones, and calls that rise and fall.\n\
         Within two minutes relays are launched, drained and ended, and no call is cut. Then it begins again.\n\n"
            .to_owned();
    let mut place = |what: &str, place: String| text += &format!("  {what:<20} {place}\n");
    place("The dashboard", format!("http://{}/", api.address));
    if let Some(page) = page {
        place("A call to hold", format!("http://{page}/"));
        place("A test of each path", format!("http://{page}/self-test"));
        let authority = format!("http://{page}/test-authority.pem (import it as an authority)");
        place("For TLS", authority);
    }
    let drain = format!(
        "curl --json '{{}}' http://{}/v1/relays/ID/drain",
        api.address
    );
    place("To drain a relay", drain);
    place("The configuration", config.display().to_string());
    let turn = match network.turn {
        network::TURN => "3478".to_owned(),
        other => format!("{other} (3478 is taken)"),
    };
    let tls = match network.tls {
        network::HTTPS => "443".to_owned(),
        other => format!("{other} (443 is taken, or not for this user)"),
    };
    let prefix = network.prefix();
    place(
        "Relays listen on",
        format!("{prefix}.*.*, ports {turn} and {tls}"),
    );
    text + "\nCtrl-C ends it.\n"
}

/// The wishes of somebody who wants it to end.
struct Stop {
    signals: Vec<Signal>,
}

impl Stop {
    fn listen() -> anyhow::Result<Self> {
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ];
        let signals = kinds.into_iter().map(signal).collect::<Result<_, _>>();
        Ok(Self {
            signals: signals.context("signals cannot be listened to")?,
        })
    }

    /// Returns at the next of them.
    async fn asked(&mut self) {
        let [interrupt, terminate, hang_up] = self.signals.as_mut_slice() else {
            return;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    }
}
