//! Network namespaces that a test makes for itself, joined by pairs of virtual interfaces.
//!
//! Responsible for making and ending them. They need root, or user namespaces; where neither is to be had a test says that
//! it was not run, or fails (`scale`).

use std::env;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::running::eventually;
use crate::scale::not_run;

const INSIDE: &str = "TACITURN_SYSTEM_TEST_NAMESPACE";

/// Runs the named test again in a network namespace of its own; true when this is that run.
pub(crate) fn inside(test: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let Some(unshare) = unshare() else {
        not_run(test, "network namespaces (root, or unshare -Urn)");
        return false;
    };
    let output = Command::new("unshare")
        .arg(unshare)
        .args(["sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""])
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let [text, said] = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said));
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}\n{said}"
    );
    // Figures, where the test tells some.
    eprint!("{said}");
    false
}

/// The option of `unshare` that works here.
fn unshare() -> Option<&'static str> {
    ["-n", "-Urn"].into_iter().find(|option| {
        let tried = Command::new("unshare")
            .args([option, "ip", "link", "set", "lo", "up"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        tried.is_ok_and(|status| status.success())
    })
}

/// Another network namespace. It ends with this value, or with the test.
pub(crate) struct Namespace {
    holder: Child,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        // It waits for the end of a pipe whose other end is here, so it cannot outlive the test.
        let holder = Command::new("unshare")
            .args(["-n", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let namespace = Self { holder };
        let ours = fs::read_link("/proc/self/ns/net").unwrap();
        eventually("a new namespace", || {
            let theirs = fs::read_link(namespace.path()).unwrap();
            theirs != ours
        });
        namespace.ip("link set lo up");
        namespace
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    /// `ip WORDS` in here.
    pub(crate) fn ip(&self, words: &str) {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg("ip");
        assert_success(command.args(words.split(' ')), words);
    }

    /// Does something with a thread in here. Sockets that it makes belong here, whoever uses them later.
    pub(crate) fn enter<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let link = File::open(self.path()).unwrap();
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                move_into_link_name_space(link.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                act()
            });
            inside.join().unwrap()
        })
    }

    /// Sets a kernel parameter of this namespace: a path below `/proc/sys/net`.
    pub(crate) fn set(&self, parameter: &str, value: &str) {
        self.enter(|| set(parameter, value));
    }

    /// Joins this namespace with the test's own: `here` in the test's, `there` in this one.
    pub(crate) fn join(&self, here: &str, there: &str) {
        ip(&format!("link add {here} type veth peer name {there}"));
        self.take(there);
        // Nobody else has these addresses, and waiting to make sure of it takes seconds.
        set(&format!("ipv6/conf/{here}/accept_dad"), "0");
        ip(&format!("link set {here} up"));
    }

    /// Joins this namespace with another: `here` in this one, `there` in the other.
    pub(crate) fn join_with(&self, here: &str, other: &Self, there: &str) {
        ip(&format!("link add {here} type veth peer name {there}"));
        self.take(here);
        other.take(there);
    }

    fn take(&self, interface: &str) {
        ip(&format!("link set {interface} netns {}", self.holder.id()));
        self.set(&format!("ipv6/conf/{interface}/accept_dad"), "0");
        self.ip(&format!("link set {interface} up"));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// `ip WORDS` in the test's own namespace.
pub(crate) fn ip(words: &str) {
    assert_success(Command::new("ip").args(words.split(' ')), words);
}

/// Sets a kernel parameter of the namespace that this thread is in.
pub(crate) fn set(parameter: &str, value: &str) {
    fs::write(format!("/proc/sys/net/{parameter}"), value).unwrap();
}

fn assert_success(command: &mut Command, what: &str) {
    let output = command.output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {what}: {complaint}");
}
