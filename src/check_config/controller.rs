//! A controller's configuration: says what a controller would do with it, or everything that is wrong with it.
//!
//! Responsible for the summary. Not for judging: `taciturn_controller::config` does.

use std::io::Write;
use std::path::Path;

use anyhow::bail;
use taciturn_controller::config::{
    self, Api, ApiAddress, AwsAddress, ControllerConfig, Credentials, Lease, LeaseKind, Proof,
    Provider, Relays,
};
use taciturn_controller::durations::words;
use taciturn_controller::policy::ForecastMode;

use super::print;

/// Whether this file is a controller's, as far as it can be read.
pub(super) fn is_one(file: &Path) -> bool {
    config::read_file(file)
        .is_ok_and(|read| config::is_controller(&String::from_utf8_lossy(&read.bytes)))
}

pub(super) fn check(file: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    let config = load(file)?;
    print(file, &summary(&config), out)
}

/// Reads the configuration; its warnings and errors go to standard error, one a line.
pub(crate) fn load(file: &Path) -> anyhow::Result<ControllerConfig> {
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

fn summary(config: &ControllerConfig) -> Vec<(&'static str, String)> {
    let zones: Vec<&str> = config
        .allowed_zones
        .iter()
        .map(|zone| zone.as_str())
        .collect();
    let files: Vec<String> = config
        .files
        .iter()
        .map(|(path, _)| path.display().to_string())
        .collect();
    let state = config.state_directory.as_ref().map_or_else(
        || "none: systemd gives one, or write state-directory".to_owned(),
        |directory| directory.display().to_string(),
    );
    vec![
        ("fleet", config.fleet.clone()),
        ("zones", format!("{}, and no other", zones.join(", "))),
        ("provider", provider(&config.provider)),
        ("size", size(config)),
        ("drains", drains(config)),
        ("forecast", forecast(config)),
        ("rounds", format!("every {}", words(config.interval))),
        ("relays", relays(&config.relays)),
        ("lease", lease(&config.lease)),
        ("api", api(&config.api)),
        ("mints", mints(config.credentials.as_deref())),
        ("asked by", asked_by(config)),
        ("self-test", self_test(config)),
        ("state", state),
        (
            "log",
            format!(
                "{}, {}",
                config.log.format.as_str(),
                config.log.level.as_str()
            ),
        ),
        ("files", files.join(", ")),
    ]
}

fn provider(provider: &Provider) -> String {
    match provider {
        Provider::Aws(aws) => {
            let address = match &aws.address {
                AwsAddress::ResourceNameDns => "resource names",
                AwsAddress::Name(name) => name,
            };
            format!(
                "aws, group {} in {}; relays are found by {address}; hook {}",
                aws.auto_scaling_group, aws.region, aws.termination_hook
            )
        }
        Provider::Local(local) => {
            let zones: Vec<&str> = local.zones.iter().map(|zone| zone.as_str()).collect();
            let [first, second] = local.network;
            format!(
                "local, processes on {first}.{second}.zone.n in {}",
                zones.join(", ")
            )
        }
        Provider::Static(relays) => format!("static, {} relays; only drains", relays.len()),
        Provider::Exec(exec) => {
            let program = exec.list.first().map_or("", String::as_str);
            let can = [
                (!exec.launch.is_empty(), "launches"),
                (!exec.terminate.is_empty(), "ends"),
                (!exec.finish.is_empty(), "has hooks"),
            ];
            let can: Vec<&str> = can
                .into_iter()
                .filter_map(|(can, word)| can.then_some(word))
                .collect();
            format!("exec, {program}; lists, {}", can.join(", "))
        }
    }
}

fn size(config: &ControllerConfig) -> String {
    let policy = &config.policy;
    let zone_loss = if policy.zone_loss_floor {
        ", and enough to lose a zone"
    } else {
        ""
    };
    format!(
        "{} to {} relays, filled to {:.0} %{zone_loss}",
        policy.min,
        policy.max,
        policy.fill_target * 100.0
    )
}

fn drains(config: &ControllerConfig) -> String {
    let policy = &config.policy;
    format!(
        "{} every {} after {} of surplus; calls have {}",
        policy.down_step,
        words(policy.down_period),
        words(policy.window),
        words(policy.drain_deadline)
    )
}

fn forecast(config: &ControllerConfig) -> String {
    let forecast = &config.policy.forecast;
    match forecast.mode {
        ForecastMode::Off => "none".to_owned(),
        ForecastMode::Observe => format!("shown, days of {}", forecast.timezone),
        ForecastMode::Floor => format!("a floor, days of {}", forecast.timezone),
    }
}

fn relays(relays: &Relays) -> String {
    let mut words = vec![format!("port {}", relays.admin_port)];
    words.extend(relays.token.is_some().then(|| "with a token".to_owned()));
    words.extend(relays.tls.as_ref().map(|tls| {
        if tls.identity.is_some() {
            "over mutual TLS".to_owned()
        } else {
            "over TLS".to_owned()
        }
    }));
    words.extend(relays.probe_port.map(|port| format!("STUN on port {port}")));
    words.join(", ")
}

fn lease(lease: &Lease) -> String {
    let times = format!(
        "good for {}, renewed every {}",
        words(lease.ttl),
        words(lease.renew)
    );
    match &lease.kind {
        LeaseKind::None => "none: this is the only controller".to_owned(),
        LeaseKind::File { file } => format!("{}, {times}", file.display()),
        LeaseKind::S3 {
            bucket,
            key,
            region,
        } => format!("s3://{bucket}/{key} in {region}, {times}"),
    }
}

fn api(api: &Api) -> String {
    let address = match &api.address {
        ApiAddress::Tcp(address) => address.to_string(),
        ApiAddress::Unix(path) => format!("unix:{}", path.display()),
    };
    let mut words = vec![address];
    words.extend(api.token.is_some().then(|| "with a token".to_owned()));
    let reader = api.reader_token.as_ref();
    words.extend(reader.map(|_| "with another for those who look".to_owned()));
    words.extend(api.tls.as_ref().map(|tls| {
        if tls.client_ca.is_empty() {
            "over TLS".to_owned()
        } else {
            "over mutual TLS".to_owned()
        }
    }));
    words.join(", ")
}

fn mints(credentials: Option<&Credentials>) -> String {
    let Some(minted) = credentials else {
        return "nothing: there is no [credentials]".to_owned();
    };
    let mut secrets: Vec<&str> = minted.secrets.iter().map(|secret| &*secret.id).collect();
    if minted.local_secret.is_some() {
        secrets.push(Credentials::LOCAL_ID);
    }
    format!(
        "for {}, at most {}; {} relays as {}; secret {}",
        words(minted.ttl),
        words(minted.max_ttl),
        minted.relays,
        minted.host,
        secrets.join(", ")
    )
}

/// Those who may ask for credentials.
fn asked_by(config: &ControllerConfig) -> String {
    let Some(minted) = &config.credentials else {
        return "nobody".to_owned();
    };
    let subjects = minted.subjects.iter().map(|subject| {
        let proof = match &subject.proof {
            Proof::Token(_) => "a token",
            Proof::Certificate(name) => name,
        };
        format!("{} by {proof}, {} a second", subject.name, subject.rate)
    });
    let mut callers: Vec<String> = subjects.collect();
    callers.push("the operator".to_owned());
    callers.join("; ")
}

fn self_test(config: &ControllerConfig) -> String {
    let page = config.self_test.as_ref();
    let address = page.and_then(|page| page.address);
    let url = page.and_then(|page| page.url.as_deref());
    match (address, url) {
        _ if config.credentials.is_none() => "none: there is no [credentials]".to_owned(),
        (None, None) => "at the API".to_owned(),
        (None, Some(url)) => format!("at the API, {url}"),
        (Some(address), None) => address.to_string(),
        (Some(address), Some(url)) => format!("{address}, {url}"),
    }
}
