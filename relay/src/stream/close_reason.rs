//! Why a connection with a client ended, as a closed set of words.
//!
//! Responsible for naming the reasons. Not responsible for finding them (`connection`).

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client closed it.
    PeerClosed,
    /// The kernel reported an error: a reset, mostly.
    Reset,
    /// The bytes are not a TURN stream, or no longer.
    NotTurn,
    /// A frame was announced that is longer than any client has reason to send.
    FrameTooLong,
    /// A frame was begun and not completed in time.
    FrameDeadline,
    /// Nothing moved for too long.
    Idle,
    /// A TLS record was malformed or forged.
    Tls,
    /// Control frames piled up over their cap.
    Backlog,
    /// The client takes nothing of what it is owed.
    Stalled,
}

impl CloseReason {
    /// Every reason, in the order of [`CloseReason::index`].
    pub const ALL: [Self; 9] = [
        Self::PeerClosed,
        Self::Reset,
        Self::NotTurn,
        Self::FrameTooLong,
        Self::FrameDeadline,
        Self::Idle,
        Self::Tls,
        Self::Backlog,
        Self::Stalled,
    ];

    /// The word used in logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PeerClosed => "peer_closed",
            Self::Reset => "reset",
            Self::NotTurn => "not_turn",
            Self::FrameTooLong => "frame_too_long",
            Self::FrameDeadline => "frame_deadline",
            Self::Idle => "idle",
            Self::Tls => "tls",
            Self::Backlog => "backlog",
            Self::Stalled => "stalled",
        }
    }

    /// Position in [`CloseReason::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}
