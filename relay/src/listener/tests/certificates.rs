//! Which certificates are taken.

use std::sync::Arc;

use rcgen::{CertificateParams, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use taciturn_protocol::time::UnixTime;

use super::super::certificate::{Certificate, CertificateError, CertificateWarning};
use super::super::tls::{Profile, TlsSettings};
use super::NAME;
use crate::metrics::Metrics;

fn params() -> CertificateParams {
    CertificateParams::new([NAME.to_owned()]).unwrap()
}

fn key_of(pair: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::try_from(pair.serialize_der()).unwrap()
}

/// A chain of two: relay, issuer.
fn chain() -> (Vec<CertificateDer<'static>>, KeyPair) {
    let issuer_key = KeyPair::generate().unwrap();
    let mut issuer = params();
    issuer.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    issuer
        .distinguished_name
        .push(rcgen::DnType::CommonName, "Test Issuer");
    let issuer_der = issuer.self_signed(&issuer_key).unwrap().der().clone();
    let own_key = KeyPair::generate().unwrap();
    let own = params()
        .signed_by(&own_key, &rcgen::Issuer::new(issuer, issuer_key))
        .unwrap();
    (vec![own.der().clone(), issuer_der], own_key)
}

#[test]
fn a_chain_is_read_from_pem() {
    let (ders, key) = chain();
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let pem = made.cert.pem();
    assert!(
        Certificate::from_pem(pem.as_bytes(), made.signing_key.serialize_pem().as_bytes()).is_ok()
    );
    assert!(Certificate::new(ders, &key_of(&key)).is_ok());
    assert!(matches!(
        Certificate::from_pem(b"", made.signing_key.serialize_pem().as_bytes()),
        Err(CertificateError::Empty)
    ));
    assert!(matches!(
        Certificate::from_pem(pem.as_bytes(), b""),
        Err(CertificateError::KeyPem(_))
    ));
    assert!(matches!(
        Certificate::from_pem(pem.as_bytes(), pem.as_bytes()),
        Err(CertificateError::KeyPem(_))
    ));
}

#[test]
fn the_key_has_to_belong_to_the_first_certificate() {
    let (mut ders, key) = chain();
    let other = KeyPair::generate().unwrap();
    assert!(matches!(
        Certificate::new(ders.clone(), &key_of(&other)),
        Err(CertificateError::KeyMismatch(_))
    ));
    ders.reverse();
    assert!(matches!(
        Certificate::new(ders, &key_of(&key)),
        Err(CertificateError::Order { index: 0 })
    ));
}

#[test]
fn a_malformed_certificate_is_named() {
    let (mut ders, key) = chain();
    ders.push(CertificateDer::from(vec![0x30, 3, 2, 1, 1]));
    assert!(matches!(
        Certificate::new(ders, &key_of(&key)),
        Err(CertificateError::Malformed { index: 2 })
    ));
}

/// ISM-1374: the certificate linter refuses SHA-1 at load.
#[test]
fn sha1_signatures_are_refused() {
    let (mut ders, key) = chain();
    // No library signs with SHA-1 any more: the algorithm in front of the signature, ECDSA with SHA-256, is exchanged
    // for ECDSA with SHA-1, which is one byte shorter.
    let sha256 = [
        0x30, 10, 0x06, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02,
    ];
    let sha1 = [0x30, 9, 0x06, 7, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x01];
    for index in 0..2 {
        let mut der = ders[index].to_vec();
        let at = der
            .windows(sha256.len())
            .rposition(|window| window == sha256)
            .unwrap();
        der.splice(at..at + sha256.len(), sha1);
        let len = u16::try_from(der.len() - 4).unwrap();
        der[2..4].copy_from_slice(&len.to_be_bytes());
        let good = std::mem::replace(&mut ders[index], CertificateDer::from(der));
        match (index, Certificate::new(ders.clone(), &key_of(&key))) {
            (0, Err(CertificateError::WeakSignature { index: 0 })) => {}
            // The issuer is a root: nobody relies on the signature that it puts on itself.
            (1, Ok(_)) => {}
            (_, other) => panic!("{index}: {other:?}"),
        }
        ders[index] = good;
    }
}

#[test]
fn the_metric_tells_when_the_certificate_in_force_expires() {
    let expiring = |year| {
        let key = KeyPair::generate().unwrap();
        let mut params = params();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let der = params.self_signed(&key).unwrap().der().clone();
        vec![Certificate::new(vec![der], &key_of(&key)).unwrap()]
    };
    let settings = Arc::new(TlsSettings::new(Profile::Modern, expiring(2040)).unwrap());
    let metrics = Metrics::new(vec![Box::new(Arc::clone(&settings))]).unwrap();
    let shown = |seconds: u64| {
        let line = format!("taciturn_relay_certificate_expiry_timestamp_seconds {seconds}");
        metrics.encode().unwrap().lines().any(|each| each == line)
    };
    assert!(shown(2_208_988_800));
    settings.replace(Profile::Modern, expiring(2041)).unwrap();
    assert!(shown(2_240_611_200));
}

#[test]
fn an_expired_certificate_is_taken_with_a_warning() {
    let key = KeyPair::generate().unwrap();
    let mut params = params();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let der = params.self_signed(&key).unwrap().der().clone();
    let certificate = Certificate::new(vec![der], &key_of(&key)).unwrap();
    let (from, since) = (
        UnixTime::from_secs(1_577_836_800),
        UnixTime::from_secs(1_609_459_200),
    );
    assert_eq!(certificate.expires(), Some(since));
    assert_eq!(certificate.warnings(UnixTime::from_secs(1_600_000_000)), []);
    assert_eq!(
        certificate.warnings(UnixTime::from_secs(1_700_000_000)),
        [CertificateWarning::Expired { index: 0, since }]
    );
    assert_eq!(
        certificate.warnings(UnixTime::from_secs(1)),
        [CertificateWarning::NotYetValid { index: 0, from }]
    );
}
