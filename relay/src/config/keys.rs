//! Certificates, secrets, users' keys and nonce keys: everything that is read from a further file.
//!
//! Responsible for reading them, and for saying nothing about their contents. Not for using them.

use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use taciturn_protocol::credentials::{Hashes, HmacHash, NonceKey, Realm, SharedSecret, StaticUser};
use zeroize::Zeroizing;

use super::files::{FileRead, SecretBytes};
use super::section::{Field, Section, Wrong};
use super::value::{text, word};
use super::{Tls, TlsProfile};

/// The shortest secret that is accepted, in bytes: 256 bits cannot be guessed from a captured message.
const MIN_SECRET_BYTES: usize = 32;

const MAKE_SECRET: &str = "make one with: taciturn credentials secret --out FILE";
/// What to name where a chain is wanted.
pub(super) const NAME_CHAIN: &str =
    "name a PEM file with the relay's certificate first and its intermediates after it";
const MAKE_KEY: &str =
    "make it with: taciturn credentials key --user NAME --realm REALM --out FILE";

/// Asks for the files that the configuration names.
pub(super) struct Files<'r> {
    pub(super) read: &'r mut dyn FnMut(&Path) -> io::Result<FileRead>,
    /// Whether everybody on the machine can read the configuration itself.
    pub(super) origin_open_to_others: bool,
}

