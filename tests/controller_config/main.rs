//! `controller.toml` as an operator meets it: the documented files, their defaults, and what is said about every mistake.
#![cfg(feature = "controller")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod credentials;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use taciturn_controller::config::{
    ApiAddress, ConfigErrors, ControllerConfig, Credentials, FileRead, LeaseKind, LogFormat, Proof,
    Provider, keys, parse,
};
use taciturn_controller::policy::Policy;

const AWS: &str = include_str!("../../configs/controller.aws.toml");
const LOCAL: &str = include_str!("../../configs/controller.local.toml");

/// Every section that a configuration may have.
const SECTIONS: [&str; 20] = [
    "",
    "api",
    "log",
    "relays",
    "sovereignty",
    "lease",
    "provider",
    "provider.local",
    "provider.aws",
    "provider.static",
    "provider.static.relay",
    "provider.exec",
    "credentials",
    "credentials.secret",
    "credentials.subject",
    "self-test",
    "policy",
    "policy.forecast",
    "policy.schedule",
    "policy.capacity.*",
];

/// The files that tests name; all the others do not exist.
fn read(path: &Path) -> io::Result<FileRead> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let certified = || rcgen::generate_simple_self_signed(["c.example.org".to_owned()]).unwrap();
    let text = match name {
        "controller.token" | "relays.token" | "open.token" => {
            "0123456789abcdef0123456789abcdef\n".to_owned()
        }
        "reader.token" => "reader-reader-reader-reader-reader\n".to_owned(),
        "signalling-1.token" => "signalling-1-signalling-1-signalling-1\n".to_owned(),
        "secret.key" => "a secret of more than thirty-two bytes \n".to_owned(),
        "31.key" => "0123456789abcdef0123456789abcde\r\n".to_owned(),
        "31.token" => "0123456789abcdef0123456789abcde\n".to_owned(),
        "lines.token" => "0123456789abcdef\n0123456789abcdef\n".to_owned(),
        "controller.pem"
        | "self-test.pem"
        | "operators-ca.pem"
        | "relays-ca.pem"
        | "controller-client.pem" => certified().cert.pem(),
        "controller.key" | "self-test.key" | "controller-client.key" => {
            certified().signing_key.serialize_pem()
        }
        "empty.pem" => String::new(),
        "broken.pem" => "-----BEGIN CERTIFICATE-----\ns3cr3t".to_owned(),
        _ => return Err(io::ErrorKind::NotFound.into()),
    };
    Ok(FileRead {
        bytes: text.into_bytes(),
        open_to_others: name == "open.token",
    })
}

fn parsed(text: &str) -> Result<ControllerConfig, ConfigErrors> {
    parse(text, Path::new("controller.toml"), &mut read)
}

/// A whole configuration, with `more` from its second line on.
fn minimal(more: &str) -> String {
    format!(
        "fleet = \"test\"\n{more}\n[provider]\nkind = \"local\"\n[sovereignty]\n\
         allowed-zone-ids = [\"local-a\", \"local-b\", \"local-c\"]\n"
    )
}

/// As [`minimal`], on AWS.
fn on_aws(more: &str) -> String {
    format!(
        "fleet = \"test\"\n{more}\n[provider]\nkind = \"aws\"\n[sovereignty]\nallowed-zone-ids = [\"apse2-az1\"]\n\
         [provider.aws]\nauto-scaling-group = \"g\"\nregion = \"ap-southeast-2\"\ntermination-hook = \"h\"\n"
    )
}

/// `text` without the `#` of its examples.
fn with_examples(text: &str) -> String {
    text.lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect()
}

