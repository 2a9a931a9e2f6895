//! `[credentials]`, `[self-test]`, and who may ask: secrets, subjects and tokens that cannot be mistaken for one another.

use std::time::Duration;

use taciturn_controller::config::Proof;

use super::{on_aws, parsed, refused_as};

/// A [credentials] section with these keys, and one secret.
fn minting(more: &str) -> String {
    on_aws(&format!(
        "[credentials]\n{more}\n[[credentials.secret]]\nid = \"a\"\nfile = \"secret.key\""
    ))
}

/// The same, with one subject of these keys.
fn with_subject(more: &str) -> String {
    minting("") + &format!("[[credentials.subject]]\n{more}\n")
}

/// what credentials are minted with cannot be guessed, and is not what somebody else shows for a proof.
#[test]
fn what_is_minted_with_is_a_secret_and_nobodys_token() {
    let secret = |more: &str| on_aws(&format!("[[credentials.secret]]\n{more}"));
    for (text, said) in [
        (
            on_aws("[credentials]"),
            "credentials.secret: is missing: there is nothing to mint with",
        ),
        (
            secret("id = \"a\"\nfile = \"31.key\""),
            "credentials.secret[0].file = \"31.key\": the secret has 31 bytes, fewer than 32",
        ),
        (
            secret("id = \"a\"\nvalue = \"north\""),
            "credentials.secret[0].value: the secret has 5 bytes, fewer than 32",
        ),
        (
            secret("id = \"a\"\nfile = \"gone\""),
            "credentials.secret[0].file = \"gone\": cannot be read",
        ),
        (
            secret("id = \"a\""),
            "credentials.secret[0].file: is missing; write file = \"secret.key\"",
        ),
        (
            secret("id = \"a\"\nfile = \"secret.key\"\nvalue = \"a\""),
            "credentials.secret[0].value: stands beside file",
        ),
        (
            secret("file = \"secret.key\""),
            "credentials.secret[0].id: is missing",
        ),
        (
            secret("id = \"a b\"\nfile = \"secret.key\""),
            "credentials.secret[0].id = \"a b\": must be 1 to 64 visible",
        ),
        (
            secret("id = \"a\"\nfile = \"secret.key\"\nhash = \"md5\""),
            "credentials.secret[0].hash = \"md5\": is not one of the known words",
        ),
        (
            minting("") + "[[credentials.secret]]\nid = \"a\"\nfile = \"reader.token\"\n",
            "credentials.secret[1].id = \"a\": is the id of another secret",
        ),
        (
            minting("") + "[[credentials.secret]]\nid = \"b\"\nfile = \"secret.key\"\n",
            "credentials.secret[1].file = \"secret.key\": holds the same bytes as credentials.secret[0].file",
        ),
        (
            on_aws(
                "api.token-file = \"reader.token\"\n[[credentials.secret]]\nid = \"a\"\nfile = \"reader.token\"",
            ),
            "credentials.secret[0].file = \"reader.token\": holds the same bytes as api.token-file",
        ),
        (
            minting("relays = 0"),
            "credentials.relays = 0: must be 1 to 4",
        ),
        (
            minting("relays = 5"),
            "credentials.relays = 5: must be 1 to 4",
        ),
        (
            minting("ttl = \"25h\""),
            "credentials.ttl = \"25h\": is longer than max-ttl (1d)",
        ),
        (
            minting("ttl = \"1s\""),
            "credentials.ttl = \"1s\": must be within 1m to 30d",
        ),
        (
            minting("host = \"\""),
            "credentials.host = \"\": makes no host name",
        ),
        (
            minting("host = \"turn.example.org\""),
            "credentials.host = \"turn.example.org\": is the same for every relay",
        ),
        (
            minting("host = \"{name}.example.org\""),
            "credentials.host = \"{name}.example.org\": makes no host name",
        ),
        (
            minting("host = \"{address}.turn.example.org\""),
            "write {address-dashed} there, e.g. \"{address-dashed}.turn.example.org\"",
        ),
        (
            minting("host = \"{id}.example.org:3478\""),
            "makes no host name",
        ),
        (
            minting("host = \"{id}.example.org/\""),
            "makes no host name",
        ),
        (
            minting("hosts = \"{id}\""),
            "credentials.hosts: is not a key of the configuration; did you mean host?",
        ),
    ] {
        refused_as(&text, said);
    }
    for host in [
        "{address-dashed}.turn.example.org",
        "{id}.{zone}.example.org",
    ] {
        let config = parsed(&minting(&format!("host = \"{host}\""))).unwrap();
        assert_eq!(config.credentials.unwrap().host, host);
    }
    let config = parsed(&minting("")).unwrap();
    let secret = &config.credentials.unwrap().secrets[0];
    // As the relay reads it: one line end off, and nothing else.
    assert_eq!(
        secret.bytes.as_bytes(),
        b"a secret of more than thirty-two bytes "
    );
}

