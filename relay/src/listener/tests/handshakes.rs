//! What is negotiated and what is refused (RFC 9325).

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CipherSuite, ClientConfig, HandshakeKind, NamedGroup, ProtocolVersion, SupportedCipherSuite,
};

use super::super::counters::{Group, HandshakeFailure, Refusal, TlsVersion};
use super::super::{FrontLimits, ListenTransport};
use super::hello::{GOOD_SUITE, Hello, alert_in, answer_to};
use super::{NAME, Profile, Relay, fixtures, wait_until};

const PROTOCOL_VERSION: u8 = 70;
const HANDSHAKE_FAILURE: u8 = 40;

fn relay(profile: Profile) -> Relay {
    Relay::with(ListenTransport::Auto, profile, FrontLimits::default())
}

/// A client with these versions.
fn only(relay: &Relay, versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
    with_provider(relay, versions, aws_lc_rs::default_provider())
}

fn with_provider(
    relay: &Relay,
    versions: &[&'static rustls::SupportedProtocolVersion],
    provider: rustls::crypto::CryptoProvider,
) -> ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(relay.certificate.der.clone()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn with_group(relay: &Relay, group: &'static dyn rustls::crypto::SupportedKxGroup) -> ClientConfig {
    let provider = rustls::crypto::CryptoProvider {
        kx_groups: vec![group],
        ..aws_lc_rs::default_provider()
    };
    with_provider(relay, &[&TLS13], provider)
}

fn with_suite(relay: &Relay, suite: SupportedCipherSuite) -> ClientConfig {
    let provider = rustls::crypto::CryptoProvider {
        cipher_suites: vec![suite],
        ..aws_lc_rs::default_provider()
    };
    let version = if suite.tls13().is_some() {
        &TLS13
    } else {
        &TLS12
    };
    with_provider(relay, &[version], provider)
}

fn is_refused(relay: &Relay, config: &ClientConfig) {
    let mut client = relay.tls(config);
    assert!(
        client
            .write_all(&super::BINDING)
            .and_then(|()| client.flush())
            .and_then(|()| client.read(&mut [0]))
            .is_err()
    );
    relay.nothing_is_delivered();
}

/// L-01: SSL3, TLS 1.0, 1.1 hello → `protocol_version` alert.
#[test]
fn old_versions_are_refused_with_protocol_version() {
    for profile in Profile::ALL {
        let relay = relay(profile);
        for version in [0x0300, 0x0301, 0x0302] {
            for extensions in [false, true] {
                let hello = Hello {
                    version,
                    suites: &[GOOD_SUITE, 0x002F, 0x000A],
                    compression: &[0],
                    extensions,
                };
                let answer = answer_to(relay.connect(), &hello.to_record());
                let case = format!("{} {version:04x} {extensions}", profile.as_str());
                assert_eq!(
                    alert_in(&answer),
                    Some(PROTOCOL_VERSION),
                    "{case}: {answer:02x?}"
                );
            }
        }
        relay.nothing_is_delivered();
        wait_until("the refusals are counted", || {
            relay.counters().refused(Refusal::Handshake) == 6
        });
        assert_eq!(
            relay
                .counters()
                .handshake_failures(HandshakeFailure::Version),
            6
        );
    }
}

/// L-01: an SSL 2 hello and a DTLS 1.0 hello are no TLS record: closed without a word.
#[test]
fn ssl2_and_dtls_hellos_are_closed() {
    let relay = relay(Profile::Modern);
    for bytes in [[0x80, 0x2E, 1, 0, 2], [0x16, 0xFE, 0xFF, 0, 0]] {
        assert_eq!(answer_to(relay.connect(), &bytes), b"");
    }
}

/// L-02: TLS 1.2 only with ECDHE + AEAD (profile *modern*), off in profile *ISM*.
#[test]
fn tls_1_2_is_for_modern_and_not_for_ism() {
    let modern = relay(Profile::Modern);
    let (client, _) = modern.serves(&only(&modern, &[&TLS12]));
    assert_eq!(
        client.conn.protocol_version(),
        Some(ProtocolVersion::TLSv1_2)
    );
    assert_eq!(
        modern
            .counters()
            .handshakes(TlsVersion::Tls12, Group::X25519),
        1
    );

    let ism = relay(Profile::Ism);
    is_refused(&ism, &only(&ism, &[&TLS12]));
    let hello = Hello {
        version: 0x0303,
        suites: &[GOOD_SUITE],
        compression: &[0],
        extensions: true,
    };
    assert_eq!(
        alert_in(&answer_to(ism.connect(), &hello.to_record())),
        Some(PROTOCOL_VERSION)
    );
    ism.serves(&ism.client_config());
}

/// S-44: TLS 1.2 suites have forward secrecy and AEAD, the one that RFC 8489 §6.2.3 names for RSA among them; no DES,
/// no RC4.
#[test]
fn every_profile_has_only_ephemeral_aead_suites() {
    for profile in Profile::ALL {
        let settings = fixtures::settings_with(profile, &[fixtures::certificate(NAME)]);
        let provider = Arc::clone(settings.current().crypto_provider());
        let names: Vec<CipherSuite> = provider
            .cipher_suites
            .iter()
            .map(|suite| suite.suite())
            .collect();
        for name in &names {
            let name = name.as_str().unwrap();
            assert!(
                name.starts_with("TLS13_") || name.starts_with("TLS_ECDHE_"),
                "{name}"
            );
            assert!(
                name.contains("_GCM_") || name.contains("_CHACHA20_POLY1305_"),
                "{name}"
            );
        }
        let has_rsa = names.contains(&CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256);
        assert_eq!(has_rsa, profile != Profile::Ism);
    }
}

/// L-03: anonymous, NULL, RC4, 3DES, CBC, static RSA → refused.
#[test]
fn weak_suites_are_refused_with_handshake_failure() {
    let weak = [
        0x0001, 0x0002, 0x0004, 0x0005, 0x000A, 0x0013, 0x0016, 0x0018, 0x001B, 0x002F, 0x0033,
        0x0034, 0x0035, 0x003C, 0x0067, 0x006C, 0x009C, 0x009D, 0x009E, 0x00A6, 0xC006, 0xC007,
        0xC008, 0xC009, 0xC00A, 0xC010, 0xC011, 0xC012, 0xC013, 0xC014, 0xC018, 0xC023, 0xC027,
        0xC02D, 0xC031,
    ];
    for profile in [Profile::Modern, Profile::Compat] {
        let relay = relay(profile);
        for suites in weak.chunks(1).chain([weak.as_slice()]) {
            let hello = Hello {
                version: 0x0303,
                suites,
                compression: &[0],
                extensions: true,
            };
            let answer = answer_to(relay.connect(), &hello.to_record());
            assert_eq!(
                alert_in(&answer),
                Some(HANDSHAKE_FAILURE),
                "{suites:04x?}: {answer:02x?}"
            );
        }
        let hello = Hello {
            version: 0x0303,
            suites: &[GOOD_SUITE],
            compression: &[0],
            extensions: true,
        };
        let mut stream = relay.connect();
        stream.write_all(&hello.to_record()).unwrap();
        let mut first = [0; 6];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(
            (first[0], first[5]),
            (0x16, 2),
            "the same hello with a good suite gets a ServerHello"
        );
    }
}

/// L-03: compression → refused: it is not chosen, and a hello that offers nothing else fails.
#[test]
fn compression_is_refused() {
    let relay = relay(Profile::Modern);
    let hello = |compression: &'static [u8]| {
        Hello {
            version: 0x0303,
            suites: &[GOOD_SUITE],
            compression,
            extensions: true,
        }
        .to_record()
    };
    assert!(alert_in(&answer_to(relay.connect(), &hello(&[1]))).is_some());
    let mut stream = relay.connect();
    stream.write_all(&hello(&[1, 0])).unwrap();
    let mut answer = [0; 128];
    stream.read_exact(&mut answer).unwrap();
    // Record and handshake headers (9), version (2), random (32), the session id with its length, suite (2).
    let session = usize::from(answer[43]);
    assert_eq!(
        answer[44 + session + 2],
        0,
        "no compression in the ServerHello"
    );
}

#[test]
fn the_extended_master_secret_is_optional_for_compat_alone() {
    for profile in Profile::ALL {
        let settings = fixtures::settings_with(profile, &[fixtures::certificate(NAME)]);
        assert_eq!(settings.current().require_ems, profile != Profile::Compat);
    }
}

/// ISM-1369, ISM-1995: profile *ISM* has AES-GCM alone, and no X25519 alone.
#[test]
fn ism_has_its_suites_and_groups() {
    let relay = relay(Profile::Ism);
    is_refused(&relay, &with_group(&relay, kx_group::X25519));
    is_refused(
        &relay,
        &with_suite(&relay, cipher_suite::TLS13_CHACHA20_POLY1305_SHA256),
    );
    let groups = [
        (kx_group::X25519MLKEM768, Group::X25519MlKem768),
        (kx_group::SECP256R1MLKEM768, Group::Secp256r1MlKem768),
        (kx_group::SECP384R1, Group::Secp384r1),
        (kx_group::SECP256R1, Group::Secp256r1),
    ];
    for (group, counted) in groups {
        relay.serves(&with_group(&relay, group));
        assert_eq!(
            relay.counters().handshakes(TlsVersion::Tls13, counted),
            1,
            "{}",
            counted.as_str()
        );
    }
    for suite in [
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_AES_256_GCM_SHA384,
    ] {
        relay.serves(&with_suite(&relay, suite));
    }
    assert_eq!(
        relay
            .counters()
            .handshake_failures(HandshakeFailure::Parameters),
        2
    );
}

#[test]
fn modern_prefers_the_hybrid_group() {
    let relay = relay(Profile::Modern);
    let (client, _) = relay.serves(&relay.client_config());
    let group = client.conn.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
    assert_eq!(
        relay
            .counters()
            .handshakes(TlsVersion::Tls13, Group::X25519MlKem768),
        1
    );
}

/// L-04: SNI honoured; unknown SNI → (P) default certificate.
#[test]
fn the_certificate_follows_the_name_and_falls_back_to_the_first() {
    let relay = relay(Profile::Modern);
    let other = fixtures::certificate("other.example.org");
    let both = vec![
        relay.certificate.certificate.clone(),
        other.certificate.clone(),
    ];
    relay.settings.replace(Profile::Modern, both).unwrap();
    let mut config = fixtures::client_config(&[&relay.certificate, &other]);
    // A client that asks for an unknown name will not like the answer; here it is only to show it.
    config
        .dangerous()
        .set_certificate_verifier(Arc::new(fixtures::AnyCertificate));
    let cases = [
        (NAME, &relay.certificate),
        ("other.example.org", &other),
        ("x.example.org", &relay.certificate),
        ("127.0.0.1", &relay.certificate),
    ];
    for (name, expected) in cases {
        let mut client = rustls::StreamOwned::new(fixtures::client(&config, name), relay.connect());
        client.write_all(&super::BINDING).unwrap();
        relay.delivered();
        assert_eq!(
            client.conn.peer_certificates().unwrap()[0],
            expected.der,
            "{name}"
        );
    }
}

/// L-05, L-06: no 0-RTT: nothing that could be replayed is ever offered, as there are no tickets; every handshake is a
/// full one.
#[test]
fn there_is_no_resumption_and_no_early_data() {
    let relay = relay(Profile::Modern);
    assert_eq!(relay.settings.current().max_early_data_size, 0);
    for version in [&TLS12, &TLS13] {
        let mut config = only(&relay, &[version]);
        config.enable_early_data = true;
        for _ in 0..3 {
            let mut client = relay.tls(&config);
            assert!(client.conn.early_data().is_none());
            client.write_all(&super::BINDING).unwrap();
            let established = relay.delivered();
            assert_ne!(client.conn.handshake_kind(), Some(HandshakeKind::Resumed));
            drop(established);
            let _ = client.read(&mut [0]);
            assert_eq!(client.conn.tls13_tickets_received(), 0);
        }
    }
}

/// L-07: AES-GCM key update before 2^24.5 records.
#[test]
fn keys_are_renewed_in_time() {
    for profile in Profile::ALL {
        let settings = fixtures::settings_with(profile, &[fixtures::certificate(NAME)]);
        for suite in &settings.current().crypto_provider().cipher_suites {
            let limit = match suite {
                SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
                SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
            };
            if suite.suite().as_str().unwrap().contains("GCM") {
                assert!(limit <= 23_726_566, "{suite:?}");
            }
        }
    }
}

/// L-09: certificate swap without dropping sessions: handshakes go on meanwhile, and what is established stays.
#[test]
fn the_certificate_is_swapped_while_handshakes_run() {
    let relay = relay(Profile::Modern);
    let second = fixtures::certificate(NAME);
    let config = fixtures::client_config(&[&relay.certificate, &second]);
    let (mut before, established) = relay.serves(&config);
    let mut tls = established.tls.unwrap();
    let swapped = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..20 {
                std::thread::sleep(std::time::Duration::from_millis(5));
                let next = if round % 2 == 0 {
                    &second
                } else {
                    &relay.certificate
                };
                relay
                    .settings
                    .replace(Profile::Modern, vec![next.certificate.clone()])
                    .unwrap();
            }
            relay
                .settings
                .replace(Profile::Modern, vec![second.certificate.clone()])
                .unwrap();
            swapped.store(true, Ordering::Release);
        });
        let mut handshakes = 0;
        while !swapped.load(Ordering::Acquire) || handshakes == 0 {
            let (client, _) = relay.serves(&config);
            let seen = &client.conn.peer_certificates().unwrap()[0];
            assert!(*seen == relay.certificate.der || *seen == second.der);
            handshakes += 1;
        }
        let (client, _) = relay.serves(&config);
        assert_eq!(client.conn.peer_certificates().unwrap()[0], second.der);
    });
    let mut stream = established.stream;
    tls.writer().write_all(b"still here").unwrap();
    tls.write_tls(&mut stream).unwrap();
    let mut read = [0; 10];
    before.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"still here");
}
