//! Who is taken for whom, by tokens and by names in certificates.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::*;

fn access(token: Option<&[u8]>) -> Access {
    Access::new(PreparedAccess::new(token.map(Token::new), None))
}

fn admits(access: &Access, authorization: Option<&[u8]>) -> bool {
    let shown = authorization.map_or(Shown::Nothing, Shown::Authorization);
    let caller = access.caller(shown, None);
    caller.is_ok_and(|caller| caller.role == Role::Operator)
}

/// only the whole token will do, in the form that HTTP has for it.
#[test]
fn only_the_token_is_admitted() {
    let open = access(None);
    assert!(admits(&open, None) && admits(&open, Some(b"Bearer anything")));
    assert!(!open.is_guarded());

    let token = b"0123456789abcdef0123456789abcdef";
    let guarded = access(Some(token));
    assert!(guarded.is_guarded());
    for good in ["Bearer ", "bearer ", "BEARER "] {
        let header = [good.as_bytes(), token].concat();
        assert!(admits(&guarded, Some(&header)), "{good}");
        assert!(guarded.admits(&header));
    }
    assert!(!admits(&guarded, None));
    for wrong in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer 0123456789abcdef0123456789abcde",
        "Bearer 0123456789abcdef0123456789abcdef0",
        "Bearer 0123456789abcdef0123456789abcdeF",
        "Bearer  0123456789abcdef0123456789abcdef",
        "Basic 0123456789abcdef0123456789abcdef",
        "0123456789abcdef0123456789abcdef",
    ] {
        assert!(!admits(&guarded, Some(wrong.as_bytes())), "{wrong}");
        assert!(!guarded.admits(wrong.as_bytes()));
    }
}

/// TLS alone guards the API too, whoever its clients are; and the next handshake is by what was installed last.
#[test]
fn the_next_handshake_is_by_what_was_installed_last() {
    let made = || {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["api.example.org".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        tls(&[certificate], &key, &[], provider, rustls::ALL_VERSIONS).unwrap()
    };
    let (first, second) = (made(), made());
    let access = Access::new(PreparedAccess::new(None, Some(Arc::clone(&first))));
    assert!(access.is_guarded());
    assert!(Arc::ptr_eq(&access.tls().unwrap(), &first));
    access.install(PreparedAccess::new(None, Some(Arc::clone(&second))));
    assert!(Arc::ptr_eq(&access.tls().unwrap(), &second));
    access.install(PreparedAccess::new(None, None));
    assert!(access.tls().is_none() && !access.is_guarded());
}

#[test]
fn another_token_counts_from_the_next_request_on() {
    let guarded = access(Some(b"first-first-first-first-first-first"));
    let token = Token::new(b"second-second-second-second-second");
    guarded.install(PreparedAccess::new(Some(token), None));
    assert!(!admits(
        &guarded,
        Some(b"Bearer first-first-first-first-first-first")
    ));
    assert!(admits(
        &guarded,
        Some(b"Bearer second-second-second-second-second")
    ));
}

fn named(access: &Access, shown: Shown<'_>, peer: Option<&Peer>) -> Option<(Role, String)> {
    let caller = access.caller(shown, peer).ok()?;
    Some((caller.role, caller.name.to_string()))
}

fn known(role: Role, name: &str) -> Option<(Role, String)> {
    Some((role, name.to_owned()))
}

const OPERATOR: &[u8] = b"operator-operator-operator-operator";
const READER: &[u8] = b"reader-reader-reader-reader-reader-";
const FIRST: &[u8] = b"first-first-first-first-first-first";
const SECOND: &[u8] = b"second-second-second-second+second=";

fn for_many(operator: Option<&[u8]>) -> PreparedAccess {
    PreparedAccess::new(operator.map(Token::new), None)
        .with_reader(Token::new(READER))
        .with_subject("first", Token::new(FIRST))
        .with_subject("second", Token::new(SECOND))
}

fn bearing(token: &[u8]) -> Vec<u8> {
    [b"Bearer ", token].concat()
}

/// each token is one caller's, whatever else there is; a token of nobody is not passed over.
#[test]
fn a_token_says_who_asks() {
    let access = Access::new(for_many(Some(OPERATOR)));
    for (token, role, name) in [
        (OPERATOR, Role::Operator, "operator"),
        (READER, Role::Reader, "reader"),
        (FIRST, Role::Subject, "first"),
        (SECOND, Role::Subject, "second"),
    ] {
        let header = bearing(token);
        let shown = Shown::Authorization(&header);
        assert_eq!(named(&access, shown, None), known(role, name));
    }
    let wrong = bearing(b"third-third-third-third-third-third");
    assert_eq!(named(&access, Shown::Authorization(&wrong), None), None);
    assert_eq!(
        named(&access, Shown::Nothing, None),
        known(Role::Stranger, "stranger")
    );
}

/// where no proof is asked of the operator, a wrong one makes nobody the operator either.
#[test]
fn a_wrong_token_is_not_as_good_as_none() {
    let access = Access::new(for_many(None));
    assert_eq!(
        named(&access, Shown::Nothing, None),
        known(Role::Operator, "local")
    );
    let wrong = bearing(b"third-third-third-third-third-third");
    for shown in [wrong.as_slice(), b"", b"Basic YTpi"] {
        assert_eq!(named(&access, Shown::Authorization(shown), None), None);
    }
    let closed = Access::new(for_many(None).closed());
    assert_eq!(
        named(&closed, Shown::Nothing, None),
        known(Role::Stranger, "stranger")
    );
    assert!(closed.is_guarded() && !access.is_guarded());
}

/// what stands in a query is a subject's token, where that is allowed, and never the operator's.
#[test]
fn a_key_in_a_query_is_a_subjects_alone() {
    let text = |token: &'static [u8]| str::from_utf8(token).unwrap();
    let shut = Access::new(for_many(Some(OPERATOR)));
    let stranger = known(Role::Stranger, "stranger");
    assert_eq!(named(&shut, Shown::Key(text(FIRST)), None), stranger);

    let open = Access::new(for_many(Some(OPERATOR)).with_query_keys(true));
    let second = known(Role::Subject, "second");
    for written in [text(SECOND), "second-second-second%2dsecond%2Bsecond%3D"] {
        assert_eq!(named(&open, Shown::Key(written), None), second, "{written}");
    }
    for wrong in [text(OPERATOR), text(READER), "", "%", "%zz", "first%2"] {
        assert_eq!(named(&open, Shown::Key(wrong), None), None, "{wrong}");
    }
}

fn peer(names: Option<&[&str]>) -> Peer {
    use rcgen::{CertificateParams, KeyPair};
    let certificate = names.map(|names| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).unwrap();
        params.self_signed(&KeyPair::generate().unwrap()).unwrap()
    });
    let shown = certificate
        .as_ref()
        .map(|certificate| certificate.der().clone());
    Peer::new(
        tokio::time::Instant::now(),
        shown.as_ref(),
        crate::Limits::FEW,
    )
}

