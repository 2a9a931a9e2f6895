//! The demo's page and the credentials it asks for, on loopback only.
//!
//! Not responsible for the call. It is no model for production: whoever reaches this port gets credentials.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;

#[cfg(feature = "controller")]
use super::fleet;
use super::relay_only::Demo;
use super::settings;

const PAGE: &str = include_str!("page/index.html");

/// What the page's calls go through.
#[derive(Clone)]
pub(crate) enum Demonstrated {
    /// One relay.
    Relay(Arc<Demo>),
    /// A fleet, whose controller is asked for credentials.
    #[cfg(feature = "controller")]
    Fleet(Arc<fleet::Fleet>),
}

impl Demonstrated {
    /// Credentials, and what the page has to know beside them.
    async fn config(&self) -> anyhow::Result<Value> {
        match self {
            Self::Relay(demo) => {
                let mut config = demo.ice_servers()?;
                config["transports"] = json!(["udp", "tcp", "tls"]);
                config["realm"] = settings::REALM.into();
                Ok(config)
            }
            #[cfg(feature = "controller")]
            Self::Fleet(fleet) => fleet.ice_servers().await,
        }
    }

    fn authority_pem(&self) -> String {
        match self {
            Self::Relay(demo) => demo.authority_pem.clone(),
            #[cfg(feature = "controller")]
            Self::Fleet(fleet) => fleet.authority_pem.clone(),
        }
    }
}

/// What the page's handlers know.
#[derive(Clone)]
struct Page {
    demonstrated: Demonstrated,
    address: SocketAddr,
}

/// Starts serving on this port, or on any when it is taken, and returns the address.
pub(crate) async fn serve(demonstrated: Demonstrated, port: u16) -> anyhow::Result<SocketAddr> {
    let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("the page cannot be served")?,
    };
    let address = listener.local_addr().context("the page cannot be served")?;
    let router = Router::new()
        .route("/", get(async || Html(PAGE)))
        .route("/config.json", get(config))
        .route("/fleet.json", get(relays))
        .route("/self-test", get(self_test))
        .route("/test-authority.pem", get(authority))
        .layer(middleware::from_fn(only_by_own_name))
        .with_state(Page {
            demonstrated,
            address,
        });
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

/// Any page that the visitor's browser has open can send requests here; only one served from here may read the
/// answers, and a name that somebody points at loopback is refused.
async fn only_by_own_name(request: Request, next: Next) -> Response {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if name == "127.0.0.1" || name == "localhost" {
        next.run(request).await
    } else {
        (
            StatusCode::MISDIRECTED_REQUEST,
            "open this page as http://127.0.0.1\n",
        )
            .into_response()
    }
}

async fn config(State(page): State<Page>) -> Response {
    match page.demonstrated.config().await {
        Ok(mut config) => {
            config["authority"] = format!("http://{}/test-authority.pem", page.address).into();
            ([(header::CACHE_CONTROL, "no-store")], Json(config)).into_response()
        }
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n")).into_response(),
    }
}

/// Which relays there are, for a page that shows which of them carry its call.
async fn relays(State(page): State<Page>) -> Response {
    match page.demonstrated {
        Demonstrated::Relay(_) => StatusCode::NOT_FOUND.into_response(),
        #[cfg(feature = "controller")]
        Demonstrated::Fleet(fleet) => {
            ([(header::CACHE_CONTROL, "no-store")], Json(fleet.shown())).into_response()
        }
    }
}

/// The controller's self-test page, with a ticket that is good now.
async fn self_test(State(page): State<Page>) -> Response {
    match page.demonstrated {
        Demonstrated::Relay(_) => StatusCode::NOT_FOUND.into_response(),
        #[cfg(feature = "controller")]
        Demonstrated::Fleet(fleet) => match fleet.self_test().await {
            Ok(url) => axum::response::Redirect::to(&url).into_response(),
            Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n")).into_response(),
        },
    }
}

async fn authority(State(page): State<Page>) -> Response {
    (
        [(header::CONTENT_TYPE, "application/x-pem-file")],
        page.demonstrated.authority_pem(),
    )
        .into_response()
}
