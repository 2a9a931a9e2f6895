//! The relay with next to nothing: another user without groups, no capability, no way to get one, a file system that cannot
//! be written, few descriptors. What the unit says beyond that takes systemd, as `booted` has it.

use std::fs;

use rustix::process::getuid;

use crate::calls::Call;
use crate::client::Over;
use crate::running::Setup;

/// Nobody's number on Debian and its relatives.
const NOBODY: u32 = 65534;

/// Makes everything but the program's own directory read-only, and then becomes nobody.
const CONFINE: &str = r#"own=$(dirname "$0") && mount --make-rprivate / && mount --bind "$own" "$own" &&
    mount -o remount,bind,ro / && exec prlimit --nofile=512:512 setpriv --reuid=65534 --regid=65534 --clear-groups \
    --no-new-privs --bounding-set=-all --inh-caps=-all "$0" "$@""#;

#[test]
fn a_relay_with_next_to_nothing_serves() {
    let mut setup = Setup::on_loopback(2);
    let is_root = getuid().is_root();
    if is_root {
        setup.owner = Some(NOBODY);
        setup.wrapper = ["unshare", "--mount", "--ipc", "--uts", "sh", "-c", CONFINE]
            .map(Into::into)
            .to_vec();
    } else {
        // Who is nobody already has no more to give up than this.
        setup.wrapper = ["setpriv", "--no-new-privs"].map(Into::into).to_vec();
    }
    let mut relay = setup.start();
    let status = fs::read_to_string(format!("/proc/{}/status", relay.pid())).unwrap();
    let line = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(line("NoNewPrivs:"), ["1"]);
    assert_eq!(line("CapEff:"), ["0000000000000000"]);
    if is_root {
        assert_eq!(line("CapBnd:"), ["0000000000000000"]);
        assert_eq!(line("Uid:"), ["65534"; 4]);
        assert!(line("Groups:").is_empty());
        let mounts = fs::read_to_string(format!("/proc/{}/mounts", relay.pid())).unwrap();
        let root = mounts
            .lines()
            .find(|line| line.split(' ').nth(1) == Some("/"));
        assert!(root.unwrap().split(' ').nth(3).unwrap().starts_with("ro"));
    }
    for over in Over::ALL {
        let mut call = Call::open(&relay, over, "alice");
        for _ in 0..20 {
            call.exchange();
        }
    }
    relay.assert_alive();
}
