//! `relay.toml` as an operator meets it: the documented file, its defaults, and what is said about every mistake.
#![cfg(feature = "relay")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use taciturn_protocol::wire::{Class, Method, TransactionId, Writer};
use taciturn_relay::config::{
    AdminAddress, Config, ConfigErrors, Dscp, FileRead, ListenerTransport, LogFormat,
    MAX_REALM_BYTES, SCHEMA, load_with, parse,
};

const DOCUMENTED: &str = include_str!("../configs/relay.toml");

/// Two lines that any configuration needs beside what a test is about, without a `realm`.
const SECRET: &str = "[[secret]]\nid = \"a\"\nvalue = \"0123456789abcdef0123456789abcdef\"\n";
const LISTENER: &str = "[[listener]]\ntransport = \"udp\"\naddress = \"127.0.0.1:0\"\n";

/// The files that tests name; all the others do not exist.
fn read(path: &Path) -> io::Result<FileRead> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let certified = || rcgen::generate_simple_self_signed(["turn.example.org".to_owned()]).unwrap();
    let key = "md5:8493fbc53ba582fb4c044c456bdc40eb\n";
    let text = match name {
        "secret.key" | "nonce.key" | "nonce-old.key" | "open.key" | "admin.token"
        | "pseudonym.key" => "0123456789abcdef0123456789abcdef\n".to_owned(),
        "31.key" => "0123456789abcdef0123456789abcde\n".to_owned(),
        "gateway-1.key" => format!("# keys\nuser: gateway-1\nrealm: turn.example.org\n{key}"),
        "other-realm.key" => format!("user: gateway-1\nrealm: turn.example.net\n{key}"),
        "other-user.key" => format!("user: gateway-2\nrealm: turn.example.org\n{key}"),
        "bad-hex.key" => "user: gateway-1\nrealm: turn.example.org\nmd5:s3cr3t\n".to_owned(),
        "fullchain.pem" | "admin-ca.pem" | "writable.pem" => certified().cert.pem(),
        "privkey.pem" => certified().signing_key.serialize_pem(),
        "empty.pem" => String::new(),
        _ => return Err(io::ErrorKind::NotFound.into()),
    };
    Ok(FileRead {
        bytes: text.into_bytes().into(),
        open_to_others: name == "open.key",
        writable_by_others: name == "writable.pem",
    })
}

fn parsed(text: &str) -> Result<Config, ConfigErrors> {
    parse(text, Path::new("relay.toml"), &mut read)
}

fn minimal(more: &str) -> String {
    format!("realm = \"turn.example.org\"\n{more}\n{LISTENER}{SECRET}")
}

#[test]
fn each_documented_value_is_the_default() {
    let documented = parsed(DOCUMENTED).unwrap();
    let default = parsed(&minimal("")).unwrap();
    assert_eq!(documented.workers, default.workers);
    assert_eq!(documented.pin_workers, default.pin_workers);
    assert_eq!(documented.busy_poll, default.busy_poll);
    assert_eq!(documented.channel_numbers, default.channel_numbers);
    assert_eq!(documented.software, default.software);
    assert_eq!(documented.dscp, default.dscp);
    assert_eq!(documented.relayed, default.relayed);
    assert_eq!(documented.secrets[0].hashes(), default.secrets[0].hashes());
    assert_eq!(documented.nonce.lifetime, default.nonce.lifetime);
    assert!(documented.nonce.key.is_none() && default.nonce.key.is_none());
    assert_eq!(documented.credentials, default.credentials);
    assert_eq!(documented.peers, default.peers);
    assert_eq!(documented.limits, default.limits);
    assert_eq!(documented.admin, default.admin);
    assert_eq!(documented.sovereignty, default.sovereignty);
    assert_eq!(documented.log, default.log);
    assert_eq!(documented.state_directory, default.state_directory);
    assert_eq!(documented.drain, default.drain);
    assert_eq!(documented.metadata, default.metadata);
    assert_eq!(documented.self_check, default.self_check);
    assert_eq!(documented.overload, default.overload);
    assert_eq!(documented.capacity, default.capacity);
    assert_eq!(
        documented.files,
        [PathBuf::from("relay.toml"), PathBuf::from("secret.key")]
    );
}

