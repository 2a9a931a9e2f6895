//! Tokens and certificates: who may ask the controller, and how the controller shows relays that it may ask them.
//!
//! Responsible for reading them, saying nothing about their contents, and for refusing an API beyond loopback that anybody
//! could use. Not for using them.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::document::Document;
use super::{Api, ApiAddress, ApiTls, FileRead, Identity, Relays, RelaysTls, SecretBytes, written};

/// The shortest token that is accepted, in bytes.
pub(super) const MIN_TOKEN_BYTES: usize = 32;
pub(super) const MAKE_TOKEN: &str = "make one with: taciturn credentials secret --out FILE";

/// Asks for the files that the configuration names.
pub(super) struct Files<'r, 'd> {
    pub(super) read: &'r mut dyn FnMut(&Path) -> io::Result<FileRead>,
    pub(super) document: &'r Document<'d>,
}

impl Files<'_, '_> {
    pub(super) fn bytes(&mut self, key: &str, name: &str, secret: bool) -> Option<Vec<u8>> {
        if name.is_empty() || name.contains('\0') {
            self.document.refuse(
                key,
                "names no file; write a file name, relative to this configuration's directory",
            );
            return None;
        }
        let path = self.document.resolve(name);
        match (self.read)(&path) {
            Ok(file) => {
                if file.open_to_others && secret {
                    self.document.warn(
                        key,
                        "can be read or written by everybody on this machine; run chmod o-rwx on it; its group may be one \
                         that the controller is in",
                    );
                }
                self.document.note_file(path, &file.bytes);
                Some(file.bytes)
            }
            Err(error) => {
                self.document.refuse(
                    key,
                    format!(
                        "cannot be read: {error}; check that the controller's user may read {}",
                        path.display()
                    ),
                );
                None
            }
        }
    }

    pub(super) fn token(&mut self, key: &str, name: Option<&str>) -> Option<SecretBytes> {
        let bytes = self.bytes(key, name?, true)?;
        let token = bytes.trim_ascii();
        if token.len() < MIN_TOKEN_BYTES {
            self.document.refuse(
                key,
                format!("holds fewer than {MIN_TOKEN_BYTES} bytes; {MAKE_TOKEN}"),
            );
            return None;
        }
        if !token.iter().all(u8::is_ascii_graphic) {
            self.document.refuse(
                key,
                format!("holds more than one line of plain characters; {MAKE_TOKEN}"),
            );
            return None;
        }
        Some(SecretBytes::new(token))
    }

    fn certificates(
        &mut self,
        key: &str,
        name: &str,
        remedy: &str,
    ) -> Option<Vec<CertificateDer<'static>>> {
        let bytes = self.bytes(key, name, false)?;
        match CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>() {
            Ok(chain) if !chain.is_empty() => Some(chain),
            Ok(_) => {
                self.document
                    .refuse(key, format!("holds no certificate; {remedy}"));
                None
            }
            Err(_) => {
                self.document
                    .refuse(key, format!("is not a whole PEM file; {remedy}"));
                None
            }
        }
    }

    /// A certificate and its key, which come together.
    pub(super) fn identity(
        &mut self,
        section: &str,
        certificate: Option<&str>,
        key: Option<&str>,
    ) -> Option<Identity> {
        let (certificate_key, key_key) =
            (format!("{section}.certificate"), format!("{section}.key"));
        let remedy = "write certificate and key, or take it away";
        match (certificate, key) {
            (Some(_), None) => self
                .document
                .refuse(&certificate_key, format!("has no key beside it; {remedy}")),
            (None, Some(_)) => self
                .document
                .refuse(&key_key, format!("has no certificate beside it; {remedy}")),
            (Some(_), Some(_)) | (None, None) => {}
        }
        let chain = certificate.and_then(|name| {
            let remedy = "name a PEM file with the controller's certificate first and its intermediates after it";
            self.certificates(&certificate_key, name, remedy)
        });
        let key = key.and_then(|name| {
            let bytes = self.bytes(&key_key, name, true)?;
            // The parser's own words may quote the file, so they are not repeated.
            PrivateKeyDer::from_pem_slice(&bytes)
                .map_err(|_| {
                    self.document.refuse(
                        &key_key,
                        "holds no private key; name a PEM file with the certificate's private key, without a passphrase",
                    );
                })
                .ok()
        });
        Some(Identity {
            certificates: chain?,
            key: key?,
        })
    }
}

/// `[api]`.
pub(super) fn api(files: &mut Files<'_, '_>, written: &written::Api, subjects: bool) -> Api {
    let document = files.document;
    let default = ApiAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 9640)));
    let address = written.address.as_deref().map_or_else(
        || Some(default.clone()),
        |text| {
            api_address(text)
                .map_err(|words| document.refuse("api.address", words))
                .ok()
        },
    );
    let token = files.token("api.token-file", written.token_file.as_deref());
    let reader_token = files.token(
        "api.reader-token-file",
        written.reader_token_file.as_deref(),
    );
    let identity = files.identity(
        "api",
        written.certificate.as_deref(),
        written.key.as_deref(),
    );
    let client_ca = written.client_ca.as_deref().map(|name| {
        let remedy =
            "name a PEM file with the certificates of those who issue your clients' certificates";
        files.certificates("api.client-ca", name, remedy)
    });
    if written.client_ca.is_some() && written.certificate.is_none() && written.key.is_none() {
        document.refuse(
            "api.client-ca",
            "has no certificate and key beside it: clients prove who they are over TLS alone; write certificate and key, or \
             take it away",
        );
    }
    if let Some(address) = &address {
        judge_exposure(document, address, written, subjects);
    }
    Api {
        address: address.unwrap_or(default),
        token,
        reader_token,
        tls: identity.map(|identity| ApiTls {
            identity,
            client_ca: client_ca.flatten().unwrap_or_default(),
        }),
    }
}