#[test]
fn each_documented_value_is_the_default() {
    let documented = parsed(AWS).unwrap();
    let default = parsed(&on_aws("")).unwrap();
    assert_eq!(documented.interval, default.interval);
    assert_eq!(documented.api.address, default.api.address);
    assert!(documented.api.token.is_none() && documented.api.tls.is_none());
    assert_eq!(documented.log, default.log);
    assert_eq!(documented.relays.admin_port, default.relays.admin_port);
    assert_eq!(documented.relays.timeout, default.relays.timeout);
    assert_eq!(documented.relays.probe_port, default.relays.probe_port);
    assert_eq!(documented.lease, default.lease);
    assert_eq!(documented.state_directory, None);
    assert!(documented.warnings.is_empty(), "{:?}", documented.warnings);
    assert_eq!(documented.files.len(), 1);
    assert!(documented.credentials.is_none() && documented.self_test.is_none());
    let named = |policy: &Policy| Policy {
        fleet: String::new(),
        allowed_zones: std::collections::BTreeSet::new(),
        ..policy.clone()
    };
    assert_eq!(named(&documented.policy), Policy::default());
    let (Provider::Aws(mut documented), Provider::Aws(default)) =
        (documented.provider, default.provider)
    else {
        panic!("both are on AWS");
    };
    documented
        .auto_scaling_group
        .clone_from(&default.auto_scaling_group);
    documented
        .termination_hook
        .clone_from(&default.termination_hook);
    documented.zone_ids.clear();
    assert_eq!(documented, default);
}

#[test]
fn each_documented_local_value_is_the_default() {
    let documented = parsed(LOCAL).unwrap();
    let default = parsed(&minimal("")).unwrap();
    assert_eq!(documented.provider, default.provider);
    let (minted, default_minted) = (
        documented.credentials.unwrap(),
        default.credentials.unwrap(),
    );
    assert_eq!(minted.secrets, default_minted.secrets);
    let (own, own_default) = (minted.local_secret.as_deref(), &default_minted.local_secret);
    assert!(own.is_some_and(|file| file.ends_with("local-fleet/relays/secret.key")));
    assert_eq!(own_default.as_deref(), Some(Path::new("relays/secret.key")));
    let without_file = |credentials: &Credentials| Credentials {
        local_secret: None,
        ..credentials.clone()
    };
    assert_eq!(without_file(&minted), without_file(&default_minted));
    assert_eq!(documented.interval, default.interval);
    assert_eq!(documented.lease, default.lease);
    assert_eq!(documented.api.address, default.api.address);
    assert!(documented.warnings.is_empty(), "{:?}", documented.warnings);
}

/// Every key, with `#` before it or not, in one of the two files, and nothing that does not exist.
#[test]
fn every_key_is_documented() {
    let mut documented: Vec<(String, String)> = Vec::new();
    for file in [AWS, LOCAL] {
        let mut section = String::new();
        for line in with_examples(file).lines() {
            if let Some(header) = line.strip_prefix('[') {
                header.trim_matches(['[', ']']).clone_into(&mut section);
                if section.starts_with("policy.capacity.") {
                    "policy.capacity.*".clone_into(&mut section);
                }
            } else if let Some((key, _)) = line.split_once(" = ")
                && !line.starts_with('#')
            {
                documented.push((section.clone(), key.to_owned()));
            }
        }
    }
    for section in SECTIONS {
        for key in keys(section).unwrap() {
            let below = if section.is_empty() {
                (*key).to_owned()
            } else {
                format!("{section}.{key}")
            };
            let is_section = documented
                .iter()
                .any(|(name, _)| *name == below || name.starts_with(&format!("{below}.")));
            let pair = (section.to_owned(), (*key).to_owned());
            assert!(
                is_section || documented.contains(&pair),
                "[{section}] {key} is not documented"
            );
        }
    }
    for (section, key) in &documented {
        let open = section == "provider.aws.zone-ids";
        assert!(
            open || keys(section).unwrap().contains(&key.as_str()),
            "[{section}] {key} does not exist"
        );
    }
}

