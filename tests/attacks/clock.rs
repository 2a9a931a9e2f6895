//! A wall clock that is set while calls go on, as the real program sees it.
//!
//! libfaketime stands between the program and `clock_gettime`: it shifts the wall clock by what a file says, and leaves the
//! monotonic clock alone, as a step of the system's clock does. Without it (`scripts/install-test-tools`) the test says that it
//! was not run, or fails (`scale`). Not responsible for the ends of lifetimes (`tests/simulation`): the shortest is ten minutes.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use taciturn_protocol::credentials::{HmacHash, password_for};
use taciturn_protocol::wire::Method;
use taciturn_relay::clock::Clock;

use crate::calls::{Call, Canaries};
use crate::client::{Client, Over, peer};
use crate::running::{Running, SECRET, Setup, eventually, fresh_directory};
use crate::scale::not_run;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// What a nonce gets that is not of this time.
const STALE: u16 = 438;

fn library(test: &str) -> Option<PathBuf> {
    let found = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
        .map(|machine| {
            Path::new("/usr/lib")
                .join(machine)
                .join("faketime/libfaketimeMT.so.1")
        })
        .into_iter()
        .find(|path| path.exists());
    if found.is_none() {
        not_run(test, "libfaketime");
    }
    found
}

/// A relay whose wall clock this test sets.
struct Shifted {
    relay: Running,
    file: PathBuf,
    directory: PathBuf,
}

impl Shifted {
    fn start(library: &Path) -> Self {
        let directory = fresh_directory();
        let file = directory.join("shift");
        fs::write(&file, "+0").unwrap();
        let mut setup = Setup::on_loopback(2);
        let variable = |name: &str, value: &Path| {
            let mut word = OsString::from(name);
            word.push("=");
            word.push(value);
            word
        };
        setup.wrapper = vec![
            "env".into(),
            variable("LD_PRELOAD", library),
            variable("FAKETIME_TIMESTAMP_FILE", &file),
            "FAKETIME_NO_CACHE=1".into(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".into(),
        ];
        Self {
            relay: setup.start(),
            file,
            directory,
        }
    }

    /// Sets the relay's wall clock this many seconds from the true time, and waits until it is seen.
    fn shift(&self, seconds: i64) {
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{seconds:+}")).unwrap();
        fs::rename(new, &self.file).unwrap();
        let now = i64::try_from(Clock::start().unix().as_secs()).unwrap() + seconds;
        eventually("the other time", || {
            let said = self.relay.http("GET", "/v1/status").1;
            let status: serde_json::Value = serde_json::from_str(&said).unwrap();
            let time = status["time"].as_i64();
            time.is_none_or(|time| (time - now).abs() < 30)
        });
    }
}

impl Drop for Shifted {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A client whose credentials end this many seconds from the true time.
fn until(relay: &Running, over: Over, seconds: i64) -> Client {
    let now = i64::try_from(Clock::start().unix().as_secs()).unwrap();
    let name = format!("{}:alice", now + seconds).into_bytes();
    let password = password_for(SECRET.as_bytes(), HmacHash::Sha256, &name);
    Client::known_as(Client::of(relay, over, "anybody").link, name, password)
}

/// Refreshes, with a new nonce where the old one is of another time.
fn refresh(call: &mut Call) -> u16 {
    let client = &mut call.client;
    let code = client.request(Method::Refresh, |w| w.lifetime(600)).code();
    if code != STALE {
        return code;
    }
    client.renew_nonce();
    client.request(Method::Refresh, |w| w.lifetime(600)).code()
}

/// the clock goes back a day, forward a day, by a second and to and fro: calls lose nothing and are refreshed,
/// no allocation ends for it, and credentials end by the wall clock, for what is new alone.
#[test]
fn steps_of_the_wall_clock_end_no_call() {
    let Some(library) = library("clock::steps_of_the_wall_clock_end_no_call") else {
        return;
    };
    let mut shifted = Shifted::start(&library);
    let relay = &shifted.relay;
    let canaries = Canaries::start(relay);
    let mut calls = Over::ALL.map(|over| Call::between(until(relay, over, HOUR), peer()));
    for seconds in [-DAY, 0, 1, -1, DAY, 2 * DAY, 0, -HOUR, HOUR + 60] {
        shifted.shift(seconds);
        for call in &mut calls {
            call.exchange();
            assert_eq!(refresh(call), 0, "at {seconds:+}");
            call.exchange();
        }
        // What is new is judged by the clock as it is: an hour's name at a time when it is good, and at one when it is not.
        let mut newcomer = until(relay, Over::Udp, HOUR);
        let (is_over, is_far) = (seconds > HOUR, seconds < HOUR - DAY);
        let code = newcomer.try_allocate(|_| {}).code();
        assert_eq!(code == 0, !is_over && !is_far, "{code} at {seconds:+}");
    }
    canaries.finish();
    shifted.shift(0);
    for call in &mut calls {
        call.client.renew_nonce();
        call.client.release();
    }
    shifted.relay.assert_alive();
}

/// a nonce of before the step is 438 where the clock says that it is too old or from the future, and the one that comes
/// with that answer is taken: a client needs one round trip more, and no new allocation.
#[test]
fn a_nonce_of_another_time_is_asked_for_anew() {
    let Some(library) = library("clock::a_nonce_of_another_time_is_asked_for_anew") else {
        return;
    };
    let shifted = Shifted::start(&library);
    let mut call = Call::between(until(&shifted.relay, Over::Tcp, 2 * HOUR), peer());
    for seconds in [HOUR, -HOUR] {
        shifted.shift(seconds);
        let refreshed = call.client.request(Method::Refresh, |w| w.lifetime(600));
        assert_eq!(refreshed.code(), STALE, "at {seconds:+}");
        call.client.renew_nonce();
        let refreshed = call.client.request(Method::Refresh, |w| w.lifetime(600));
        assert_eq!(refreshed.code(), 0);
        call.exchange();
    }
}