impl Files<'_> {
    /// The file that `field` names; `secret` files are warned about when their mode is careless.
    fn read(&mut self, field: Field<'_>, sensitivity: Sensitivity) -> Option<(PathBuf, FileRead)> {
        let name = field.read(text)?;
        if name.is_empty() || name.contains('\0') {
            field.refuse(Wrong::new(
                "names no file",
                "write a file name, relative to this configuration's directory",
            ));
            return None;
        }
        let path = field.document.resolve(name);
        match (self.read)(&path) {
            Ok(file) => {
                if file.open_to_others && matches!(sensitivity, Sensitivity::Secret) {
                    let remedy = "run chmod o-rwx on it; its group may be one that the relay is in";
                    field.warn(Wrong::new(
                        "can be read or written by everybody on this machine",
                        remedy,
                    ));
                } else if file.writable_by_others {
                    field.warn(Wrong::new(
                        "can be written by everybody on this machine",
                        "run chmod o-w on it",
                    ));
                }
                let digest = Sha256::digest(&file.bytes).into();
                field
                    .document
                    .files
                    .borrow_mut()
                    .push((path.clone(), digest));
                Some((path, file))
            }
            Err(error) => {
                let remedy = format!("check that the relay's user may read {}", path.display());
                field.refuse(Wrong::new(format!("cannot be read: {error}"), remedy));
                None
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Sensitivity {
    Public,
    Secret,
}

/// The `[tls]` section.
pub(super) fn tls(top: &Section<'_>, files: &mut Files<'_>) -> Option<Tls> {
    const PROFILES: &[(&str, TlsProfile)] = &[
        ("modern", TlsProfile::Modern),
        ("ism", TlsProfile::Ism),
        ("compat", TlsProfile::Compat),
    ];
    let section = top.once("tls")?;
    let profile = section.read("profile", word(PROFILES)).unwrap_or_default();
    let certificate = required(
        &section,
        "certificate",
        "write e.g. certificate = \"fullchain.pem\"",
    );
    let key = required(&section, "key", "write e.g. key = \"privkey.pem\"");
    let certificate = certificate.and_then(|field| certificates(field, files, NAME_CHAIN));
    let key = key.and_then(|field| private_key(field, files));
    let ((certificate_file, certificates), (key_file, key)) = (certificate?, key?);
    Some(Tls {
        certificates,
        key,
        profile,
        certificate_file,
        key_file,
    })
}

fn required<'t>(section: &Section<'t>, key: &'static str, remedy: &str) -> Option<Field<'t>> {
    let field = section.field(key);
    if field.is_none() {
        section.missing(key, "is missing", remedy);
    }
    field
}

/// The certificates in the file that `field` names; at least one.
pub(super) fn certificates(
    field: Field<'_>,
    files: &mut Files<'_>,
    remedy: &str,
) -> Option<(PathBuf, Vec<CertificateDer<'static>>)> {
    let (path, file) = files.read(field, Sensitivity::Public)?;
    match CertificateDer::pem_slice_iter(&file.bytes).collect::<Result<Vec<_>, _>>() {
        Ok(chain) if !chain.is_empty() => Some((path, chain)),
        Ok(_) => {
            field.refuse(Wrong::new("holds no certificate", remedy));
            None
        }
        Err(_) => {
            field.refuse(Wrong::new("is not a whole PEM file", remedy));
            None
        }
    }
}

/// The private key in the file that `field` names.
pub(super) fn private_key(
    field: Field<'_>,
    files: &mut Files<'_>,
) -> Option<(PathBuf, PrivateKeyDer<'static>)> {
    let (path, file) = files.read(field, Sensitivity::Secret)?;
    if let Ok(key) = PrivateKeyDer::from_pem_slice(&file.bytes) {
        return Some((path, key));
    }
    // The parser's own words may quote the file, so they are not repeated.
    let remedy = "name a PEM file with the certificate's private key, without a passphrase";
    field.refuse(Wrong::new("holds no private key", remedy));
    None
}

/// The `[[secret]]` sections.
pub(super) fn secrets(top: &Section<'_>, files: &mut Files<'_>) -> Vec<SharedSecret> {
    let mut ids: Vec<&str> = Vec::new();
    let mut secrets = Vec::new();
    for section in top.each("secret") {
        let id = section.require(
            "id",
            "write a name for it, e.g. id = \"2026-11\"",
            secret_id,
        );
        if let (Some(id), Some(field)) = (id, section.field("id")) {
            if ids.contains(&id) {
                field.refuse(Wrong::new(
                    "is the id of another secret",
                    "give each secret its own id",
                ));
            }
            ids.push(id);
        }
        let hashes = hashes(&section);
        let bytes = secret_bytes(&section, files);
        let (Some(id), Some(hashes), Some((field, bytes))) = (id, hashes, bytes) else {
            continue;
        };
        match SharedSecret::new(id, &bytes, hashes) {
            Ok(secret) => secrets.push(secret),
            Err(error) => {
                field.refuse(Wrong::new(format!("is not a secret: {error}"), MAKE_SECRET))
            }
        }
    }
    secrets
}

/// An id is printed, so it is kept to what can be read in a log.
fn secret_id<'t>(value: &'t toml::de::DeValue<'t>) -> Result<&'t str, Wrong> {
    let id = text(value)?;
    if id.is_empty() || id.len() > 64 || !id.bytes().all(|b| b.is_ascii_graphic()) {
        let remedy = "write e.g. id = \"2026-11\"";
        return Err(Wrong::new(
            "must be 1 to 64 visible ASCII characters",
            remedy,
        ));
    }
    Ok(id)
}

/// Which hashes a secret's passwords may be made with.
fn hashes(section: &Section<'_>) -> Option<Hashes> {
    const WORDS: &[(&str, HmacHash)] = &[("sha1", HmacHash::Sha1), ("sha256", HmacHash::Sha256)];
    let Some(field) = section.field("hmac") else {
        return Some(Hashes::BOTH);
    };
    let listed = section.list("hmac", word(WORDS))?;
    let has = |wanted| listed.iter().any(|(hash, _)| *hash == wanted);
    let hashes = Hashes {
        sha1: has(HmacHash::Sha1),
        sha256: has(HmacHash::Sha256),
    };
    if !hashes.sha1 && !hashes.sha256 {
        field.refuse(Wrong::new(
            "leaves no hash",
            "write hmac = [\"sha1\", \"sha256\"], or one of them",
        ));
        return None;
    }
    Some(hashes)
}

/// The bytes of a secret: those of `value`, or of `file` without one final line end.
fn secret_bytes<'t>(
    section: &Section<'t>,
    files: &mut Files<'_>,
) -> Option<(Field<'t>, Zeroizing<Vec<u8>>)> {
    let (field, bytes) = match (section.field("file"), section.field("value")) {
        (Some(file), None) => {
            let (_, read) = files.read(file, Sensitivity::Secret)?;
            (file, Zeroizing::new(trimmed(&read.bytes).to_vec()))
        }
        (None, Some(value)) => {
            let bytes = Zeroizing::new(value.read(text)?.as_bytes().to_vec());
            if files.origin_open_to_others {
                let remedy = "run chmod o-rwx on this configuration, or move the secret to a file";
                value.warn(Wrong::new(
                    "is in a configuration that everybody on this machine can read",
                    remedy,
                ));
            }
            (value, bytes)
        }
        (None, None) => {
            section.missing(
                "file",
                "is missing",
                &format!("write file = \"secret.key\"; {MAKE_SECRET}"),
            );
            return None;
        }
        (Some(_), Some(value)) => {
            value.refuse(Wrong::new(
                "stands beside file",
                "write file or value, not both",
            ));
            return None;
        }
    };
    long_enough(field, &bytes).then_some((field, bytes))
}

/// Whether these bytes cannot be guessed; it is said when they can.
fn long_enough(field: Field<'_>, bytes: &[u8]) -> bool {
    if bytes.len() >= MIN_SECRET_BYTES {
        return true;
    }
    let problem = format!(
        "the secret has {} bytes, fewer than {MIN_SECRET_BYTES}",
        bytes.len()
    );
    field.refuse(Wrong::new(problem, MAKE_SECRET));
    false
}

/// The secret in the file that `field` names: its bytes without one final line end, at least 32.
pub(super) fn secret_file(field: Field<'_>, files: &mut Files<'_>) -> Option<SecretBytes> {
    let (_, read) = files.read(field, Sensitivity::Secret)?;
    let bytes = trimmed(&read.bytes);
    long_enough(field, bytes).then(|| SecretBytes::new(bytes))
}

/// Without one final line end, as editors and `echo` leave it.
fn trimmed(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

/// The `[[user]]` sections; `realm` is that of the configuration, when it has a good one.
pub(super) fn users(
    top: &Section<'_>,
    realm: Option<&Realm>,
    files: &mut Files<'_>,
) -> Vec<StaticUser> {
    let mut names: Vec<&str> = Vec::new();
    let mut users = Vec::new();
    for section in top.each("user") {
        let name = section.require("name", "write e.g. name = \"gateway-1\"", user_name);
        if let (Some(name), Some(field)) = (name, section.field("name")) {
            if names.contains(&name) {
                field.refuse(Wrong::new(
                    "is the name of another user",
                    "give each user its own name",
                ));
            }
            names.push(name);
        }
        let field = required(
            &section,
            "key-file",
            &format!("write key-file = \"gateway-1.key\"; {MAKE_KEY}"),
        );
        let read = field.and_then(|field| Some((field, files.read(field, Sensitivity::Secret)?.1)));
        let (Some(name), Some((field, file))) = (name, read) else {
            continue;
        };
        match user(name, realm, &file) {
            Ok(user) => users.push(user),
            Err(wrong) => field.refuse(wrong),
        }
    }
    users
}

/// A user name is 1 to 508 bytes on the wire (RFC 8489 §14.3), and OpaqueString allows no control characters.
fn user_name<'t>(value: &'t toml::de::DeValue<'t>) -> Result<&'t str, Wrong> {
    let name = text(value)?;
    if name.is_empty() || name.len() > 508 || name.chars().any(char::is_control) {
        return Err(Wrong::new(
            "must be 1 to 508 bytes without control characters",
            "write e.g. name = \"gateway-1\"",
        ));
    }
    Ok(name)
}

/// Reads a user's key file: `user:` and `realm:` say what the keys were made for, the rest are the keys.
fn user(name: &str, realm: Option<&Realm>, file: &FileRead) -> Result<StaticUser, Wrong> {
    let text = str::from_utf8(&file.bytes)
        .map_err(|_| Wrong::new("does not hold a user's key", MAKE_KEY))?;
    let mut keys = Zeroizing::new(String::new());
    let (mut made_for_user, mut made_for_realm) = (None, None);
    for line in text.lines().map(str::trim) {
        if let Some(user) = line.strip_prefix("user:") {
            made_for_user = Some(user.trim());
        } else if let Some(realm) = line.strip_prefix("realm:") {
            made_for_realm = Some(realm.trim());
        } else {
            keys.push_str(line);
        }
        // A line for each line, so that errors count as an editor does.
        keys.push('\n');
    }
    // The key is a hash over user, realm and password: under another name or realm nobody could ever prove it.
    match made_for_user {
        Some(user) if user == name => {}
        Some(user) => {
            return Err(Wrong::new(
                format!("was made for the user {user:?}, not {name:?}"),
                MAKE_KEY,
            ));
        }
        None => {
            return Err(Wrong::new(
                "does not say which user it was made for",
                MAKE_KEY,
            ));
        }
    }
    match (made_for_realm, realm) {
        (Some(made), Some(realm)) if made != realm.as_str() => {
            let problem = format!("was made for the realm {made:?}, not {:?}", realm.as_str());
            return Err(Wrong::new(problem, MAKE_KEY));
        }
        (None, _) => {
            return Err(Wrong::new(
                "does not say which realm it was made for",
                MAKE_KEY,
            ));
        }
        (Some(_), _) => {}
    }
    StaticUser::parse_keys(name, &keys)
        .map_err(|error| Wrong::new(format!("does not hold a user's key: {error}"), MAKE_KEY))
}

/// The key in the file that `key` names in `[nonce]`.
pub(super) fn nonce_key(
    section: &Section<'_>,
    key: &'static str,
    files: &mut Files<'_>,
) -> Option<NonceKey> {
    let field = section.field(key)?;
    let (_, file) = files.read(field, Sensitivity::Secret)?;
    let bytes = trimmed(&file.bytes);
    let key = NonceKey::from_secret(bytes);
    key.map_err(|error| {
        field.refuse(Wrong::new(
            format!("is not a nonce key: {error}"),
            MAKE_SECRET,
        ))
    })
    .ok()
}
