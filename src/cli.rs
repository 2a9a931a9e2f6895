//! What may be written on the command line, and the help that explains it.
//!
//! Responsible for names, defaults and help texts. Not for doing anything.

#[cfg(feature = "controller")]
mod controller;
#[cfg(feature = "controller")]
mod doctor;
#[cfg(feature = "controller")]
mod fleet;
#[cfg(feature = "manual")]
mod manual;
#[cfg(feature = "relay")]
mod probe;
#[cfg(feature = "controller")]
mod top;

use core::time::Duration;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

#[cfg(feature = "controller")]
pub(crate) use controller::{AuditCommand, ControllerOptions, VerifyOptions};
#[cfg(feature = "controller")]
pub(crate) use doctor::DoctorOptions;
#[cfg(feature = "controller")]
pub(crate) use fleet::{Generated, PlanOptions, SimulateOptions};
#[cfg(feature = "manual")]
pub(crate) use manual::{CompletionsOptions, ManOptions};
#[cfg(feature = "relay")]
pub(crate) use probe::ProbeOptions;
#[cfg(feature = "controller")]
pub(crate) use top::TopOptions;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  it could not be done; the reason is on standard error
  2  the command line is wrong";

/// A self-hosted TURN/STUN relay that says little
///
/// Carries calls through firewalls that block direct ones, with short-lived credentials and without keeping anything.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a relay until it is told to stop
    ///
    /// Refuses to start if anything in the configuration is wrong, and then relays until SIGTERM or SIGINT. From there on it
    /// refuses new calls, and ends with the last one or when drain.stop-after is over; a second SIGINT ends it at once.
    #[cfg(feature = "relay")]
    #[command(after_help = EXIT_CODES)]
    Relay(RelayOptions),

    /// Run the controller of a fleet of relays until it is told to stop
    ///
    /// Launches relays when load rises, drains them when it falls, and ends those that are empty or whose time is over. Calls
    /// do not depend on it: while none runs, relays go on, and one that starts takes up what was begun.
    #[cfg(feature = "controller")]
    #[command(after_help = EXIT_CODES)]
    Controller(ControllerOptions),

    /// Check the configuration of a relay or a controller without running it
    ///
    /// Reads the file and every secret, key and certificate that it names. Prints what the program would do, or everything
    /// that is wrong: one line each, with the file's line, the key, its value and the remedy. No port is opened.
    #[cfg(any(feature = "relay", feature = "controller"))]
    #[command(after_help = EXIT_CODES)]
    CheckConfig(CheckConfigOptions),

    /// Try it on this machine: a fleet of relays that grows and shrinks with its calls, and a page that holds one
    ///
    /// A controller launches relays in three pretended zones, calls rise and fall, relays drain and end, and no call is cut.
    /// Everything listens on loopback, with secrets made for this run, and is gone when you press Ctrl-C.
    #[cfg(feature = "relay")]
    #[command(after_help = EXIT_CODES)]
    Demo(DemoOptions),

    /// Find out which ways to a relay work from this network, and why not
    ///
    /// For those who look after a network. On each path it does what a call does: it logs in, gets two relayed addresses,
    /// and sends payloads from one to the other through the relay. It prints what works, how long payloads take, how many
    /// are lost and whether their DSCP survives; and of what does not work the reason, and what to ask the network team for.
    #[cfg(feature = "relay")]
    #[command(after_help = probe::EXIT_CODES)]
    Probe(Box<ProbeOptions>),

    /// Find out what has to be mended before a fleet controller can work here
    ///
    /// Looks at the allowed zones, the provider and its group, the lease, the audit trail, the clock and each relay. Says of
    /// everything that is wrong how to mend it, with the command or the key. Changes nothing.
    #[cfg(feature = "controller")]
    #[command(after_help = doctor::EXIT_CODES)]
    Doctor(DoctorOptions),

    /// Print what the fleet's policy would do about a snapshot of a fleet, and why
    ///
    /// Nothing is asked of anybody and nothing is done. The same snapshot, policy and version give the same plan.
    #[cfg(feature = "controller")]
    #[command(after_help = EXIT_CODES)]
    Plan(PlanOptions),

    /// Replay days of load in seconds against the fleet's policy, and print what it would have cost
    ///
    /// Relays, calls and the provider are simulated; what decides is what runs in the controller. Prints blocked and cut
    /// calls, relay-hours against the optimum of somebody who knows every call before, launches and drains.
    #[cfg(feature = "controller")]
    #[command(after_help = EXIT_CODES)]
    Simulate(Box<SimulateOptions>),

    /// Watch a running fleet in this terminal
    ///
    /// Shows what the controller's dashboard shows: the fleet by zone and state, demand and capacity, need, drains, decisions,
    /// freezes and alarms. It orders nothing. Where the output is no terminal it is text, a page at a time. Keys: q quits,
    /// arrows and page keys scroll. NO_COLOR in the environment leaves colours out.
    #[cfg(feature = "controller")]
    #[command(after_help = EXIT_CODES)]
    Top(TopOptions),

    /// Judge the audit trail of a controller
    #[cfg(feature = "controller")]
    #[command(subcommand, after_help = EXIT_CODES)]
    Audit(AuditCommand),

    /// Make credentials, users' keys and secrets
    #[command(subcommand, after_help = EXIT_CODES)]
    Credentials(CredentialsCommand),

    /// Write the manual pages, one for each command
    ///
    /// They say what --help says, for man(1). Prints the name of each file that it has written.
    #[cfg(feature = "manual")]
    #[command(after_help = EXIT_CODES)]
    Man(ManOptions),

    /// Print what a shell needs to complete this command and its options
    ///
    /// For bash: source it, or put it at ~/.local/share/bash-completion/completions/taciturn. For zsh: as _taciturn in a
    /// directory of $fpath. For fish: at ~/.config/fish/completions/taciturn.fish.
    #[cfg(feature = "manual")]
    #[command(after_help = EXIT_CODES)]
    Completions(CompletionsOptions),
}

