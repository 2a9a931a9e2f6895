//! Whether a provider of this host's own (`local`, `static`, `exec`) has what it needs to do what the policy may ask of it.
//!
//! Responsible for programs, addresses and numbers. Runs no command and starts no relay; what is bound is let go at once. Not
//! responsible for what the provider lists (`relays`), nor for AWS (`group`).

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::Finding;
use crate::config::{ControllerConfig, Exec, Local, Provider};

const CHECK: &str = "provider";
/// The ports of each local relay: TURN over UDP and TCP, and its admin API.
const TURN: u16 = 3478;
const ADMIN: u16 = 9641;

pub(super) fn examine(config: &ControllerConfig) -> Vec<Finding> {
    let mut findings = match &config.provider {
        Provider::Local(local) => local_relays(config, local),
        Provider::Exec(exec) => commands(exec),
        Provider::Static(relays) => fixed(config, relays.len()),
        Provider::Aws(_) => return Vec::new(),
    };
    if findings.is_empty() {
        let words = format!("{} has what it needs", config.provider.as_str());
        findings.push(Finding::good(CHECK, words));
    }
    findings
}

fn local_relays(config: &ControllerConfig, local: &Local) -> Vec<Finding> {
    let mut findings = Vec::new();
    let program = local
        .program
        .as_deref()
        .filter(|program| !is_program(program));
    if let Some(program) = program {
        findings.push(Finding::bad(
            CHECK,
            format!("{} is no program that can be run", program.display()),
            "correct provider.local.program, or leave it out: this program is taken then",
        ));
    }
    let zones = u32::try_from(local.zones.len()).unwrap_or(u32::MAX);
    let room = zones.saturating_mul(local.per_zone.into());
    let wanted = config.policy.max.saturating_add(config.policy.surge);
    if room < wanted {
        findings.push(Finding::doubtful(
            CHECK,
            format!(
                "{zones} zones have room for {room} relays, and max and surge together are {wanted}"
            ),
            "provider.local.per-zone, or a smaller policy.max",
        ));
    }
    for zone in 0..local.zones.len() {
        let Ok(zone) = u8::try_from(zone) else { break };
        let address = local.address(zone, 1);
        if let Some(what) = obstacle(address) {
            findings.push(Finding::bad(
                CHECK,
                format!("{address} cannot be a relay's: {what}"),
                "end what has it, or choose another provider.local.network, such as \"127.20\"",
            ));
        }
    }
    findings
}

/// What is in the way of a relay at this address; one that is there already is not.
fn obstacle(address: Ipv4Addr) -> Option<String> {
    let patience = Duration::from_millis(500);
    let is_relay = TcpStream::connect_timeout(&(address, ADMIN).into(), patience).is_ok();
    let udp = UdpSocket::bind((address, TURN)).map(drop);
    let tcp = [TURN, ADMIN].map(|port| TcpListener::bind((address, port)).map(drop));
    let failed = std::iter::once(udp).chain(tcp).find_map(Result::err);
    failed
        .filter(|_| !is_relay)
        .map(|error| format!("ports {TURN} and {ADMIN} cannot be taken: {error}"))
}

fn commands(exec: &Exec) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (key, command) in [
        ("list", &exec.list),
        ("launch", &exec.launch),
        ("terminate", &exec.terminate),
        ("extend", &exec.extend),
        ("finish", &exec.finish),
    ] {
        let Some(program) = command.first().map(Path::new) else {
            continue;
        };
        if !is_program(program) {
            findings.push(Finding::bad(
                CHECK,
                format!("{key}: {} is no program that can be run", program.display()),
                format!(
                    "correct provider.exec.{key}, or make it executable: chmod +x {}",
                    program.display()
                ),
            ));
        } else if is_open_to_others(program) {
            findings.push(Finding::bad(
                CHECK,
                format!("{key}: anybody may change {}", program.display()),
                format!("chmod o-w {}", program.display()),
            ));
        }
    }
    let missing = [("launch", &exec.launch), ("terminate", &exec.terminate)];
    for (key, _) in missing
        .into_iter()
        .filter(|(_, command)| command.is_empty())
    {
        findings.push(Finding::doubtful(
            CHECK,
            format!("there is no command to {key}: the fleet cannot be kept at its size"),
            format!("provider.exec.{key} = [\"/path/to/command\"]"),
        ));
    }
    findings
}

