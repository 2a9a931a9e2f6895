//! What there is to tell of the fleet: one line for each thing that happens, with the controller's reason.
//!
//! Responsible for finding what is new between two looks at `/v1/fleet` and `/v1/decisions`. Not responsible for asking
//! (`ask`), nor for the terminal (`screen`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;

use super::tally::Tally;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// What, in one word.
    pub(crate) verb: &'static str,
    /// To which relay.
    pub(crate) relay: String,
    /// In which zone.
    pub(crate) zone: String,
    /// Why, or what that means.
    pub(crate) words: String,
}

/// A relay as `/v1/fleet` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relay {
    pub(crate) id: String,
    pub(crate) zone: String,
    pub(crate) state: String,
    pub(crate) address: Option<IpAddr>,
    /// Credentials may name it.
    pub(crate) offered: bool,
}

/// What has been told so far, and how often what happened.
#[derive(Debug, Default)]
pub(crate) struct Story {
    known: BTreeMap<String, Relay>,
    round: u64,
    /// Relays that were launched.
    pub(crate) launched: u64,
    /// Drains that were begun.
    pub(crate) drained: u64,
    /// Relays that were ended.
    pub(crate) ended: u64,
}

/// The relays of an answer of `/v1/fleet`. Those that have ended stay in its list for a while, and are none any more.
pub(crate) fn relays(fleet: &Value) -> Vec<Relay> {
    let list = fleet["relays"].as_array().map_or(&[][..], Vec::as_slice);
    let word = |relay: &Value, key: &str| relay[key].as_str().unwrap_or_default().to_owned();
    let address = |relay: &Value| {
        let admin: std::net::SocketAddr = relay["admin"].as_str()?.parse().ok()?;
        Some(admin.ip())
    };
    list.iter()
        .map(|relay| Relay {
            id: word(relay, "id"),
            zone: word(relay, "zone"),
            state: word(relay, "state"),
            address: address(relay),
            offered: relay["offered"] == true,
        })
        .filter(|relay| relay.state != "gone")
        .collect()
}

impl Story {
    /// What has happened since the last time, in order.
    pub(crate) fn tell(
        &mut self,
        relays: &[Relay],
        decisions: &Value,
        tally: &Tally,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        self.decided(relays, decisions, tally, &mut events);
        for relay in relays {
            let before = self.known.get(&relay.id).map(|known| known.state.as_str());
            let words = match relay.state.as_str() {
                "ready" if before == Some("draining") => None,
                "ready" => Some(("ready", "credentials may name it")),
                "lost" => Some(("lost", "nobody has heard of it for too long")),
                "unready" => Some(("unready", "it says that it cannot serve")),
                "never_ready" => Some(("unready", "it has been on its way for too long")),
                _ => None,
            };
            if let Some((verb, words)) = words.filter(|_| before != Some(relay.state.as_str())) {
                events.push(event(verb, relay, words.to_owned()));
            }
        }
        let latest = relays.iter().map(|relay| (relay.id.clone(), relay.clone()));
        self.known = latest.collect();
        events
    }

