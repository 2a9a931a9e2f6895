//! Who may ask, and what is minted for them: all that another configuration changes while the controller runs.
//!
//! Responsible for making it of a configuration, whole or not at all, and for putting it in force. Not responsible for judging
//! the configuration, nor for asking anybody anything at the door (`taciturn_plane`).

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use taciturn_plane::{Access, PreparedAccess, TlsError, Token, expiry, tls};
use taciturn_protocol::credentials::HmacHash;

use super::StartError;
use crate::config::{
    ApiAddress, ControllerConfig, Credentials, Identity, LiveCredentials, Proof, Secret,
    SecretBytes, read_file, secret_of_file,
};
use crate::metrics::Expiries;

/// What is in force.
#[derive(Debug)]
pub(super) struct Doors {
    /// To the API.
    pub(super) api: Arc<Access>,
    /// To the listener that serves the self-test alone: nobody is known there.
    pub(super) self_test: Arc<Access>,
    /// What is minted.
    pub(super) credentials: Arc<LiveCredentials>,
    /// When certificates expire.
    pub(super) expiries: Arc<Expiries>,
}

/// What can be put in force.
#[derive(Debug)]
pub(super) struct Prepared {
    api: PreparedAccess,
    self_test: PreparedAccess,
    credentials: Option<Arc<Credentials>>,
    expiries: Vec<(&'static str, u64)>,
}

impl Prepared {
    /// All that this configuration says of it. The local provider's secret is read from its file, which has to be there.
    pub(super) fn of(config: &ControllerConfig) -> Result<Self, StartError> {
        let credentials = match &config.credentials {
            Some(written) => Some(minted(written)?),
            None => None,
        };
        let self_test = config.self_test.as_ref();
        let own = self_test.and_then(|self_test| self_test.identity.as_ref());
        let encrypted = own.map(|identity| encryption(identity, &[])).transpose();
        let encrypted = encrypted.map_err(StartError::SelfTestTls)?;
        let api = config.api.tls.as_ref().map(|tls| &tls.identity);
        let towards_relays = config.relays.tls.as_ref();
        let identities = [
            ("api", api),
            ("self_test", own),
            (
                "relays",
                towards_relays.and_then(|tls| tls.identity.as_ref()),
            ),
        ];
        Ok(Self {
            api: access(config)?,
            // Everybody is a stranger there, also on loopback: a proxy may stand before it.
            self_test: PreparedAccess::new(None, encrypted).closed(),
            credentials,
            expiries: identities
                .into_iter()
                .filter_map(|(name, identity)| Some((name, expiry(&identity?.certificates)?)))
                .collect(),
        })
    }
}

impl Doors {
    /// These, from the start.
    pub(super) fn new(prepared: Prepared) -> Self {
        let expiries = Expiries::default();
        expiries.install(prepared.expiries);
        Self {
            api: Arc::new(Access::new(prepared.api)),
            self_test: Arc::new(Access::new(prepared.self_test)),
            credentials: Arc::new(LiveCredentials::new(prepared.credentials)),
            expiries: Arc::new(expiries),
        }
    }