/// Every key of the schema, with `#` before it or not, and nothing that the schema lacks.
#[test]
fn every_key_is_documented_and_its_example_is_valid() {
    let mut section = "";
    let mut documented: Vec<(String, String)> = Vec::new();
    for line in DOCUMENTED.lines() {
        let line = line
            .strip_prefix('#')
            .filter(|rest| !rest.starts_with(' '))
            .unwrap_or(line);
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_matches(['[', ']']);
        } else if let Some((key, _)) = line.split_once(" = ") {
            documented.push((section.to_owned(), key.to_owned()));
        }
    }
    for schema in SCHEMA {
        for key in schema.keys {
            let pair = (schema.name.to_owned(), (*key).to_owned());
            assert!(
                documented.contains(&pair),
                "[{}] {key} is not documented",
                schema.name
            );
        }
    }

    let examples: String = DOCUMENTED
        .lines()
        .map(|line| {
            line.strip_prefix('#')
                .filter(|rest| !rest.starts_with(' '))
                .unwrap_or(line)
        })
        .filter(|line| !line.starts_with("value = "))
        .flat_map(|line| [line, "\n"])
        .collect();
    let config = parsed(&examples).unwrap();
    assert_eq!(config.users[0].name, "gateway-1");
    assert!(
        config.tls.is_some() && config.nonce.key.is_some() && config.nonce.previous_key.is_some()
    );
    assert_eq!(config.sovereignty.allowed_zone_ids.len(), 6);
    assert_eq!(
        config.state_directory.as_deref(),
        Some(Path::new("/var/lib/taciturn"))
    );
    assert_eq!(config.drain.alternates.len(), 1);
    assert!(config.admin.token.is_some());
    assert_eq!(config.admin.tls.unwrap().client_ca.len(), 1);
    assert!(config.log.forensics_until.is_some() && config.log.pseudonym_key.is_some());
}

#[test]
fn values_arrive_as_they_are_written() {
    let config = parsed(&minimal(
        "workers = 2\npin-workers = true\nbusy-poll = \"50us\"\ncoalesce = \"0us\"\nsoftware = \"s\"\ndscp = 46\nrelayed = { addresses = [\"::\", \"10.0.0.1\", \"10.0.0.2\"], \
         advertise = [\"192.0.2.1\", \"192.0.2.2\"], ports = \"50000-50001\" }\n\
         peers = { allow = [\"10.1.2.0/24\", \"10.9.9.9\"], allow-loopback = true, denied-ports = [7, \"8-9\", \"1\"] }\n\
         admin.address = \"unix:/run/a.sock\"",
    ))
    .unwrap();
    assert_eq!(config.workers.unwrap().get(), 2);
    assert!(config.pin_workers);
    assert_eq!(config.busy_poll, Duration::from_micros(50));
    assert_eq!(config.software.as_deref(), Some("s"));
    assert_eq!(config.dscp, Dscp::Fixed(46));
    assert_eq!(config.listeners[0].transport, ListenerTransport::Udp);
    let pairs: Vec<_> = config
        .relayed
        .addresses
        .iter()
        .map(|a| (a.bind.to_string(), a.advertise.map(|a| a.to_string())))
        .collect();
    let pair = |bind: &str, seen: Option<&str>| (bind.to_owned(), seen.map(str::to_owned));
    assert_eq!(
        pairs,
        [
            pair("::", None),
            pair("10.0.0.1", Some("192.0.2.1")),
            pair("10.0.0.2", Some("192.0.2.2"))
        ],
    );
    assert_eq!(config.relayed.ports, 50000..=50001);
    assert_eq!(config.peers.allow[1].to_string(), "10.9.9.9/32");
    assert_eq!(config.peers.denied_ports, [1..=1, 7..=9]);
    assert!(config.peers.allow_loopback && config.peers.only.is_empty());
    assert_eq!(
        config.admin.address,
        AdminAddress::Unix("/run/a.sock".into())
    );
    assert_eq!(config.limits.queue_age, Duration::from_millis(500));
}

/// One mistake: the text that stands on line 2, and the whole of what is said about it after `relay.toml:`.
#[track_caller]
fn refused(line: &str, said: &str) {
    let errors = parsed(&minimal(line)).unwrap_err();
    let printed: Vec<String> = errors.as_slice().iter().map(ToString::to_string).collect();
    assert_eq!(printed, [format!("relay.toml:{said}")], "{line}");
}

/// A-32: config typos fail closed: the exact line, the key and the remedy.
#[test]
fn a_typo_is_refused_with_its_line_key_and_remedy() {
    refused(
        "relm = \"a\"",
        "2: relm: is not a key of the configuration; did you mean realm?",
    );
    refused(
        "limits.allocations_per_user = 5",
        "2: limits.allocations_per_user: is not a key of the configuration; did you mean allocations-per-user?",
    );
    refused(
        "ports = \"1\"",
        "2: ports: is not a key of the configuration; ports belongs in [relayed]",
    );
    refused(
        "[limit]\nallocations = 5",
        "2: limit: is not a key of the configuration; did you mean limits?",
    );
    refused(
        "workers = = 2",
        "2: is not TOML: extra `=`, expected nothing; mend the line",
    );
    refused(
        "workers = \"2\"",
        "2: workers = \"2\": must be a whole number, found a string; write a whole number without quotes, 0 to 255",
    );
    refused(
        "workers = 256",
        "2: workers = 256: must be within 0 to 255; write a whole number without quotes, 0 to 255",
    );
    refused(
        "pin-workers = 2",
        "2: pin-workers = 2: must be true or false, found an integer; write true or false without quotes",
    );
    refused(
        "coalesce = \"1ms\"",
        "2: coalesce = \"1ms\": must be within 0s to 500us; write e.g. \"500us\"",
    );
    refused(
        "busy-poll = \"1001us\"",
        "2: busy-poll = \"1001us\": must be within 0s to 1ms; write e.g. \"1ms\"",
    );
    refused(
        "channel-numbers = \"rfc5389\"",
        "2: channel-numbers = \"rfc5389\": is not one of the known words; write \"rfc8656\" or \"rfc5766\"",
    );
    refused(
        "dscp = 64",
        "2: dscp = 64: must be \"copy\" or 0 to 63; write dscp = \"copy\", or e.g. dscp = 46",
    );
    refused(
        "peers = 3",
        "2: peers: must be a section, found an integer; write [peers] and its keys below it",
    );
}