/// The examples behind `#`, as if somebody had taken all of them.
#[test]
fn every_example_is_valid() {
    let config = parsed(
        &with_examples(AWS)
            .replace("kind = \"none\"", "kind = \"s3\"")
            .replace("value = \"...\"\n", "")
            .replace("file = \"/var/lib/taciturn-controller/lease.json\"\n", ""),
    )
    .unwrap();
    let minted = config.credentials.unwrap();
    let secret = "[[credentials.secret]]\nid = \"2026-11\"\nfile = \"secret.key\"";
    let default = parsed(&on_aws(secret)).unwrap().credentials.unwrap();
    let without_subjects = Credentials {
        subjects: Vec::new(),
        ..(*minted).clone()
    };
    assert_eq!(without_subjects, *default);
    let proofs: Vec<(&str, bool)> = minted
        .subjects
        .iter()
        .map(|each| (&*each.name, matches!(each.proof, Proof::Token(_))))
        .collect();
    assert_eq!(proofs, [("signalling-1", true), ("signalling-2", false)]);
    let page = config.self_test.unwrap();
    assert!(page.identity.is_some());
    assert_eq!(page.url.as_deref(), Some("https://test.example.org"));
    assert!(config.api.reader_token.is_some());
    assert!(matches!(config.lease.kind, LeaseKind::S3 { .. }));
    assert!(config.api.token.is_some() && config.relays.token.is_some());
    assert_eq!(config.api.tls.unwrap().client_ca.len(), 1);
    assert!(config.relays.tls.unwrap().identity.is_some());
    assert_eq!(config.policy.schedule.len(), 1);
    assert!(config.policy.capacity.contains_key("default"));
    assert_eq!(
        config.state_directory.as_deref(),
        Some(Path::new("/var/lib/taciturn-controller"))
    );
    assert_eq!(config.files.len(), 14);

    let all = with_examples(LOCAL);
    let (common, others) = all.split_once("\n# The other providers.").unwrap();
    let common = common.split_once("\n[provider]").unwrap().0;
    let (fixed, exec) = others.split_once("# \"exec\"").unwrap();
    for (kind, section) in [("static", fixed), ("exec", exec)] {
        let section = section.split_once("\n[").unwrap().1;
        let text = format!("{common}\n[provider]\nkind = \"{kind}\"\n[{section}");
        let config = parsed(&text).unwrap();
        assert_eq!(config.provider.as_str(), kind);
    }
}

#[test]
fn values_arrive_as_they_are_written() {
    let config = parsed(&minimal(
        "interval = \"2s\"\nstate-directory = \"/s\"\napi.address = \"unix:/run/a.sock\"\nlog = { format = \"json\" }\n\
         relays = { admin-port = 1, probe-port = 0, timeout = \"500ms\" }\nlease.kind = \"file\"\nlease.holder = \"a\"",
    ))
    .unwrap();
    assert_eq!(config.interval, Duration::from_secs(2));
    assert_eq!(config.api.address, ApiAddress::Unix("/run/a.sock".into()));
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(
        (config.relays.admin_port, config.relays.probe_port),
        (1, None)
    );
    assert_eq!(config.relays.timeout, Duration::from_millis(500));
    let file = PathBuf::from("/s/lease.json");
    assert_eq!(config.lease.kind, LeaseKind::File { file });
    assert_eq!(config.policy.fleet, "test");
    assert_eq!(config.policy.allowed_zones, config.allowed_zones);
}

/// One mistake: the text that stands from line 2 on, and the whole of what is said about it after `controller.toml:`.
#[track_caller]
fn refused(more: &str, said: &str) {
    let errors = parsed(&minimal(more)).unwrap_err();
    let printed: Vec<String> = errors.as_slice().iter().map(ToString::to_string).collect();
    assert_eq!(printed, [format!("controller.toml:{said}")], "{more}");
}

/// The same, by how it begins.
#[track_caller]
fn refused_as(text: &str, said: &str) {
    let errors = parsed(text).unwrap_err().to_string();
    assert!(
        errors.lines().any(|line| line.contains(said)),
        "{text}\n{errors}"
    );
}

#[test]
fn a_typo_is_refused_with_its_line_key_and_remedy() {
    refused(
        "flet = \"a\"",
        "2: flet: is not a key of the configuration; did you mean fleet?",
    );
    refused(
        "policy.headroom_up = 1",
        "2: policy.headroom_up: is not a key of the configuration; did you mean headroom-up?",
    );
    refused(
        "ttl = \"1s\"",
        "2: ttl: is not a key of the configuration; ttl belongs in [lease]",
    );
    refused(
        "[policy.capacity.\"c7gn.large\"]\nports = 1\nbit = 5",
        "4: policy.capacity.c7gn.large.bit: is not a key of the configuration; did you mean bits?",
    );
    refused(
        "interval = = 2",
        "2: is not TOML: extra `=`, expected nothing; mend the line",
    );
}

