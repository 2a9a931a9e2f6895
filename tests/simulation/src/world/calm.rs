//! The call that everybody gets after the storm, and what is left when it is over: nothing.
//!
//! Not responsible for the storm.

use std::net::SocketAddr;
use std::time::Duration;

use super::World;
use crate::client::PLAIN;
use crate::network::Weather;
use crate::oracle::{Broken, Invariant};
use crate::reference::Rules;
use crate::storm::{OPEN, Order};

/// The longest that anybody waits for a call after the storm: until what was left behind has expired and rested, and a try more.
const PATIENCE: Duration = Duration::from_secs(900 + 60 + 200);

/// The greatest age of an allocation after the storm.
const LONGEST_AGE: Duration = Duration::from_secs(86_400);

impl World {
    /// Fair weather, an operator who wants everything to work, and clients that want a call each: they get it, and nothing that is
    /// said in it is lost. Then they go, and nothing is left of them.
    pub(super) fn calm(&mut self) -> Result<(), Broken> {
        self.note(format_args!("calm"), &[]);
        self.network.weather = Weather::FAIR;
        self.relay.is_exhausted = false;
        self.relay.in_use.clear();
        // Or the first would come to it while the last waits for its call, and begin anew.
        self.relay.configuration.max_age = LONGEST_AGE;
        self.oracle.reference.rules.max_age = LONGEST_AGE;
        let repaired = [
            Order::Clock(0),
            Order::Drain(false),
            Order::Shed(false),
            Order::Lift,
            Order::Limit(64),
            Order::Policy {
                closed: None,
                closes_port: false,
                opens_private: false,
            },
        ];
        for order in repaired {
            self.advance();
            self.order(&order)?;
        }
        for client in &mut self.clients {
            client.hangs(self.at);
            client.hang_up(self.at);
        }
        self.run_until(self.at + Duration::from_secs(60))?;
        // As many as the operator lets one user, and all together, have at once.
        let Rules {
            per_user, total, ..
        } = self.oracle.reference.rules;
        let count = self.clients.len().min(total);
        let calling: Vec<usize> = (0..count).filter(|number| number / 2 < per_user).collect();
        // Who was in the middle of something a minute ago may hold a place still, that others wait for now.
        for (number, client) in self.clients.iter_mut().enumerate() {
            if !calling.contains(&number) {
                client.hang_up(self.at);
            }
        }
        for &number in &calling {
            let client = &mut self.clients[number];
            client.wants = OPEN[..2].to_vec();
            client.allocates = Some(PLAIN);
        }
        let wanted = [OPEN[0], OPEN[1]];
        let reach = |world: &Self| {
            let mut all = calling.iter().map(|number| &world.clients[*number]);
            all.all(|client| wanted.iter().all(|peer| client.reaches(*peer)))
        };
        let end = self.at + PATIENCE;
        while !reach(self) && self.at < end {
            self.run_until(self.at + Duration::from_secs(1))?;
        }
        if !reach(self) {
            return self.fails(Invariant::Liveness, "somebody gets no call".into());
        }
        self.speak(&calling, &wanted)?;
        self.nothing_left()
    }

    fn speak(&mut self, calling: &[usize], wanted: &[SocketAddr]) -> Result<(), Broken> {
        self.peers.heard.clear();
        for &number in calling {
            self.clients[number].heard.clear();
        }
        let said = |number: usize, peer: SocketAddr, nth: u8| {
            format!("{number} to {peer}, {nth}").into_bytes()
        };
        for nth in 0..3 {
            for &number in calling {
                for &peer in wanted {
                    let sends = self.clients[number].say(peer, said(number, peer, nth));
                    self.client_sends(number, Some(sends))?;
                }
            }
            self.run_until(self.at + Duration::from_millis(300))?;
        }
        for &number in calling {
            for &peer in wanted {
                for nth in 0..3 {
                    let echo = (peer, said(number, peer, nth));
                    let heard = self.clients[number].heard.iter();
                    let times = heard.filter(|heard| **heard == echo).count();
                    if times != 1 {
                        let what = format!("client {number} heard {peer} {times} times");
                        return self.fails(Invariant::Loss, what);
                    }
                }
            }
            self.figures.calls += 1;
        }
        Ok(())
    }

    fn nothing_left(&mut self) -> Result<(), Broken> {
        for client in &mut self.clients {
            client.hang_up(self.at);
        }
        self.run_until(self.at + PATIENCE)?;
        let ports = self.relay.load().ports_free;
        let is_empty = self.relay.entries() == [0; 5]
            && self.relay.routes_nothing()
            && self.relay.sockets().next().is_none()
            && ports == self.oracle.reference.ports_in_all();
        if is_empty {
            return Ok(());
        }
        let entries = self.relay.entries();
        self.fails(
            Invariant::Liveness,
            format!("left: {entries:?}, {ports} free ports"),
        )
    }
}
