//! `taciturn demo --relay-only`: one relay and a page on loopback.
//!
//! Responsible for the order of things and for what the terminal shows. Not responsible for the relay, which is the
//! same as `taciturn relay` runs, nor for the call, which the page's browser makes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use taciturn_protocol::address::Transport;
use taciturn_protocol::credentials::{Credentials, HmacHash, SharedSecret, mint};
use taciturn_relay::clock::Clock;
use taciturn_relay::config::ListenerTransport;
use taciturn_relay::counters::Flow;
use taciturn_relay::probe::{self, Effort, Login, Route, Target, Trust};
use taciturn_relay::run::{Relay, StartError};

use zeroize::Zeroizing;

use super::certificate::{self, TestAuthority};
use super::page::{self, Demonstrated};
use super::{println, settings};
use crate::cli::DemoOptions;

/// Long enough for an afternoon; the page fetches new ones for each call.
const TTL: Duration = Duration::from_secs(4 * 3600);

/// Everything about the running demo that the page needs.
pub(crate) struct Demo {
    secret: SharedSecret,
    urls: Vec<String>,
    pub(crate) authority_pem: String,
    clock: Clock,
}

impl Demo {
    /// Fresh credentials in the form that a browser takes.
    pub(crate) fn ice_servers(&self) -> anyhow::Result<serde_json::Value> {
        let Credentials {
            username, password, ..
        } = self.mint()?;
        Ok(serde_json::json!({
            "iceServers": [{ "urls": self.urls, "username": username, "credential": password }],
        }))
    }

    fn mint(&self) -> anyhow::Result<Credentials> {
        mint(
            &self.secret,
            HmacHash::Sha256,
            "demo",
            TTL,
            self.clock.now().unix,
        )
        .map_err(|error| anyhow::anyhow!("credentials cannot be minted: {error}"))
    }
}

pub(crate) fn run(options: DemoOptions) -> anyhow::Result<()> {
    let authority = certificate::make([]).context("the test certificate cannot be made")?;
    let secret = settings::random_secret()?;
    let relay = start(&authority, &secret)?;
    let demo = Arc::new(Demo {
        secret: settings::shared(&secret)?,
        urls: ice_urls(&relay),
        authority_pem: authority.authority_pem.clone(),
        clock: Clock::start(),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the page cannot be served")?;
    runtime.block_on(async {
        println("A relay is running on this machine. It checks itself with a client of webrtc-rs:\n")?;
        check_itself(&relay, &demo, &authority).await?;
        println("\nReady to paste into a WebRTC application on this machine:\n")?;
        println(&serde_json::to_string_pretty(&demo.ice_servers()?)?)?;
        let page = if options.no_page { None } else { Some(page::serve(Demonstrated::Relay(Arc::clone(&demo)), options.page_port).await?) };
        if let Some(address) = page {
            println(&format!("\nA call to look at:  http://{address}/"))?;
            println(&format!(
                "For TLS your browser must trust the test authority of this run:  http://{address}/test-authority.pem"
            ))?;
        }
        println("\nCtrl-C ends it.")?;
        until_told_to_stop().await
    })?;
    summary(&relay)?;
    relay.stop();
    Ok(())
}

/// On the usual ports, or on any when somebody else has one of those.
fn start(authority: &TestAuthority, secret: &str) -> anyhow::Result<Relay> {
    match Relay::start(settings::config(settings::Ports::Usual, authority, secret)?) {
        Err(StartError::Listen { .. }) => {
            Relay::start(settings::config(settings::Ports::Any, authority, secret)?)
        }
        outcome => outcome,
    }
    .context("the relay cannot start")
}

/// The relay's URLs in firewall order: what is fastest first, what passes most firewalls last.
fn ice_urls(relay: &Relay) -> Vec<String> {
    let mut urls = Vec::new();
    for listener in relay.listeners() {
        let address = listener.address;
        match listener.transport {
            ListenerTransport::Udp => urls.push(format!("turn:{address}?transport=udp")),
            ListenerTransport::Tcp => urls.push(format!("turn:{address}?transport=tcp")),
            ListenerTransport::Tls => urls.push(format!("turns:{address}?transport=tcp")),
            ListenerTransport::Auto => {
                urls.push(format!("turn:{address}?transport=tcp"));
                urls.push(format!("turns:{address}?transport=tcp"));
            }
        }
    }
    urls
}

async fn check_itself(relay: &Relay, demo: &Demo, authority: &TestAuthority) -> anyhow::Result<()> {
    let Credentials {
        username, password, ..
    } = demo.mint()?;
    let login = Login {
        username,
        password: Zeroizing::new(password),
    };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.authority_der.clone()))?;
    let trust = Trust::Authorities(Arc::new(roots));
    let effort = Effort {
        count: 20,
        pace: Duration::from_millis(1),
        ..Effort::default()
    };
    for listener in relay.listeners() {
        let transport = match listener.transport {
            ListenerTransport::Udp => Transport::Udp,
            ListenerTransport::Tcp => Transport::Tcp,
            ListenerTransport::Tls | ListenerTransport::Auto => Transport::Tls,
        };
        let target = Target {
            transport,
            route: Route::Direct(listener.address),
            server_name: "localhost".to_owned(),
            trust: trust.clone(),
            announce: None,
        };
        let report = probe::check(&target, &login, effort)
            .await
            .with_context(|| {
                format!("{} {} does not work", transport.as_str(), listener.address)
            })?;
        let micros = report.median.as_micros();
        println(&format!(
            "  {:<4} {:<16} allocated twice, {}/{} payloads there and back, {micros} us",
            transport.as_str().to_uppercase(),
            listener.address.to_string(),
            report.received,
            report.sent,
        ))?;
    }
    Ok(())
}

async fn until_told_to_stop() -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        outcome = tokio::signal::ctrl_c() => outcome?,
        _ = terminate.recv() => {}
    }
    Ok(())
}

fn summary(relay: &Relay) -> anyhow::Result<()> {
    let totals = relay.totals();
    let packets: u64 = Flow::all().map(|flow| totals.packets(flow)).sum();
    let bytes: u64 = Flow::all().map(|flow| totals.bytes(flow)).sum();
    println(&format!(
        "\nRelayed {packets} packets, {} kB of payload. Good-bye.",
        bytes / 1000
    ))
}
