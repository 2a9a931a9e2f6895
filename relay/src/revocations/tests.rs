use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use taciturn_protocol::credentials::{RevokedKey, RevokedUser};

use super::*;

struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("taciturn-revocations-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn open(&self) -> RevocationControl {
        RevocationControl::open(Some(&self.0), Vec::new(), Clock::start())
    }

    fn file(&self) -> PathBuf {
        self.0.join("revocations.json")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn list(epoch: u64, version: u64, users: &[&str]) -> RevocationList {
    RevocationList {
        epoch,
        version,
        users: users
            .iter()
            .map(|user| RevokedUser {
                user: (*user).to_owned(),
                until: 4_102_444_800,
            })
            .collect(),
        key_ids: vec![RevokedKey {
            key_id: "2026-10".to_owned(),
            until: None,
        }],
    }
}

fn put(control: &RevocationControl, list: RevocationList) -> Result<(), RevocationRefused> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(control.replace(list))
}

#[test]
fn a_list_survives_a_restart_and_is_nobody_elses_to_read() {
    let directory = Directory::new();
    let control = directory.open();
    assert_eq!(control.status().stamp, ListVersion::default());
    put(&control, list(7, 3, &["alice"])).unwrap();
    assert!(control.status().survives_restart);
    let mode = fs::metadata(directory.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = directory.open();
    assert_eq!(again.list(), list(7, 3, &["alice"]));
    assert!(
        again
            .in_force()
            .covers_user(b"alice", Clock::start().unix())
    );
}

#[test]
fn a_newer_list_takes_the_place_and_an_older_one_does_not() {
    let directory = Directory::new();
    let control = directory.open();
    put(&control, list(7, 3, &["alice"])).unwrap();
    for (epoch, version) in [(7, 2), (6, 9), (0, 0)] {
        assert!(matches!(
            put(&control, list(epoch, version, &[])),
            Err(RevocationRefused::Older { .. })
        ));
    }
    put(&control, list(7, 3, &["alice"])).unwrap();
    assert!(matches!(
        put(&control, list(7, 3, &["bob"])),
        Err(RevocationRefused::Another { .. })
    ));
    put(&control, list(7, 4, &[])).unwrap();
    put(&control, list(8, 1, &["bob"])).unwrap();
    assert_eq!(control.list(), list(8, 1, &["bob"]));
    assert_eq!(directory.open().list(), list(8, 1, &["bob"]));
}

#[test]
fn what_is_over_is_left_out_and_is_the_same_list() {
    let directory = Directory::new();
    let control = directory.open();
    let mut long = list(7, 3, &["alice"]);
    long.users.push(RevokedUser {
        user: "bob".to_owned(),
        until: 1,
    });
    put(&control, long.clone()).unwrap();
    assert_eq!(control.list(), list(7, 3, &["alice"]));
    put(&control, long).unwrap();
}

#[test]
fn a_file_that_makes_no_sense_is_put_aside() {
    for text in [
        "",
        "{",
        "[]",
        r#"{"epoch":1,"version":1,"users":[{"user":"","until":1}],"key_ids":[]}"#,
        r#"{"epoch":1,"version":1,"users":[],"key_ids":[],"more":1}"#,
        &" ".repeat(RevocationList::BYTES + 1),
    ] {
        let directory = Directory::new();
        fs::write(directory.file(), text).unwrap();
        let control = directory.open();
        assert!(control.list().is_empty());
        assert!(directory.0.join("revocations.json.unreadable").exists());
        put(&control, list(1, 1, &["alice"])).unwrap();
        assert_eq!(directory.open().list(), list(1, 1, &["alice"]));
    }
}

#[test]
fn what_cannot_be_kept_is_in_force_all_the_same() {
    let directory = Directory::new();
    let control = directory.open();
    fs::remove_dir_all(&directory.0).unwrap();
    put(&control, list(1, 1, &["alice"])).unwrap();
    assert!(!control.status().survives_restart);
    assert!(!control.in_force().eq(&Arc::default()));
    let nowhere = RevocationControl::open(None, Vec::new(), Clock::start());
    put(&nowhere, list(1, 1, &["alice"])).unwrap();
    assert!(!nowhere.status().survives_restart);
}

/// Neither what is shown to everybody who may look nor what is printed names a user.
#[test]
fn neither_status_nor_metrics_name_anybody() {
    let directory = Directory::new();
    let control = directory.open();
    put(&control, list(1, 1, &["alice"])).unwrap();
    let metrics = crate::metrics::Metrics::new(vec![Box::new(Arc::new(control))]).unwrap();
    let text = metrics.encode().unwrap();
    assert!(
        text.contains("taciturn_relay_revocations{kind=\"user\"} 1\n"),
        "{text}"
    );
    assert!(!text.contains("alice"));
    let refused = RevocationRefused::Another {
        held: ListVersion::default(),
    };
    assert!(!refused.to_string().contains("alice"));
    fs::write(directory.file(), r#"{"alice": 1}"#).unwrap();
    let error = read(&StateFile::new(&directory.0, NAME, 100)).unwrap_err();
    assert!(!error.to_string().contains("alice"), "{error}");
}
