//! What the server asks of its surroundings, and what they answer.
//!
//! Not responsible for carrying anything out.

use core::net::SocketAddr;
use core::time::Duration;

use crate::address::{Family, FiveTuple, RelayedAddr};
use crate::credentials::UserName;
use crate::forward::{AllocationId, DropReason, RelayedId, Route};

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send the reply to where the message came from.
    Reply,
    /// Nothing to send now; an answer may follow when a relayed socket is bound.
    Wait,
    /// Nothing more.
    Drop(DropReason),
}

/// Something to be done outside, in the order of [`super::Server::poll_effect`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Open a UDP socket on this address and report by [`super::Server::relayed_bound`].
    BindRelayed {
        /// The socket's name from now on.
        relayed: RelayedId,
        /// Address and port.
        bind: SocketAddr,
    },
    /// Close this socket; its name may be used again.
    UnbindRelayed {
        /// The socket.
        relayed: RelayedId,
    },
    /// A route begins.
    AddRoute(Route),
    /// A route ends.
    RemoveRoute(Route),
    /// Ask another worker for a reserved port ([`super::Server::release_reservation`]), take over its socket under the
    /// name `relayed`, and report by [`super::Server::reservation_claimed`].
    ClaimReservation {
        /// The socket's name in this worker.
        relayed: RelayedId,
        /// The worker that holds the reservation.
        owner: u8,
        /// The token that the client showed.
        token: [u8; 8],
        /// The user who showed it.
        user: UserName,
    },
    /// Tell the port's owner that it is free again ([`super::Server::port_returned`]).
    ReturnPort(RelayedPort),
    /// Something that an operator may want to know.
    Event(Event),
}

/// A relayed port and the worker whose range it is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayedPort {
    /// Index of the relayed address in the settings.
    pub address: u8,
    /// The port.
    pub port: u16,
    /// The worker that gives it out.
    pub owner: u8,
}

/// Why a relayed socket could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindError {
    /// Somebody else has the port: another one may do.
    InUse,
    /// Out of file descriptors, memory or rights: no other port will do.
    Exhausted,
}

/// A change of state, for logs. Addresses and names in it are for keyed pseudonyms, and must not be logged as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An allocation began.
    AllocationCreated {
        /// Its name in this worker.
        allocation: AllocationId,
        /// Tells it from those that had the name before.
        serial: u64,
        /// Whether it is the relay's own self-check's.
        synthetic: bool,
        /// Its 5-tuple.
        client: FiveTuple,
        /// Whose it is.
        user: UserName,
        /// The relayed address, or the first of two.
        family: Family,
        /// Whether it has a relayed address of each family.
        dual: bool,
        /// Its relayed addresses as peers know them, by [`Family::index`].
        relayed: [Option<RelayedAddr>; 2],
    },
    /// An allocation ended. Its routes are still in place when this is emitted.
    AllocationEnded {
        /// Its name in this worker.
        allocation: AllocationId,
        /// Tells it from those that had the name before.
        serial: u64,
        /// Whether it was the relay's own self-check's.
        synthetic: bool,
        /// Its 5-tuple.
        client: FiveTuple,
        /// Whose it was.
        user: UserName,
        /// Why.
        cause: EndCause,
        /// How long it lived.
        age: Duration,
        /// The relayed addresses that it still had, as peers knew them, by [`Family::index`].
        relayed: [Option<RelayedAddr>; 2],
    },
}

/// Why an allocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// The client asked for it (Refresh with lifetime 0).
    Client,
    /// Nobody refreshed it.
    Expired,
    /// The client's connection closed, and with it the 5-tuple.
    Disconnected,
    /// An operator asked for it.
    Operator,
}

impl EndCause {
    /// Every cause, in the order of [`EndCause::index`].
    pub const ALL: [Self; 4] = [
        Self::Client,
        Self::Expired,
        Self::Disconnected,
        Self::Operator,
    ];

    /// Position in [`EndCause::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word used in metric labels and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Expired => "expired",
            Self::Disconnected => "disconnected",
            Self::Operator => "operator",
        }
    }
}
