//! Why a packet went no further: one closed list, which is also the metric label and the log field.
//!
//! Not responsible for counting; each worker counts by [`DropReason::index`].

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a packet went no further. Each reason belongs to one place in the code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DropReason {
            $($(#[$doc])* $name,)*
        }

        impl DropReason {
            /// Every reason, in the order of [`DropReason::index`].
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word used in metric labels and logs.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

drop_reasons! {
    /// A datagram of no bytes on a listener.
    Empty = "empty",
    /// ChannelData whose length passes the end of the datagram, or shorter than its header.
    MalformedChannelData = "malformed_channel_data",
    /// A Send indication that is not well formed or lacks its peer or data.
    MalformedSend = "malformed_send",
    /// A STUN message that is not well formed.
    MalformedStun = "malformed_stun",
    /// The first byte belongs to no protocol that the listener speaks (RFC 7983).
    UnknownProtocol = "unknown_protocol",
    /// A STUN response, or an indication that no client sends.
    UnexpectedMessage = "unexpected_message",
    /// Data on a 5-tuple or relayed address that holds no allocation.
    NoAllocation = "no_allocation",
    /// ChannelData with a number that is not bound.
    UnboundChannel = "unbound_channel",
    /// Data from a client to a peer that it has no permission for.
    NoPermission = "no_permission",
    /// Data to a peer of a family that the allocation has no relayed address of.
    NoRelayedAddress = "no_relayed_address",
    /// Data to a peer that the peer policy forbids.
    ForbiddenPeer = "forbidden_peer",
    /// Data beyond what its user may have relayed in a second.
    Bandwidth = "bandwidth",
    /// Data beyond what its allocation may have relayed in a second.
    AllocationBandwidth = "allocation_bandwidth",
    /// Data to a relayed address of this relay that holds no allocation.
    NoSuchRelayed = "no_such_relayed",
    /// Data from a peer without a permission.
    PeerNotPermitted = "peer_not_permitted",
    /// An unauthenticated request beyond its source's budget.
    UnauthenticatedRate = "unauthenticated_rate",
    /// A request with a name that its source has failed to prove too often, before the wait for it is over.
    HeldOff = "held_off",
    /// An ICMP error that matches no permission, is of a kind that is not passed on, or came too fast.
    IcmpIgnored = "icmp_ignored",
    /// A datagram that the kernel had cut; it is never passed on short.
    Truncated = "truncated",
    /// A payload that does not fit what carries it.
    TooLarge = "too_large",
    /// The kernel did not take the packet.
    SendFailed = "send_failed",
    /// The queue to another worker was full.
    HandoverFull = "handover_full",
    /// The queue towards a slow TCP or TLS client was full.
    QueueFull = "queue_full",
    /// The payload had waited too long for a slow TCP or TLS client.
    QueueAge = "queue_age",
    /// The client's TCP or TLS connection was gone.
    ConnectionGone = "connection_gone",
}

impl DropReason {
    /// Position in [`DropReason::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl core::fmt::Display for DropReason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}
