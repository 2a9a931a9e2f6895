//! Certificates and TLS clients for tests.
//!
//! Responsible for what several tests need to set up TLS; only compiled for them.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::certificate::Certificate;
use super::tls::{Profile, TlsSettings};

/// A self-signed certificate, as the relay has it and as a client trusts it.
#[derive(Clone, Debug)]
pub(crate) struct TestCertificate {
    pub(crate) certificate: Certificate,
    pub(crate) der: CertificateDer<'static>,
}

/// A new certificate for this name, P-256.
pub(crate) fn certificate(name: &str) -> TestCertificate {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let der = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    TestCertificate {
        certificate: Certificate::new(vec![der.clone()], &key).unwrap(),
        der,
    }
}

/// Settings of the default profile.
pub(crate) fn settings(certificates: &[TestCertificate]) -> Arc<TlsSettings> {
    settings_with(Profile::Modern, certificates)
}

pub(crate) fn settings_with(
    profile: Profile,
    certificates: &[TestCertificate],
) -> Arc<TlsSettings> {
    let certificates = certificates
        .iter()
        .map(|one| one.certificate.clone())
        .collect();
    Arc::new(TlsSettings::new(profile, certificates).unwrap())
}

/// A client that trusts these certificates, with everything that rustls has to offer.
pub(crate) fn client_config(trusted: &[&TestCertificate]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for one in trusted {
        roots.add(one.der.clone()).unwrap();
    }
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

pub(crate) fn client(config: &ClientConfig, name: &str) -> ClientConnection {
    ClientConnection::new(
        Arc::new(config.clone()),
        ServerName::try_from(name.to_owned()).unwrap(),
    )
    .unwrap()
}

/// Trusts everything: for tests of what is presented, not of whether it is trusted.
#[derive(Debug, Default)]
pub(crate) struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
