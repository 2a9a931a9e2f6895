//! `taciturn credentials` and `taciturn check-config` as a person or a script runs them: the real binary, real files.
#![cfg(feature = "relay")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use base64ct::{Base64, Encoding};
use sha1::{Digest, Sha1};
use sha2::Sha256;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A directory of one test, removed when the test ends.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("credentials-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn taciturn(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_taciturn"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that needs no input may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[track_caller]
fn succeeds(arguments: &[&str], input: &str) -> String {
    let output = taciturn(arguments, input);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs what must fail with exit code 1, and returns what it said.
#[track_caller]
fn fails(arguments: &[&str], input: &str) -> String {
    let output = taciturn(arguments, input);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// RFC 2104 written out, so that the relay's own HMAC is not its own witness. Keys of at most 64 bytes.
fn hmac<D: Digest>(key: &[u8], text: &[u8]) -> Vec<u8> {
    let padded = |pad: u8| -> Vec<u8> {
        (0..64)
            .map(|i| key.get(i).copied().unwrap_or(0) ^ pad)
            .collect()
    };
    let inner = D::digest([padded(0x36), text.to_vec()].concat());
    D::digest([padded(0x5c), inner.to_vec()].concat()).to_vec()
}

/// H-07: both vectors of the independent computation that the other tests rely on.
#[test]
fn the_independent_computation_reproduces_the_vectors() {
    let sha1 = |key: &str, name: &str| {
        Base64::encode_string(&hmac::<Sha1>(key.as_bytes(), name.as_bytes()))
    };
    let sha256 = |key: &str, name: &str| {
        Base64::encode_string(&hmac::<Sha256>(key.as_bytes(), name.as_bytes()))
    };
    assert_eq!(
        sha1("north", "1700000000:alice"),
        "Cd/49soE35ICqcJF/bCTn8Z4OyE="
    );
    assert_eq!(
        sha256("north", "1700000000:alice"),
        "EuME0Xh0HllnbpbObfs8aBsd78Vr1EMwxArqbyCrGl8="
    );
    assert_eq!(
        sha1("logen", "1433895918:506c13a0-c9d4"),
        "9sNv4+nPQz7HRnYivgKT2uWnXcg="
    );
    assert_eq!(
        sha256("logen", "1433895918:506c13a0-c9d4"),
        "Xm3nncmLVlFIZ0EQvJhL4EbpddO5kWpYH0nFBjqqDgk="
    );
}

/// H-01: the username is `expiry:id`, the password base64(HMAC(secret, username)).
#[test]
fn a_minted_credential_is_the_expiry_and_its_hmac() {
    let directory = Directory::new("mint");
    let file = directory.file("secret.key", &format!("{SECRET}\n"));
    let before = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let printed = succeeds(
        &[
            "credentials",
            "mint",
            "--secret-file",
            &file,
            "--user",
            "alice",
            "--ttl",
            "10m",
        ],
        "",
    );
    let after = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();

    let (username, credential) = printed.trim_end().split_once('\n').unwrap();
    let username = username.strip_prefix("username: ").unwrap();
    let credential = credential.strip_prefix("credential: ").unwrap();
    let (expiry, user) = username.split_once(':').unwrap();
    assert_eq!(user, "alice");
    assert!((before + 600..=after + 600).contains(&expiry.parse().unwrap()));
    assert_eq!(
        credential,
        Base64::encode_string(&hmac::<Sha256>(SECRET.as_bytes(), username.as_bytes()))
    );
}

/// H-02: HMAC-SHA-256 is the default for new credentials, HMAC-SHA1 is there for interop.
#[test]
fn a_credential_is_minted_with_the_hash_that_is_asked_for() {
    let directory = Directory::new("hash");
    let file = directory.file("secret.key", SECRET);
    let mint = [
        "credentials",
        "mint",
        "--secret-file",
        &file,
        "--user",
        "a\"b",
        "--json",
        "--hash",
        "sha1",
    ];
    let object: serde_json::Value = serde_json::from_str(&succeeds(&mint, "")).unwrap();
    let username = object["username"].as_str().unwrap();
    let expected = Base64::encode_string(&hmac::<Sha1>(SECRET.as_bytes(), username.as_bytes()));
    assert_eq!(object["credential"], expected);
    assert_eq!(object["ttl"], 3600);
    assert_eq!(username, format!("{}:a\"b", object["expires"]));
    assert_eq!(object.as_object().unwrap().len(), 4);
}

/// a secret like `north` is refused by the command as it is by the relay.
#[test]
fn a_short_secret_mints_nothing_and_is_not_shown() {
    let directory = Directory::new("short");
    let file = directory.file("secret.key", "north\n");
    let said = fails(
        &[
            "credentials",
            "mint",
            "--secret-file",
            &file,
            "--user",
            "alice",
        ],
        "",
    );
    assert!(
        said.contains("secret has 5 bytes, needs 32")
            && said.contains("taciturn credentials secret"),
        "{said}"
    );
    assert!(!said.contains("north"), "{said}");
    let said = fails(
        &[
            "credentials",
            "mint",
            "--secret-file",
            &directory.path("absent"),
            "--user",
            "alice",
        ],
        "",
    );
    assert!(said.contains("cannot read the secret"), "{said}");
}

#[test]
fn a_made_secret_is_private_random_and_never_overwritten_unasked() {
    let directory = Directory::new("secret");
    let path = directory.path("secret.key");
    succeeds(&["credentials", "secret", "--out", &path], "");
    let first = fs::read_to_string(&path).unwrap();
    assert_eq!(Base64::decode_vec(first.trim_end()).unwrap().len(), 32);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );

    let said = fails(&["credentials", "secret", "--out", &path], "");
    assert!(said.contains("exists (--force replaces it)"), "{said}");
    assert_eq!(fs::read_to_string(&path).unwrap(), first);

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    succeeds(&["credentials", "secret", "--out", &path, "--force"], "");
    assert_ne!(fs::read_to_string(&path).unwrap(), first);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        fs::read_dir(&directory.0).unwrap().count(),
        1,
        "nothing is left beside it"
    );

    succeeds(
        &[
            "credentials",
            "mint",
            "--secret-file",
            &path,
            "--user",
            "alice",
        ],
        "",
    );
}

/// The key of RFC 8489 §9.2.2: MD5 of `user:realm:pass`.
#[test]
fn a_key_is_made_from_the_password_on_standard_input_and_does_not_hold_it() {
    let directory = Directory::new("key");
    let printed = succeeds(
        &["credentials", "key", "--user", "user", "--realm", "realm"],
        "pass\n",
    );
    assert!(
        printed
            .contains("\nuser: user\nrealm: realm\nmd5:8493fbc53ba582fb4c044c456bdc40eb\nsha256:"),
        "{printed}"
    );
    assert!(!printed.contains("pass\n"), "{printed}");

    let path = directory.path("user.key");
    succeeds(
        &[
            "credentials",
            "key",
            "--user",
            "user",
            "--realm",
            "realm",
            "--out",
            &path,
        ],
        "pass",
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), printed);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );

    let said = fails(
        &["credentials", "key", "--user", "user", "--realm", "realm"],
        "\n",
    );
    assert!(said.contains("the password is empty"), "{said}");
}