    fn decided(
        &mut self,
        relays: &[Relay],
        decisions: &Value,
        tally: &Tally,
        events: &mut Vec<Event>,
    ) {
        let list = decisions["decisions"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let round = |decision: &Value| decision["round"].as_u64().unwrap_or_default();
        let latest = list.iter().map(round).max().unwrap_or_default();
        if latest < self.round {
            // Another controller, which counts from the beginning.
            self.round = 0;
        }
        let told = self.round;
        // The latest stands first.
        for decision in list.iter().rev().filter(|decision| round(decision) > told) {
            let actions = decision["actions"]
                .as_array()
                .map_or(&[][..], Vec::as_slice);
            for action in actions
                .iter()
                .filter(|action| action["outcome"]["outcome"] == "done")
            {
                self.done(action, relays, tally, events);
            }
        }
        self.round = latest;
    }

    fn done(&mut self, action: &Value, relays: &[Relay], tally: &Tally, events: &mut Vec<Event>) {
        let words = action["words"].as_str().unwrap_or_default();
        let act = &action["act"];
        let of = |kind: &str| {
            let id = act[kind]["relay"].as_str()?;
            let seen = relays.iter().find(|relay| relay.id == id);
            Some(
                seen.or_else(|| self.known.get(id))
                    .cloned()
                    .unwrap_or_else(|| unknown(id, "")),
            )
        };
        if let Some(zone) = act["launch"]["zone"].as_str() {
            let instances = action["outcome"]["instances"].as_array();
            for id in instances.into_iter().flatten().filter_map(Value::as_str) {
                self.launched += 1;
                events.push(event("launch", &unknown(id, zone), words.to_owned()));
            }
        } else if let Some(relay) = of("withhold") {
            events.push(event(
                "withhold",
                &relay,
                format!("new calls go elsewhere: {words}"),
            ));
        } else if let Some(relay) = of("restore") {
            events.push(event("restore", &relay, words.to_owned()));
        } else if let Some(relay) = of("drain") {
            self.drained += 1;
            let through = relay.address.map_or(0, |address| tally.through(address));
            let calls = match through {
                0 => "none of the demo's calls is on it".to_owned(),
                1 => "it waits for the call that is still on it".to_owned(),
                more => format!("it waits for the {more} calls that are still on it"),
            };
            events.push(event("drain", &relay, format!("{words}; {calls}")));
        } else if let Some(relay) = of("undrain") {
            events.push(event("undrain", &relay, words.to_owned()));
        } else if let Some(relay) = of("terminate").or_else(|| of("finish")) {
            self.ended += 1;
            events.push(event("end", &relay, words.to_owned()));
        }
    }
}

fn unknown(id: &str, zone: &str) -> Relay {
    Relay {
        id: id.to_owned(),
        zone: zone.to_owned(),
        state: String::new(),
        address: None,
        offered: false,
    }
}

fn event(verb: &'static str, relay: &Relay, words: String) -> Event {
    Event {
        verb,
        relay: relay.id.clone(),
        zone: relay.zone.clone(),
        words,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tally::Tally;
    use super::*;

    fn fleet(states: &[(&str, &str)]) -> Vec<Relay> {
        let relay = |(id, state): &(&str, &str)| json!({"id": id, "zone": "demo-a", "state": state, "admin": "127.40.1.1:9641", "offered": *state == "ready"});
        relays(&json!({"relays": states.iter().map(relay).collect::<Vec<_>>()}))
    }

    fn decision(round: u64, act: &Value, outcome: &str) -> Value {
        let outcome = json!({"outcome": outcome, "instances": ["r1"]});
        json!({"round": round, "actions": [{"act": act, "words": "a reason", "outcome": outcome}]})
    }

    fn decisions(latest_first: &[Value]) -> Value {
        json!({ "decisions": latest_first })
    }

    fn told(events: &[Event]) -> Vec<(&'static str, &str)> {
        events
            .iter()
            .map(|event| (event.verb, event.relay.as_str()))
            .collect()
    }

    #[test]
    fn a_relay_is_told_of_from_its_launch_to_its_end_and_each_thing_once() {
        let (mut story, mut tally) = (Story::default(), Tally::default());
        tally.begin(IpAddr::from([127, 40, 1, 1]));
        let launch = decision(
            1,
            &json!({"launch": {"zone": "demo-a", "count": 1, "token": "t"}}),
            "done",
        );
        let drain = decision(5, &json!({"drain": {"relay": "r1"}}), "done");
        let end = decision(9, &json!({"terminate": {"relay": "r1"}}), "done");

        let first = decisions(std::slice::from_ref(&launch));
        let events = story.tell(&fleet(&[("r1", "launching")]), &first, &tally);
        assert_eq!(told(&events), [("launch", "r1")]);
        assert_eq!(events[0].zone, "demo-a");
        let events = story.tell(&fleet(&[("r1", "ready")]), &first, &tally);
        assert_eq!(told(&events), [("ready", "r1")]);
        assert!(
            story
                .tell(&fleet(&[("r1", "ready")]), &first, &tally)
                .is_empty()
        );
        let second = decisions(&[drain.clone(), launch.clone()]);
        let events = story.tell(&fleet(&[("r1", "draining")]), &second, &tally);
        assert_eq!(told(&events), [("drain", "r1")]);
        assert!(events[0].words.contains("waits for the call"), "{events:?}");
        let events = story.tell(&fleet(&[]), &decisions(&[end, drain, launch]), &tally);
        assert_eq!(told(&events), [("end", "r1")]);
        assert_eq!(events[0].zone, "demo-a", "known from before");
        assert_eq!((story.launched, story.drained, story.ended), (1, 1, 1));
    }

    #[test]
    fn what_failed_did_not_happen() {
        let mut story = Story::default();
        let failed = decision(1, &json!({"launch": {"zone": "demo-a"}}), "failed");
        assert!(
            story
                .tell(&[], &decisions(&[failed]), &Tally::default())
                .is_empty()
        );
    }

    #[test]
    fn a_controller_that_was_started_again_counts_its_rounds_anew() {
        let (mut story, tally) = (Story::default(), Tally::default());
        let drain = json!({"drain": {"relay": "r1"}});
        story.tell(&[], &decisions(&[decision(40, &drain, "done")]), &tally);
        let events = story.tell(&[], &decisions(&[decision(2, &drain, "done")]), &tally);
        assert_eq!(told(&events), [("drain", "r1")]);
    }

    #[test]
    fn an_answer_that_makes_no_sense_tells_nothing() {
        assert!(relays(&json!({"relays": 3})).is_empty());
        assert!(relays(&Value::Null).is_empty());
        let mut story = Story::default();
        let odd = json!({"decisions": [{"round": "x", "actions": [7]}, null]});
        assert!(story.tell(&[], &odd, &Tally::default()).is_empty());
    }
}
