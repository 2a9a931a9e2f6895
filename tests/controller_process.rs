//! The controller as a process: start, reload, stop, what systemd is told, and the audit trail that is left.
//!
//! Not responsible for what it decides (`controller`), nor for fleets of real relays (`tests/fleet`): its one relay here is
//! an address where nobody is.
#![cfg(feature = "controller")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// A directory of this test's own, with a configuration in it; gone with it.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("taciturn-controller-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).unwrap();
        let place = Self(directory);
        place.configure("");
        place
    }

    fn configure(&self, more: &str) {
        let directory = self.0.display();
        let text = format!(
            "fleet = \"test\"\nstate-directory = \"{directory}/state\"\ninterval = \"1s\"\n\
             [api]\naddress = \"unix:{directory}/api.sock\"\n[relays]\nprobe-port = 0\ntimeout = \"500ms\"\n\
             [sovereignty]\nallowed-zone-ids = [\"local-a\"]\n[provider]\nkind = \"static\"\n\
             [[provider.static.relay]]\nid = \"relay-1\"\nzone-id = \"local-a\"\nadmin = \"127.0.0.1:1\"\n{more}"
        );
        fs::write(self.0.join("controller.toml"), text).unwrap();
    }

    fn trail(&self) -> PathBuf {
        self.0.join("state/audit.jsonl")
    }

    fn kinds(&self) -> Vec<String> {
        let text = fs::read_to_string(self.trail()).unwrap_or_default();
        text.lines()
            .filter_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                Some(line["kind"].as_str()?.to_owned())
            })
            .collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A controller that ends with the test.
struct Running {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
}