/// a certificate is the subject's whose name it has. The operator's it is only where nobody else has one: an
/// authority that also certifies signalling servers says nothing of what their certificates are good for.
#[test]
fn a_certificate_says_who_asks() {
    let with = |prepared: PreparedAccess, names: &[&str]| {
        named(
            &Access::new(prepared),
            Shown::Nothing,
            Some(&peer(Some(names))),
        )
    };
    let alone = || PreparedAccess::new(None, None);
    let certified = || {
        alone()
            .with_certified_subject("first", "a.example.org")
            .with_certified_subject("second", "b.example.org")
    };
    assert_eq!(
        with(alone(), &["x.example.org"]),
        known(Role::Operator, "operator")
    );
    assert_eq!(with(alone(), &[]), known(Role::Operator, "operator"));

    let first = known(Role::Subject, "first");
    assert_eq!(with(certified(), &["A.Example.org"]), first);
    assert_eq!(
        with(certified(), &["x.example.org", "a.example.org"]),
        first
    );
    assert_eq!(
        with(certified(), &["b.example.org", "a.example.org"]),
        first
    );
    assert_eq!(
        with(certified(), &["b.example.org"]),
        known(Role::Subject, "second")
    );
    let stranger = known(Role::Stranger, "stranger");
    for other in [
        &["x.example.org"][..],
        &["*.example.org"],
        &["a.example.org.evil.example"],
        &[],
    ] {
        assert_eq!(with(certified(), other), stranger, "{other:?}");
    }
    // One who left its token out is not the operator either.
    let by_token = alone().with_subject("first", Token::new(FIRST));
    assert_eq!(with(by_token, &["x.example.org"]), stranger);
    // With an operator's token a certificate alone was never enough.
    let guarded = PreparedAccess::new(Some(Token::new(OPERATOR)), None);
    assert_eq!(with(guarded, &["x.example.org"]), stranger);

    // A token goes first.
    let both =
        Access::new(for_many(Some(OPERATOR)).with_certified_subject("third", "a.example.org"));
    let header = bearing(OPERATOR);
    let certified = peer(Some(&["a.example.org"]));
    assert_eq!(
        named(&both, Shown::Authorization(&header), Some(&certified)),
        known(Role::Operator, "operator")
    );
    let wrong = bearing(b"wrong");
    assert_eq!(
        named(&both, Shown::Authorization(&wrong), Some(&certified)),
        None
    );
    // Over TLS without certificates nobody has one.
    assert_eq!(named(&both, Shown::Nothing, Some(&peer(None))), stranger);
}
