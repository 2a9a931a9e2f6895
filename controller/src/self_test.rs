//! The self-test: clinic staff see from their own browser which ways to the relays their network leaves open.
//!
//! ```text
//!   operator: a link with a ticket --> a clinic's browser: the page --> ticket --> paths, and credentials for five minutes
//! ```
//!
//! Responsible for tickets (who made one decides who may test), for how often they are honoured, and for the paths that a
//! browser tries one by one. Not responsible for HTTP (`api`), nor for which relays credentials may name and how they are
//! minted ([`Mint`]). Nothing about a visitor is kept: not their address, not their result.

mod key;
mod minting;
mod paths;
mod ticket;
mod uses;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use taciturn_protocol::time::{Now, UnixTime};

pub use key::KeyError;
pub use paths::{TestPath, TestRelay};
pub use ticket::{Ticket, TicketId, TicketKey};
pub use uses::{Spent, Uses};

/// How long a ticket is good where nobody says.
pub const TICKET_TTL: Duration = Duration::from_secs(24 * 3600);
/// The longest that anybody may say.
pub const LONGEST_TICKET_TTL: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often one ticket is honoured: a clinic's rooms, a few times each.
pub const TICKET_USES: u16 = 100;
/// How long credentials of the self-test are good.
pub const CREDENTIALS_TTL: Duration = Duration::from_secs(300);
/// The name of the key's file in the state directory.
pub const KEY_FILE: &str = "tickets.key";
/// What user names begin with; what follows is random and says nothing of anybody.
const USER: &str = "self-test-";

/// A relay that credentials name, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reachable {
    /// The relay, as the provider calls it.
    pub relay: String,
    /// Its TURN URIs (RFC 7065).
    pub urls: Vec<String>,
}

/// Credentials as a browser takes them, and the relays that they are for.
#[derive(Clone, PartialEq, Eq)]
pub struct Minted {
    /// The user name, with its expiry.
    pub username: String,
    /// The password.
    pub credential: String,
    /// The last second in which they are good.
    pub expires: UnixTime,
    /// Those to be tried first at the front.
    pub relays: Vec<Reachable>,
}

impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minted")
            .field("expires", &self.expires)
            .field("relays", &self.relays)
            .finish_non_exhaustive()
    }
}

/// Who mints, as far as a self-test needs it.
pub trait Mint: Send + Sync + fmt::Debug {
    /// Credentials for this user, and relays that may be named now.
    ///
    /// # Errors
    /// Why there are none.
    fn mint(&self, user: &str, ttl: Duration, now: Now) -> Result<Minted, Denied>;
}

/// Whether a request needs a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker<'a> {
    /// Somebody whom the gate knows, or a page on this host where nobody has to prove anything: none is needed.
    Known,
    /// Whoever has this ticket.
    Holder(&'a [u8]),
    /// Somebody who shows none.
    Nobody,
}

/// What a browser is to try.
#[derive(Clone, Debug, Serialize)]
pub struct Test {
    /// Each way to the relays, the fastest first.
    pub paths: Vec<TestPath>,
    /// For all of them.
    pub username: String,
    /// For all of them.
    pub credential: String,
    /// How long they are good, in seconds.
    pub ttl: u64,
    /// When that ends.
    pub expires: UnixTime,
}

/// Why there is nothing to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No ticket was shown.
    NoTicket,
    /// What was shown is not a ticket of ours, or not as we made it.
    Forged,
    /// It was ours, and its time is over.
    Expired,
    /// It has been honoured as often as it may.
    UsedUp,
    /// Later: too many ask.
    TooOften(Duration),
    /// Later: no relay may be named.
    NoRelay,
}

/// Makes tickets and honours them.
pub struct SelfTest {
    key: TicketKey,
    uses: Mutex<Uses>,
}

impl SelfTest {
    /// With this key.
    pub fn new(key: TicketKey) -> Self {
        Self {
            key,
            uses: Mutex::default(),
        }
    }

    /// With the key in this state directory, which is made where there is none.
    ///
    /// # Errors
    /// It cannot be read or made, or others than its owner may read it.
    pub fn open(state_directory: &Path) -> Result<Self, KeyError> {
        key::open(&state_directory.join(KEY_FILE)).map(Self::new)
    }

    /// A new ticket that is good for so long, as it goes into a link; and when it ends.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn ticket(&self, ttl: Duration, now: Now) -> io::Result<(String, UnixTime)> {
        let expires = now.unix.plus_secs(ttl.as_secs());
        let ticket = Ticket {
            id: TicketId(random()?),
            expires,
            uses: TICKET_USES,
        };
        Ok((self.key.seal(&ticket), expires))
    }

    /// What this asker's browser is to try.
    ///
    /// # Errors
    /// Why there is nothing; a use is counted all the same once the ticket was found good.
    pub fn test(&self, asker: Asker<'_>, mint: &dyn Mint, now: Now) -> Result<Test, Denied> {
        let ticket = match asker {
            Asker::Known => None,
            Asker::Nobody => return Err(Denied::NoTicket),
            Asker::Holder(text) => Some(self.key.open(text).ok_or(Denied::Forged)?),
        };
        if ticket.is_some_and(|ticket| ticket.expires <= now.unix) {
            return Err(Denied::Expired);
        }
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        uses.take(ticket.as_ref(), now)?;
        drop(uses);
        // Without random bytes there are no credentials: for the visitor that is as if there were no relay.
        let random: [u8; 8] = random().map_err(|_| Denied::NoRelay)?;
        let user = format!("{USER}{:016x}", u64::from_be_bytes(random));
        let minted = mint.mint(&user, CREDENTIALS_TTL, now)?;
        let paths = paths::of(&minted.relays);
        if paths.is_empty() {
            return Err(Denied::NoRelay);
        }
        Ok(Test {
            paths,
            username: minted.username,
            credential: minted.credential,
            ttl: minted.expires.as_secs().saturating_sub(now.unix.as_secs()),
            expires: minted.expires,
        })
    }
}

impl From<Spent> for Denied {
    fn from(spent: Spent) -> Self {
        match spent {
            Spent::UsedUp => Self::UsedUp,
            Spent::TooOften(wait) => Self::TooOften(wait),
        }
    }
}

impl fmt::Debug for SelfTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelfTest").finish_non_exhaustive()
    }
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}