#[test]
fn a_good_configuration_is_summarised() {
    let directory = Directory::new("good");
    let key = directory.path("gateway-1.key");
    succeeds(
        &[
            "credentials",
            "key",
            "--user",
            "gateway-1",
            "--realm",
            "turn.example.org",
            "--out",
            &key,
        ],
        "pass\n",
    );
    directory.file("secret.key", SECRET);
    let config = directory.file(
        "relay.toml",
        "realm = \"turn.example.org\"\n[[listener]]\ntransport = \"udp\"\naddress = \"127.0.0.1:3478\"\n\
         [[secret]]\nid = \"2026-11\"\nfile = \"secret.key\"\n\
         [[user]]\nname = \"gateway-1\"\nkey-file = \"gateway-1.key\"\n",
    );
    let printed = succeeds(&["check-config", &config], "");
    for line in [
        "ok: ",
        "  realm      turn.example.org\n",
        "  listeners  udp 127.0.0.1:3478\n",
        "  relayed    0.0.0.0, ports 49152-65535\n",
        "  secrets    2026-11\n",
        "  users      gateway-1\n",
        "  peers      public ones\n",
        "  admin      127.0.0.1:9641\n",
    ] {
        assert!(printed.contains(line), "{line:?} in {printed}");
    }
    assert!(!printed.contains(SECRET));
}

