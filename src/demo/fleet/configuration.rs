//! The demo's `controller.toml`: a real one, which a newcomer can read, check and run by hand.
//!
//! Responsible for its text. Not responsible for what the keys mean: `configs/controller.aws.toml` says so.

use std::net::SocketAddr;
use std::path::Path;

use super::network::{HTTPS, Network};

/// The pretended zones.
pub(crate) const ZONES: [&str; 3] = ["demo-a", "demo-b", "demo-c"];
/// Most relays in a zone, those that drain included.
pub(crate) const PER_ZONE: u8 = 5;
/// The realm of the demo's credentials.
pub(crate) const REALM: &str = "demo.taciturn.invalid";

/// The whole file. Files that it names are in `directory`, where it stands itself.
pub(crate) fn text(api: SocketAddr, directory: &Path, network: &Network) -> String {
    let (prefix, directory) = (network.prefix(), directory.display());
    let listeners = listeners(network);
    format!(
        r#"# The controller of `taciturn demo`: a fleet on one machine, and a policy whose hours are seconds. What is not explained here is
# explained in configs/controller.aws.toml; `taciturn check-config FILE` says what it comes to.

fleet = "demo"
state-directory = "state"
interval = "1s"

# Only this machine can ask, and needs no token. For more see [api] in configs/controller.aws.toml.
[api]
address = "{api}"

[log]
format = "text"

# The allow-list: never a relay in another zone.
[sovereignty]
allowed-zone-ids = {ZONES:?}

[relays]
timeout = "1s"

# One controller, and no other to agree with.
[lease]
kind = "none"

# Whoever asks with this token, as the demo does for its calls and its page, is given credentials for relays that are ready.
[credentials]
tls-by-address = true

[[credentials.subject]]
name = "signalling"
token-file = "signalling.token"

[provider]
kind = "local"

# Relays are processes of this machine, each on an address of its own.
[provider.local]
zones = {ZONES:?}
network = "{prefix}"
per-zone = {PER_ZONE}
boot-time = "2s"
relay-config = '''
realm = "{REALM}"
listener = [
{listeners}
]
[tls]
certificate = "{directory}/certificate.pem"
key = "{directory}/key.pem"
[relayed]
ports = "20000-29999"
# A machine that is busy with other things is no reason to turn calls away here.
[overload]
busiest-core = 0
'''

[policy]
min = 3
max = 6
surge = 6
# Each relay is taken to carry 8 calls, so that a handful makes a crowd.
capacity.default.allocations = 8
slack = 0.0
lead = "3s"
trend-window = "5s"
window = "6s"
up-step = 3
up-period = "3s"
launches-per-hour = 600
down-step = 1
down-period = "4s"
quiet-after-launch = "5s"
quiet-after-start = "5s"
second-look = "1s"
list-ttl = "2s"
# A drain waits for its calls as long as this.
drain-deadline = "10m"
min-drain = "2s"
ready-timeout = "30s"
min-age = "5s"
stale-after = "8s"
backoff = "2s"
backoff-max = "10s"

# The season of seconds is no season.
[policy.forecast]
mode = "off"
"#
    )
}

/// The ports that clients try in turn, as far as this user may open them.
fn listeners(network: &Network) -> String {
    let (turn, tls) = (network.turn, network.tls);
    let mut ports = vec![("udp", turn), ("tcp", turn), ("auto", tls)];
    if tls == HTTPS {
        ports.insert(1, ("udp", HTTPS));
    }
    let lines = ports.iter().map(|(transport, port)| {
        format!("    {{ transport = \"{transport}\", address = \"{{address}}:{port}\" }},")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use taciturn_controller::config;

    #[test]
    fn the_configuration_is_one_that_the_controller_takes() {
        let network = Network::find(ZONES, PER_ZONE).expect("a network");
        let directory = std::env::temp_dir();
        let api = SocketAddr::from(([127, 0, 0, 1], 9640));
        let text = text(api, &directory, &network);
        let token = "a-token-of-at-least-thirty-two-characters";
        let mut read = |_: &Path| {
            Ok(config::FileRead {
                bytes: token.as_bytes().to_vec(),
                open_to_others: false,
            })
        };
        let read = config::parse(&text, &directory.join("controller.toml"), &mut read);
        let config = read.unwrap_or_else(|errors| panic!("{errors}"));
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }
}
