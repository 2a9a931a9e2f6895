//! A worker's allocations as the admin API lists them: a page at a time.
//!
//! Responsible for a listing that keeps no call waiting: it is as long as its page, whatever the worker holds. Not
//! responsible for what of it may be shown: addresses and names in it are for pseudonyms alone.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use taciturn_protocol::address::Transport;
use taciturn_protocol::credentials::UserName;
use taciturn_protocol::forward::{AllocationId, Traffic};
use taciturn_protocol::time::{Instant, Now};

use super::Worker;

/// Which allocations to list. The worker looks at most at each once, which takes nanoseconds for those before the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The first name that may be on it.
    pub from: AllocationId,
    /// How many at most.
    pub limit: usize,
}

/// One allocation.
pub struct AllocationReport {
    /// Its name in its worker.
    pub allocation: AllocationId,
    /// Tells it from those that had the name before.
    pub serial: u64,
    /// How the client reaches the relay.
    pub transport: Transport,
    /// Its client's address: never to be shown but as a pseudonym.
    pub client: IpAddr,
    /// Its user's name: never to be shown but as a pseudonym.
    pub user: UserName,
    /// How long it has lived.
    pub age: Duration,
    /// Time to expiry of its relayed address, by [`taciturn_protocol::address::Family::index`].
    pub expires: [Option<Duration>; 2],
    /// How many permissions it has.
    pub permissions: usize,
    /// How many channel bindings it has.
    pub channels: usize,
    /// What it has carried.
    pub traffic: Traffic,
    /// Whether it has carried anything lately ([`taciturn_protocol::forward::RouteTable::is_active`]).
    pub active: bool,
}

impl fmt::Debug for AllocationReport {
    /// Without address and name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AllocationReport")
            .field("allocation", &self.allocation)
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}

impl Worker {
    /// The self-check's allocations are no client's, and not listed.
    pub(super) fn list(&self, now: Now, page: Page) -> Vec<AllocationReport> {
        let left = |at: Instant| at.saturating_since(now.instant);
        let routes = &self.switch.routes;
        self.switch
            .server
            .allocations()
            .filter(|held| held.allocation >= page.from && !held.synthetic)
            .take(page.limit)
            .map(|held| AllocationReport {
                allocation: held.allocation,
                serial: held.serial,
                transport: held.client.transport,
                client: held.client.client.0.ip(),
                user: held.user.clone(),
                age: now.instant.saturating_since(held.created),
                expires: held.relayed.map(|relayed| relayed.map(|(_, at)| left(at))),
                permissions: held.permissions,
                channels: held.channels,
                traffic: routes.traffic(held.allocation).unwrap_or_default(),
                active: routes.is_active(held.allocation),
            })
            .collect()
    }
}