/// a signalling server is one and no other, and never an operator or a reader.
#[test]
fn subjects_cannot_be_mistaken_for_one_another() {
    let first = "name = \"first\"\ntoken-file = \"signalling-1.token\"";
    let two = |other: &str| with_subject(first) + &format!("[[credentials.subject]]\n{other}\n");
    let certified = "api = { certificate = \"controller.pem\", key = \"controller.key\", client-ca = \"operators-ca.pem\", \
                     token-file = \"controller.token\" }\n";
    let with_ca =
        |text: String| text.replace("[credentials]", &format!("{certified}[credentials]"));
    for (text, said) in [
        (
            with_subject("token-file = \"signalling-1.token\""),
            "credentials.subject[0].name: is missing",
        ),
        (
            with_subject("name = \"a b\"\ntoken-file = \"signalling-1.token\""),
            "credentials.subject[0].name = \"a b\": is not a plain short name",
        ),
        (
            with_subject("name = \"operator\"\ntoken-file = \"signalling-1.token\""),
            "credentials.subject[0].name = \"operator\": is what others are called",
        ),
        (
            with_subject("name = \"self-test\"\ntoken-file = \"signalling-1.token\""),
            "credentials.subject[0].name = \"self-test\": is what others are called",
        ),
        (
            with_subject("name = \"first\""),
            "credentials.subject[0].token-file: is missing, and so is certificate-name",
        ),
        (
            with_subject("name = \"first\"\ntoken-file = \"31.token\""),
            "credentials.subject[0].token-file = \"31.token\": holds fewer than 32 bytes",
        ),
        (
            two("name = \"first\"\ntoken-file = \"reader.token\""),
            "credentials.subject[1].name = \"first\": is the name of another subject",
        ),
        (
            two("name = \"second\"\ntoken-file = \"signalling-1.token\""),
            "credentials.subject[1].token-file = \"signalling-1.token\": holds the same bytes as credentials.subject[0].token-file",
        ),
        (
            with_subject("name = \"a\"\ntoken-file = \"reader.token\"").replace(
                "[credentials]",
                "api = { token-file = \"controller.token\", reader-token-file = \"reader.token\" }\n[credentials]",
            ),
            "credentials.subject[0].token-file = \"reader.token\": holds the same bytes as api.reader-token-file",
        ),
        (
            with_subject(&format!("{first}\ncertificate-name = \"a.example.org\"")),
            "credentials.subject[0].certificate-name = \"a.example.org\": stands beside token-file",
        ),
        (
            with_subject("name = \"a\"\ncertificate-name = \"a.example.org\""),
            "credentials.subject[0].certificate-name = \"a.example.org\": is looked for in certificates that nobody is asked for",
        ),
        (
            with_ca(with_subject(
                "name = \"a\"\ncertificate-name = \"*.example.org\"",
            )),
            "credentials.subject[0].certificate-name = \"*.example.org\": is not a whole DNS name",
        ),
        (
            with_ca(two("name = \"b\"\ncertificate-name = \"B.example.org\"\n[[credentials.subject]]\nname = \"c\"\n\
                         certificate-name = \"b.example.org\"")),
            "credentials.subject[2].certificate-name = \"b.example.org\": is the name of another subject's certificate",
        ),
        (
            with_subject(&format!("{first}\nrate = 0")),
            "credentials.subject[0].rate = 0: would let nothing through",
        ),
        (
            with_subject(&format!("{first}\nburst = 0")),
            "credentials.subject[0].burst = 0: would let nothing through",
        ),
        (
            with_subject(&format!("{first}\nmax-ttl = \"48h\"")),
            "credentials.subject[0].max-ttl = \"48h\": must be within 1m to credentials.max-ttl (1d)",
        ),
        (
            on_aws("api = { token-file = \"controller.token\", reader-token-file = \"open.token\" }"),
            "",
        ),
    ] {
        if said.is_empty() {
            // The same bytes, in another file.
            let errors = parsed(&(text + "[[credentials.secret]]\nid = \"a\"\nfile = \"secret.key\"\n")).unwrap_err();
            assert!(errors.to_string().contains("api.reader-token-file"), "{errors}");
        } else {
            refused_as(&text, said);
        }
    }
    let config = parsed(&with_ca(two(
        "name = \"b\"\ncertificate-name = \"B.example.org\"\nrate = 7\nmax-ttl = \"2h\"",
    )));
    let minted = config.unwrap().credentials.unwrap();
    assert_eq!(
        (minted.subjects[0].rate, minted.subjects[0].burst),
        (50, 100)
    );
    assert_eq!(minted.subjects[0].max_ttl, Duration::from_secs(24 * 3600));
    let name = Proof::Certificate("b.example.org".to_owned());
    assert_eq!(minted.subjects[1].proof, name);
    assert_eq!(minted.subjects[1].max_ttl, Duration::from_secs(2 * 3600));
}