/// A-32: config typos fail closed: a range that means nothing is never skipped.
#[test]
fn an_address_range_that_means_nothing_is_refused() {
    let example = "write e.g. \"10.0.0.0/8\" or \"2001:db8::/32\"";
    refused(
        "peers.deny = [\"192.0.2.0/24\", \"10.0.0.0/33\"]",
        &format!(
            "2: peers.deny = \"10.0.0.0/33\": must have a prefix length of 0 to 32; {example}"
        ),
    );
    refused(
        "peers.deny = [\"10.0.0-10.1\"]",
        &format!(
            "2: peers.deny = \"10.0.0-10.1\": is not an address or an address range; {example}"
        ),
    );
    refused(
        "peers.allow = [\"\"]",
        &format!("2: peers.allow = \"\": is not an address or an address range; {example}"),
    );
    refused(
        "peers.allow = [\"10.0.0.0/+8\"]",
        &format!(
            "2: peers.allow = \"10.0.0.0/+8\": must have a prefix length of 0 to 32; {example}"
        ),
    );
    refused(
        "peers.allow = [\n\"10.1.2.0/24\",\n\"10.1.2.3/8\"]",
        "4: peers.allow = \"10.1.2.3/8\": has bits set after its prefix; write \"10.0.0.0/8\"",
    );
    refused(
        "peers.deny = [\"::ffff:10.0.0.0/104\"]",
        "2: peers.deny = \"::ffff:10.0.0.0/104\": is an IPv4 range in IPv6 form and would never match; write the IPv4 range",
    );
    refused(
        "peers.nat64-prefixes = [\"2001:db8::/33\"]",
        "2: peers.nat64-prefixes = \"2001:db8::/33\": is not a NAT64 prefix; write an IPv6 range of length 32, 40, 48, 56, \
         64 or 96, e.g. \"2001:db8:64::/96\"",
    );
    refused(
        "sovereignty = { zone-id = \"apse2-az1\", allowed-zone-ids = [\"\"] }",
        "2: sovereignty.allowed-zone-ids = \"\": is not a zone id; write e.g. \"apse2-az1\"",
    );
}

#[test]
fn ports_and_durations_have_their_limits() {
    for ports in [
        "70000-80000",
        "1-2",
        "1023-2000",
        "5000",
        "6000-5000",
        "a-b",
        "-",
        "",
    ] {
        let said = "ports must be a range \"low-high\" within 1024-65535; write e.g. ports = \"49152-65535\"";
        refused(
            &format!("relayed.ports = {ports:?}"),
            &format!("2: relayed.ports = {ports:?}: {said}"),
        );
    }
    refused(
        "peers.denied-ports = [70000]",
        "2: peers.denied-ports = 70000: is not a port or a range of ports within 0-65535; write e.g. 1900 or \"0-442\"",
    );
    refused(
        "nonce.lifetime = \"2h\"",
        "2: nonce.lifetime = \"2h\": must be within 1m to 1h; write e.g. \"1h\"",
    );
    refused(
        "limits.max-lifetime = 600",
        "2: limits.max-lifetime = 600: must be a whole number with its unit between quotes; write e.g. \"1h\"; units are \
         us, ms, s, m, h and d, the limits 10m to 1h",
    );
}

