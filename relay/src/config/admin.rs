//! The `[admin]` section: where the admin API listens, and who may use it.
//!
//! Responsible for refusing an API beyond loopback that anybody could use. Not for serving it (`crate::admin`).

use std::net::SocketAddr;
use std::path::PathBuf;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use toml::de::DeValue;

use super::files::SecretBytes;
use super::keys::{Files, NAME_CHAIN, certificates, private_key, secret_file};
use super::section::{Field, Section, Wrong};
use super::value::{socket_address, text};

/// The admin API.
#[derive(Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens.
    pub address: AdminAddress,
    /// The token that every request but `/live` and `/ready` must carry (RFC 6750 §2.1), at least 32 bytes; `None`:
    /// none is asked for.
    pub token: Option<SecretBytes>,
    /// How it is encrypted; `None`: it is not. Only ever present over TCP.
    pub tls: Option<AdminTls>,
}

/// Where the admin API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// HTTP over TCP; port 0 lets the kernel pick one. Beyond loopback there is a token or a `client_ca`.
    Tcp(SocketAddr),
    /// HTTP on a Unix socket.
    Unix(PathBuf),
}

/// The admin API's certificate, and whose clients it serves.
#[derive(Debug, PartialEq, Eq)]
pub struct AdminTls {
    /// The chain, the API's own certificate first; at least one.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The private key. Whether it belongs to the certificate is judged where both are used.
    pub key: PrivateKeyDer<'static>,
    /// Those whose certificates clients must present; empty: none is asked for.
    pub client_ca: Vec<CertificateDer<'static>>,
}

/// The `[admin]` section, and the place of its address when it is written.
pub(super) fn admin<'t>(top: &Section<'t>, files: &mut Files<'_>) -> (Admin, Option<Field<'t>>) {
    let default = AdminAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 9641)));
    let Some(section) = top.once("admin") else {
        let admin = Admin {
            address: default,
            token: None,
            tls: None,
        };
        return (admin, None);
    };
    let field = section.field("address");
    let address = field
        .and_then(|field| field.read(admin_address))
        .unwrap_or(default);
    let token = section
        .field("token-file")
        .and_then(|field| secret_file(field, files));
    let tls = admin_tls(&section, files);
    if let Some(field) = field {
        judge_exposure(field, &address, &section);
    }
    (
        Admin {
            address,
            token,
            tls,
        },
        field,
    )
}

/// Certificate and key come together, and client certificates need both.
fn admin_tls(section: &Section<'_>, files: &mut Files<'_>) -> Option<AdminTls> {
    let remedy = "write certificate and key, or take it away";
    let (certificate, key, client_ca) = (
        section.field("certificate"),
        section.field("key"),
        section.field("client-ca"),
    );
    match (certificate, key, client_ca) {
        (Some(alone), None, _) => alone.refuse(Wrong::new("has no key beside it", remedy)),
        (None, Some(alone), _) => alone.refuse(Wrong::new("has no certificate beside it", remedy)),
        (None, None, Some(alone)) => alone.refuse(Wrong::new(
            "has no certificate and key beside it: clients prove who they are over TLS alone",
            remedy,
        )),
        (Some(_), Some(_), _) | (None, None, None) => {}
    }
    // All of them are read, so that all that is wrong is said at once.
    let certificates_read = certificate.and_then(|field| certificates(field, files, NAME_CHAIN));
    let key = key.and_then(|field| private_key(field, files));
    let client_ca = client_ca.map(|field| {
        let remedy =
            "name a PEM file with the certificates of those who issue your clients' certificates";
        certificates(field, files, remedy)
    });
    let client_ca = match client_ca {
        Some(read) => read?.1,
        None => Vec::new(),
    };
    Some(AdminTls {
        certificates: certificates_read?.1,
        key: key?.1,
        client_ca,
    })
}

/// Whoever reaches the admin API can drain the relay and end calls.
fn judge_exposure(field: Field<'_>, address: &AdminAddress, section: &Section<'_>) {
    let (token, certificate, client_ca) = (
        section.field("token-file"),
        section.field("certificate"),
        section.field("client-ca"),
    );
    match address {
        AdminAddress::Unix(_) => {
            if let Some(certificate) = certificate.or(client_ca) {
                certificate.refuse(Wrong::new(
                    "is for TCP, and admin.address is a Unix socket, which only the relay's user and group may use",
                    "take certificate, key and client-ca away",
                ));
            }
        }
        AdminAddress::Tcp(tcp) if tcp.ip().is_loopback() => {}
        AdminAddress::Tcp(_) => {
            if token.is_none() && client_ca.is_none() {
                field.refuse(Wrong::new(
                    "is beyond loopback, where whoever reaches it could drain the relay and end calls",
                    "write token-file (taciturn credentials secret --out FILE makes one), or certificate, key and \
                     client-ca for mutual TLS, or keep to \"127.0.0.1:9641\" or \"unix:/run/taciturn/admin.sock\"",
                ));
            } else if let (Some(token), None) = (token, certificate) {
                token.warn(Wrong::new(
                    "crosses the network in the clear, as there is no certificate",
                    "write certificate and key, or see to it that nobody listens on the way",
                ));
            }
        }
    }
}

fn admin_address(value: &DeValue<'_>) -> Result<AdminAddress, Wrong> {
    let written = text(value)?;
    if let Some(path) = written.strip_prefix("unix:") {
        // The kernel's limit for the name of a Unix socket, with its final NUL.
        const LONGEST: usize = 107;
        if !path.starts_with('/') || path.len() > LONGEST || path.contains('\0') {
            let problem = format!("must name a file by its full path of at most {LONGEST} bytes");
            return Err(Wrong::new(
                problem,
                "write e.g. \"unix:/run/taciturn/admin.sock\"",
            ));
        }
        return Ok(AdminAddress::Unix(PathBuf::from(path)));
    }
    Ok(AdminAddress::Tcp(socket_address(value)?))
}
