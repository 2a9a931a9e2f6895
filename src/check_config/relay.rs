//! A relay's configuration: says what a relay would do with it, or everything that is wrong with it.
//!
//! Responsible for the summary. Not for judging: `taciturn_relay::config` does.

use std::io::Write;
use std::path::Path;

use anyhow::bail;
use taciturn_relay::config::{self, Admin, AdminAddress, Config, Log, Peers};

use super::print;

pub(super) fn check(file: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    let config = load(file)?;
    print(file, &summary(&config), out)
}

/// Reads the configuration; its warnings and errors go to standard error, one a line.
pub(crate) fn load(file: &Path) -> anyhow::Result<Config> {
    match config::load(file) {
        Ok(config) => {
            for warning in &config.warnings {
                eprintln!("warning: {warning}");
            }
            Ok(config)
        }
        Err(errors) => {
            eprintln!("{errors}");
            bail!(super::counted(errors.as_slice().len()))
        }
    }
}

fn summary(config: &Config) -> Vec<(&'static str, String)> {
    let listeners: Vec<String> = config
        .listeners
        .iter()
        .map(|l| format!("{} {}", l.transport.as_str(), l.address))
        .collect();
    let relayed: Vec<String> = config
        .relayed
        .addresses
        .iter()
        .map(|a| {
            a.advertise.map_or_else(
                || a.bind.to_string(),
                |seen| format!("{} (seen as {seen})", a.bind),
            )
        })
        .collect();
    let ports = format!(
        "ports {}-{}",
        config.relayed.ports.start(),
        config.relayed.ports.end()
    );
    let secrets: Vec<&str> = config.secrets.iter().map(|secret| secret.id()).collect();
    let users: Vec<&str> = config.users.iter().map(|user| user.name.as_str()).collect();
    let tls = config.tls.as_ref().map_or_else(
        || "none".to_owned(),
        |tls| {
            format!(
                "profile {}, {}",
                tls.profile.as_str(),
                tls.certificate_file.display()
            )
        },
    );
    vec![
        ("realm", config.realm.as_str().to_owned()),
        ("listeners", listeners.join(", ")),
        ("relayed", format!("{}, {ports}", relayed.join(", "))),
        ("tls", tls),
        ("secrets", or_none(&secrets)),
        ("users", or_none(&users)),
        ("peers", peers(&config.peers)),
        ("admin", admin(&config.admin)),
        ("drain", drain(config)),
        ("self-check", self_check(config)),
        ("metadata", config.metadata.as_str().to_owned()),
        ("log", log(&config.log)),
        ("files", files(config)),
    ]
}

/// Who is reached, so that what is open shows.
fn peers(peers: &Peers) -> String {
    let mut words = if !peers.only.is_empty() {
        format!("{}, and no other", listed(&peers.only))
    } else if peers.allow.is_empty() {
        "public ones".to_owned()
    } else {
        format!("public ones, and {}", listed(&peers.allow))
    };
    if peers.allow_loopback {
        words += "; this machine's own too";
    }
    if !peers.deny.is_empty() {
        words += &format!("; not {}", listed(&peers.deny));
    }
    words
}

fn listed(items: &[impl ToString]) -> String {
    let words: Vec<String> = items.iter().map(ToString::to_string).collect();
    words.join(", ")
}

fn admin(admin: &Admin) -> String {
    let address = match &admin.address {
        AdminAddress::Tcp(address) => address.to_string(),
        AdminAddress::Unix(path) => format!("unix:{}", path.display()),
    };
    let mut words = vec![address];
    words.extend(admin.token.is_some().then(|| "with a token".to_owned()));
    words.extend(admin.tls.as_ref().map(|tls| {
        if tls.client_ca.is_empty() {
            "over TLS".to_owned()
        } else {
            "over mutual TLS".to_owned()
        }
    }));
    words.join(", ")
}

fn drain(config: &Config) -> String {
    let alternates: Vec<String> = config
        .drain
        .alternates
        .iter()
        .map(|alternate| format!("{} {}", alternate.transport.as_str(), alternate.server))
        .collect();
    let stop = if config.drain.stop_after.is_zero() {
        "SIGTERM stops at once".to_owned()
    } else {
        format!("SIGTERM within {}s", config.drain.stop_after.as_secs())
    };
    let clients = if alternates.is_empty() {
        "new clients get 508".to_owned()
    } else {
        format!("new clients go to {}", alternates.join(", "))
    };
    let state = config.state_directory.as_ref().map_or_else(
        || "forgotten by a restart".to_owned(),
        |directory| format!("kept in {}", directory.display()),
    );
    format!("{stop}; {clients}; {state}")
}

fn self_check(config: &Config) -> String {
    config.self_check.interval.map_or_else(
        || "none".to_owned(),
        |interval| format!("every {interval:?}"),
    )
}

fn log(log: &Log) -> String {
    let forensics = log.forensics_until.map_or_else(String::new, |until| {
        format!(
            ", full addresses until {} (seconds since 1970)",
            until.as_secs()
        )
    });
    format!("{}, {}{forensics}", log.format.as_str(), log.level.as_str())
}

/// What is read, and followed for a reload.
fn files(config: &Config) -> String {
    let files: Vec<String> = config
        .files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    files.join(", ")
}

fn or_none(names: &[&str]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