#[test]
fn a_value_of_the_wrong_kind_is_refused_in_words() {
    refused(
        "interval = 5",
        "2: interval = 5: must be a string, found integer; put it between double quotes",
    );
    refused(
        "interval = \"5\"",
        "2: interval = \"5\": \"5\" is not a duration; write a whole number and ms, s, m, h or d, such as \"90s\" or \"30m\"",
    );
    refused(
        "policy.min = \"3\"",
        "2: policy.min = \"3\": must be a whole number of 0 to 4294967295, found string; write it without quotes",
    );
    refused(
        "policy.min = -3",
        "2: policy.min = -3: is out of range; write a whole number of 0 to 4294967295",
    );
    refused(
        "policy.max = 99999999999",
        "2: policy.max = 99999999999: is out of range; write a whole number of 0 to 4294967295",
    );
    refused(
        "policy.min = 1.5",
        "2: policy.min = 1.5: is not a whole number; write a whole number of 0 to 4294967295",
    );
    refused(
        "lease.kind = \"zookeeper\"",
        "2: lease.kind = \"zookeeper\": is not one of the known words; write \"none\" or \"file\" or \"s3\"",
    );
    refused(
        "policy.zone-loss-floor = \"yes\"",
        "2: policy.zone-loss-floor = \"yes\": must be true or false, found string; write it without quotes",
    );
    refused(
        "[[policy.schedule]]\ndays = [\"mon\"]\nfrom = \"08:00\"\ntimezone = \"UTC\"\nmin = 1",
        "2: policy.schedule[0].to: is missing; write it",
    );
    refused_as(
        &minimal("provider = 5").replace("[provider]\nkind = \"local\"\n", ""),
        "provider = 5",
    );
}

#[test]
fn all_errors_are_said_at_once_in_the_order_of_the_file() {
    let errors = parsed(
        "interval = \"5\"\nfleet = \"a b\"\nnonsense = 1\n[policy]\nmin = 5\nmax = \"3\"\nfill-target = 7.0\n[lease]\n\
         renew = \"20s\"\n[provider]\nkind = \"aws\"\n",
    )
    .unwrap_err();
    let lines: Vec<(usize, &str)> = errors
        .as_slice()
        .iter()
        .map(|error| (error.line, error.key.as_str()))
        .collect();
    for found in [
        (1, "interval"),
        (2, "fleet"),
        (3, "nonsense"),
        (6, "policy.max"),
        (7, "policy.fill-target"),
        (9, "lease.renew"),
        (10, "provider.aws"),
        (0, "sovereignty.allowed-zone-ids"),
    ] {
        assert!(lines.contains(&found), "{found:?} in\n{errors}");
    }
    assert!(lines.is_sorted_by_key(|(line, _)| *line), "{errors}");
}

/// Sovereignty, at load: an allow-list of zone ids, whole, never empty; nothing that stands for more than one place.
#[test]
fn the_allow_list_names_zone_ids_one_by_one() {
    let with = |list: &str| minimal("").replace("[\"local-a\", \"local-b\", \"local-c\"]", list);
    for (list, said) in [
        (
            "[]",
            "allowed-zone-ids: is empty, so that no relay could be anywhere",
        ),
        (
            "\"local-a\"",
            "allowed-zone-ids = \"local-a\": must be a list",
        ),
        ("[5]", "allowed-zone-ids[0] = 5: must be a string"),
        (
            "[\"ap-southeast-2\"]",
            "[0] = \"ap-southeast-2\": is a region, and a region may hold Local Zones in another country",
        ),
        (
            "[\"apse2-*\"]",
            "[0] = \"apse2-*\": is a pattern, and zone ids are compared whole",
        ),
        ("[\"*\"]", "[0] = \"*\": is a pattern"),
        (
            "[\"ap-southeast-2a\"]",
            "is the name of a zone, which is another place in another account",
        ),
        (
            "[\"local-a\", \"local-a\"]",
            "[1] = \"local-a\": stands in the list twice",
        ),
        ("[\"local-a\\n\"]", "has other characters than"),
    ] {
        refused_as(&with(list), said);
    }
    refused_as(
        &minimal("").replace(
            "allowed-zone-ids = [\"local-a\", \"local-b\", \"local-c\"]",
            "",
        ),
        "sovereignty.allowed-zone-ids: is missing: nothing says where calls may be relayed",
    );
    let local_zone = on_aws("").replace("\"apse2-az1\"", "\"apse2-az1\", \"apse2-akl1-az1\"");
    let warnings = parsed(&local_zone).unwrap().warnings;
    assert!(
        warnings[0]
            .to_string()
            .contains("is a Local or Wavelength Zone"),
        "{warnings:?}"
    );
}

