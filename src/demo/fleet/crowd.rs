//! The demo's callers: they begin and hang up as the schedule says, each with credentials of its own.
//!
//! Responsible for holding the calls and counting them. Not responsible for the times (`schedule`), nor for one call (`call`).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use zeroize::Zeroizing;

use super::ask::Api;
use super::call::{Call, Login};
use super::schedule::{Planned, Schedule};
use super::tally::{Ending, Tally};

/// How often the schedule is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Most calls at once, whatever the schedule says.
const MOST: usize = 60;

/// What is counted, for everybody who shows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Count(Arc<Mutex<Tally>>);

impl Count {
    /// As it is now.
    pub(crate) fn now(&self) -> Tally {
        self.with(|tally| tally.clone())
    }

    fn with<T>(&self, change: impl FnOnce(&mut Tally) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Holds calls until it is dropped, which ends them without a word.
pub(crate) async fn call_about(api: Api, count: Count) {
    let begun = Instant::now();
    let mut schedule = Schedule::default();
    let mut calls = JoinSet::new();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        look.tick().await;
        while calls.try_join_next().is_some() {}
        for planned in schedule.due(begun.elapsed()) {
            if calls.len() < MOST {
                calls.spawn(hold(api.clone(), count.clone(), planned));
            }
        }
    }
}

/// One call from its credentials to its end.
async fn hold(api: Api, count: Count, planned: Planned) {
    let Some((relay, call)) = open(&api, planned.number).await else {
        count.with(|tally| tally.turned_away += 1);
        return;
    };
    count.with(|tally| tally.begin(relay.ip()));
    let ending: Ending = call.talk(planned.lasts).await;
    count.with(|tally| tally.end(relay.ip(), ending));
}

/// Asks the signalling server's way, and tries the relays in the order of the answer.
async fn open(api: &Api, number: u64) -> Option<(SocketAddr, Call)> {
    let body = json!({"user": format!("caller-{number}")});
    let answer = api.ice_servers(&body).await.ok()?;
    for (server, login) in ways(&answer) {
        if let Ok(call) = Call::open(server, login).await {
            return Some((server, call));
        }
    }
    None
}

/// The ways over UDP in an answer with `iceServers`.
fn ways(answer: &Value) -> Vec<(SocketAddr, Login)> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut ways = Vec::new();
    for server in list(&answer["iceServers"]) {
        let (Some(username), Some(credential)) =
            (server["username"].as_str(), server["credential"].as_str())
        else {
            continue;
        };
        for url in list(&server["urls"]) {
            if let Some(address) = url.as_str().and_then(over_udp) {
                let login = Login {
                    username: username.to_owned(),
                    password: Zeroizing::new(credential.to_owned()),
                };
                ways.push((address, login));
            }
        }
    }
    ways
}

/// The address in a URL of TURN over UDP.
fn over_udp(url: &str) -> Option<SocketAddr> {
    let rest = url.strip_prefix("turn:")?;
    let (place, transport) = rest.split_once('?').unwrap_or((rest, "transport=udp"));
    (transport == "transport=udp").then(|| place.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_over_udp_are_tried_in_the_order_of_the_answer() {
        let answer = json!({"iceServers": [
            {"urls": ["turn:127.40.2.1:3478?transport=udp", "turn:127.40.2.1:443?transport=tcp"], "username": "a", "credential": "b"},
            {"urls": ["turns:127.40.1.1:443?transport=tcp", "turn:127.40.1.1:3478"], "username": "c", "credential": "d"},
            {"urls": ["turn:127.40.3.1:3478?transport=udp"]},
            {"urls": 7, "username": "e", "credential": "f"},
        ]});
        let ways: Vec<String> = ways(&answer)
            .iter()
            .map(|(at, login)| format!("{at} {}", login.username))
            .collect();
        assert_eq!(ways, ["127.40.2.1:3478 a", "127.40.1.1:3478 c"]);
    }
}