#[test]
fn what_a_relay_does_beside_calls_is_summarised() {
    let directory = Directory::new("operated");
    let secret = directory.file("secret.key", SECRET);
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let config = directory.file(
        "relay.toml",
        "realm = \"turn.example.org\"\nstate-directory = \"/var/lib/taciturn\"\n[[listener]]\ntransport = \"udp\"\n\
         address = \"127.0.0.1:3478\"\n[[secret]]\nid = \"a\"\nfile = \"secret.key\"\n[drain]\nstop-after = \"10m\"\n\
         alternates = [{ transport = \"udp\", address = \"203.0.113.8:3478\" }]\n[metadata]\nprovider = \"aws\"\n\
         [self-check]\ninterval = \"0s\"\n[admin]\ntoken-file = \"secret.key\"\n[log]\nformat = \"json\"\n\
         forensics-until = 2026-02-01T08:00:00Z\n",
    );
    let printed = succeeds(&["check-config", &config], "");
    for line in [
        "  admin      127.0.0.1:9641, with a token\n",
        "  drain      SIGTERM within 600s; new clients go to udp 203.0.113.8:3478; kept in /var/lib/taciturn\n",
        "  self-check none\n",
        "  metadata   aws\n",
        "  log        json, info, full addresses until 1769932800 (seconds since 1970)\n",
    ] {
        assert!(printed.contains(line), "{line:?} in {printed}");
    }
    assert!(!printed.contains(SECRET));
}

/// a typo is refused with the exact line, by the check and by the relay itself.
#[test]
fn a_bad_configuration_is_refused_with_every_error() {
    let directory = Directory::new("bad");
    let config = directory.file(
        "relay.toml",
        "realm = \"turn.example.org\"\n[[listener]]\ntransport = \"udp\"\naddress = \"127.0.0.1:0\"\n\
         [[secret]]\nid = \"n\"\nvalue = \"north\"\n[peers]\ndeny = [\"10.0.0.0/33\"]\n",
    );
    for command in [
        vec!["check-config", &config],
        vec!["relay", "--config", &config],
    ] {
        let said = fails(&command, "");
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(
            lines,
            [
                format!(
                    "{config}:7: secret.value: the secret has 5 bytes, fewer than 32; make one with: taciturn credentials \
                     secret --out FILE"
                ),
                format!(
                    "{config}:9: peers.deny = \"10.0.0.0/33\": must have a prefix length of 0 to 32; write e.g. \
                     \"10.0.0.0/8\" or \"2001:db8::/32\""
                ),
                "taciturn: the configuration has 2 errors".to_owned(),
            ]
        );
    }
    let said = fails(&["check-config", &directory.path("absent.toml")], "");
    assert!(said.contains("absent.toml: cannot be read"), "{said}");
}

/// The documented file needs a secret beside it, and nothing else.
#[test]
fn the_documented_configuration_is_good_once_its_secret_is_made() {
    let directory = Directory::new("documented");
    let config = directory.file("relay.toml", include_str!("../configs/relay.toml"));
    let said = fails(&["check-config", &config], "");
    assert!(
        said.contains("secret.file = \"secret.key\": cannot be read"),
        "{said}"
    );
    succeeds(
        &[
            "credentials",
            "secret",
            "--out",
            &directory.path("secret.key"),
        ],
        "",
    );
    succeeds(&["check-config", &config], "");
}

#[test]
fn a_careless_file_mode_is_a_warning_on_standard_error() {
    let directory = Directory::new("mode");
    let secret = directory.file("secret.key", SECRET);
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let config = directory.file("relay.toml", include_str!("../configs/relay.toml"));
    let output = taciturn(&["check-config", &config], "");
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("warning: ") && said.contains("can be read or written by everybody"),
        "{said}"
    );
}