/// Whoever reaches the API can drain relays. `subjects`: there are some, so that not everybody who proves something is the
/// operator.
fn judge_exposure(
    document: &Document<'_>,
    address: &ApiAddress,
    written: &written::Api,
    subjects: bool,
) {
    let operator = written.token_file.is_some();
    let others = subjects || written.reader_token_file.is_some();
    if written.client_ca.is_some() && others && !operator {
        document.warn(
            "api.client-ca",
            "certifies more than operators, as there are subjects or readers: without a token-file nobody can order anything; \
             write token-file",
        );
    }
    match address {
        ApiAddress::Unix(_) => {
            for (key, value) in [
                ("api.certificate", &written.certificate),
                ("api.client-ca", &written.client_ca),
            ] {
                if value.is_some() {
                    document.refuse(
                        key,
                        "is for TCP, and api.address is a Unix socket, which only the controller's user and group may use; \
                         take certificate, key and client-ca away",
                    );
                    break;
                }
            }
        }
        ApiAddress::Tcp(tcp) if tcp.ip().is_loopback() => {}
        ApiAddress::Tcp(_) => {
            if !operator && !others && written.client_ca.is_none() {
                document.refuse(
                    "api.address",
                    "is beyond loopback, where whoever reaches it could drain relays; write token-file (taciturn credentials \
                     secret --out FILE makes one), or certificate, key and client-ca for mutual TLS, or keep to \
                     \"127.0.0.1:9640\" or \"unix:/run/taciturn-controller/api.sock\"",
                );
            } else if !operator && written.client_ca.is_none() {
                document.warn(
                    "api.address",
                    "is beyond loopback without a token-file: subjects and readers are served, and nobody can order anything; \
                     write token-file",
                );
            }
            if written.certificate.is_none() && (operator || others) {
                let key = if operator {
                    "api.token-file"
                } else {
                    "api.address"
                };
                document.warn(
                    key,
                    "crosses the network in the clear, as there is no certificate; write certificate and key, or see to it \
                     that nobody listens on the way",
                );
            }
        }
    }
}

fn api_address(text: &str) -> Result<ApiAddress, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        // The kernel's limit for the name of a Unix socket, with its final NUL.
        const LONGEST: usize = 107;
        if !path.starts_with('/') || path.len() > LONGEST || path.contains('\0') {
            return Err(format!(
                "must name a file by its full path of at most {LONGEST} bytes; write e.g. \
                 \"unix:/run/taciturn-controller/api.sock\""
            ));
        }
        return Ok(ApiAddress::Unix(PathBuf::from(path)));
    }
    socket_address(text).map(ApiAddress::Tcp)
}

/// An address with a port.
pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "is not an address with a port; names are not resolved here; write e.g. \"127.0.0.1:9640\" or \"[::1]:9640\""
            .to_owned()
    })
}

/// `[relays]`.
pub(super) fn relays(files: &mut Files<'_, '_>, written: &written::Relays) -> Relays {
    let document = files.document;
    let admin_port = written.admin_port.unwrap_or(9641);
    if admin_port == 0 {
        document.refuse(
            "relays.admin-port",
            "is no port that a relay could be reached at; write the port of the relays' [admin] address, e.g. 9641",
        );
    }
    let token = files.token("relays.token-file", written.token_file.as_deref());
    let identity = files.identity(
        "relays",
        written.certificate.as_deref(),
        written.key.as_deref(),
    );
    let ca = written.ca.as_deref().map(|name| {
        let remedy =
            "name a PEM file with the certificates of those who issue the relays' certificates";
        files.certificates("relays.ca", name, remedy)
    });
    if ca.is_none() {
        for (key, value) in [
            ("relays.certificate", &written.certificate),
            ("relays.server-name", &written.server_name),
        ] {
            if value.is_some() {
                document.refuse(
                    key,
                    "is for TLS, and there is no relays.ca that says whose certificates relays have; write ca, or take it \
                     away",
                );
            }
        }
    }
    if let Some(name) = &written.server_name
        && rustls::pki_types::ServerName::try_from(name.as_str()).is_err()
    {
        document.refuse(
            "relays.server-name",
            "is not a DNS name or address; write the name that stands in all relays' certificates",
        );
    }
    Relays {
        admin_port,
        token,
        tls: ca.flatten().map(|ca| RelaysTls {
            ca,
            server_name: written.server_name.clone(),
            identity,
        }),
        timeout: relays_timeout(document, written),
        probe_port: match written.probe_port {
            None => Some(3478),
            Some(0) => None,
            Some(port) => Some(port),
        },
    }
}

/// A relay answers within milliseconds; one that takes longer than a round may take is not heard of.
fn relays_timeout(document: &Document<'_>, written: &written::Relays) -> Duration {
    let timeout = written
        .timeout
        .map_or(Duration::from_secs(2), |written| written.0);
    if timeout < Duration::from_millis(100) || timeout > Duration::from_secs(30) {
        document.refuse(
            "relays.timeout",
            "must be within 100ms to 30s; write e.g. \"2s\"",
        );
    }
    timeout
}
