//! What became of the datagrams that were handed to the kernel.
//!
//! Responsible for the closed list of ways in which a send can fail, and for counting them. Not responsible for any
//! reaction: a failed datagram is dropped, as UDP allows, and no failure ever closes a socket.

use std::io;

/// Why the kernel did not take a datagram. Closed, so that it can label a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SendFailure {
    /// The socket's send buffer is full (`EAGAIN`).
    WouldBlock,
    /// The queue of the interface or the kernel's memory is full (`ENOBUFS`, `ENOMEM`).
    NoBuffers,
    /// Longer than the path allows (`EMSGSIZE`).
    TooLarge,
    /// A firewall rule or a broadcast address (`EPERM`, `EACCES`).
    Denied,
    /// An earlier datagram met a closed port (`ECONNREFUSED`), and the error was still there at the second attempt.
    Refused,
    /// No route to the network or the host (`ENETUNREACH`, `EHOSTUNREACH`, `ENETDOWN`, `EHOSTDOWN`).
    Unreachable,
    /// The address cannot be sent to from this socket (`EINVAL`, `EADDRNOTAVAIL`, `EAFNOSUPPORT`, `EDESTADDRREQ`).
    Invalid,
    /// The socket that the datagram was queued for is gone.
    Unbound,
    /// The bytes had been received over before the flush; a fault of the caller, and sending them would leak another flow.
    Stale,
    /// Any other error.
    Other,
}

impl SendFailure {
    /// Every failure, in the order of [`SendFailure::index`].
    pub const ALL: [Self; 10] = [
        Self::WouldBlock,
        Self::NoBuffers,
        Self::TooLarge,
        Self::Denied,
        Self::Refused,
        Self::Unreachable,
        Self::Invalid,
        Self::Unbound,
        Self::Stale,
        Self::Other,
    ];

    /// The word for logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WouldBlock => "would_block",
            Self::NoBuffers => "no_buffers",
            Self::TooLarge => "too_large",
            Self::Denied => "denied",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Invalid => "invalid",
            Self::Unbound => "unbound",
            Self::Stale => "stale",
            Self::Other => "other",
        }
    }

    /// Position in [`SendFailure::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    pub(super) fn of(error: &io::Error) -> Self {
        match error.raw_os_error().unwrap_or(0) {
            libc::EAGAIN => Self::WouldBlock,
            libc::ENOBUFS | libc::ENOMEM => Self::NoBuffers,
            libc::EMSGSIZE => Self::TooLarge,
            libc::EPERM | libc::EACCES => Self::Denied,
            libc::ECONNREFUSED => Self::Refused,
            libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::EHOSTDOWN => {
                Self::Unreachable
            }
            libc::EINVAL | libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT | libc::EDESTADDRREQ => {
                Self::Invalid
            }
            _ => Self::Other,
        }
    }
}

/// Counts of one flush, or of many added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendOutcome {
    /// Datagrams that the kernel took.
    pub datagrams: u64,
    /// UDP payload bytes in those datagrams.
    pub bytes: u64,
    /// How many times several datagrams went as one segmented send (`UDP_SEGMENT`).
    pub trains: u64,
    /// System calls made.
    pub calls: u64,
    has_failures: bool,
    failed: [u64; SendFailure::ALL.len()],
    failed_bytes: [u64; SendFailure::ALL.len()],
}

impl SendOutcome {
    /// Datagrams dropped for this reason.
    pub const fn failed(&self, failure: SendFailure) -> u64 {
        self.failed[failure.index()]
    }

    /// Whether any datagram was dropped. Costs less than asking for all reasons.
    #[inline]
    pub const fn has_failures(&self) -> bool {
        self.has_failures
    }

    /// Every reason for which datagrams were dropped, with how many, and how many bytes they had.
    pub fn failures(&self) -> impl Iterator<Item = (SendFailure, u64, u64)> + '_ {
        SendFailure::ALL
            .into_iter()
            .map(|failure| {
                let bytes = self.failed_bytes[failure.index()];
                (failure, self.failed(failure), bytes)
            })
            .filter(|(_, count, _)| *count > 0)
    }

    /// Adds the counts of another flush.
    pub fn add(&mut self, other: &Self) {
        self.datagrams += other.datagrams;
        self.bytes += other.bytes;
        self.trains += other.trains;
        self.calls += other.calls;
        self.has_failures |= other.has_failures;
        for (mine, theirs) in self.failed.iter_mut().zip(other.failed) {
            *mine += theirs;
        }
        for (mine, theirs) in self.failed_bytes.iter_mut().zip(other.failed_bytes) {
            *mine += theirs;
        }
    }

    pub(super) const fn fail(&mut self, failure: SendFailure, datagrams: u64, bytes: usize) {
        self.has_failures = true;
        self.failed[failure.index()] += datagrams;
        self.failed_bytes[failure.index()] += bytes as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// G-20: ENOBUFS/EAGAIN/EPERM/ENETUNREACH/ECONNREFUSED/EMSGSIZE on send each have a class of their own.
    #[test]
    fn every_errno_of_a_send_has_its_class() {
        let classes = [
            (libc::EAGAIN, SendFailure::WouldBlock),
            (libc::ENOBUFS, SendFailure::NoBuffers),
            (libc::EMSGSIZE, SendFailure::TooLarge),
            (libc::EPERM, SendFailure::Denied),
            (libc::ECONNREFUSED, SendFailure::Refused),
            (libc::ENETUNREACH, SendFailure::Unreachable),
            (libc::EHOSTUNREACH, SendFailure::Unreachable),
            (libc::EINVAL, SendFailure::Invalid),
            (libc::EIO, SendFailure::Other),
        ];
        for (errno, class) in classes {
            assert_eq!(SendFailure::of(&io::Error::from_raw_os_error(errno)), class);
        }
    }

    #[test]
    fn indices_are_positions_and_words_differ() {
        for (position, failure) in SendFailure::ALL.into_iter().enumerate() {
            assert_eq!(failure.index(), position);
            assert_eq!(
                SendFailure::ALL
                    .iter()
                    .filter(|other| other.as_str() == failure.as_str())
                    .count(),
                1
            );
        }
    }

    #[test]
    fn outcomes_add_up() {
        let mut total = SendOutcome::default();
        let mut one = SendOutcome {
            datagrams: 2,
            bytes: 300,
            trains: 1,
            calls: 1,
            ..SendOutcome::default()
        };
        assert!(!one.has_failures());
        one.fail(SendFailure::TooLarge, 3, 90);
        total.add(&one);
        total.add(&one);
        assert_eq!(
            (total.datagrams, total.bytes, total.trains, total.calls),
            (4, 600, 2, 2)
        );
        assert!(total.has_failures());
        assert_eq!(
            total.failures().collect::<Vec<_>>(),
            [(SendFailure::TooLarge, 6, 180)]
        );
    }
}
