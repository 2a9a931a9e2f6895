//! `[credentials]` and `[self-test]`: what is minted, with what, for whom; and the page with which clinics try their network.
//!
//! Responsible for secrets and subjects that cannot be mistaken for one another, and for saying nothing of their contents. Not
//! responsible for minting, nor for comparing tokens (`taciturn_plane`).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use taciturn_protocol::credentials::HmacHash;

use super::access::{Files, MAKE_TOKEN, MIN_TOKEN_BYTES, socket_address};
use super::provider::{duration, required};
use super::written::{self, HashWord};
use super::{Identity, SecretBytes};
use crate::durations::words;

/// Where what is minted by is exchanged when the configuration is read again: from the next question on, without a restart.
/// `None`: this controller mints nothing.
pub type LiveCredentials = ArcSwapOption<Credentials>;

/// What is minted, with what, for whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Credentials {
    /// How long a credential is good for where the caller does not say.
    pub ttl: Duration,
    /// The longest that a caller may ask for; at least `ttl`.
    pub max_ttl: Duration,
    /// The host in URLs, in which `{address}`, `{address-dashed}`, `{id}` and `{zone}` stand for a relay's.
    pub host: String,
    /// Offer `turns:` URLs also where the host is an address, which most certificates do not name.
    pub tls_by_address: bool,
    /// How many relays an answer names: 1 to 4.
    pub relays: usize,
    /// Whether a subject's token is also taken from `?key=` of a query.
    pub query_key: bool,
    /// What credentials are minted with, the newest first: the first that is not revoked mints. Never empty in a controller
    /// that runs.
    pub secrets: Vec<Secret>,
    /// The file of the local provider that holds the secret, where no secret is configured; it is made at the start.
    pub local_secret: Option<PathBuf>,
    /// Who may ask.
    pub subjects: Vec<Subject>,
}

/// `[[credentials.secret]]`: one that the relays have under the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Its name, the same as in the relays' configuration.
    pub id: Arc<str>,
    /// Its bytes, at least 32.
    pub bytes: SecretBytes,
    /// The hash that passwords are made with.
    pub hash: HmacHash,
}

/// `[[credentials.subject]]`: a signalling server.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// Its name: a label of metrics, and how the gate calls it (`taciturn_plane::Caller`).
    pub name: Arc<str>,
    /// What it proves itself by.
    pub proof: Proof,
    /// Answers a second that it may have for good.
    pub rate: u32,
    /// Answers that it may have at once.
    pub burst: u32,
    /// The longest credential that it may ask for; at most that of the section.
    pub max_ttl: Duration,
}

/// How a subject proves that it is itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// By a token of its own, at least 32 bytes.
    Token(SecretBytes),
    /// By a client certificate with this DNS name, which one of `[api] client-ca` has issued.
    Certificate(String),
}

/// `[self-test]`.
#[derive(Debug)]
pub struct SelfTest {
    /// A listener of its own, which serves the page and its ticket route alone; `None`: the API serves them.
    pub address: Option<SocketAddr>,
    /// How that listener is encrypted; `None`: it is not.
    pub identity: Option<Identity>,
    /// How visitors reach the page, without a final slash; `None`: as whoever asks for a ticket reaches the API.
    pub url: Option<String>,
}

impl Credentials {
    /// The id of the secret of the local provider's relays.
    pub const LOCAL_ID: &str = "local";
}

/// Names that callers have who are no subjects.
const RESERVED: [&str; 5] = ["operator", "local", "reader", "stranger", "self-test"];
/// Most subjects: each is a label of metrics, and all tokens are compared with every request.
const MOST_SUBJECTS: usize = 256;
const MAKE_SECRET: &str = "make one with: taciturn credentials secret --out FILE";

/// What the rest of the configuration means for these sections.
pub(super) struct Around<'c> {
    /// Whether clients prove themselves by certificates.
    pub(super) client_ca: bool,
    /// Everybody else's tokens, by their keys.
    pub(super) tokens: Vec<(&'static str, &'c SecretBytes)>,
    /// The secret of the local provider's relays.
    pub(super) local_secret: Option<PathBuf>,
    /// The configuration itself can be read by everybody on this machine.
    pub(super) open_to_others: bool,
}