fn fixed(config: &ControllerConfig, relays: usize) -> Vec<Finding> {
    let min = config.policy.min;
    if usize::try_from(min).is_ok_and(|min| min <= relays) {
        return Vec::new();
    }
    vec![Finding::doubtful(
        CHECK,
        format!("{relays} relays are named, none can be launched, and at least {min} are wanted"),
        "name more in [[provider.static.relay]], or write a smaller policy.min",
    )]
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

fn is_open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o002 != 0)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config;

    fn judged(provider: &str) -> ControllerConfig {
        let text = format!(
            "fleet = \"f\"\nstate-directory = \"/nowhere\"\n[sovereignty]\nallowed-zone-ids = [\"z-1\"]\n[provider]\n{provider}"
        );
        let mut read = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
        config::parse(&text, Path::new("controller.toml"), &mut read).expect("a configuration")
    }

    fn said(provider: &str) -> String {
        let findings = examine(&judged(provider));
        let line = |finding: &Finding| format!("{} {}\n", finding.verdict.as_str(), finding.words);
        findings.iter().map(line).collect()
    }

    fn command(name: &str, mode: u32) -> PathBuf {
        let name = format!("taciturn-doctor-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, "#!/bin/sh\n").expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its rights");
        path
    }

    #[test]
    fn commands_that_cannot_be_run_or_anybody_may_change_are_named() {
        let (good, open, dull) = (
            command("good", 0o755),
            command("open", 0o777),
            command("dull", 0o644),
        );
        let exec = |list: &Path, launch: &Path| {
            format!(
                "kind = \"exec\"\n[provider.exec]\nlist = [{list:?}]\nlaunch = [{launch:?}]\nterminate = [{good:?}]\n"
            )
        };
        assert_eq!(said(&exec(&good, &good)), "good exec has what it needs\n");
        let all = said(&exec(&open, &dull));
        assert!(all.contains("bad list: anybody may change"), "{all}");
        assert!(
            all.contains("bad launch:") && all.contains("is no program"),
            "{all}"
        );
        let alone = said(&format!(
            "kind = \"exec\"\n[provider.exec]\nlist = [{good:?}]\n"
        ));
        assert!(
            alone.contains("doubtful there is no command to launch"),
            "{alone}"
        );
        assert!(
            alone.contains("doubtful there is no command to terminate"),
            "{alone}"
        );
        for path in [good, open, dull] {
            fs::remove_file(path).expect("a file");
        }
    }

    #[test]
    fn addresses_that_somebody_has_and_numbers_that_do_not_fit_are_named() {
        let local = "kind = \"local\"\n[provider.local]\nzones = [\"z-1\"]\nnetwork = \"127.99\"\nper-zone = 100\n";
        assert_eq!(said(local), "good local has what it needs\n");
        let taken = UdpSocket::bind("127.99.1.1:3478").expect("an address");
        assert!(said(local).contains("bad 127.99.1.1 cannot be a relay's"));
        drop(taken);
        let small = said(&local.replace("100", "2"));
        assert!(
            small.contains("doubtful 1 zones have room for 2 relays"),
            "{small}"
        );
        let wrong = said(&format!("{local}program = \"/nothing/here\"\n"));
        assert!(wrong.contains("bad /nothing/here is no program"), "{wrong}");
    }

    #[test]
    fn fewer_fixed_relays_than_are_wanted_are_doubtful() {
        let fixed = "kind = \"static\"\n[[provider.static.relay]]\nid = \"r\"\nzone-id = \"z-1\"\nadmin = \"10.0.0.1:9641\"\n";
        assert!(said(fixed).contains("doubtful 1 relays are named"));
    }
}