#[test]
fn what_contradicts_something_else_is_refused() {
    refused(
        "sovereignty = { zone-id = \"use1-az1\", allowed-zone-ids = [\"apse2-az1\"] }",
        "2: sovereignty.zone-id = \"use1-az1\": is not among allowed-zone-ids (apse2-az1); run the relay in an allowed \
         zone, or add this one to allowed-zone-ids",
    );
    refused(
        "sovereignty.allowed-zone-ids = [\"apse2-az1\"]",
        "2: sovereignty.zone-id: is missing, so that allowed-zone-ids could not be enforced; write the zone that this \
         relay runs in, e.g. zone-id = \"apse2-az1\"; on EC2 metadata.provider = \"aws\" finds it",
    );
    refused(
        "relayed.advertise = [\"2001:db8::1\"]",
        "2: relayed.advertise = \"2001:db8::1\": no IPv6 address is bound for it; add \"::\" to relayed.addresses, or take \
         this away",
    );
    refused(
        "relayed = { addresses = [\"10.0.0.1\", \"10.0.0.2\"], advertise = [\"192.0.2.1\"] }",
        "2: relayed.advertise = \"192.0.2.1\": 1 advertised for 2 bound IPv4 addresses; advertise one for each, in the same \
         order, or none of that family",
    );
    refused(
        "relayed = { addresses = [\"10.0.0.1\", \"10.0.0.2\"], advertise = [\"192.0.2.1\", \"192.0.2.1\"] }",
        "2: relayed.advertise = \"192.0.2.1\": is advertised for two addresses, whose ports peers could not tell apart; give \
         each address its own public one, or bind one address alone",
    );
    refused(
        "peers = { allow = [\"10.1.2.0/24\"], only = [\"10.1.3.0/24\"] }",
        "2: peers.allow = \"10.1.2.0/24\": opens what peers.only closes again: only those that stand in it are reached; write \
         all of them in only, and take allow away",
    );
    refused(
        "[[listener]]\ntransport = \"udp\"\naddress = \"0.0.0.0:3478\"\n[peers]\nallow-loopback = true",
        "6: peers.allow-loopback = true: is for machines on their own, but listener udp 0.0.0.0:3478 is beyond loopback; \
         write allow-loopback = false, or listen on 127.0.0.1 and ::1 alone",
    );
    refused(
        "[[listener]]\ntransport = \"tcp\"\naddress = \"127.0.0.1:1\"\n[[listener]]\ntransport = \"auto\"\n\
         address = \"127.0.0.1:1\"\n[tls]\ncertificate = \"fullchain.pem\"\nkey = \"privkey.pem\"",
        "7: listener.address = \"127.0.0.1:1\": is taken by another listener (tcp 127.0.0.1:1); give each listener its own \
         address or port",
    );
    refused(
        "[[listener]]\ntransport = \"tls\"\naddress = \"127.0.0.1:0\"",
        "4: listener.address = \"127.0.0.1:0\": transport = \"tls\" needs a certificate; write [tls] with certificate and key",
    );
}

