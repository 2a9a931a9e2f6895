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
use tokio::net::TcpListener;

use super::{Demo, settings};

const PAGE: &str = include_str!("page/index.html");

/// What the page's handlers know.
#[derive(Clone)]
struct Page {
    demo: Arc<Demo>,
    address: SocketAddr,
}

/// Starts serving on this port, or on any when it is taken, and returns the address.
pub(crate) async fn serve(demo: Arc<Demo>, port: u16) -> anyhow::Result<SocketAddr> {
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
        .route("/test-authority.pem", get(authority))
        .layer(middleware::from_fn(only_by_own_name))
        .with_state(Page { demo, address });
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

async fn config(State(Page { demo, address }): State<Page>) -> Response {
    let Ok(mut config) = demo.ice_servers() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    config["transports"] = serde_json::json!(["udp", "tcp", "tls"]);
    config["realm"] = settings::REALM.into();
    config["authority"] = format!("http://{address}/test-authority.pem").into();
    ([(header::CACHE_CONTROL, "no-store")], Json(config)).into_response()
}

async fn authority(State(Page { demo, .. }): State<Page>) -> Response {
    (
        [(header::CONTENT_TYPE, "application/x-pem-file")],
        demo.authority_pem.clone(),
    )
        .into_response()
}
