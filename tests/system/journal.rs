//! The log in systemd's journal: a relay that sees a `/run` of the test's own making, with a journal in it or without.
//!
//! Not responsible for what is logged, nor for the journal and the mounts (`collector`).

use std::ffi::OsString;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::thread;

use crate::calls::Call;
use crate::client::{Client, Over};
use crate::collector::{journal, mounts, with_mounts};
use crate::running::{Setup, loopback};

fn setup(wrapper: Vec<OsString>) -> Setup {
    let host = loopback();
    let mut setup = Setup::empty(1).listener("udp", &format!("{host}:3478"));
    setup.relayed = format!("addresses = [\"{host}\"]");
    setup.log_format = "journald";
    setup.wrapper = wrapper;
    setup
}

#[test]
fn without_a_journal_the_relay_says_what_is_missing() {
    let Some(wrapper) = with_mounts("") else {
        return;
    };
    let said = setup(wrapper).refused();
    assert!(
        said.contains("[log] format = \"journald\"")
            && said.contains("socket cannot be reached")
            && said.contains("\"text\""),
        "{said}"
    );
}

#[test]
fn a_journal_gets_each_event_with_its_fields() {
    let (directory, journal) = journal("journal");
    if let Some(wrapper) = with_mounts(&mounts(&directory)) {
        let relay = setup(wrapper).start();
        let entry = entry_with(&journal, "phase changed");
        assert!(entry.contains("SYSLOG_IDENTIFIER\n") && entry.contains("taciturn"));
        assert!(
            entry.contains("TACITURN_PHASE\n") && entry.contains("ready"),
            "{entry}"
        );
        assert!(entry.contains("TACITURN_REALM\n") && entry.contains("relay.test"));
        assert_eq!(relay.log(), "", "nothing is written twice");
    }
    fs::remove_dir_all(&directory).unwrap();
}

/// A journal takes a few entries and then makes whoever writes wait, until somebody reads them.
#[test]
fn a_journal_that_is_stuck_silences_no_call() {
    let (directory, journal) = journal("stuck");
    if let Some(wrapper) = with_mounts(&mounts(&directory)) {
        let mut setup = setup(wrapper);
        setup.peers = "allow-loopback = true".to_owned();
        setup.log_level = "debug";
        let relay = setup.start();
        entry_with(&journal, "phase changed");
        let mut call = Call::open(&relay, Over::Udp, "alice");
        for _ in 0..1000 {
            let mut client = Client::of(&relay, Over::Udp, "bob");
            client.allocate();
            client.release();
        }
        call.exchange();
        // So that the relay can say that it ends.
        thread::spawn(move || while journal.recv(&mut [0; 65_536]).is_ok() {});
        drop((call, relay));
    }
    fs::remove_dir_all(&directory).unwrap();
}

/// The journal's next entry with this message.
fn entry_with(journal: &UnixDatagram, message: &str) -> String {
    let mut buffer = vec![0; 65_536];
    for _ in 0..1000 {
        let length = journal.recv(&mut buffer).expect("an entry in time");
        let entry = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if entry.contains(message) {
            return entry;
        }
    }
    panic!("no entry says {message:?}");
}
