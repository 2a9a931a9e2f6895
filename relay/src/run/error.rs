//! Why a relay could not start, said so that it can be mended.
//!
//! Not responsible for what is wrong with a configuration by itself (`config`).

use std::io;
use std::net::SocketAddr;

use crate::admin::AccessError;
use crate::listener::ServeError;
use crate::listener::certificate::CertificateError;
use crate::listener::tls::TlsError;
use crate::pseudonyms::NoRandom;
use crate::relayed::RelayedError;

use super::{InheritedError, InstanceError};

/// Why a relay could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Relayed addresses or ports.
    #[error(transparent)]
    Relayed(#[from] RelayedError),
    /// A listener's address cannot be bound.
    #[error(
        "[[listener]] {transport} {address} cannot be bound; is another program using it, or a privilege missing, as for a port \
         below 1024 without its socket unit?"
    )]
    Listen {
        /// What is spoken there.
        transport: &'static str,
        /// The configured address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A socket that the supervisor has handed over.
    #[error(transparent)]
    Inherited(#[from] InheritedError),
    /// The admin address cannot be bound.
    #[error("[admin] address {address} cannot be bound; is another relay using it?")]
    Admin {
        /// The configured address.
        address: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The certificate or its key.
    #[error("[tls] certificate and key cannot be used")]
    Certificate(#[from] CertificateError),
    /// TLS as a whole.
    #[error("[tls] cannot be set up")]
    Tls(#[from] TlsError),
    /// Who may ask the admin API.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// A TCP listener that the control runtime refused.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The system refused something that every program needs.
    #[error("{what}")]
    System {
        /// What was to be done.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system has no randomness to give.
    #[error("the system gives no random bytes")]
    Random,
    /// The same, for the pseudonyms in the log.
    #[error(transparent)]
    Pseudonyms(#[from] NoRandom),
    /// The instance metadata says that the relay should not run here, or says nothing.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// The metrics contradict each other, which is a fault of this program.
    #[error("metrics cannot be registered")]
    Metrics(#[from] taciturn_plane::metrics::MetricsError),
}

impl StartError {
    /// The system refused this.
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}
