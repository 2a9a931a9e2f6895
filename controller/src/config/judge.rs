//! Judging the whole: each section, and what sections mean together.
//!
//! Responsible for the order of it, and for leaving no error out. Not for the policy's numbers (`Policy::check`).

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::access::{self, Files};
use super::credentials::{self, Around};
use super::document::Document;
use super::provider::{duration, file, judge_region, provider, required};
use super::written::{LeaseWord, Written};
use super::{
    ConfigErrors, ControllerConfig, FileRead, Lease, LeaseKind, Log, Provider, schema, written,
    zones,
};
use crate::durations::words;
use crate::policy::Policy;

/// Judges a whole configuration.
pub(super) fn judge(
    bytes: &[u8],
    origin: &Path,
    inherited: Option<PathBuf>,
    open_to_others: bool,
    read: &mut dyn FnMut(&Path) -> io::Result<FileRead>,
) -> Result<ControllerConfig, ConfigErrors> {
    let document = Document::new(bytes, origin, "")?;
    let written = Written {
        fleet: document.read("fleet"),
        state_directory: document.read("state-directory"),
        interval: document.read("interval"),
        api: document.read("api"),
        log: document.read("log"),
        relays: document.read("relays"),
        sovereignty: document.read("sovereignty"),
        lease: document.read("lease"),
        provider: document.read("provider"),
        credentials: document.read("credentials"),
        self_test: document.read("self-test"),
        policy: document.read("policy"),
    };
    let fleet = fleet(&document, written.fleet.as_deref());
    let state_directory = state_directory(&document, written.state_directory.as_deref(), inherited);
    let allowed = zones::allowed(&document, &written.sovereignty);
    let mut files = Files {
        read,
        document: &document,
    };
    let subjects = written
        .credentials
        .as_ref()
        .is_some_and(|credentials| !credentials.subject.is_empty());
    let api = access::api(&mut files, &written.api, subjects);
    let relays = access::relays(&mut files, &written.relays);
    let provider = provider(&document, &written.provider, &allowed);
    let around = Around {
        client_ca: written.api.client_ca.is_some(),
        tokens: [
            ("api.token-file", &api.token),
            ("api.reader-token-file", &api.reader_token),
        ]
        .into_iter()
        .filter_map(|(key, token)| Some((key, token.as_ref()?)))
        .collect(),
        local_secret: local_secret(provider.as_ref(), state_directory.as_deref()),
        open_to_others,
    };
    let minted = credentials::credentials(&mut files, written.credentials.as_ref(), &around);
    let self_test = credentials::self_test(
        &mut files,
        written.self_test.as_ref(),
        minted.is_some(),
        &api.address,
    );
    let lease = lease(&document, &written.lease, state_directory.as_deref());
    if let (
        Some(Lease {
            kind: LeaseKind::S3 { region, .. },
            ..
        }),
        false,
    ) = (&lease, allowed.is_empty())
    {
        judge_region(&document, "lease.region", region, &allowed);
    }
    let mut policy = written.policy;
    policy.fleet.clone_from(&fleet);
    policy.allowed_zones.clone_from(&allowed);
    let interval = duration(&document, "interval", written.interval, 10, 1..=60);
    judge_policy(&document, &policy, "policy");
    judge_times(
        &document,
        interval,
        &policy,
        lease.as_ref(),
        provider.as_ref(),
    );
    let log: Log = written.log;
    let (files, warnings) = document.verdict()?;
    let nothing_left_out = "what is missing has been refused, so that there was an error";
    Ok(ControllerConfig {
        fleet,
        state_directory,
        interval,
        api,
        log,
        relays,
        allowed_zones: allowed,
        lease: lease.expect(nothing_left_out),
        provider: provider.expect(nothing_left_out),
        policy,
        credentials: minted,
        self_test,
        files,
        warnings,
    })
}

/// Where the local provider keeps the secret of its relays.
fn local_secret(provider: Option<&Provider>, state_directory: Option<&Path>) -> Option<PathBuf> {
    let Provider::Local(local) = provider? else {
        return None;
    };
    let relays = local.directory.clone().unwrap_or_else(|| {
        let state = state_directory.unwrap_or_else(|| Path::new(""));
        state.join("relays")
    });
    Some(relays.join("secret.key"))
}

/// Judges the policy of a `controller.toml`, or a policy by itself.
pub(super) fn policy_alone(bytes: &[u8], origin: &Path) -> Result<Policy, ConfigErrors> {
    let whole = str::from_utf8(bytes).is_ok_and(schema::is_controller);
    let (document, mut policy) = if whole {
        let document = Document::new(bytes, origin, "")?;
        let mut policy: Policy = document.read("policy");
        policy.fleet = fleet(
            &document,
            document.read::<Option<String>>("fleet").as_deref(),
        );
        policy.allowed_zones = zones::allowed(&document, &document.read("sovereignty"));
        judge_policy(&document, &policy, "policy");
        (document, policy)
    } else {
        let document = Document::new(bytes, origin, "policy")?;
        let policy: Policy = document.read_whole();
        judge_policy(&document, &policy, "");
        (document, policy)
    };
    if policy.fleet.is_empty() {
        policy.fleet = "fleet".to_owned();
    }
    document.verdict().map(|_| policy)
}

fn judge_policy(document: &Document<'_>, policy: &Policy, section: &str) {
    for sentence in policy.check() {
        document.refuse_sentence(section, &sentence);
    }
}