/// `[credentials]`; `None`: it is not written, and nothing is minted.
pub(super) fn credentials(
    files: &mut Files<'_, '_>,
    written: Option<&written::Credentials>,
    around: &Around<'_>,
) -> Option<Arc<Credentials>> {
    let document = files.document;
    let nothing = written::Credentials::default();
    let written = match (written, &around.local_secret) {
        (Some(written), _) => written,
        (None, Some(_)) => &nothing,
        (None, None) => return None,
    };
    let day = 24 * 3600;
    let max_ttl = duration(
        document,
        "credentials.max-ttl",
        written.max_ttl,
        day,
        60..=30 * day,
    );
    let ttl = duration(
        document,
        "credentials.ttl",
        written.ttl,
        3600,
        60..=30 * day,
    );
    if ttl > max_ttl {
        document.refuse(
            "credentials.ttl",
            format!(
                "is longer than max-ttl ({}); write a shorter time, or a longer max-ttl",
                words(max_ttl)
            ),
        );
    }
    let host = written
        .host
        .clone()
        .unwrap_or_else(|| "{address}".to_owned());
    if let Err(what) = judge_host(&host) {
        document.refuse("credentials.host", what);
    }
    let relays = written.relays.unwrap_or(2);
    if !(1..=4).contains(&relays) {
        document.refuse(
            "credentials.relays",
            "must be 1 to 4: one more than a call needs is enough, and each makes calls slower to set up; write e.g. 2",
        );
    }
    let secrets = secrets(files, &written.secret, around);
    if written.secret.is_empty()
        && around.local_secret.is_none()
        && !document.has("credentials.secret")
    {
        document.refuse(
            "credentials.secret",
            format!(
                "is missing: there is nothing to mint with; write [[credentials.secret]] with the id and file that the relays \
                 have in [[secret]] ({MAKE_SECRET})"
            ),
        );
    }
    let subjects = subjects(files, &written.subject, max_ttl, around);
    judge_tokens(files, around, &secrets, &subjects);
    Some(Arc::new(Credentials {
        ttl,
        max_ttl,
        host,
        tls_by_address: written.tls_by_address,
        relays: usize::from(relays),
        query_key: written.query_key,
        local_secret: around
            .local_secret
            .clone()
            .filter(|_| written.secret.is_empty()),
        secrets: secrets.into_iter().map(|(_, secret)| secret).collect(),
        subjects: subjects.into_iter().map(|(_, subject)| subject).collect(),
    }))
}

/// A host, as far as it can be judged before a relay's address and id stand in it.
fn judge_host(host: &str) -> Result<(), String> {
    const REMEDY: &str = "write \"{address}\", or a DNS name such as \"{id}.turn.example.org\", in which {address}, \
                          {address-dashed}, {id} and {zone} stand for the relay's";
    let mut filled = host.to_owned();
    for place in ["{address}", "{address-dashed}", "{id}", "{zone}"] {
        filled = filled.replace(place, "a1");
    }
    let label = |label: &str| {
        let plain = label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-');
        plain && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    if filled.len() > 200 || !filled.split('.').all(label) {
        return Err(format!("makes no host name; {REMEDY}"));
    }
    if filled == host {
        return Err(format!(
            "is the same for every relay, which could not be told apart; {REMEDY}"
        ));
    }
    if host.contains("{address}") && host != "{address}" {
        return Err(format!(
            "has {{address}} within a name, where its dots part it; write {{address-dashed}} there, e.g. \
             \"{}\"",
            host.replace("{address}", "{address-dashed}")
        ));
    }
    Ok(())
}

fn secrets(
    files: &mut Files<'_, '_>,
    written: &[written::Secret],
    around: &Around<'_>,
) -> Vec<(String, Secret)> {
    let document = files.document;
    let mut secrets: Vec<(String, Secret)> = Vec::new();
    for (index, written) in written.iter().enumerate() {
        let key = |name: &str| format!("credentials.secret[{index}].{name}");
        let remedy =
            "write the id that the relays have for it in [[secret]], e.g. id = \"2026-11\"";
        let id = required(document, &key("id"), written.id.as_deref(), remedy);
        if let Some(id) = &id {
            if id.len() > 64 || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
                document.refuse(
                    &key("id"),
                    format!("must be 1 to 64 visible ASCII characters; {remedy}"),
                );
            }
            if secrets.iter().any(|(_, other)| *other.id == **id) {
                document.refuse(&key("id"), "is the id of another secret; give each its own");
            }
        }
        let (from, bytes) = match (&written.file, &written.value) {
            (Some(name), None) => {
                let bytes = files.bytes(&key("file"), name, true);
                (key("file"), bytes)
            }
            (None, Some(value)) => {
                if around.open_to_others {
                    document.warn(
                        &key("value"),
                        "is in a configuration that everybody on this machine can read; run chmod o-rwx on it, or move the \
                         secret to a file",
                    );
                }
                (key("value"), Some(value.0.clone().into_bytes()))
            }
            (Some(_), Some(_)) => {
                document.refuse(
                    &key("value"),
                    "stands beside file; write file or value, not both",
                );
                continue;
            }
            (None, None) => {
                if !document.has(&key("file")) && !document.has(&key("value")) {
                    document.refuse(
                        &key("file"),
                        format!("is missing; write file = \"secret.key\"; {MAKE_SECRET}"),
                    );
                }
                continue;
            }
        };
        let Some(bytes) = bytes else {
            continue;
        };
        let bytes = match secret_of_file(&bytes) {
            Ok(bytes) => bytes,
            Err(words) => {
                document.refuse(&from, words);
                continue;
            }
        };
        let secret = Secret {
            id: id.unwrap_or_default().into(),
            bytes,
            hash: match written.hash {
                None | Some(HashWord::Sha256) => HmacHash::Sha256,
                Some(HashWord::Sha1) => HmacHash::Sha1,
            },
        };
        secrets.push((from, secret));
    }
    secrets
}