impl Running {
    fn start(place: &Place, arguments: &[&str], notify: Option<&Path>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let log = place.0.join(format!("log-{number}"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_taciturn"));
        command
            .arg("controller")
            .arg("--config")
            .arg(place.0.join("controller.toml"))
            .args(arguments)
            .env_remove("NOTIFY_SOCKET")
            .stderr(fs::File::create(&log).unwrap())
            .stdout(Stdio::null());
        if let Some(socket) = notify {
            command.env("NOTIFY_SOCKET", socket);
        }
        Self {
            child: command.spawn().unwrap(),
            socket: place.0.join("api.sock"),
            log,
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// The status and body of an answer; 0 while there is none.
    fn ask(&self, path: &str) -> (u16, String) {
        self.ask_with("GET", path, "")
    }

    /// The same with these headers.
    fn ask_with(&self, method: &str, path: &str, headers: &str) -> (u16, String) {
        let Ok(mut stream) = UnixStream::connect(&self.socket) else {
            return (0, String::new());
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
        );
        let _ = stream.write_all(request.as_bytes());
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (code.unwrap_or(0), body.to_owned())
    }

    fn ready(&self) {
        eventually(|| self.ask("/ready").0 == 200, || self.log());
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// Whether it ended as it should after SIGTERM, and what it logged.
    fn stop(mut self) -> (bool, String) {
        self.signal(rustix::process::Signal::TERM);
        let status = self.child.wait().unwrap();
        (status.success(), self.log())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn eventually(mut holds: impl FnMut() -> bool, otherwise: impl Fn() -> String) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{}", otherwise());
        sleep(Duration::from_millis(50));
    }
}

fn verify(arguments: &[&str]) -> (Option<i32>, String) {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_taciturn"))
        .args(["audit", "verify"])
        .args(arguments)
        .output()
        .unwrap();
    let text =
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code(), text)
}

#[test]
fn systemd_is_told_of_the_start_each_round_a_reload_and_the_stop() {
    let place = Place::new();
    let socket = place.0.join("notify.sock");
    let supervisor = UnixDatagram::bind(&socket).unwrap();
    supervisor.set_read_timeout(Some(PATIENCE)).unwrap();
    let heard = |wanted: &str| {
        let mut all = String::new();
        let mut buffer = [0; 4096];
        while !all.contains(wanted) {
            let length = supervisor
                .recv(&mut buffer)
                .unwrap_or_else(|error| panic!("no {wanted} in {all}: {error}"));
            all.push_str(str::from_utf8(&buffer[..length]).unwrap());
        }
        all
    };
    let controller = Running::start(&place, &[], Some(&socket));
    heard("READY=1");
    let rounds = heard("WATCHDOG=1");
    assert!(
        rounds.contains("STATUS=") && rounds.contains(" needed, "),
        "{rounds}"
    );
    controller.ready();
    controller.signal(rustix::process::Signal::HUP);
    let reload = heard("RELOADING=1");
    assert!(reload.contains("MONOTONIC_USEC="), "{reload}");
    heard("READY=1");
    controller.signal(rustix::process::Signal::TERM);
    heard("STOPPING=1");
    let (ended, log) = controller.stop();
    assert!(ended, "{log}");
}

/// What a running controller cannot take over is refused by its name, and a broken file leaves what was there in force.
#[test]
fn a_reload_is_taken_whole_or_not_at_all() {
    let place = Place::new();
    let controller = Running::start(&place, &[], None);
    controller.ready();
    let reloads = |result: &str| {
        let name = format!("taciturn_controller_config_reloads_total{{result=\"{result}\"}} ");
        let (_, text) = controller.ask("/metrics");
        text.lines()
            .find_map(|line| line.strip_prefix(name.as_str()))
            .map(str::to_owned)
    };
    let hang_up = |more: &str, result: &str, count: &str| {
        place.configure(more);
        controller.signal(rustix::process::Signal::HUP);
        eventually(
            || reloads(result).as_deref() == Some(count),
            || controller.log(),
        );
    };
    hang_up("[policy]\nmax = 7\n", "taken", "1");
    let (_, fleet) = controller.ask("/metrics");
    assert!(
        fleet.contains("taciturn_controller_maximum_relays 7"),
        "{fleet}"
    );
    hang_up("[policy]\nmax = 0\n", "refused", "1");
    let broken = || controller.ask("/v1/fleet").1;
    assert!(broken().contains("policy.max = 0"), "{}", broken());
    hang_up("[lease]\nttl = \"60s\"\n", "refused", "2");
    let (_, fleet) = controller.ask("/v1/fleet");
    assert!(
        fleet.contains("[lease] cannot be changed while the controller runs"),
        "{fleet}"
    );
    assert!(fleet.contains("configuration_invalid"), "{fleet}");
    hang_up("[policy]\nmax = 8\n", "taken", "2");
    let (_, fleet) = controller.ask("/v1/fleet");
    assert!(!fleet.contains("configuration_invalid"), "{fleet}");
    let (ended, log) = controller.stop();
    assert!(ended, "{log}");
    let trail = fs::read_to_string(place.trail()).unwrap();
    assert!(
        trail.contains("\"changed\":{\"max\":{\"after\":7,\"before\":20}}"),
        "{trail}"
    );
    assert!(trail.contains("\"changed\":{\"max\":{\"after\":8,\"before\":7}}"));
    assert_eq!(verify(&[place.trail().to_str().unwrap()]).0, Some(0));
}

/// whoever was let in yesterday is not today, without a restart; and a file that is broken lets nobody in or out.
#[test]
fn tokens_and_subjects_are_exchanged_while_the_controller_runs() {
    let place = Place::new();
    let write = |name: &str, token: &str| fs::write(place.0.join(name), token).unwrap();
    let token = |name: &str| format!("{name}-0123456789abcdef0123456789abcdef");
    for (name, written) in [
        ("operator", "operator-1"),
        ("reader", "reader-1"),
        ("first", "first-1"),
        ("second", "second-1"),
        ("secret", "secret-1"),
    ] {
        write(name, &token(written));
    }
    let minting = |more: &str| {
        place.configure(&format!(
            "[[credentials.secret]]\nid = \"a\"\nfile = \"secret\"\n[[credentials.subject]]\nname = \"first\"\n\
             token-file = \"first\"\n{more}"
        ));
        let file = place.0.join("controller.toml");
        let text = fs::read_to_string(&file).unwrap();
        let tokens = "[api]\ntoken-file = \"operator\"\nreader-token-file = \"reader\"\n";
        fs::write(&file, text.replace("[api]\n", tokens)).unwrap();
    };
    minting("");
    let controller = Running::start(&place, &[], None);
    controller.ready();
    let code = |name: &str, path: &str| {
        let header = format!("Authorization: Bearer {}\r\n", token(name));
        controller.ask_with("GET", path, &header).0
    };
    // With nobody to offer, whoever may ask for the snapshot is told so or is given an empty one.
    let subject = |name: &str| code(name, "/v1/snapshot");
    let known = |code: u16| ![0, 401, 403].contains(&code);
    assert_eq!(code("operator-1", "/v1/fleet"), 200);
    assert_eq!(code("reader-1", "/v1/fleet"), 200);
    assert_eq!(
        (subject("reader-1"), code("first-1", "/v1/fleet")),
        (403, 403)
    );
    assert!(known(subject("first-1")) && known(subject("operator-1")));
    assert_eq!(subject("second-1"), 401);
    assert_eq!(controller.ask("/v1/fleet").0, 401);

    let reloaded = |result: &str, count: &str| {
        controller.signal(rustix::process::Signal::HUP);
        let line =
            format!("taciturn_controller_config_reloads_total{{result=\"{result}\"}} {count}");
        let current = || {
            ["operator-1", "operator-2"].map(|name| {
                let header = format!("Authorization: Bearer {}\r\n", token(name));
                controller.ask_with("GET", "/metrics", &header).1
            })
        };
        eventually(
            || {
                current()
                    .iter()
                    .any(|text| text.lines().any(|each| each == line))
            },
            || controller.log(),
        );
    };
    // Broken: the file that is named is not there.
    write("operator", &token("operator-2"));
    minting("[[credentials.subject]]\nname = \"second\"\ntoken-file = \"gone\"\n");
    reloaded("refused", "1");
    assert_eq!(code("operator-1", "/v1/fleet"), 200);
    assert_eq!(code("operator-2", "/v1/fleet"), 401);
    assert!(known(subject("first-1")));

    write("first", &token("first-2"));
    write("reader", &token("reader-2"));
    minting("[[credentials.subject]]\nname = \"second\"\ntoken-file = \"second\"\n");
    reloaded("taken", "1");
    for gone in ["operator-1", "reader-1", "first-1"] {
        assert_eq!(code(gone, "/v1/fleet"), 401, "{gone}");
        assert_eq!(subject(gone), 401, "{gone}");
    }
    assert_eq!(code("operator-2", "/v1/fleet"), 200);
    assert_eq!(code("reader-2", "/v1/fleet"), 200);
    assert!(known(subject("first-2")) && known(subject("second-1")));
    let (ended, log) = controller.stop();
    assert!(ended, "{log}");
    let trail = fs::read_to_string(place.trail()).unwrap();
    assert!(
        trail.contains(
            "\"credentials.subject\":{\"after\":[\"first\",\"second\"],\"before\":[\"first\"]}"
        ),
        "{trail}"
    );
    for secret in ["operator-1", "operator-2", "first-2", "secret-1"] {
        assert!(!trail.contains(&token(secret)) && !log.contains(&token(secret)));
    }
}

/// the door speaks HTTP/1.1 alone, in this program too, whose client of a cloud would speak more: one seat is one request at
/// a time.
#[test]
fn what_begins_as_http_2_gets_no_answer() {
    let place = Place::new();
    let controller = Running::start(&place, &[], None);
    controller.ready();
    let mut stream = UnixStream::connect(&controller.socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"");
}

/// Two processes would write over each other's trail; a dry run has a directory of its own.
#[test]
fn a_state_directory_has_one_controller_and_a_dry_run_stands_beside_it() {
    let place = Place::new();
    let controller = Running::start(&place, &[], None);
    controller.ready();
    let second = Command::new(env!("CARGO_BIN_EXE_taciturn"))
        .arg("controller")
        .arg("--config")
        .arg(place.0.join("controller.toml"))
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let words = String::from_utf8(second.stderr).unwrap();
    assert!(words.contains("another controller runs there"), "{words}");

    let other = Place::new();
    let text = fs::read_to_string(place.0.join("controller.toml")).unwrap();
    let text = text.replace(
        &format!("unix:{}", place.0.display()),
        &format!("unix:{}", other.0.display()),
    );
    fs::write(other.0.join("controller.toml"), text).unwrap();
    let trial = Running::start(&other, &["--dry-run"], None);
    trial.ready();
    assert!(
        trial
            .ask("/metrics")
            .1
            .contains("taciturn_controller_dry_run 1")
    );
    assert!(trial.stop().0);
    assert!(place.0.join("state/dry-run/audit.jsonl").exists());
    let (ended, log) = controller.stop();
    assert!(ended, "{log}");
    // The socket of one that was killed is no obstacle to the next.
    let next = Running::start(&place, &[], None);
    next.ready();
}

#[test]
fn what_keeps_it_from_starting_is_named() {
    let place = Place::new();
    let start = |text: &str| {
        let file = place.0.join("wrong.toml");
        fs::write(&file, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_taciturn"))
            .args(["controller", "--config"])
            .arg(&file)
            .env_remove("STATE_DIRECTORY")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let text = fs::read_to_string(place.0.join("controller.toml")).unwrap();
    let state = format!("state-directory = \"{}/state\"\n", place.0.display());
    let words = start(&text.replace(&state, ""));
    assert!(words.contains("state-directory: is missing"), "{words}");
    let words = start(&text.replace(&state, "state-directory = \"/dev/null/x\"\n"));
    assert!(
        words.contains("state-directory = \"/dev/null/x\": cannot be used"),
        "{words}"
    );
    let words = start(&text.replace("api.sock", "gone/api.sock"));
    assert!(words.contains("[api] address = \"unix:"), "{words}");
    let words = start("fleet = \"a b\"");
    assert!(
        words.contains("wrong.toml:1: fleet = \"a b\": is not a plain short name"),
        "{words}"
    );
    assert!(words.contains("the configuration has 3 errors"), "{words}");
}

/// The log alone says what is wrong with a provider that does not answer as it should.
#[test]
fn why_nothing_is_done_is_in_the_log() {
    let place = Place::new();
    let file = place.0.join("controller.toml");
    let text = fs::read_to_string(&file).unwrap();
    let (text, _) = text.split_once("[provider]").unwrap();
    let command = "[\"/bin/sh\", \"-c\", \"echo the cloud is away >&2; exit 3\"]";
    let provider = format!(
        "[provider]\nkind = \"exec\"\n[provider.exec]\nlist = {command}\nlaunch = {command}\nterminate = {command}\n"
    );
    fs::write(&file, format!("{text}{provider}")).unwrap();
    let controller = Running::start(&place, &[], None);
    eventually(
        || {
            controller
                .log()
                .lines()
                .any(|line| line.contains("WARN") && line.contains("the cloud is away"))
        },
        || controller.log(),
    );
    assert!(controller.stop().0);
}

/// A snapshot from somewhere else, or changed by hand: where it is wrong, and what would be right.
#[test]
fn what_is_no_snapshot_is_refused_in_words() {
    let place = Place::new();
    let controller = Running::start(&place, &[], None);
    controller.ready();
    let (_, snapshot) = controller.ask("/v1/fleet?form=snapshot");
    let (_, page) = controller.ask("/v1/fleet");
    let plan = |text: &str| {
        let file = place.0.join("fleet.json");
        fs::write(&file, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_taciturn"))
            .args(["plan", "--fleet"])
            .arg(&file)
            .output()
            .unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), words)
    };
    assert_eq!(plan(&snapshot).0, Some(0), "{snapshot}");
    let refused = |text: &str, words: &str| {
        let (code, said) = plan(text);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(words), "{said}");
    };
    let source = "a snapshot is what GET /v1/fleet?form=snapshot gives";
    refused(&page, source);
    refused("", source);
    refused(&snapshot[..snapshot.len() / 2], source);
    refused(
        &snapshot.replace("taciturn-fleet/1", "taciturn-fleet/2"),
        "this version reads \"taciturn-fleet/1\"",
    );
    refused(
        &snapshot.replace("\"id\":\"relay-1\"", "\"id\":\"relay-2\""),
        "fleet.relays.relay-1.id = \"relay-2\": is not the id that it stands under",
    );
}

/// The trail that a real run leaves: whole, then changed, then cut.
#[test]
fn an_audit_trail_is_judged_in_words_and_exit_codes() {
    let place = Place::new();
    let controller = Running::start(&place, &[], None);
    controller.ready();
    let head: Value = serde_json::from_str(&controller.ask("/v1/audit").1).unwrap();
    let head = head["head"]["hash"].as_str().unwrap().to_owned();
    let (ended, log) = controller.stop();
    assert!(ended, "{log}");
    assert!(log.contains("audit_head="), "{log}");
    let kinds = place.kinds();
    assert_eq!(kinds[..3], ["begin", "configuration", "start"]);
    assert_eq!(kinds.last().unwrap(), "stop");

    let trail = place.trail();
    let file = trail.to_str().unwrap();
    let (code, words) = verify(&[file]);
    assert_eq!(code, Some(0), "{words}");
    assert!(
        words.contains("whole: ") && words.contains("--head"),
        "{words}"
    );
    let (code, words) = verify(&[file, "--head", &head]);
    assert_eq!(code, Some(0), "{words}");
    assert!(
        words.contains(&format!("known      {head} is line ")),
        "{words}"
    );

    let whole = fs::read(&trail).unwrap();
    let text = String::from_utf8(whole.clone()).unwrap();
    fs::write(
        &trail,
        text.replacen("\"fleet\":\"test\"", "\"fleet\":\"tent\"", 1),
    )
    .unwrap();
    let (code, words) = verify(&[file]);
    assert_eq!(code, Some(3), "{words}");
    assert!(
        words.contains("audit.jsonl:1: the line does not match its hash"),
        "{words}"
    );

    fs::write(&trail, &whole[..whole.len() - 5]).unwrap();
    let (code, words) = verify(&[file]);
    assert_eq!(code, Some(3), "{words}");
    assert!(
        words.contains("a crash in the middle of writing"),
        "{words}"
    );

    let first = text.split_inclusive('\n').next().unwrap();
    fs::write(&trail, first).unwrap();
    let (code, words) = verify(&[file, "--head", &head]);
    assert_eq!(code, Some(4), "{words}");
    assert!(words.contains("CUT: no line has the hash"), "{words}");

    assert_eq!(verify(&["/nowhere/audit.jsonl"]).0, Some(1));
    assert_eq!(verify(&[file, "--head", "abc"]).0, Some(2));
}

#[test]
fn the_configuration_is_checked_as_what_it_is() {
    for (name, word) in [
        (
            "controller.aws.toml",
            "provider   aws, group telehealth-au-relays in ap-southeast-2",
        ),
        (
            "controller.local.toml",
            "provider   local, processes on 127.0.zone.n",
        ),
    ] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("configs")
            .join(name);
        let output = Command::new(env!("CARGO_BIN_EXE_taciturn"))
            .arg("check-config")
            .arg(file)
            .output()
            .unwrap();
        let words = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{name}");
        assert!(words.starts_with("ok: ") && words.contains(word), "{words}");
        assert!(words.contains(", and no other"), "{words}");
    }
    let place = Place::new();
    fs::write(
        place.0.join("secret.key"),
        "0123456789abcdef0123456789abcdef",
    )
    .unwrap();
    fs::write(place.0.join("a.token"), "fedcba9876543210fedcba9876543210").unwrap();
    place.configure(
        "[credentials]\nhost = \"{id}.example.org\"\n[[credentials.secret]]\nid = \"2026-11\"\nfile = \"secret.key\"\n\
         [[credentials.subject]]\nname = \"signalling\"\ntoken-file = \"a.token\"\n",
    );
    let output = Command::new(env!("CARGO_BIN_EXE_taciturn"))
        .arg("check-config")
        .arg(place.0.join("controller.toml"))
        .output()
        .unwrap();
    let words = String::from_utf8(output.stdout).unwrap();
    for line in [
        "mints      for 1h, at most 1d; 2 relays as {id}.example.org; secret 2026-11",
        "asked by   signalling by a token, 50 a second; the operator",
        "self-test  at the API",
    ] {
        assert!(words.contains(line), "no {line} in\n{words}");
    }
    assert!(
        !words.contains("0123456789") && !words.contains("fedcba"),
        "{words}"
    );
}
