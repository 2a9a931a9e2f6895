//! HTTP to the relays' admin APIs, and a STUN question to their data path.
//!
//! Responsible for bounds: in time, in bytes, and in how many are asked at once. Not responsible for what the answers mean
//! (`report`), nor for who is asked when (`reconcile`).

mod exchange;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hyper::header::HeaderValue;
use hyper::{Method, StatusCode};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};
use taciturn_protocol::credentials::RevocationList;
use tokio::sync::Semaphore;

use super::report::short;
use super::{DrainOrder, RelayError, Relays, report, stun};
use crate::config;
use crate::fleet::{InstanceId, Report};
pub(crate) use exchange::{Answer, talk};
use exchange::{Asked, exchange};

/// Connections at once: each is a descriptor, and a fleet that does not answer must not use them up.
const AT_ONCE: usize = 128;

/// Why the `[relays]` section cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The TLS library refuses.
    #[error("[relays] ca, certificate or key cannot be used")]
    Tls(#[from] rustls::Error),
    /// The name that relays' certificates are to have is none.
    #[error("[relays] server-name is no name of a host")]
    ServerName(#[from] InvalidDnsNameError),
    /// The token does not fit into a header.
    #[error("[relays] token-file has characters that no header can carry")]
    Token,
}

/// Asks relays as `[relays]` says. Keeps no connection: a relay is asked every few seconds, and what it is asked shows then
/// that it still lets this controller in.
pub struct RelayClient {
    token: Option<HeaderValue>,
    tls: Option<Tls>,
    timeout: Duration,
    probe_port: Option<u16>,
    at_once: Semaphore,
}

/// How connections are encrypted.
#[derive(Clone)]
pub(super) struct Tls {
    config: Arc<ClientConfig>,
    /// The name in all relays' certificates; `None`: each has its address in it.
    name: Option<ServerName<'static>>,
}

impl Tls {
    fn new(tls: &config::RelaysTls) -> Result<Self, ClientError> {
        let mut roots = RootCertStore::empty();
        for authority in &tls.ca {
            roots.add(authority.clone())?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match &tls.identity {
            Some(identity) => builder
                .with_client_auth_cert(identity.certificates.clone(), identity.key.clone_key())?,
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = tls.server_name.clone().map(ServerName::try_from);
        Ok(Self {
            config: Arc::new(config),
            name: name.transpose()?,
        })
    }
}

impl RelayClient {
    /// A client that has asked nothing yet.
    ///
    /// # Errors
    /// What of the section cannot be used.
    pub fn new(relays: &config::Relays) -> Result<Self, ClientError> {
        let token = relays.token.as_ref().map(|token| {
            let value = [b"Bearer ", token.as_bytes()].concat();
            let mut value = HeaderValue::from_bytes(&value).map_err(|_| ClientError::Token)?;
            value.set_sensitive(true);
            Ok::<_, ClientError>(value)
        });
        Ok(Self {
            token: token.transpose()?,
            tls: relays.tls.as_ref().map(Tls::new).transpose()?,
            timeout: relays.timeout,
            probe_port: relays.probe_port,
            at_once: Semaphore::new(AT_ONCE),
        })
    }

    async fn ask(&self, admin: SocketAddr, asked: Asked) -> Result<Answer, RelayError> {
        let _turn = self.at_once.acquire().await;
        exchange(
            admin,
            self.tls.as_ref(),
            self.token.as_ref(),
            self.timeout,
            asked,
        )
        .await
    }

    /// What became of an order.
    async fn obeyed(
        &self,
        id: &InstanceId,
        admin: SocketAddr,
        epoch: u64,
        answer: &Answer,
    ) -> Result<(), RelayError> {
        if answer.status == StatusCode::CONFLICT {
            // Which epoch that is stands in the status, for programs.
            return Err(match self.status(id, admin).await {
                Ok(report) if report.epoch > epoch => RelayError::OlderEpoch { seen: report.epoch },
                // It is no relay of a newer controller, and nothing is to stop for it.
                Ok(_) => RelayError::Refused("409, and it has obeyed no newer epoch".to_owned()),
                Err(_) => RelayError::OlderEpoch {
                    seen: epoch.saturating_add(1),
                },
            });
        }
        answer.success()
    }
}

#[async_trait]
impl Relays for RelayClient {
    async fn status(&self, _id: &InstanceId, admin: SocketAddr) -> Result<Report, RelayError> {
        let asked = Asked {
            method: Method::GET,
            path: "/v1/status".to_owned(),
            body: Vec::new(),
        };
        let answer = self.ask(admin, asked).await?;
        answer.success()?;
        report(&answer.body).map_err(|error| RelayError::Refused(error.to_string()))
    }

    async fn drain(
        &self,
        id: &InstanceId,
        admin: SocketAddr,
        order: &DrainOrder,
    ) -> Result<(), RelayError> {
        let reason = short(&order.reason);
        let body = serde_json::json!({
            "deadline": order.deadline,
            "reason": reason,
            "epoch": order.epoch,
        });
        let asked = Asked {
            method: Method::POST,
            path: "/v1/drain".to_owned(),
            body: body.to_string().into_bytes(),
        };
        let answer = self.ask(admin, asked).await?;
        self.obeyed(id, admin, order.epoch, &answer).await
    }

    async fn undrain(
        &self,
        id: &InstanceId,
        admin: SocketAddr,
        epoch: u64,
    ) -> Result<(), RelayError> {
        let asked = Asked {
            method: Method::DELETE,
            path: format!("/v1/drain?epoch={epoch}"),
            body: Vec::new(),
        };
        let answer = self.ask(admin, asked).await?;
        self.obeyed(id, admin, epoch, &answer).await
    }

    async fn revoke(
        &self,
        _id: &InstanceId,
        admin: SocketAddr,
        list: &RevocationList,
    ) -> Result<(), RelayError> {
        let body = serde_json::to_vec(list)
            .map_err(|_| RelayError::Refused("no list of revocations".to_owned()))?;
        let asked = Asked {
            method: Method::PUT,
            path: "/v1/revocations".to_owned(),
            body,
        };
        self.ask(admin, asked).await?.success()
    }

    async fn revocations(
        &self,
        _id: &InstanceId,
        admin: SocketAddr,
    ) -> Result<RevocationList, RelayError> {
        let asked = Asked {
            method: Method::GET,
            path: "/v1/revocations".to_owned(),
            body: Vec::new(),
        };
        let answer = self.ask(admin, asked).await?;
        answer.success()?;
        // What is wrong may have a name in it.
        serde_json::from_slice(&answer.body)
            .map_err(|_| RelayError::Refused("no list of revocations".to_owned()))
    }

    async fn stun(&self, _id: &InstanceId, admin: SocketAddr) -> Option<bool> {
        let server = SocketAddr::new(admin.ip(), self.probe_port?);
        let _turn = self.at_once.acquire().await;
        Some(stun::answers(server, self.timeout).await)
    }
}

impl fmt::Debug for RelayClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayClient")
            .field("timeout", &self.timeout)
            .field("probe_port", &self.probe_port)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