fn fleet(document: &Document<'_>, written: Option<&str>) -> String {
    // A launch token has the epoch and a number beside it, and AWS takes 64 characters.
    const LONGEST: usize = 32;
    let remedy = format!(
        "write a name of at most {LONGEST} letters, digits and -, e.g. fleet = \"telehealth-au\""
    );
    let Some(name) = required(document, "fleet", written, &remedy) else {
        return String::new();
    };
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if !plain || name.len() > LONGEST {
        document.refuse("fleet", format!("is not a plain short name; {remedy}"));
    }
    name
}

fn state_directory(
    document: &Document<'_>,
    written: Option<&str>,
    inherited: Option<PathBuf>,
) -> Option<PathBuf> {
    let Some(text) = written else {
        return inherited;
    };
    if text.is_empty() || text.contains('\0') {
        document.refuse(
            "state-directory",
            "names no directory; write e.g. \"/var/lib/taciturn-controller\"",
        );
    }
    let path = document.resolve(text);
    // What is started from there has a directory of its own to be relative to.
    let path = std::path::absolute(&path).unwrap_or(path);
    Some(path)
}

fn lease(
    document: &Document<'_>,
    written: &written::Lease,
    state_directory: Option<&Path>,
) -> Option<Lease> {
    let word = written.kind.unwrap_or_default();
    let ours: &[&str] = match word {
        LeaseWord::None => &["kind"],
        LeaseWord::File => &["kind", "file", "ttl", "renew", "holder"],
        LeaseWord::S3 => &["kind", "bucket", "key", "region", "ttl", "renew", "holder"],
    };
    let given = [
        ("file", written.file.is_some()),
        ("bucket", written.bucket.is_some()),
        ("key", written.key.is_some()),
        ("region", written.region.is_some()),
    ];
    for (name, given) in given {
        if given && !ours.contains(&name) {
            document.refuse(
                &format!("lease.{name}"),
                "is for another kind of lease than lease.kind says; take it away, or change the kind",
            );
        }
    }
    let kind = match word {
        LeaseWord::None => Some(LeaseKind::None),
        LeaseWord::File => {
            let file = file(document, written.file.as_deref())
                .or_else(|| state_directory.map(|directory| directory.join("lease.json")));
            if file.is_none() {
                document.refuse(
                    "lease.file",
                    "is missing, and there is no state-directory to keep it in; write e.g. file = \
                     \"/var/lib/taciturn-controller/lease.json\"",
                );
            }
            file.map(|file| LeaseKind::File { file })
        }
        LeaseWord::S3 => {
            let bucket = required(
                document,
                "lease.bucket",
                written.bucket.as_deref(),
                "write the name of the bucket",
            );
            let region = required(
                document,
                "lease.region",
                written.region.as_deref(),
                "write the bucket's region, e.g. region = \"ap-southeast-2\"",
            );
            let key = written
                .key
                .clone()
                .unwrap_or_else(|| "taciturn/lease.json".to_owned());
            match (bucket, region) {
                (Some(bucket), Some(region)) => Some(LeaseKind::S3 {
                    bucket,
                    key,
                    region,
                }),
                _ => None,
            }
        }
    };
    let ttl = duration(document, "lease.ttl", written.ttl, 30, 2..=600);
    let renew = match written.renew {
        Some(renew) => {
            if renew.0.is_zero() || renew.0 > ttl / 3 {
                document.refuse(
                    "lease.renew",
                    format!(
                        "must be more than nothing and at most a third of ttl ({}), so that one lost renewal is not the lease; \
                         write e.g. \"10s\"",
                        words(ttl)
                    ),
                );
            }
            renew.0
        }
        None => ttl / 3,
    };
    let holder = written.holder.clone();
    if let Some(name) = &holder
        && (name.is_empty() || name.len() > 128 || name.chars().any(char::is_control))
    {
        document.refuse(
            "lease.holder",
            "must be 1 to 128 plain characters; write a name that no other controller has, or take it away",
        );
    }
    Some(Lease {
        kind: kind?,
        ttl,
        renew,
        holder,
    })
}

/// Times that must fit into one another.
fn judge_times(
    document: &Document<'_>,
    interval: Duration,
    policy: &Policy,
    lease: Option<&Lease>,
    provider: Option<&Provider>,
) {
    if policy.stale_after < interval * 2 {
        document.refuse(
            "policy.stale-after",
            format!(
                "is less than two rounds ({} each): every relay would be stale after one lost answer; write a longer time, or a \
                 shorter interval",
                words(interval)
            ),
        );
    }
    if let (Some(lease), Some(provider)) = (lease, provider)
        && lease.kind != LeaseKind::None
        && lease.ttl <= provider.timeout() + lease.renew
    {
        let longest = provider.timeout();
        let key = match provider {
            Provider::Aws(_) => "provider.aws.operation-timeout",
            Provider::Exec(_) => "provider.exec.timeout",
            Provider::Local(_) | Provider::Static(_) => "what a call to this provider may take",
        };
        document.refuse(
            "lease.ttl",
            format!(
                "is no more than {key} ({}) and lease.renew ({}) together: a call begun with the lease could end after it; write a \
                 longer ttl, or shorter times",
                words(longest),
                words(lease.renew)
            ),
        );
    }
}