/// subjects and readers do not make an operator; beyond loopback somebody else has to be.
#[test]
fn those_who_order_nothing_do_not_guard_the_api() {
    let said = |text: &str| -> Vec<String> {
        let warnings = parsed(text).unwrap().warnings;
        warnings.iter().map(ToString::to_string).collect()
    };
    let subject = with_subject("name = \"a\"\ntoken-file = \"signalling-1.token\"");
    let beyond = |api: &str| subject.replace("[credentials]", &format!("{api}\n[credentials]"));
    let open = said(&beyond("api.address = \"0.0.0.0:9640\""));
    assert!(open[0].contains("nobody can order anything"), "{open:?}");
    assert!(
        open[1].contains("crosses the network in the clear"),
        "{open:?}"
    );
    let tls = "certificate = \"controller.pem\", key = \"controller.key\"";
    let certified = said(&beyond(&format!(
        "api = {{ address = \"0.0.0.0:9640\", {tls}, client-ca = \"operators-ca.pem\" }}"
    )));
    assert_eq!(certified.len(), 1, "{certified:?}");
    assert!(
        certified[0]
            .contains("api.client-ca = \"operators-ca.pem\": certifies more than operators"),
        "{certified:?}"
    );
    let whole = said(&beyond(&format!(
        "api = {{ address = \"0.0.0.0:9640\", {tls}, token-file = \"controller.token\" }}"
    )));
    assert!(whole.is_empty(), "{whole:?}");
    assert!(said(&subject).is_empty());
}

#[test]
fn a_self_test_has_something_to_hand_out_and_a_place_of_its_own() {
    let page = |more: &str| minting("") + &format!("[self-test]\n{more}\n");
    for (text, said) in [
        (
            on_aws("[self-test]"),
            "self-test: has nothing to hand out: there is no [credentials]",
        ),
        (
            page("address = \"test.example.org\""),
            "self-test.address = \"test.example.org\": is not an address with a port",
        ),
        (
            page("address = \"127.0.0.1:9640\""),
            "self-test.address = \"127.0.0.1:9640\": is that of the API",
        ),
        (
            page("certificate = \"self-test.pem\"\nkey = \"self-test.key\""),
            "self-test.certificate = \"self-test.pem\": is for a listener of its own",
        ),
        (
            page("address = \"127.0.0.1:1\"\nkey = \"self-test.key\""),
            "self-test.key = \"self-test.key\": has no certificate beside it",
        ),
        (
            page("url = \"test.example.org\""),
            "self-test.url = \"test.example.org\": is not where a browser could find a page",
        ),
        (
            page("url = \"https://test.example.org/?a=b\""),
            "is not where a browser could find a page",
        ),
    ] {
        refused_as(&text, said);
    }
    let open = parsed(&page("address = \"0.0.0.0:8443\"")).unwrap();
    assert!(open.warnings[0].to_string().contains("not encrypted"));
    let page = parsed(&page("url = \"https://test.example.org/\"")).unwrap();
    let url = page.self_test.unwrap().url;
    assert_eq!(url.as_deref(), Some("https://test.example.org"));
}
