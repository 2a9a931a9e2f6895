//! `taciturn credentials`: mints credentials, makes users' keys and secrets.
//!
//! Responsible for reading and writing the files and the terminal. Not for the formats of credentials and keys, which are
//! `taciturn_protocol::credentials`'.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, bail};
use base64ct::{Base64, Encoding};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use taciturn_protocol::credentials::{Hashes, HmacHash, Realm, SharedSecret, StaticKeys, mint};
use taciturn_protocol::time::UnixTime;
use zeroize::Zeroizing;

use crate::cli::{
    CredentialsCommand, HashName, KeyOptions, MintOptions, OutputOptions, SecretOptions,
};

/// The most that is read of a secret or a password: longer is a wrong file.
const MAX_INPUT_BYTES: u64 = 64 * 1024;

pub(crate) fn run(command: CredentialsCommand, out: &mut dyn Write) -> anyhow::Result<()> {
    match command {
        CredentialsCommand::Mint(options) => mint_credentials(&options, out),
        CredentialsCommand::Key(options) => make_key(&options, out),
        CredentialsCommand::Secret(options) => make_secret(&options, out),
    }
}

fn mint_credentials(options: &MintOptions, out: &mut dyn Write) -> anyhow::Result<()> {
    let secret = load_secret(&options.secret_file)?;
    let hash = match options.hash {
        HashName::Sha1 => HmacHash::Sha1,
        HashName::Sha256 => HmacHash::Sha256,
    };
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .context("the clock is before 1970")?;
    let now = UnixTime::from_secs(now.as_secs());
    let credentials = mint(&secret, hash, &options.user, options.ttl, now)
        .context("cannot mint for this user")?;
    if options.json {
        let object = serde_json::json!({
            "username": credentials.username,
            "credential": credentials.password,
            "ttl": options.ttl.as_secs(),
            "expires": credentials.expires.as_secs(),
        });
        writeln!(out, "{object}")?;
    } else {
        writeln!(out, "username: {}", credentials.username)?;
        writeln!(out, "credential: {}", credentials.password)?;
    }
    Ok(())
}

/// The secret in a file, for minting.
pub(crate) fn load_secret(path: &Path) -> anyhow::Result<SharedSecret> {
    let file = path.display();
    let bytes = read_secret(path).with_context(|| format!("cannot read the secret {file}"))?;
    let remedy = "make one with: taciturn credentials secret --out FILE";
    SharedSecret::new("file", &bytes, Hashes::BOTH)
        .with_context(|| format!("{file} is refused ({remedy})"))
}

/// The secret as the relay reads it: the file's bytes without one final line end.
fn read_secret(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path)?
        .take(MAX_INPUT_BYTES)
        .read_to_end(&mut bytes)?;
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    Ok(bytes)
}

fn make_key(options: &KeyOptions, out: &mut dyn Write) -> anyhow::Result<()> {
    let realm = Realm::new(&options.realm)
        .with_context(|| format!("the realm {:?} is refused", options.realm))?;
    if options.user.is_empty()
        || options.user.chars().any(char::is_control)
        || options.user.trim() != options.user
    {
        bail!("the user's name is empty, begins or ends with a space, or holds control characters");
    }
    let password = read_password()?;
    if password.is_empty() {
        bail!("the password is empty");
    }
    let keys =
        StaticKeys::derive(&options.user, &realm, &password).context("the password is refused")?;
    let mut text = Zeroizing::new(String::new());
    text.push_str("# A user's keys, as good as the password: keep this file private.\n");
    text.push_str(&format!(
        "user: {}\nrealm: {}\n",
        options.user,
        realm.as_str()
    ));
    text.push_str(&keys.to_text());
    write_out(&options.output, text.as_bytes(), out)
}

/// The first line of a file, without its end.
#[cfg_attr(
    not(feature = "relay"),
    expect(dead_code, reason = "`probe` alone asks for it")
)]
pub(crate) fn read_first_line(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    Ok(first_line(BufReader::new(File::open(path)?))?)
}

/// One line: asked for once, without showing it, on a terminal; read as it is from anything else.
#[cfg_attr(
    not(feature = "relay"),
    expect(dead_code, reason = "`probe` alone asks for it")
)]
pub(crate) fn ask_password() -> anyhow::Result<Zeroizing<String>> {
    let stdin = io::stdin();
    let password = if stdin.is_terminal() {
        Hidden::begin()
            .context("cannot hide the password on this terminal")?
            .ask("password: ", &stdin)
    } else {
        first_line(stdin.lock())
    };
    password.context("cannot read the password")
}

/// The same for a new password, which is asked for twice.
fn read_password() -> anyhow::Result<Zeroizing<String>> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return first_line(stdin.lock()).context("cannot read the password");
    }
    let hidden = Hidden::begin().context("cannot hide the password on this terminal")?;
    let first = hidden
        .ask("password: ", &stdin)
        .context("cannot read the password")?;
    let again = hidden
        .ask("once more: ", &stdin)
        .context("cannot read the password")?;
    if first != again {
        bail!("the two passwords differ");
    }
    Ok(first)
}

fn first_line(from: impl BufRead) -> io::Result<Zeroizing<String>> {
    // Room for the whole line, so that no copy of it is left behind by growing.
    let mut line = Zeroizing::new(String::with_capacity(4096));
    from.take(MAX_INPUT_BYTES).read_line(&mut line)?;
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    Ok(line)
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Hidden {
    before: Termios,
}

impl Hidden {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(rustix::stdio::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self { before })
    }

    fn ask(&self, prompt: &str, stdin: &io::Stdin) -> io::Result<Zeroizing<String>> {
        eprint!("{prompt}");
        let line = first_line(stdin.lock());
        eprintln!();
        line
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // Nothing is left to do when the terminal has gone.
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &self.before);
    }
}

fn make_secret(options: &SecretOptions, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut()).context("the system has no randomness")?;
    let mut text = Zeroizing::new(Base64::encode_string(bytes.as_ref()));
    text.push('\n');
    write_out(&options.output, text.as_bytes(), out)
}

fn write_out(options: &OutputOptions, bytes: &[u8], out: &mut dyn Write) -> anyhow::Result<()> {
    let Some(path) = &options.out else {
        return Ok(out.write_all(bytes)?);
    };
    let written = if options.force {
        replace_private(path, bytes)
    } else {
        create_private(path, bytes)
    };
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{} exists (--force replaces it)", path.display())
        }
        written => written.with_context(|| format!("cannot write {}", path.display())),
    }
}

/// Writes a new file that only its owner can read; an existing one is left as it is.
fn create_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a key would be worse than none; the error that is reported is the first one.
        let _ = fs::remove_file(path);
    }
    written
}

/// Puts a new file in the place of an old one at once, so that a reader sees the whole of either.
fn replace_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path
        .file_name()
        .ok_or(io::ErrorKind::InvalidInput)?
        .to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    create_private(&beside, bytes)?;
    fs::rename(&beside, path).inspect_err(|_| drop(fs::remove_file(&beside)))
}