/// The warnings about what stands on line 2.
fn warned(line: &str) -> Vec<String> {
    let config = parsed(&minimal(line)).unwrap();
    config.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn an_admin_api_beyond_loopback_that_anybody_could_use_is_refused() {
    let open = "is beyond loopback, where whoever reaches it could drain the relay and end calls; write token-file (taciturn \
                credentials secret --out FILE makes one), or certificate, key and client-ca for mutual TLS, or keep to \
                \"127.0.0.1:9641\" or \"unix:/run/taciturn/admin.sock\"";
    let tls = "certificate = \"fullchain.pem\", key = \"privkey.pem\"";
    for more in [
        "",
        ", certificate = \"fullchain.pem\", key = \"privkey.pem\"",
    ] {
        for address in ["0.0.0.0:9641", "[::]:9641", "203.0.113.5:9641"] {
            refused(
                &format!("admin = {{ address = \"{address}\"{more} }}"),
                &format!("2: admin.address = \"{address}\": {open}"),
            );
        }
    }
    let token = "admin = { address = \"0.0.0.0:9641\", token-file = \"admin.token\"";
    assert_eq!(
        warned(&format!("{token} }}")),
        [
            "relay.toml:2: admin.token-file = \"admin.token\": crosses the network in the clear, as there is no certificate; \
             write certificate and key, or see to it that nobody listens on the way"
        ]
    );
    assert_eq!(warned(&format!("{token}, {tls} }}")), [""; 0]);
    let mutual =
        format!("admin = {{ address = \"0.0.0.0:9641\", {tls}, client-ca = \"admin-ca.pem\" }}");
    assert_eq!(warned(&mutual), [""; 0]);
    let config = parsed(&minimal(&mutual)).unwrap();
    assert_eq!(config.admin.token, None);
    assert!(!config.admin.tls.unwrap().client_ca.is_empty());
}

#[test]
fn a_token_or_a_certificate_of_the_admin_api_that_could_not_protect_it_is_refused() {
    let make = "make one with: taciturn credentials secret --out FILE";
    refused(
        "admin.token-file = \"31.key\"",
        &format!(
            "2: admin.token-file = \"31.key\": the secret has 31 bytes, fewer than 32; {make}"
        ),
    );
    assert_eq!(
        warned("admin.token-file = \"open.key\""),
        [
            "relay.toml:2: admin.token-file = \"open.key\": can be read or written by everybody on this machine; run chmod \
          o-rwx on it; its group may be one that the relay is in"
        ]
    );
    let both = "write certificate and key, or take it away";
    for (written, key, said) in [
        (
            "certificate = \"fullchain.pem\"",
            "certificate = \"fullchain.pem\"",
            "has no key beside it",
        ),
        (
            "key = \"privkey.pem\"",
            "key = \"privkey.pem\"",
            "has no certificate beside it",
        ),
        (
            "client-ca = \"admin-ca.pem\"",
            "client-ca = \"admin-ca.pem\"",
            "has no certificate and key beside it: clients prove who they are over TLS alone",
        ),
    ] {
        refused(
            &format!("admin = {{ {written} }}"),
            &format!("2: admin.{key}: {said}; {both}"),
        );
    }
    refused(
        "admin = { address = \"unix:/run/a.sock\", certificate = \"fullchain.pem\", key = \"privkey.pem\" }",
        "2: admin.certificate = \"fullchain.pem\": is for TCP, and admin.address is a Unix socket, which only the relay's user \
         and group may use; take certificate, key and client-ca away",
    );
    refused(
        "admin = { certificate = \"fullchain.pem\", key = \"privkey.pem\", client-ca = \"empty.pem\" }",
        "2: admin.client-ca = \"empty.pem\": holds no certificate; name a PEM file with the certificates of those who issue your \
         clients' certificates",
    );
    let config = parsed(&minimal("admin.token-file = \"admin.token\"")).unwrap();
    assert!(!format!("{config:?}").contains("0123456789abcdef"));
}

#[test]
fn alternates_are_addresses_that_clients_can_be_sent_to() {
    let written = "drain.alternates = [{ transport = \"udp\", address = \"203.0.113.8:3478\" }, \
                   { transport = \"tcp\", address = \"[2001:db8::8]:443\" }]";
    let config = parsed(&minimal(written)).unwrap();
    let alternates: Vec<_> = config
        .drain
        .alternates
        .iter()
        .map(|alternate| (alternate.transport.as_str(), alternate.server.to_string()))
        .collect();
    assert_eq!(
        alternates,
        [
            ("udp", "203.0.113.8:3478".to_owned()),
            ("tcp", "[2001:db8::8]:443".to_owned())
        ]
    );
    refused(
        "drain.alternates = [{ transport = \"tls\", address = \"203.0.113.8:443\" }]",
        "2: drain.alternates.transport = \"tls\": cannot be an alternate: a client that is sent to an address would find a \
         certificate that does not name it; write \"udp\" or \"tcp\", or take it away; clients over TLS get 508 and try \
         their next server",
    );
    refused(
        "[[drain.alternates]]\ntransport = \"udp\"\naddress = \"0.0.0.0:3478\"",
        "4: drain.alternates.address = \"0.0.0.0:3478\": is no address that clients could send to; write the other relay's \
         public address and port",
    );
    refused(
        "[[drain.alternates]]\ntransport = \"udp\"\nadress = \"203.0.113.8:443\"\naddress = \"203.0.113.8:443\"",
        "4: drain.alternates.adress: is not a key of the configuration; did you mean address?",
    );
    refused(
        "\"drain.alternates\" = 1",
        "2: drain.alternates: is not a key of the configuration; write one of realm, workers, pin-workers, busy-poll, coalesce, \
         channel-numbers, software, dscp, state-directory, listener, relayed, tls, secret, user, nonce, credentials, peers, limits, drain, metadata, \
         self-check, overload, capacity, admin, sovereignty, log",
    );
    let many =
        "[[drain.alternates]]\ntransport = \"udp\"\naddress = \"203.0.113.8:443\"\n".repeat(17);
    refused(
        &many,
        "50: drain.alternates.transport: is one more than the 16 alternates that there may be; keep the best of them",
    );
}

#[test]
fn what_a_relay_is_told_about_its_operation_has_its_limits() {
    let config = parsed(&minimal(
        "state-directory = \"/var/lib/t\"\ndrain.stop-after = \"0s\"\nmetadata.provider = \"aws\"\nself-check.interval = \
         \"0s\"\noverload.busiest-core = 1\ncapacity.bits-per-second = 10000000000\nlimits.bits-per-second-per-allocation = \
         5000000\nlog = { format = \"journald\", pseudonym-rotation = \"1h\" }",
    ))
    .unwrap();
    assert_eq!(
        config.state_directory.as_deref(),
        Some(Path::new("/var/lib/t"))
    );
    assert!(config.drain.stop_after.is_zero() && config.self_check.interval.is_none());
    assert_eq!(config.metadata.as_str(), "aws");
    assert_eq!(config.overload.busiest_core, Some(1.0));
    assert_eq!(config.capacity.bits_per_second, 10_000_000_000);
    assert_eq!(config.limits.bits_per_second_per_allocation, 5_000_000);
    assert_eq!(config.log.format, LogFormat::Journald);
    assert_eq!(config.log.pseudonym_rotation, Duration::from_secs(3600));

    refused(
        "state-directory = \"state\"",
        "2: state-directory = \"state\": must be the full path of a directory; write e.g. \"/var/lib/taciturn\"",
    );
    refused(
        "drain.stop-after = \"8d\"",
        "2: drain.stop-after = \"8d\": must be within 0s to 7d; write e.g. \"7d\"",
    );
    refused(
        "metadata.provider = \"gcp\"",
        "2: metadata.provider = \"gcp\": is not one of the known words; write \"none\" or \"aws\"",
    );
    refused(
        "self-check.interval = \"99ms\"",
        "2: self-check.interval = \"99ms\": must be within 100ms to 1h, or 0s; write e.g. \"5s\", or \"0s\" for none",
    );
    let share = "write a fraction without quotes, 0.05 to 1.0, e.g. 0.9, or 0 for never";
    for (written, said) in [
        ("0.04", "must be within 0.05 to 1.0, or 0"),
        ("1.01", "must be within 0.05 to 1.0, or 0"),
        ("nan", "must be within 0.05 to 1.0, or 0"),
        ("90", "must be within 0.05 to 1.0, or 0"),
        ("\"0.9\"", "must be a fraction, found a string"),
    ] {
        let shown = if written == "nan" { "nan" } else { written };
        refused(
            &format!("overload.busiest-core = {written}"),
            &format!("2: overload.busiest-core = {shown}: {said}; {share}"),
        );
    }
    let never = parsed(&minimal("overload.busiest-core = 0")).unwrap();
    assert_eq!(never.overload.busiest_core, None);
    refused(
        "capacity.packets-per-second = -1",
        "2: capacity.packets-per-second = -1: must be within 0 to 1000000000; write a whole number without quotes, 0 to \
         1000000000",
    );
    let until = "write a date and time with its offset and without quotes, at most seven days ahead, e.g. 2026-11-22T08:00:00Z";
    refused(
        "log.forensics-until = 9999-12-31T00:00:00Z",
        &format!(
            "2: log.forensics-until: is more than seven days ahead: full addresses are written for one fault, not for good; \
             {until}"
        ),
    );
    refused(
        "log.forensics-until = \"2026-11-22T08:00:00Z\"",
        &format!(
            "2: log.forensics-until = \"2026-11-22T08:00:00Z\": must be a date and time, found a string; {until}"
        ),
    );
    refused(
        "log.forensics-until = 2026-11-22T08:00:00",
        &format!(
            "2: log.forensics-until: must be a date and time with an offset, after 1970; {until}"
        ),
    );
    refused(
        "log.pseudonym-key-file = \"31.key\"",
        "2: log.pseudonym-key-file = \"31.key\": the secret has 31 bytes, fewer than 32; make one with: taciturn credentials \
         secret --out FILE",
    );
}

#[test]
fn relayed_ports_that_something_listens_on_are_refused() {
    let remedy = "choose relayed ports that nothing listens on, e.g. ports = \"49152-65535\", or another port for it";
    let listener = |transport: &str, address: &str| {
        format!("[[listener]]\ntransport = \"{transport}\"\naddress = \"{address}\"")
    };
    let wide = "relayed = { addresses = [\"10.0.0.1\"], ports = \"1024-65535\" }";
    for (transport, address) in [
        ("udp", "10.0.0.1:3478"),
        ("tcp", "0.0.0.0:3478"),
        ("tcp", "[::]:65535"),
    ] {
        let port = address.rsplit(':').next().unwrap();
        refused(
            &format!("{wide}\n{}", listener(transport, address)),
            &format!(
                "2: relayed.ports = \"1024-65535\": port {port} is listened on ({transport} {address}) and within \
                 relayed.ports, 1024-65535; {remedy}"
            ),
        );
    }
    refused(
        &listener("udp", "0.0.0.0:50000"),
        &format!(
            "4: listener.address = \"0.0.0.0:50000\": port 50000 is listened on (udp 0.0.0.0:50000) and within \
             relayed.ports, 49152-65535; {remedy}"
        ),
    );
    refused(
        "relayed = { addresses = [\"127.0.0.1\"], ports = \"9000-9999\" }",
        &format!(
            "2: relayed.ports = \"9000-9999\": port 9641 is listened on (admin 127.0.0.1:9641) and within relayed.ports, \
             9000-9999; {remedy}"
        ),
    );
    for apart in [
        format!("{wide}\n{}", listener("udp", "10.0.0.2:3478")),
        format!(
            "relayed.ports = \"1024-65535\"\n{}",
            listener("udp", "127.0.0.1:3478")
        ),
        format!("{wide}\n{}", listener("udp", "0.0.0.0:0")),
        listener("udp", "0.0.0.0:3478"),
    ] {
        assert!(parsed(&minimal(&apart)).is_ok(), "{apart}");
    }
}

/// A-32: what was written and has no effect is not passed over in silence.
#[test]
fn allowing_what_can_never_be_opened_is_warned_about() {
    let said = |line: &str| -> Vec<String> {
        let config = parsed(&minimal(line)).unwrap();
        config.warnings.iter().map(ToString::to_string).collect()
    };
    for vain in [
        "127.0.0.0/8",
        "127.0.0.1",
        "169.254.0.0/16",
        "169.254.169.254",
        "224.0.0.0/3",
        "::1",
        "fe80::/64",
        "fd00:ec2::254",
    ] {
        assert_eq!(
            said(&format!("peers.allow = [\"10.1.2.0/24\", \"{vain}\"]")),
            [format!(
                "relay.toml:2: peers.allow = \"{vain}\": is within what no configuration can open: loopback, link-local, \
                 multicast, cloud metadata and the like; take it away; for tests on loopback there is allow-loopback"
            )]
        );
    }
    let useful = "peers.allow = [\"0.0.0.0/0\", \"::/0\", \"10.0.0.0/8\", \"168.63.129.0/24\", \"fd00::/8\", \"100.100.100.200/31\"]";
    assert_eq!(said(useful), [""; 0]);
    assert_eq!(
        said("peers = { allow = [\"127.0.0.1\"], allow-loopback = true }"),
        [""; 0]
    );
}

/// A-32: a list of the only peers that has come out empty, as a template may leave it, closes nothing, and is named.
#[test]
fn an_empty_list_of_the_only_peers_is_warned_about() {
    assert_eq!(
        warned("peers.only = []"),
        [
            "relay.toml:2: peers.only: is an empty list, which closes nothing: every public address is a peer; write the only \
             peers that there are, or take it away"
        ]
    );
    for closed in ["peers.only = [\"10.1.2.0/24\"]", "peers.allow = []", ""] {
        assert_eq!(warned(closed), [""; 0], "{closed}");
    }
    assert!(parsed(DOCUMENTED).unwrap().warnings.is_empty());
}

#[test]
fn a_source_may_have_a_tenth_of_the_connections_unless_it_is_said_otherwise() {
    for (line, share) in [
        ("", 1000),
        ("limits.connections = 100000", 10_000),
        ("limits.connections = 50", 100),
        (
            "limits = { connections = 50, connections-per-source = 7 }",
            7,
        ),
        ("limits.connections-per-source = 0", 0),
    ] {
        let config = parsed(&minimal(line)).unwrap();
        assert_eq!(config.limits.connections_per_source, share, "{line}");
    }
}

/// A-30: start refuses secrets shorter than 32 bytes, and never prints one.
#[test]
fn a_short_secret_is_refused_and_not_shown() {
    let make = "make one with: taciturn credentials secret --out FILE";
    refused(
        "[[secret]]\nid = \"n\"\nvalue = \"north\"",
        &format!("4: secret.value: the secret has 5 bytes, fewer than 32; {make}"),
    );
    refused(
        "[[secret]]\nid = \"n\"\nfile = \"31.key\"",
        &format!("4: secret.file = \"31.key\": the secret has 31 bytes, fewer than 32; {make}"),
    );
    refused(
        "[[secret]]\nid = \"n\"\nfile = \"absent.key\"",
        "4: secret.file = \"absent.key\": cannot be read: entity not found; check that the relay's user may read absent.key",
    );
    for text in [
        "[[secret]]\nid = \"n\"\nvalue = \"s3cr3t\"",
        "[[secret]]\nid = \"n\"\nvalve = \"s3cr3t\"",
        "[[secret]]\nid = \"n\"\nvalue = [\"s3cr3t\"]",
        "[[secret]]\nid = \"n\"\nfile = \"secret.key\"\nvalue = \"s3cr3t\"",
        "[[secret]]\nid = \"n\"\nvalue = \"s3cr3t",
        "[[secret]]\nid = \"n\"\nvalue = s3cr3t",
        "[secret]\nid = \"n\"\nvalue = \"s3cr3t\"",
        "secret = \"s3cr3t\"",
        "[[user]]\nname = \"gateway-1\"\nkey-file = \"bad-hex.key\"",
        "realm = \"s3cr3t\" \"s3cr3t\"",
    ] {
        let errors = parsed(&minimal(text)).unwrap_err();
        assert!(
            !format!("{errors}\n{errors:?}").contains("s3cr3t"),
            "{text}: {errors}"
        );
    }
    let config = parsed(&minimal("")).unwrap();
    assert!(
        !format!("{config:?}").contains("0123456789abcdef"),
        "{config:?}"
    );
}

#[test]
fn a_user_key_made_for_somebody_else_is_refused() {
    let make = "make it with: taciturn credentials key --user NAME --realm REALM --out FILE";
    for (file, said) in [
        (
            "other-realm.key",
            "was made for the realm \"turn.example.net\", not \"turn.example.org\"",
        ),
        (
            "other-user.key",
            "was made for the user \"gateway-2\", not \"gateway-1\"",
        ),
        (
            "bad-hex.key",
            "does not hold a user's key: line 3 is not md5: with 32 or sha256: with 64 hexadecimal digits",
        ),
    ] {
        refused(
            &format!("[[user]]\nname = \"gateway-1\"\nkey-file = \"{file}\""),
            &format!("4: user.key-file = \"{file}\": {said}; {make}"),
        );
    }
}

#[test]
fn a_certificate_file_without_a_certificate_is_refused() {
    let chain = "name a PEM file with the relay's certificate first and its intermediates after it";
    let key = "name a PEM file with the certificate's private key, without a passphrase";
    let text = "[tls]\ncertificate = \"empty.pem\"\nkey = \"fullchain.pem\"";
    let errors = parsed(&minimal(text)).unwrap_err();
    assert_eq!(
        errors.to_string(),
        format!(
            "relay.toml:3: tls.certificate = \"empty.pem\": holds no certificate; {chain}\n\
             relay.toml:4: tls.key = \"fullchain.pem\": holds no private key; {key}"
        )
    );
}

#[test]
fn all_errors_are_reported_at_once_in_the_order_of_the_file() {
    let errors =
        parsed("workers = -1\nlog.level = \"loud\"\n[limits]\nqueue-bytes = 1\nconections = 5\n")
            .unwrap_err();
    let found: Vec<_> = errors
        .as_slice()
        .iter()
        .map(|error| (error.line, error.column, error.key.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (1, 1, "realm"),
            (1, 1, "listener"),
            (1, 1, "secret"),
            (1, 11, "workers"),
            (2, 13, "log.level"),
            (4, 15, "limits.queue-bytes"),
            (5, 1, "limits.conections"),
        ]
    );
}

#[test]
fn a_file_that_everybody_can_write_is_warned_about() {
    let warnings = |config: Config| {
        let warnings = config.warnings.iter();
        warnings.map(ToString::to_string).collect::<Vec<_>>()
    };
    let tls = "[tls]\ncertificate = \"writable.pem\"\nkey = \"privkey.pem\"";
    assert_eq!(
        warnings(parsed(&minimal(tls)).unwrap()),
        [
            "relay.toml:3: tls.certificate = \"writable.pem\": can be written by everybody on this machine; run chmod o-w on it"
        ]
    );
    let mut writable = |path: &Path| {
        if path == Path::new("relay.toml") {
            return Ok(FileRead {
                bytes: minimal("").into_bytes().into(),
                open_to_others: false,
                writable_by_others: true,
            });
        }
        read(path)
    };
    assert_eq!(
        warnings(load_with(Path::new("relay.toml"), &mut writable).unwrap()),
        [
            "relay.toml: can be written by everybody on this machine, who then say what the relay does; run chmod o-w on it"
        ]
    );
}

#[test]
fn a_secret_that_everybody_can_read_is_warned_about() {
    let config = parsed(&minimal("[[secret]]\nid = \"o\"\nfile = \"open.key\"")).unwrap();
    assert_eq!(
        config
            .warnings
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        [
            "relay.toml:4: secret.file = \"open.key\": can be read or written by everybody on this machine; run chmod o-rwx on \
          it; its group may be one that the relay is in"
        ]
    );
}

/// S-43: the largest 401 is below 548 bytes with the longest realm, and a realm that breaks this is refused (RFC 8489 §6.1).
#[test]
fn the_longest_realm_leaves_the_largest_challenge_below_548_bytes() {
    let mut buffer = [0; 1500];
    let mut writer = Writer::new(
        &mut buffer,
        Class::Error,
        Method::Allocate,
        TransactionId([7; 12]),
    );
    writer.error_code(401, "Unauthorized");
    writer.realm(&[b'r'; MAX_REALM_BYTES]);
    writer.nonce(&[b'n'; taciturn_protocol::credentials::NONCE_LEN]);
    writer.password_algorithms(&[2, 1]);
    writer.fingerprint();
    let length = writer.finish().unwrap();
    assert!((544..548).contains(&length), "{length}");

    let text = |realm: String| format!("realm = {realm:?}\n{LISTENER}{SECRET}");
    assert!(parsed(&text("r".repeat(127))).is_ok());
    assert!(parsed(&text("r".repeat(128))).is_err());
    // Characters of three bytes: 127 of them would not fit.
    assert!(parsed(&text("\u{30de}".repeat(MAX_REALM_BYTES / 3))).is_err());
    assert!(parsed(&text("\u{30de}".repeat(127))).is_ok());
}

/// Words that make random text reach deep into the parser.
fn fragments() -> impl Strategy<Value = String> {
    let keys: Vec<String> = SCHEMA
        .iter()
        .flat_map(|s| {
            let header = if s.repeated {
                format!("[[{}]]\n", s.name)
            } else {
                format!("[{}]\n", s.name)
            };
            s.keys.iter().map(|key| format!("{key} = ")).chain([header])
        })
        .collect();
    let values = prop_oneof![
        Just("[\"10.0.0.0/8\", \"::/0\"]\n".to_owned()),
        Just("\"49152-65535\"\n".to_owned()),
        Just("\"127.0.0.1:0\"\n".to_owned()),
        Just("\"secret.key\"\n".to_owned()),
        Just("99999999999999999999999\n".to_owned()),
        Just("[[[[{ a = 1 }]]]]\n".to_owned()),
        any::<String>().prop_map(|text| format!("{text:?}\n")),
        any::<i64>().prop_map(|number| format!("{number}\n")),
        "[0-9]{1,20}(ms|s|m|h|d|)".prop_map(|text| format!("\"{text}\"\n")),
        "[0-9a-f:.]{1,20}/[0-9]{1,4}".prop_map(|text| format!("[\"{text}\"]\n")),
    ];
    let piece = prop_oneof![4 => proptest::sample::select(keys), 4 => values, 1 => any::<String>()];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        let _ = parsed(&text);
    }

    #[test]
    fn no_configuration_makes_the_parser_panic_and_every_refusal_says_why(text in fragments()) {
        if let Err(errors) = parsed(&text) {
            prop_assert!(!errors.as_slice().is_empty());
            for error in errors.as_slice() {
                prop_assert!(error.line >= 1 && !error.problem.is_empty() && !error.remedy.is_empty());
                prop_assert!(!error.to_string().contains('\n'), "{:?}", error);
            }
        }
    }
}

#[test]
fn deep_nesting_does_not_exhaust_the_stack() {
    for open in ["[", "{a=", "a."] {
        assert!(parsed(&format!("realm = {}", open.repeat(100_000))).is_err());
        assert!(parsed(&open.repeat(100_000)).is_err());
    }
}
