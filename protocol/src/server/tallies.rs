//! What a server has refused, and how those who asked it proved themselves: counts that only grow.
//!
//! Closed lists, so that the number of counters is a constant whatever the network sends. Not responsible for packets,
//! which are the forwarding table's and the worker's to count. The relay's own self-check is left out wherever it can be
//! told from a user: once it has proved its name.

use super::reply::ErrorCode;

macro_rules! closed_list {
    ($(#[$doc:meta])* $list:ident { $($(#[$item_doc:meta])* $name:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $list {
            $($(#[$item_doc])* $name,)*
        }

        impl $list {
            /// Every one of them, in the order of their index.
            pub const ALL: [Self; [$($text,)*].len()] = [$(Self::$name,)*];

            /// The word used in metric labels.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// Position in `ALL`.
            pub const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

closed_list! {
    /// How a request that needs credentials proved itself (RFC 8489 §9.2.4).
    Authentication {
        /// It did.
        Success = "success",
        /// It came without credentials and was challenged: every client's first request (401).
        Challenged = "challenged",
        /// No key of the name fits, or nobody has the name (401).
        WrongCredentials = "wrong_credentials",
        /// The proof is right, the nonce is not (438).
        StaleNonce = "stale_nonce",
        /// The credential attributes contradict each other, or some are missing (400).
        Malformed = "malformed",
        /// Proved, but the allocation is another user's (441).
        WrongUser = "wrong_user",
        /// The source's budget of answers was spent: dropped without a word.
        Silenced = "silenced",
        /// The source has given wrong proofs of this name and has to wait: dropped unverified, without a word.
        HeldOff = "held_off",
    }
}

closed_list! {
    /// Why a request of a proven user was refused, where a limit or a policy refused it rather than its form.
    Refusal {
        /// The user holds as many allocations as a user may (486).
        UserQuota = "user_quota",
        /// The relay holds as many as it may (508).
        TotalQuota = "total_quota",
        /// No relayed port of the kind is free (508).
        Ports = "ports",
        /// Too many ports that the user has let go still rest (486).
        PortsAtRest = "ports_at_rest",
        /// The host did not open a relayed socket (508).
        Sockets = "sockets",
        /// No port is held for the token, or not for this user (508).
        Reservation = "reservation",
        /// The allocation has as many permissions as it may (508).
        Permissions = "permissions",
        /// The allocation has as many channels as it may (508).
        Channels = "channels",
        /// The relay drains (300 or 508).
        Drain = "drain",
        /// The relay is overloaded (300 or 508).
        Overload = "overload",
        /// The peer policy forbids the peer (403).
        ForbiddenPeer = "forbidden_peer",
        /// The client's address is of a tunnel (403, RFC 8656 §21.4).
        ForbiddenClient = "forbidden_client",
    }
}

impl Refusal {
    /// What the client is told, where nothing better is known.
    pub(super) const fn code(self) -> ErrorCode {
        match self {
            Self::UserQuota | Self::PortsAtRest => ErrorCode::AllocationQuotaReached,
            Self::TotalQuota
            | Self::Ports
            | Self::Sockets
            | Self::Reservation
            | Self::Permissions
            | Self::Channels
            | Self::Drain
            | Self::Overload => ErrorCode::InsufficientCapacity,
            Self::ForbiddenPeer | Self::ForbiddenClient => ErrorCode::Forbidden,
        }
    }
}

/// Counts since the start, by position in [`Authentication::ALL`] and [`Refusal::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tallies {
    /// Requests that need credentials, by what became of their proof.
    pub authentications: [u64; Authentication::ALL.len()],
    /// Refused requests of proven users, by what refused them.
    pub refusals: [u64; Refusal::ALL.len()],
}

impl Tallies {
    pub(super) const fn authentication(&mut self, outcome: Authentication) {
        let count = &mut self.authentications[outcome.index()];
        *count = count.wrapping_add(1);
    }

    pub(super) const fn refusal(&mut self, refusal: Refusal) {
        let count = &mut self.refusals[refusal.index()];
        *count = count.wrapping_add(1);
    }
}
