//! What is known of the other end of a connection: the names in its certificate, and how much longer it may last.
//!
//! Not responsible for whose a name is (`access`), nor for ending anything (`bounded`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::time::Instant;

use super::{Limits, dns_names};

/// The other end of one connection; a copy is of the same one.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// The DNS names in its certificate, in lower case; `None`: it has shown none.
    names: Option<Arc<[String]>>,
    pub(super) life: Arc<Life>,
}

impl Peer {
    /// One that is connected since then, and has shown this certificate, which the handshake has verified.
    pub(super) fn new(began: Instant, shown: Option<&CertificateDer<'_>>, limits: Limits) -> Self {
        Self {
            names: shown.map(|own| dns_names(own).into()),
            life: Arc::new(Life::new(began, limits)),
        }
    }

    pub(super) fn names(&self) -> Option<&[String]> {
        self.names.as_deref()
    }
}

/// How much longer a connection may last.
#[derive(Debug)]
pub(super) struct Life {
    began: Instant,
    patience: Duration,
    lifetime: Duration,
    /// When somebody who is known asked last, in milliseconds since it began.
    asked: AtomicU64,
}

impl Life {
    fn new(began: Instant, limits: Limits) -> Self {
        Self {
            began,
            patience: limits.patience,
            lifetime: limits.lifetime,
            asked: AtomicU64::new(0),
        }
    }

    /// Somebody who is known asks something.
    pub(super) fn asks(&self, now: Instant) {
        let since = now.saturating_duration_since(self.began).as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        self.asked.fetch_max(since, Ordering::Relaxed);
    }

    /// When it ends, if nobody asks any more.
    pub(super) fn end(&self) -> Instant {
        let asked = Duration::from_millis(self.asked.load(Ordering::Relaxed));
        self.began + asked.saturating_add(self.patience).min(self.lifetime)
    }

    /// Whether the next answer is best the last: a question after it might be cut off.
    pub(super) fn is_old(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.began);
        self.patience < self.lifetime && age.saturating_add(self.patience) >= self.lifetime
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    /// a connection lasts for as long as it is used by those who may, and never for ever.
    #[test]
    fn a_connection_lasts_while_it_is_used_and_not_for_ever() {
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);
        let life = Life::new(began, Limits::MANY);
        assert_eq!(life.end(), after(60));
        life.asks(after(50));
        life.asks(after(40));
        assert_eq!(life.end(), after(110));
        assert!(!life.is_old(after(500)));
        life.asks(after(570));
        assert!(life.is_old(after(570)));
        assert_eq!(life.end(), after(600));

        let short = Life::new(began, Limits::FEW);
        short.asks(after(50));
        assert_eq!(short.end(), after(60));
        assert!(!short.is_old(after(59)));
    }

    #[test]
    fn a_certificates_dns_names_are_its_names_and_nothing_else_is() {
        let mut params = CertificateParams::new([
            "Signalling-1.example.org".to_owned(),
            "b.example.org".to_owned(),
        ])
        .unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "operator.example.org");
        params
            .subject_alt_names
            .push(SanType::IpAddress([127, 0, 0, 1].into()));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let peer = Peer::new(Instant::now(), Some(certificate.der()), Limits::FEW);
        let names: Vec<&str> = peer.names().unwrap().iter().map(String::as_str).collect();
        assert_eq!(names, ["signalling-1.example.org", "b.example.org"]);

        assert!(
            Peer::new(Instant::now(), None, Limits::FEW)
                .names()
                .is_none()
        );
        let broken = CertificateDer::from(vec![0x30, 3, 1, 2, 3]);
        assert_eq!(
            Peer::new(Instant::now(), Some(&broken), Limits::FEW).names(),
            Some(&[][..])
        );
    }
}