#[test]
fn each_provider_is_asked_for_what_it_needs() {
    for (text, said) in [
        (
            on_aws("").replace("region = \"ap-southeast-2\"\n", ""),
            "provider.aws.region: is missing",
        ),
        (
            on_aws("").replace("\"ap-southeast-2\"", "\"sydney\""),
            "provider.aws.region = \"sydney\": is not the name of an AWS region",
        ),
        (
            on_aws("").replace("termination-hook = \"h\"\n", ""),
            "provider.aws.termination-hook: is missing",
        ),
        (
            on_aws("").replace("\"g\"", "\" \""),
            "provider.aws.auto-scaling-group = \" \": is empty",
        ),
        (
            format!("{}address = \"relays.example\"\n", on_aws("")),
            "provider.aws.address = \"relays.example\": must be",
        ),
        (
            format!(
                "{}zone-ids = {{ ap-southeast-2a = \"apse2-az2\" }}\n",
                on_aws("")
            ),
            "provider.aws.zone-ids: has none of sovereignty.allowed-zone-ids",
        ),
        (
            format!("{}attempt-timeout = \"20s\"\n", on_aws("")),
            "attempt-timeout = \"20s\": is longer than operation-timeout",
        ),
        (
            format!("{}operation-timeout = \"0s\"\n", on_aws("")),
            "operation-timeout = \"0s\": must be within 1s to 2m",
        ),
        (
            format!("{}[provider.exec]\nlist = [\"/l\"]\n", on_aws("")),
            "provider.exec: is of another kind than provider.kind says",
        ),
        (
            minimal("").replace("\"local\"", "\"exec\""),
            "provider.exec: is missing",
        ),
        (
            format!(
                "{}[provider.exec]\nlist = [\"fleet\"]\n",
                minimal("").replace("\"local\"", "\"exec\"")
            ),
            "provider.exec.list: names its program without its full path",
        ),
        (
            format!(
                "{}[provider.exec]\nlist = [\"/l\"]\nextend = [\"/e\"]\n",
                minimal("").replace("\"local\"", "\"exec\"")
            ),
            "provider.exec.extend: and finish come together",
        ),
        (
            minimal("").replace("\"local\"", "\"static\""),
            "provider.static.relay: is missing",
        ),
        (
            format!(
                "{}[[provider.static.relay]]\nid = \"a\"\nzone-id = \"local-x\"\nadmin = \"a:1\"\n",
                minimal("").replace("\"local\"", "\"static\"")
            ),
            "provider.static.relay[0].zone-id = \"local-x\": is not one of sovereignty.allowed-zone-ids",
        ),
        (
            format!(
                "{}[[provider.static.relay]]\nid = \"a\"\nzone-id = \"local-x\"\nadmin = \"a:1\"\n",
                minimal("").replace("\"local\"", "\"static\"")
            ),
            "provider.static.relay[0].admin = \"a:1\": is not an address with a port",
        ),
        (
            format!("{}[provider.local]\nzones = [\"elsewhere\"]\n", minimal("")),
            "provider.local.zones: has none of sovereignty.allowed-zone-ids",
        ),
        (
            format!("{}[provider.local]\nnetwork = \"10.0\"\n", minimal("")),
            "provider.local.network = \"10.0\": must be the first two numbers",
        ),
        (
            format!("{}[provider.local]\nrelay-config = \"= =\"\n", minimal("")),
            "provider.local.relay-config = \"= =\": is not TOML",
        ),
        (
            minimal("").replace("kind = \"local\"", ""),
            "provider.kind: is missing",
        ),
        (
            minimal("").replace("kind = \"local\"", "kind = \"gcp\""),
            "provider.kind = \"gcp\": is not one of the known words",
        ),
    ] {
        refused_as(&text, said);
    }
}

