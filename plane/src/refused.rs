//! What the API turned away, as a metric: somebody who tries its door is seen.
//!
//! Not responsible for judging (`gate`, `access`, `bounded`).

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a request or a connection was turned away before anything looked at what it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Host names neither an address nor localhost, as when a page has its own name resolve to loopback.
    Host,
    /// A browser says that a web page asks.
    WebPage,
    /// The body is not declared as JSON.
    MediaType,
    /// The token is missing or wrong.
    Token,
    /// Who asks is known, and may not do that.
    Role,
    /// The TLS handshake failed: no client certificate of the operator's authority, mostly, or it took too long.
    Handshake,
}

impl Refused {
    /// Every reason, in the order of its index.
    const ALL: [Self; 6] = [
        Self::Host,
        Self::WebPage,
        Self::MediaType,
        Self::Token,
        Self::Role,
        Self::Handshake,
    ];

    /// The metric label.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::WebPage => "web_page",
            Self::MediaType => "media_type",
            Self::Token => "token",
            Self::Role => "role",
            Self::Handshake => "handshake",
        }
    }
}

/// How often each of them happened.
#[derive(Debug, Default)]
pub(super) struct Refusals([AtomicU64; Refused::ALL.len()]);

impl Refusals {
    pub(super) fn count(&self, refused: Refused) {
        if let Some(count) = self.0.get(refused as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counts = Refused::ALL.iter().zip(&self.0);
        counts.map(|(refused, count)| (refused.as_str(), count.load(Ordering::Relaxed)))
    }
}
