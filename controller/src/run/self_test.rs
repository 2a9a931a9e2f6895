//! The self-test in a controller: the key of its tickets, and the listener of its own, where it has one.
//!
//! Responsible for setting both up. Not responsible for what is served (`api::self_test`).

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use taciturn_plane::{Access, Bounded, Limits, Listener, serve};
use tokio::net::TcpListener;
use tracing::warn;

use super::StartError;
use crate::api::self_test::{TestDesk, router};
use crate::clock::Clock;
use crate::config::ControllerConfig;
use crate::credentials::Desk;
use crate::self_test::SelfTest;

/// What there is of it before anything is served.
pub(super) struct Page {
    tests: Arc<SelfTest>,
    url: Option<String>,
    encrypted: bool,
    pub(super) listener: Option<Own>,
}

/// A listener that serves the page and its ticket route, and nothing else.
pub(super) struct Own {
    pub(super) address: SocketAddr,
    listener: TcpListener,
}

/// Sets it up; `own_directory` has the key.
pub(super) async fn page(
    config: &ControllerConfig,
    own_directory: &Path,
) -> Result<Page, StartError> {
    let written = config.self_test.as_ref();
    let listener = match written.and_then(|own| own.address) {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    Ok(Page {
        tests: Arc::new(SelfTest::open(own_directory)?),
        url: written.and_then(|own| own.url.clone()),
        encrypted: config.api.tls.is_some(),
        listener,
    })
}

async fn listen(wanted: SocketAddr) -> Result<Own, StartError> {
    let refused = |error| StartError::SelfTestListen(wanted, error);
    let listener = TcpListener::bind(wanted).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    Ok(Own { address, listener })
}

impl Page {
    /// What the routes know, wherever they are served.
    pub(super) fn desk(&self, mint: &Arc<Desk>, clock: Clock) -> TestDesk {
        TestDesk {
            tests: Arc::clone(&self.tests),
            mint: Arc::clone(mint) as _,
            url: self.url.clone(),
            encrypted: self.encrypted,
            clock,
        }
    }
}

impl Own {
    /// Serves until the process ends. `access`: that of a listener at which nobody is known.
    pub(super) async fn serve(self, desk: TestDesk, access: Arc<Access>) {
        let routes = router(desk, Arc::clone(&access));
        let listener = Listener::Tcp(self.listener);
        let bounded = Bounded::within(Limits::VISITORS, listener, access);
        if let Err(error) = serve(bounded, routes).await {
            warn!(%error, "the self-test's listener has ended");
        }
    }
}
