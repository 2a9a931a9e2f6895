//! The `controller.toml` of a test: a policy whose hours are seconds.
//!
//! Not responsible for running it (`controllers`).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;

use crate::lab::{Lab, ZONES};

/// What a controller is started with.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Told from other controllers of the same fleet.
    pub(crate) name: &'static str,
    pub(crate) interval: &'static str,
    pub(crate) allowed: Vec<&'static str>,
    pub(crate) lease: String,
    /// `[provider]` and its section.
    pub(crate) provider: String,
    /// Keys of `[policy]`.
    pub(crate) policy: BTreeMap<&'static str, String>,
    /// What each relay can carry.
    pub(crate) allocations: u32,
    pub(crate) dry_run: bool,
    /// Where the API listens in place of a socket in the lab's directory.
    pub(crate) listen: Option<SocketAddr>,
    /// The operator's token; `None`: whoever reaches the socket is the operator.
    pub(crate) token: Option<&'static str>,
    /// Further sections.
    pub(crate) more: String,
    /// What the command line begins with.
    pub(crate) wrapper: Vec<OsString>,
}

impl Settings {
    /// Local relays in three zones, one in each at least.
    pub(crate) fn local(lab: &Lab) -> Self {
        Self::with(local(lab, ""))
    }

    pub(crate) fn with(provider: String) -> Self {
        let policy = [
            ("min", "3"),
            ("max", "6"),
            ("surge", "6"),
            ("slack", "0.0"),
            ("lead", "\"1s\""),
            ("trend-window", "\"2s\""),
            ("window", "\"3s\""),
            ("up-step", "3"),
            ("up-period", "\"1s\""),
            ("launches-per-hour", "60"),
            ("down-step", "1"),
            ("down-period", "\"1s\""),
            ("quiet-after-launch", "\"2s\""),
            ("quiet-after-start", "\"2s\""),
            ("second-look", "\"1s\""),
            ("list-ttl", "\"1s\""),
            ("drain-deadline", "\"10m\""),
            ("min-drain", "\"1s\""),
            ("ready-timeout", "\"30s\""),
            ("min-age", "\"1s\""),
            ("stale-after", "\"6s\""),
            ("backoff", "\"2s\""),
            ("backoff-max", "\"4s\""),
        ];
        Self {
            name: "controller",
            interval: "1s",
            allowed: ZONES.to_vec(),
            lease: "kind = \"none\"".to_owned(),
            provider,
            policy: policy.map(|(key, value)| (key, value.to_owned())).into(),
            allocations: 8,
            dry_run: false,
            listen: None,
            token: None,
            more: String::new(),
            wrapper: Vec::new(),
        }
    }

    /// With another value of this key of the policy.
    pub(crate) fn policy(mut self, key: &'static str, value: &str) -> Self {
        self.policy.insert(key, value.to_owned());
        self
    }

    pub(crate) fn text(&self, lab: &Lab) -> String {
        let directory = lab.directory().display();
        let name = self.name;
        let token = self.token.map_or(String::new(), |token| {
            let file = lab.write(&format!("{name}.token"), token);
            format!("token-file = \"{}\"\n", file.display())
        });
        let api = match self.listen {
            Some(address) => address.to_string(),
            None => format!("unix:{directory}/{name}.sock"),
        };
        let mut text = format!(
            "fleet = \"test\"\nstate-directory = \"{directory}/{name}\"\ninterval = \"{}\"\n\
             [api]\naddress = \"{api}\"\n{token}[relays]\ntimeout = \"1s\"\n\
             [sovereignty]\nallowed-zone-ids = {:?}\n[lease]\n{}\n{}\n[policy]\n",
            self.interval, self.allowed, self.lease, self.provider
        );
        for (key, value) in &self.policy {
            text += &format!("{key} = {value}\n");
        }
        text + &format!(
            "[policy.forecast]\nmode = \"off\"\n[policy.capacity.default]\nallocations = {}\n{}",
            self.allocations, self.more
        )
    }
}

/// `[provider]` for relays on this host, with further keys. All controllers of a test share the relays.
pub(crate) fn local(lab: &Lab, more: &str) -> String {
    format!(
        "[provider]\nkind = \"local\"\n[provider.local]\nzones = {ZONES:?}\nnetwork = \"{}\"\ndirectory = \"{}/relays\"\n\
         relay-config = '''\nrealm = \"{}\"\n[relayed]\nports = \"20000-29999\"\n[overload]\nbusiest-core = 0\n[self-check]\n\
         interval = \"0s\"\n'''\n{more}",
        lab.network(),
        lab.directory().display(),
        crate::running::REALM,
    )
}