    /// These from the next request, and the next connection, on.
    pub(super) fn install(&self, prepared: Prepared) {
        self.api.install(prepared.api);
        self.self_test.install(prepared.self_test);
        self.credentials.store(prepared.credentials);
        self.expiries.install(prepared.expiries);
    }
}

/// Who may ask the API.
fn access(config: &ControllerConfig) -> Result<PreparedAccess, StartError> {
    let api = &config.api;
    let token = |bytes: &SecretBytes| Token::new(bytes.as_bytes());
    let tls = api
        .tls
        .as_ref()
        .map(|tls| encryption(&tls.identity, &tls.client_ca));
    let mut access = PreparedAccess::new(api.token.as_ref().map(token), tls.transpose()?);
    if let Some(reader) = &api.reader_token {
        access = access.with_reader(token(reader));
    }
    if let Some(credentials) = &config.credentials {
        access = access.with_query_keys(credentials.query_key);
        for subject in &credentials.subjects {
            access = match &subject.proof {
                Proof::Token(bytes) => access.with_subject(&subject.name, token(bytes)),
                Proof::Certificate(name) => access.with_certified_subject(&subject.name, name),
            };
        }
    }
    let at_home = match &api.address {
        ApiAddress::Tcp(address) => address.ip().is_loopback(),
        ApiAddress::Unix(_) => true,
    };
    let certified = api
        .tls
        .as_ref()
        .is_some_and(|tls| !tls.client_ca.is_empty());
    Ok(if at_home || certified {
        access
    } else {
        access.closed()
    })
}

fn encryption(
    identity: &Identity,
    authority: &[CertificateDer<'static>],
) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    tls(
        &identity.certificates,
        &identity.key,
        authority,
        // Given explicitly: the process-wide default is whatever some dependency installed first.
        Arc::new(aws_lc_rs::default_provider()),
        rustls::DEFAULT_VERSIONS,
    )
}

/// What is configured, with the local provider's secret where that is meant.
fn minted(written: &Arc<Credentials>) -> Result<Arc<Credentials>, StartError> {
    match &written.local_secret {
        None => Ok(Arc::clone(written)),
        Some(file) => Ok(Arc::new(Credentials {
            secrets: vec![local_secret(file)?],
            local_secret: None,
            ..(**written).clone()
        })),
    }
}

fn local_secret(file: &Path) -> Result<Secret, StartError> {
    let unusable = |error| StartError::LocalSecret(file.to_path_buf(), error);
    let read = read_file(file).map_err(unusable)?;
    let bytes =
        secret_of_file(&read.bytes).map_err(|words| unusable(std::io::Error::other(words)))?;
    Ok(Secret {
        id: Credentials::LOCAL_ID.into(),
        bytes,
        hash: HmacHash::Sha256,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use std::path::PathBuf;

    use super::*;

    fn local(directory: &Path) -> ControllerConfig {
        let text = format!(
            "fleet = \"test\"\nstate-directory = {directory:?}\n[provider]\nkind = \"local\"\n\
             [sovereignty]\nallowed-zone-ids = [\"local-a\"]\n[provider.local]\nzones = [\"local-a\"]\n"
        );
        crate::config::parse(&text, &directory.join("controller.toml"), &mut read_file).unwrap()
    }

    fn place(name: &str) -> PathBuf {
        let name = format!("taciturn-doors-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(directory.join("relays")).unwrap();
        directory
    }

    /// A fleet of this machine mints with its relays' own secret, without a word in the configuration.
    #[test]
    fn the_local_relays_secret_is_minted_with() {
        let directory = place("secret");
        let config = local(&directory);
        let file = directory.join("relays/secret.key");
        let missing = Prepared::of(&config).unwrap_err();
        assert!(
            missing.to_string().contains("relays/secret.key"),
            "{missing}"
        );
        std::fs::write(&file, "north").unwrap();
        assert!(Prepared::of(&config).is_err());

        std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
        let prepared = Prepared::of(&config).unwrap();
        let minted = prepared.credentials.unwrap();
        assert_eq!(minted.secrets.len(), 1);
        assert_eq!(&*minted.secrets[0].id, "local");
        let bytes = minted.secrets[0].bytes.as_bytes();
        assert_eq!(bytes, b"0123456789abcdef0123456789abcdef");
        assert_eq!(minted.local_secret, None);
        std::fs::remove_dir_all(&directory).unwrap();
    }

    /// Where nothing of it is right, nothing of it is put in force.
    #[test]
    fn certificates_that_do_not_fit_are_refused_before_anything_changes() {
        let directory = place("certificates");
        std::fs::write(
            directory.join("relays/secret.key"),
            "0123456789abcdef0123456789abcdef",
        )
        .unwrap();
        let mut config = local(&directory);
        let certified = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let (one, other) = (certified("a.example.org"), certified("b.example.org"));
        let identity = |key: &rcgen::KeyPair| Identity {
            certificates: vec![one.cert.der().clone()],
            key: rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        };
        let tls = |key| crate::config::ApiTls {
            identity: identity(key),
            client_ca: Vec::new(),
        };
        config.api.tls = Some(tls(&one.signing_key));
        let prepared = Prepared::of(&config).unwrap();
        let [("api", end)] = prepared.expiries[..] else {
            panic!("one certificate: {:?}", prepared.expiries);
        };
        assert!(end > 4_000_000_000, "{end}");
        config.api.tls = Some(tls(&other.signing_key));
        assert!(matches!(Prepared::of(&config), Err(StartError::Tls(_))));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