/// The secret in a file of these bytes: without one final line end, as relays read it.
///
/// # Errors
/// It could be guessed; in words.
pub fn secret_of_file(bytes: &[u8]) -> Result<SecretBytes, String> {
    let bytes = one_line_end_off(bytes);
    if bytes.len() < MIN_TOKEN_BYTES {
        return Err(format!(
            "the secret has {} bytes, fewer than {MIN_TOKEN_BYTES}, and could be searched for; {MAKE_SECRET}",
            bytes.len()
        ));
    }
    Ok(SecretBytes::new(bytes))
}

/// A file's bytes without one final line end: as the relay reads it.
pub(crate) fn one_line_end_off(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

fn subjects(
    files: &mut Files<'_, '_>,
    written: &[written::Subject],
    longest: Duration,
    around: &Around<'_>,
) -> Vec<(String, Subject)> {
    let document = files.document;
    let mut subjects: Vec<(String, Subject)> = Vec::new();
    if written.len() > MOST_SUBJECTS {
        document.refuse(
            "credentials.subject",
            format!("is written more than {MOST_SUBJECTS} times; let signalling servers of one kind share one"),
        );
    }
    let mut names = BTreeSet::new();
    for (index, written) in written.iter().take(MOST_SUBJECTS).enumerate() {
        let key = |name: &str| format!("credentials.subject[{index}].{name}");
        let remedy = "write at most 64 letters, digits, - and _, e.g. name = \"signalling-1\"";
        let name =
            required(document, &key("name"), written.name.as_deref(), remedy).unwrap_or_default();
        let plain = name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if !plain || name.len() > 64 {
            document.refuse(&key("name"), format!("is not a plain short name; {remedy}"));
        } else if RESERVED.contains(&name.as_str()) {
            document.refuse(
                &key("name"),
                "is what others are called in metrics; give it another name",
            );
        } else if !name.is_empty() && !names.insert(name.clone()) {
            document.refuse(
                &key("name"),
                "is the name of another subject; give each its own",
            );
        }
        let rate = at_least_one(files, &key("rate"), written.rate, 50);
        let burst = at_least_one(files, &key("burst"), written.burst, 100);
        let max_ttl = written.max_ttl.map_or(longest, |written| written.0);
        if max_ttl > longest || max_ttl < Duration::from_secs(60) {
            document.refuse(
                &key("max-ttl"),
                format!("must be within 1m to credentials.max-ttl ({}); write a time between them, or leave it out", words(longest)),
            );
        }
        let Some((from, proof)) = proof(files, written, &key, around) else {
            continue;
        };
        if let Proof::Certificate(name) = &proof
            && subjects.iter().any(
                |(_, other)| matches!(&other.proof, Proof::Certificate(taken) if taken == name),
            )
        {
            document.refuse(
                &from,
                "is the name of another subject's certificate; give each its own",
            );
        }
        let subject = Subject {
            name: name.into(),
            proof,
            rate,
            burst,
            max_ttl,
        };
        subjects.push((from, subject));
    }
    subjects
}

fn at_least_one(files: &Files<'_, '_>, key: &str, written: Option<u32>, default: u32) -> u32 {
    if written == Some(0) {
        files.document.refuse(
            key,
            format!("would let nothing through; write a whole number from 1, e.g. {default}, or take the subject out"),
        );
    }
    written.unwrap_or(default)
}

/// How a subject proves itself, and the key that says so.
fn proof(
    files: &mut Files<'_, '_>,
    written: &written::Subject,
    key: &dyn Fn(&str) -> String,
    around: &Around<'_>,
) -> Option<(String, Proof)> {
    let document = files.document;
    let (token, name) = (key("token-file"), key("certificate-name"));
    match (&written.token_file, &written.certificate_name) {
        (Some(file), None) => {
            let read = files.token(&token, Some(file))?;
            Some((token, Proof::Token(read)))
        }
        (None, Some(text)) => {
            if !around.client_ca {
                document.refuse(
                    &name,
                    "is looked for in certificates that nobody is asked for; write certificate, key and client-ca in [api], or \
                     token-file here",
                );
            }
            let wild = text.contains('*');
            let known = rustls::pki_types::DnsName::try_from(text.as_str());
            match known {
                Ok(known) if !wild => Some((
                    name,
                    Proof::Certificate(known.as_ref().to_ascii_lowercase()),
                )),
                Ok(_) | Err(_) => {
                    document.refuse(
                        &name,
                        "is not a whole DNS name; write one that stands in the certificate, e.g. \"signalling-1.example.org\"",
                    );
                    None
                }
            }
        }
        (Some(_), Some(_)) => {
            document.refuse(
                &name,
                "stands beside token-file; write one of them, or make two subjects of it",
            );
            None
        }
        (None, None) => {
            if !document.has(&token) && !document.has(&name) {
                document.refuse(
                    &token,
                    format!("is missing, and so is certificate-name: nobody could prove to be this subject; {MAKE_TOKEN}"),
                );
            }
            None
        }
    }
}

/// Equal tokens would make one caller of two, the mightier of them; and who has a token must not be able to mint with it.
fn judge_tokens(
    files: &Files<'_, '_>,
    around: &Around<'_>,
    secrets: &[(String, Secret)],
    subjects: &[(String, Subject)],
) {
    let mut all: Vec<(&str, &SecretBytes)> = around.tokens.clone();
    all.extend(
        subjects
            .iter()
            .filter_map(|(key, subject)| match &subject.proof {
                Proof::Token(token) => Some((key.as_str(), token)),
                Proof::Certificate(_) => None,
            }),
    );
    all.extend(
        secrets
            .iter()
            .map(|(key, secret)| (key.as_str(), &secret.bytes)),
    );
    for (index, (key, bytes)) in all.iter().enumerate() {
        if let Some((other, _)) = all.iter().take(index).find(|(_, other)| other == bytes) {
            files.document.refuse(
                key,
                format!("holds the same bytes as {other}, so that one could pass for the other; {MAKE_TOKEN}"),
            );
        }
    }
}

/// `[self-test]`; `None`: it is not written.
pub(super) fn self_test(
    files: &mut Files<'_, '_>,
    written: Option<&written::SelfTest>,
    credentials: bool,
    api: &super::ApiAddress,
) -> Option<SelfTest> {
    let document = files.document;
    let written = written?;
    if !credentials {
        document.refuse(
            "self-test",
            "has nothing to hand out: there is no [credentials]; write that section, or take this one away",
        );
    }
    let address = written.address.as_deref().and_then(|text| {
        socket_address(text)
            .map_err(|words| document.refuse("self-test.address", words))
            .ok()
    });
    if let (Some(own), super::ApiAddress::Tcp(api)) = (address, api)
        && own == *api
        && own.port() != 0
    {
        document.refuse(
            "self-test.address",
            "is that of the API, which serves the page as well; write another, or take it away",
        );
    }
    let identity = files.identity(
        "self-test",
        written.certificate.as_deref(),
        written.key.as_deref(),
    );
    if address.is_none() && !document.has("self-test.address") && written.certificate.is_some() {
        document.refuse(
            "self-test.certificate",
            "is for a listener of its own; write address, or take certificate and key away",
        );
    }
    if address.is_some_and(|own| !own.ip().is_loopback()) && written.certificate.is_none() {
        document.warn(
            "self-test.address",
            "is beyond loopback and not encrypted; write certificate and key, or put a proxy with TLS before it",
        );
    }
    let url = written.url.as_deref().and_then(|text| {
        let url = text.trim_end_matches('/');
        let name = url
            .strip_prefix("https://")
            .or_else(|| url.strip_prefix("http://"));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/[]".contains(&byte);
        if name.is_some_and(|name| {
            !name.is_empty() && !name.starts_with('/') && name.bytes().all(plain)
        }) {
            return Some(url.to_owned());
        }
        document.refuse(
            "self-test.url",
            "is not where a browser could find a page; write e.g. \"https://test.example.org\"",
        );
        None
    });
    Some(SelfTest {
        address,
        identity,
        url,
    })
}