#[test]
fn local_relays_may_have_listeners_of_their_own_but_no_other_ways_to_be_led() {
    let with = |config: &str| {
        let text = format!(
            "{}[provider.local]\nrelay-config = \"\"\"{config}\"\"\"\n",
            minimal("")
        );
        parsed(&text)
    };
    let listener = "listener = [{ transport = 'udp', address = '{address}:443' }]";
    assert!(with(listener).is_ok());
    for own in ["admin", "secret", "sovereignty", "state-directory"] {
        let errors = with(&format!("{own} = 1")).unwrap_err().to_string();
        let said = format!("has {own}, which the controller writes for each relay");
        assert!(errors.contains(&said), "{errors}");
    }
}

#[test]
fn a_lease_has_what_its_kind_needs_and_outlasts_what_is_done_with_it() {
    for (more, said) in [
        (
            "lease.kind = \"file\"",
            "lease.file: is missing, and there is no state-directory",
        ),
        ("lease.kind = \"s3\"", "lease.bucket: is missing"),
        (
            "lease.bucket = \"b\"",
            "lease.bucket = \"b\": is for another kind of lease",
        ),
        (
            "lease = { ttl = \"9s\", renew = \"4s\" }",
            "lease.renew = \"4s\": must be more than nothing and at most a third of ttl",
        ),
        (
            "lease.renew = \"0s\"",
            "lease.renew = \"0s\": must be more than nothing",
        ),
        (
            "lease.ttl = \"1s\"",
            "lease.ttl = \"1s\": must be within 2s to 10m",
        ),
        (
            "lease.holder = \"\"",
            "lease.holder = \"\": must be 1 to 128 plain characters",
        ),
        (
            "lease = { kind = \"s3\", bucket = \"b\", region = \"ap-southeast-2\", ttl = \"15s\" }",
            "lease.ttl = \"15s\": is no more than provider.aws.operation-timeout (15s) and lease.renew (5s) together",
        ),
    ] {
        refused_as(&on_aws(more), said);
    }
    let far = on_aws("lease = { kind = \"s3\", bucket = \"b\", region = \"us-east-1\" }");
    let warnings = parsed(&far).unwrap().warnings;
    assert!(
        warnings[0]
            .to_string()
            .contains("lease.region = \"us-east-1\": has none of"),
        "{warnings:?}"
    );
}

