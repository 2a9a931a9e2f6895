//! What the listeners have seen, as numbers with closed sets of labels.
//!
//! Responsible for counting. Not responsible for exporting (`metrics`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::{NamedGroup, ProtocolVersion};
use taciturn_protocol::address::Transport;

/// Why a connection was turned away before it reached a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// As many connections as allowed were there.
    ConnectionCap,
    /// Its source had as many connections as one may have.
    SourceCap,
    /// As many connections as allowed were half open, and the policy is to refuse the newcomer.
    HalfOpenCap,
    /// It was the oldest half-open connection when another came in at the cap.
    HalfOpenOldest,
    /// The first bytes were those of another protocol.
    WrongProtocol,
    /// Too little came in time.
    Deadline,
    /// The TLS handshake failed.
    Handshake,
    /// The client went away first.
    ClosedEarly,
}

impl Refusal {
    /// Every reason, in the order of [`Refusal::index`].
    pub const ALL: [Self; 8] = [
        Self::ConnectionCap,
        Self::SourceCap,
        Self::HalfOpenCap,
        Self::HalfOpenOldest,
        Self::WrongProtocol,
        Self::Deadline,
        Self::Handshake,
        Self::ClosedEarly,
    ];

    /// The word used in logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionCap => "connection_cap",
            Self::SourceCap => "source_cap",
            Self::HalfOpenCap => "half_open_cap",
            Self::HalfOpenOldest => "half_open_oldest",
            Self::WrongProtocol => "wrong_protocol",
            Self::Deadline => "deadline",
            Self::Handshake => "handshake",
            Self::ClosedEarly => "closed_early",
        }
    }

    /// Position in [`Refusal::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Why a TLS handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeFailure {
    /// The client offers no version that the profile allows.
    Version,
    /// No cipher suite, group or signature algorithm in common.
    Parameters,
    /// Only foreign application protocols were offered.
    Alpn,
    /// The ClientHello is too long.
    HelloTooLong,
    /// The client sent an alert: it refuses the certificate, mostly.
    Alert,
    /// Anything else: malformed, forged, out of order.
    Protocol,
}

impl HandshakeFailure {
    /// Every failure, in the order of [`HandshakeFailure::index`].
    pub const ALL: [Self; 6] = [
        Self::Version,
        Self::Parameters,
        Self::Alpn,
        Self::HelloTooLong,
        Self::Alert,
        Self::Protocol,
    ];

    /// The word used in logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Parameters => "parameters",
            Self::Alpn => "alpn",
            Self::HelloTooLong => "hello_too_long",
            Self::Alert => "alert",
            Self::Protocol => "protocol",
        }
    }

    /// Position in [`HandshakeFailure::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// The TLS versions that a profile can allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl TlsVersion {
    /// Every version, in the order of [`TlsVersion::index`].
    pub const ALL: [Self; 2] = [Self::Tls12, Self::Tls13];

    /// The word used in logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }

    /// Position in [`TlsVersion::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    pub(super) fn negotiated(version: Option<ProtocolVersion>) -> Self {
        if version == Some(ProtocolVersion::TLSv1_2) {
            Self::Tls12
        } else {
            Self::Tls13
        }
    }
}

/// The key exchange groups that a profile can allow: an operator sees from them how many clients are ready for
/// post-quantum key exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// X25519MLKEM768.
    X25519MlKem768,
    /// SecP256r1MLKEM768.
    Secp256r1MlKem768,
    /// X25519.
    X25519,
    /// P-256.
    Secp256r1,
    /// P-384.
    Secp384r1,
    /// None of these.
    Other,
}

impl Group {
    /// Every group, in the order of [`Group::index`].
    pub const ALL: [Self; 6] = [
        Self::X25519MlKem768,
        Self::Secp256r1MlKem768,
        Self::X25519,
        Self::Secp256r1,
        Self::Secp384r1,
        Self::Other,
    ];

    /// The word used in logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X25519MlKem768 => "x25519mlkem768",
            Self::Secp256r1MlKem768 => "secp256r1mlkem768",
            Self::X25519 => "x25519",
            Self::Secp256r1 => "secp256r1",
            Self::Secp384r1 => "secp384r1",
            Self::Other => "other",
        }
    }

    /// Position in [`Group::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    pub(super) fn negotiated(group: Option<NamedGroup>) -> Self {
        match group {
            Some(NamedGroup::X25519MLKEM768) => Self::X25519MlKem768,
            Some(NamedGroup::secp256r1MLKEM768) => Self::Secp256r1MlKem768,
            Some(NamedGroup::X25519) => Self::X25519,
            Some(NamedGroup::secp256r1) => Self::Secp256r1,
            Some(NamedGroup::secp384r1) => Self::Secp384r1,
            Some(_) | None => Self::Other,
        }
    }
}

/// The listeners' counters. Shared; every number is read on its own.
#[derive(Debug, Default)]
pub struct FrontCounters {
    accepted: AtomicU64,
    accept_errors: AtomicU64,
    established: [AtomicU64; Transport::ALL.len()],
    refused: [AtomicU64; Refusal::ALL.len()],
    handshakes: [[AtomicU64; Group::ALL.len()]; TlsVersion::ALL.len()],
    handshake_failures: [AtomicU64; HandshakeFailure::ALL.len()],
    health_answers: AtomicU64,
    half_open: AtomicU64,
    pub(super) connections: Arc<AtomicU64>,
}

impl FrontCounters {
    /// Connections accepted from the kernel.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Times that the kernel had no connection to give although one was there: too few file descriptors or memory.
    pub fn accept_errors(&self) -> u64 {
        self.accept_errors.load(Ordering::Relaxed)
    }

    /// Connections handed to a worker.
    pub fn established(&self, transport: Transport) -> u64 {
        self.established[transport.index()].load(Ordering::Relaxed)
    }

    /// Connections turned away.
    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.refused[refusal.index()].load(Ordering::Relaxed)
    }

    /// Completed TLS handshakes.
    pub fn handshakes(&self, version: TlsVersion, group: Group) -> u64 {
        self.handshakes[version.index()][group.index()].load(Ordering::Relaxed)
    }

    /// Failed TLS handshakes.
    pub fn handshake_failures(&self, failure: HandshakeFailure) -> u64 {
        self.handshake_failures[failure.index()].load(Ordering::Relaxed)
    }

    /// HTTPS requests answered.
    pub fn health_answers(&self) -> u64 {
        self.health_answers.load(Ordering::Relaxed)
    }

    /// Connections that are not established yet, now.
    pub fn half_open(&self) -> u64 {
        self.half_open.load(Ordering::Relaxed)
    }

    /// Connections that are there, now: half open ones and those of the workers.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    pub(super) fn count_accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_accept_error(&self) {
        self.accept_errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_established(&self, transport: Transport) {
        self.established[transport.index()].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_refused(&self, refusal: Refusal) {
        self.refused[refusal.index()].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_handshake(&self, version: TlsVersion, group: Group) {
        self.handshakes[version.index()][group.index()].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_handshake_failure(&self, failure: HandshakeFailure) {
        self.handshake_failures[failure.index()].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_health_answer(&self) {
        self.health_answers.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_half_open(&self, count: usize) {
        self.half_open.store(count as u64, Ordering::Relaxed);
    }
}