#[cfg(feature = "relay")]
#[derive(Debug, Args)]
pub(crate) struct RelayOptions {
    /// The configuration; configs/relay.toml explains every key
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
}

#[cfg(any(feature = "relay", feature = "controller"))]
#[derive(Debug, Args)]
pub(crate) struct CheckConfigOptions {
    /// The configuration to check
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// Options of `taciturn demo`.
#[cfg(feature = "relay")]
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct DemoOptions {
    /// Run one relay that checks itself, without a controller and other calls
    #[arg(long)]
    pub(crate) relay_only: bool,

    /// Port of the page on 127.0.0.1
    #[arg(long, value_name = "PORT", default_value_t = 8642)]
    pub(crate) page_port: u16,

    /// Serve no page to call with
    #[arg(long, conflicts_with = "page_port")]
    pub(crate) no_page: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CredentialsCommand {
    /// Make a user name and password that the relay lets in for a while
    ///
    /// The relay needs no list of users: it knows the secret, and the user name says when it expires.
    #[command(after_help = EXIT_CODES)]
    Mint(MintOptions),

    /// Make the key file of a user with a password, for a user section of the configuration
    ///
    /// The password is asked for, or read as one line from standard input; it is never an argument, because arguments are
    /// seen by everybody on the machine. The file holds keys made from it, never the password.
    #[command(after_help = EXIT_CODES)]
    Key(KeyOptions),

    /// Make a random secret, for a secret section of the configuration and for whoever mints credentials
    #[command(after_help = EXIT_CODES)]
    Secret(SecretOptions),
}

#[derive(Debug, Args)]
pub(crate) struct MintOptions {
    /// The file with the secret, the same as in the relay's configuration
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: PathBuf,

    /// Whom the credential is for; appears in the user name, counts against limits for each user
    #[arg(long, value_name = "NAME")]
    pub(crate) user: String,

    /// How long it lets in, such as 90s, 10m, 1h or 7d; the relay refuses more than its credentials.max-ttl
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_ttl)]
    pub(crate) ttl: Duration,

    /// The hash that makes the password; a relay accepts both unless its configuration says otherwise
    #[arg(long, value_enum, default_value_t = HashName::Sha256)]
    pub(crate) hash: HashName,

    /// Print one JSON object: username, credential, ttl and expires (seconds, and seconds since 1970)
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HashName {
    /// HMAC-SHA-256
    Sha256,
    /// HMAC-SHA-1, for relays other than this one
    Sha1,
}

#[derive(Debug, Args)]
pub(crate) struct KeyOptions {
    /// The user's name, as the client will send it
    #[arg(long, value_name = "NAME")]
    pub(crate) user: String,

    /// The realm of the relay's configuration: the key is good for this one only
    #[arg(long, value_name = "REALM")]
    pub(crate) realm: String,

    #[command(flatten)]
    pub(crate) output: OutputOptions,
}

#[derive(Debug, Args)]
pub(crate) struct SecretOptions {
    #[command(flatten)]
    pub(crate) output: OutputOptions,
}

#[derive(Debug, Args)]
pub(crate) struct OutputOptions {
    /// Write a file that only its owner can read, instead of printing
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    /// Replace the file if there is one
    #[arg(long, requires = "out")]
    pub(crate) force: bool,
}

/// Reads a duration as the configuration writes it; at least a second, as credentials count in seconds.
fn parse_ttl(text: &str) -> Result<Duration, String> {
    let malformed =
        || "write a whole number and a unit: s, m, h or d, such as 90s, 10m, 1h or 7d".to_owned();
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .ok_or_else(malformed)?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| malformed())?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(malformed()),
    };
    match number.checked_mul(seconds) {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_do_not_contradict_one_another() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_ttl_is_digits_and_one_unit() {
        assert_eq!(parse_ttl("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(parse_ttl("90s"), Ok(Duration::from_secs(90)));
        for wrong in [
            "",
            "1",
            "h",
            "0s",
            "-1h",
            "1.5h",
            "1h30m",
            "1 h",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert!(parse_ttl(wrong).is_err(), "{wrong:?}");
        }
    }
}