/// Whoever reaches the API can drain relays, so that beyond loopback it is guarded or not there.
#[test]
fn the_api_is_guarded_or_stays_at_home() {
    for (more, said) in [
        (
            "api.address = \"0.0.0.0:9640\"",
            "is beyond loopback, where whoever reaches it could drain relays",
        ),
        (
            "api.address = \"localhost:9640\"",
            "is not an address with a port; names are not resolved here",
        ),
        (
            "api.address = \"unix:a.sock\"",
            "must name a file by its full path",
        ),
        (
            "api.token-file = \"31.token\"",
            "api.token-file = \"31.token\": holds fewer than 32 bytes",
        ),
        (
            "api.token-file = \"lines.token\"",
            "holds more than one line of plain characters",
        ),
        (
            "api.token-file = \"gone\"",
            "api.token-file = \"gone\": cannot be read",
        ),
        (
            "api.token-file = \"\"",
            "api.token-file = \"\": names no file",
        ),
        (
            "api.certificate = \"controller.pem\"",
            "api.certificate = \"controller.pem\": has no key beside it",
        ),
        (
            "api.key = \"controller.key\"",
            "api.key = \"controller.key\": has no certificate beside it",
        ),
        (
            "api.client-ca = \"operators-ca.pem\"",
            "api.client-ca = \"operators-ca.pem\": has no certificate and key beside it",
        ),
        (
            "api = { certificate = \"empty.pem\", key = \"controller.key\" }",
            "api.certificate = \"empty.pem\": holds no certificate",
        ),
        (
            "api = { certificate = \"broken.pem\", key = \"broken.pem\" }",
            "api.key = \"broken.pem\": holds no private key",
        ),
        (
            "api = { address = \"unix:/run/a\", certificate = \"controller.pem\", key = \"controller.key\" }",
            "api.certificate = \"controller.pem\": is for TCP",
        ),
        (
            "relays.certificate = \"controller-client.pem\"",
            "relays.certificate = \"controller-client.pem\": has no key beside it",
        ),
        (
            "relays.server-name = \"a\"",
            "relays.server-name = \"a\": is for TLS",
        ),
        (
            "relays = { ca = \"relays-ca.pem\", server-name = \"a b\" }",
            "relays.server-name = \"a b\": is not a DNS name",
        ),
        ("relays.admin-port = 0", "relays.admin-port = 0: is no port"),
        (
            "relays.timeout = \"0s\"",
            "relays.timeout = \"0s\": must be within 100ms to 30s",
        ),
    ] {
        refused_as(&minimal(more), said);
    }
    for guarded in [
        "api = { address = \"0.0.0.0:9640\", token-file = \"controller.token\" }",
        "api = { address = \"[::]:9640\", certificate = \"controller.pem\", key = \"controller.key\", client-ca = \"operators-ca.pem\" }",
        "api.address = \"unix:/run/a.sock\"",
        "api.address = \"[::1]:0\"",
    ] {
        assert!(parsed(&minimal(guarded)).is_ok(), "{guarded}");
    }
    let open = parsed(&minimal("relays.token-file = \"open.token\"")).unwrap();
    assert!(
        open.warnings[0]
            .to_string()
            .contains("can be read or written by everybody")
    );
}

#[test]
fn the_policy_joins_in_with_its_own_errors() {
    refused_as(
        &minimal("policy = { min = 5, max = 3 }"),
        "controller.toml:2: policy.min = 5: is more than max",
    );
    refused_as(
        &minimal("policy.stale-after = \"15s\""),
        "policy.stale-after = \"15s\": is less than two rounds (10s each)",
    );
}

/// Secrets and keys stand in files of their own, and nothing of them is ever repeated.
#[test]
fn no_error_repeats_a_secret() {
    let text = minimal(
        "api = { token-file = \"lines.token\", certificate = \"broken.pem\", key = \"broken.pem\" }\n\
         relays = { token-file = \"31.token\" }",
    );
    let text = text
        + "[[credentials.secret]]\nid = \"a\"\nvalue = \"0123456789\"\n[[credentials.secret]]\nid = 5\nvalue = 7123456789\n\
           [[credentials.secret]]\nvalue = [\"s3cr3t\"]\nvalues = \"s3cr3t\"\n";
    let errors = parsed(&text).unwrap_err();
    let said = format!("{errors}\n{errors:?}");
    assert!(errors.as_slice().len() > 7, "{errors}");
    assert!(
        !said.contains("0123456789") && !said.contains("123456789") && !said.contains("s3cr3t"),
        "{said}"
    );
    let whole = parsed(&minimal(
        "api.token-file = \"controller.token\"\n[[credentials.secret]]\nid = \"a\"\n\
         value = \"s3cr3t-s3cr3t-s3cr3t-s3cr3t-s3cr3t\"",
    ))
    .unwrap();
    assert!(!format!("{whole:?}").contains("s3cr3t"));
    assert!(!format!("{whole:?}").contains("0123456789"));
}

proptest! {
    /// Any text is judged without a panic, and what is refused is refused with a reason.
    #[test]
    fn any_text_is_judged(text in "[a-z\\[\\]=\".# \\n0-9{},-]{0,200}") {
        if let Err(errors) = parsed(&text) {
            prop_assert!(!errors.as_slice().is_empty());
        }
    }

    /// So is a configuration in which one line has gone wrong.
    #[test]
    fn a_damaged_configuration_is_judged(at in 0_usize..16_000, with in "[a-z\\[\\]=\".# \\n0-9{},-]{0,8}") {
        let mut text = with_examples(AWS);
        let at = text.floor_char_boundary(at.min(text.len()));
        text.insert_str(at, &with);
        let _ = parsed(&text);
    }
}
