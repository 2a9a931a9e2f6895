//! What the relay and the controller have in common towards their operators: an HTTP API for programs, metrics, and
//! the words of their configurations that are the same.
//!
//! ```text
//!   a connection --> bounded: in number and time, TLS --> gate: no web page, the token (access) --> the program's routes
//! ```
//!
//! Responsible for who may ask and what a stranger can hold, for the form of errors, for the exposition of metrics, and for
//! how a file that survives a restart is written. Not responsible for what is asked, shown and kept: routes, names and figures
//! belong to the relay and to the controller.
//!
//! By default programs on this host alone reach such an API, over loopback or a Unix socket; beyond that everybody who asks
//! for more than health proves who they are ([`Access`]). None is trusted with time or memory: a connection lives for a
//! minute, bodies are small, and so is the number of connections (A-40). What a web page in a browser on this host makes it
//! send is refused.
#![forbid(unsafe_code)]

mod access;
mod answers;
mod bounded;
mod caller;
mod der;
mod gate;
mod kept;
mod log;
pub mod metrics;
mod peer;
mod query;
mod refused;
mod slips;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::{Router, middleware};

pub use access::{Access, Authority, PreparedAccess, TlsError, Token, tls};
pub use answers::{BODY_BYTES, Refusal, body, json_of, no_such_method, no_such_path, refusal};
pub use bounded::{Bounded, Limits, Listener, Timed, serve};
pub use caller::{Audience, Caller, Role};
pub use der::{CertificateFacts, PublicKey, dns_names, expiry, issuer_name};
pub use kept::replace;
pub use log::{LogFormat, LogLevel};
pub use query::Query;
pub use slips::{nearest, printable};

/// Says whom a path is for.
pub type Audiences = fn(&str) -> Audience;

/// `routes` behind the gate, with small bodies and with answers for paths and methods that there are not. `paths`: those
/// that there are, in words. `/live` and `/ready` are open to everybody: load balancers and orchestrators have no token.
/// Everything else is the operator's.
pub fn guarded<S: Clone + Send + Sync + 'static>(
    routes: Router<S>,
    access: Arc<Access>,
    paths: &'static str,
) -> Router<S> {
    guarded_for(routes, access, paths, health_and_operator)
}

/// As [`guarded`], with an audience for each path; one that there is not is best the operator's. Requests that come through
/// have a [`Caller`] among their extensions.
pub fn guarded_for<S: Clone + Send + Sync + 'static>(
    routes: Router<S>,
    access: Arc<Access>,
    paths: &'static str,
    audiences: Audiences,
) -> Router<S> {
    let gate = gate::Gate { access, audiences };
    routes
        .fallback(move |uri| async move { no_such_path(&uri, paths) })
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn_with_state(gate, gate::judge))
}

fn health_and_operator(path: &str) -> Audience {
    match path {
        "/live" | "/ready" => Audience::Everybody,
        _ => Audience::Operator,
    }
}
