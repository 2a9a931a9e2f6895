//! The options of `taciturn probe`.
//!
//! Responsible for names, defaults, bounds and help texts. Not for doing anything.

use core::time::Duration;
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use taciturn_relay::probe::Effort;
use taciturn_relay::probe::paths::Named;

use super::{HashName, parse_ttl};

pub(crate) const EXIT_CODES: &str = "\
A host name alone stands for UDP 3478, UDP 443, TCP 443 and TLS 443, the ports that networks let out.

Exit codes:
  0  every path works
  1  no path works
  2  the command line, or a file that it names, is wrong; nothing was tried
  3  some paths work

Examples:
  taciturn probe --uri turn.example.org --username 1795273214:anna --password-file password.txt
  taciturn probe --uri turns:turn.example.org:443 --proxy proxy.clinic.example:3128 --secret-file secret.key
  curl -s https://app.example.org/ice-servers | taciturn probe --ice-servers - --json";

/// Where the paths come from, and with it the credentials.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("source").required(true).args(["uri", "config", "ice_servers"])))]
pub(crate) struct ProbeOptions {
    // Not a doc comment, in which brackets would be links.
    #[arg(
        long,
        value_name = "URI",
        value_parser = parse_named,
        help = "A relay: turn:HOST[:PORT][?transport=udp|tcp], turns:HOST[:PORT], or a host name for the four usual \
                paths; may be repeated"
    )]
    pub(crate) uri: Vec<Named>,

    /// A relay's configuration: its own listeners are tried from this machine, with a credential made with its own
    /// secret; a listener on every address is tried over loopback
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// What a signalling server hands out to browsers: JSON with iceServers, or that list alone; - for standard input.
    /// STUN servers in it are passed over
    #[arg(long, value_name = "FILE")]
    pub(crate) ice_servers: Option<PathBuf>,

    /// The user name, with --uri. The password comes from --password-file, else from the environment variable
    /// TACITURN_PASSWORD, else it is asked for or read as one line from standard input; it is never an argument, because
    /// arguments are seen by everybody on the machine
    #[arg(long, value_name = "NAME", conflicts_with_all = ["config", "ice_servers", "secret_file"])]
    pub(crate) username: Option<String>,

    /// The file with the password, in its first line
    #[arg(long, value_name = "FILE", requires = "username")]
    pub(crate) password_file: Option<PathBuf>,

    /// Instead of a user name: the relay's secret, with which a credential for ten minutes is made
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "ice_servers"])]
    pub(crate) secret_file: Option<PathBuf>,

    /// The hash that makes the password of that credential; sha1 for relays other than this one
    #[arg(long, value_enum, default_value_t = HashName::Sha256, requires = "secret_file")]
    pub(crate) hash: HashName,

    /// Certificate authorities to trust instead of this machine's, as PEM: for private ones
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,

    /// Reach TCP and TLS paths through this HTTP proxy, by CONNECT; UDP goes without it, as browsers do
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_proxy)]
    pub(crate) proxy: Option<(String, u16)>,

    /// Payloads on each path, both directions together; one is sent every 20 ms
    #[arg(long, value_name = "COUNT", default_value_t = Effort::default().count,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(Effort::MAX_COUNT)))]
    pub(crate) count: u32,

    /// Bytes of each payload, 12 to 1200
    #[arg(long, value_name = "BYTES", default_value_t = Effort::default().size, value_parser = parse_size)]
    pub(crate) size: usize,

    /// Longest wait for any one step, such as 5s; at most 1m
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_patience)]
    pub(crate) timeout: Duration,

    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

fn parse_named(text: &str) -> Result<Named, String> {
    text.parse::<Named>().map_err(|error| error.to_string())
}

fn parse_proxy(text: &str) -> Result<(String, u16), String> {
    let malformed = || "write host:port, such as proxy.example.org:3128".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(malformed)?;
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    match port.parse() {
        Ok(port) if port > 0 && !host.is_empty() && !host.contains('/') => {
            Ok((host.to_owned(), port))
        }
        _ => Err(malformed()),
    }
}

fn parse_size(text: &str) -> Result<usize, String> {
    let sizes = Effort::SIZES;
    match text.parse() {
        Ok(size) if sizes.contains(&size) => Ok(size),
        _ => Err(format!(
            "write a number from {} to {}",
            sizes.start(),
            sizes.end()
        )),
    }
}

fn parse_patience(text: &str) -> Result<Duration, String> {
    match parse_ttl(text)? {
        patience if patience <= Duration::from_secs(60) => Ok(patience),
        _ => Err("at most 1m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_host_and_a_port() {
        let proxy = |text| parse_proxy(text).ok();
        assert_eq!(
            proxy("a.example:3128"),
            Some(("a.example".to_owned(), 3128))
        );
        assert_eq!(proxy("[::1]:3128"), Some(("::1".to_owned(), 3128)));
        for wrong in [
            "",
            "a.example",
            "a.example:0",
            ":3128",
            "a:x",
            "http://a:3128",
        ] {
            assert_eq!(proxy(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn sizes_and_waits_are_bounded() {
        assert!(parse_size("12").is_ok() && parse_size("1200").is_ok());
        assert!(
            parse_size("11").is_err() && parse_size("1201").is_err() && parse_size("-1").is_err()
        );
        assert!(parse_patience("1m").is_ok() && parse_patience("61s").is_err());
    }
}
