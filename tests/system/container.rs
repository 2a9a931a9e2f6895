//! The container image's root file system, assembled by the script that the image is built with, and the program in it.
//!
//! That no shell, no file of the system and no library beyond those is needed is shown by a change of root. Not shown here:
//! the build of the image itself, and any container engine.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, getuid, kill_process};

use crate::client::Client;
use crate::running::{REALM, SECRET, fresh_directory, loopback};

/// The image's user.
const USER: u32 = 65532;

fn assembled(directory: &Path) -> PathBuf {
    let root = directory.join("image");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/container-root");
    let status = Command::new(script)
        .arg(env!("CARGO_BIN_EXE_taciturn"))
        .arg(&root)
        .status();
    assert!(status.unwrap().success());
    root
}

/// The command that runs the program of the image with nothing else around it; as root as the image's user, otherwise in a
/// namespace of this user.
fn within(root: &Path) -> Command {
    // It passes signals on, and ends a relay that this test has lost.
    let mut command = Command::new("timeout");
    command.arg("60");
    if getuid().is_root() {
        let user = format!("--userspec={USER}:{USER}");
        command.args(["chroot", &user, "--groups="]).arg(root);
    } else {
        let root = format!("--root={}", root.display());
        command.args(["unshare", "-r", &root]);
    }
    command
}

/// Files and their directories, as paths in the image.
fn contents(root: &Path) -> Vec<String> {
    let output = Command::new("find")
        .args([".", "-type", "f"])
        .current_dir(root)
        .output()
        .unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_program_serves_in_the_images_root_and_nothing_else_is_there() {
    let directory = fresh_directory();
    let root = assembled(&directory);
    let files = contents(&root);
    assert!(files.contains(&"./usr/bin/taciturn".to_owned()));
    let others: Vec<_> = files
        .iter()
        .filter(|file| !file.contains(".so") && !file.ends_with("/taciturn"))
        .collect();
    assert!(others.is_empty(), "{others:?}");
    // The loader and a handful of libraries.
    assert!((2..10).contains(&files.len()), "{files:?}");

    let host = loopback();
    let file = root.join("etc/taciturn/relay.toml");
    let text = format!(
        "realm = \"{REALM}\"\nworkers = 1\n[[listener]]\ntransport = \"udp\"\naddress = \"{host}:0\"\n[relayed]\n\
         addresses = [\"{host}\"]\nports = \"20000-20999\"\n[[secret]]\nid = \"test\"\nvalue = \"{SECRET}\"\n[peers]\n\
         allow-loopback = true\n[admin]\naddress = \"unix:/run/taciturn/admin.sock\"\n[log]\nformat = \"json\"\n\
         [drain]\nstop-after = \"0s\"\n"
    );
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o400)).unwrap();
    if getuid().is_root() {
        chown(&file, Some(USER), Some(USER)).unwrap();
    }
    // Entrypoint and command of the image.
    let mut child = within(&root)
        .args([
            "/usr/bin/taciturn",
            "relay",
            "--config",
            "/etc/taciturn/relay.toml",
        ])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("STATE_DIRECTORY", "/var/lib/taciturn")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = Vec::new();
    let mut server = None;
    for line in BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap)
    {
        if let Ok(event) = line.parse::<serde_json::Value>() {
            if event["message"] == "listening" {
                server = event["address"].as_str().unwrap().parse().ok();
            }
            if event["message"] == "phase changed" && event["phase"] == "ready" {
                Client::udp(server.unwrap(), "alice").allocate();
                // The image's STOPSIGNAL.
                kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
            }
        }
        log.push(line);
    }
    let status = child.wait().unwrap();
    assert!(
        server.is_some() && status.success(),
        "{status}\n{}",
        log.join("\n")
    );
    fs::remove_dir_all(directory).unwrap();
}
