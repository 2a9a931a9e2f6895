use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("taciturn-revoked-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).unwrap();
        Self(directory)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn user(user: &str, until: u64) -> RevokedUser {
    RevokedUser {
        user: user.to_owned(),
        until,
    }
}

fn key(key_id: &str) -> RevokedKey {
    RevokedKey {
        key_id: key_id.to_owned(),
        until: None,
    }
}

fn revoke(list: &Revocations, name: &str) {
    let change = Change::RevokeUser(user(name, NOW.as_secs() + 60));
    list.change(change, 7, NOW).unwrap();
}

#[test]
fn what_is_revoked_is_refused_at_once_and_after_a_restart() {
    let directory = Scratch::new();
    let open = || Arc::new(Revocations::open(Some(directory.path())));
    let list = open();
    revoke(&list, "alice");
    list.change(Change::RevokeKey(key("2026-10")), 7, NOW)
        .unwrap();
    let file = directory.path().join("revocations.json");
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for list in [Arc::clone(&list), open()] {
        assert!(list.survives_restart());
        assert_eq!(
            list.stamp(),
            ListVersion {
                epoch: 7,
                version: 2
            }
        );
        let judge = Judge(list);
        assert!(judge.user("alice", NOW) && judge.key("2026-10", NOW));
        assert!(!judge.user("bob", NOW) && !judge.key("2026-11", NOW));
        let later = UnixTime::from_secs(NOW.as_secs() + 60);
        assert!(!judge.user("alice", later) && judge.key("2026-10", later));
    }
    list.change(Change::LiftUser("alice".to_owned()), 8, NOW)
        .unwrap();
    list.change(Change::LiftKey("2026-10".to_owned()), 8, NOW)
        .unwrap();
    assert_eq!(
        list.stamp(),
        ListVersion {
            epoch: 8,
            version: 4
        }
    );
    assert!(open().list().is_empty());
    for change in [
        Change::LiftUser("alice".to_owned()),
        Change::LiftKey("2026-10".to_owned()),
    ] {
        assert_eq!(list.change(change, 8, NOW), Err(ChangeError::NotThere));
    }
}

#[test]
fn the_later_word_on_a_user_counts_and_what_is_over_goes() {
    let list = Revocations::default();
    revoke(&list, "alice");
    let longer = Change::RevokeUser(user("alice", NOW.as_secs() + 600));
    list.change(longer, 7, NOW).unwrap();
    assert_eq!(list.list().users, [user("alice", NOW.as_secs() + 600)]);
    let later = UnixTime::from_secs(NOW.as_secs() + 601);
    let other = Change::RevokeUser(user("bob", NOW.as_secs() + 9_000));
    list.change(other, 7, later).unwrap();
    assert_eq!(list.list().users.len(), 1);
}

#[test]
fn a_list_never_grows_beyond_what_relays_take() {
    let list = Revocations::default();
    let mut refused = None;
    for number in 0..2_000 {
        let name = format!("{number:->300}");
        let change = Change::RevokeUser(user(&name, u64::MAX));
        if let Err(error) = list.change(change, 7, NOW) {
            refused = Some(error);
            break;
        }
    }
    assert_eq!(refused, Some(ChangeError::Long));
    let text = serde_json::to_vec(&list.list()).unwrap();
    assert!(text.len() <= RevocationList::BYTES);
    let odd = Change::RevokeUser(user("tab\there", u64::MAX));
    assert_eq!(
        list.change(odd, 7, NOW),
        Err(ChangeError::List(RevocationError::User))
    );
}

#[test]
fn what_another_controller_revoked_is_taken_over_and_nothing_is_lifted_by_it() {
    let (ours, theirs) = (Revocations::default(), Revocations::default());
    revoke(&ours, "alice");
    for name in ["bob", "carol"] {
        revoke(&theirs, name);
    }
    let given = theirs.list();
    assert_eq!(ours.take_over(&given, 9, NOW), Ok(true));
    let mut names: Vec<_> = ours.list().users.into_iter().map(|one| one.user).collect();
    names.sort();
    assert_eq!(names, ["alice", "bob", "carol"]);
    assert!(ours.stamp() > given.stamp());
    assert_eq!(ours.take_over(&given, 9, NOW), Ok(false), "older now");
    let empty = Revocations::default();
    assert_eq!(empty.take_over(&given, 9, NOW), Ok(true));
    assert_eq!(empty.list(), given, "the same list under the same version");
}

/// A-41: nor can it use the versions up: what it has added can be lifted.
#[test]
fn a_version_follows_every_one_that_is_taken_over() {
    let ours = Revocations::default();
    let last = RevocationList {
        epoch: NOW.as_secs(),
        version: (1 << 53) - 1,
        key_ids: vec![key("2026-10")],
        ..RevocationList::default()
    };
    assert_eq!(ours.take_over(&last, 9, NOW), Ok(true));
    let lifted = ours.change(Change::LiftKey("2026-10".to_owned()), 9, NOW);
    assert!(lifted.unwrap().stamp() > last.stamp());
    let late = RevocationList {
        epoch: NOW.as_secs() + AHEAD + 1,
        ..last
    };
    assert!(ours.take_over(&late, 9, NOW).is_err());
    assert!(ours.list().is_empty());
}

/// A relay that has been broken into cannot give a list that nothing could follow.
#[test]
fn a_list_that_would_be_the_last_is_not_taken_over() {
    let ours = Revocations::default();
    revoke(&ours, "alice");
    let last = RevocationList {
        epoch: u64::MAX,
        version: u64::MAX,
        ..RevocationList::default()
    };
    assert!(ours.take_over(&last, 9, NOW).is_err());
    revoke(&ours, "bob");
    assert_eq!(ours.stamp().version, 2);
}

#[test]
fn a_file_that_makes_no_sense_is_put_aside_and_names_nobody() {
    for text in ["", "[]", r#"{"alice":1}"#] {
        let directory = Scratch::new();
        let file = directory.path().join("revocations.json");
        fs::write(&file, text).unwrap();
        assert!(!read(&file).unwrap_err().to_string().contains("alice"));
        let list = Revocations::open(Some(directory.path()));
        assert!(list.list().is_empty());
        assert!(
            directory
                .path()
                .join("revocations.json.unreadable")
                .exists()
        );
        revoke(&list, "alice");
        assert_eq!(
            Revocations::open(Some(directory.path())).list(),
            list.list()
        );
    }
}

/// Nobody's name gets into a log by way of `Debug`.
#[test]
fn nothing_is_printed_with_a_name() {
    let list = Revocations::default();
    revoke(&list, "alice");
    let change = Change::RevokeUser(user("alice", 1));
    let lift = Change::LiftUser("alice".to_owned());
    for text in [format!("{list:?}"), format!("{change:?}{lift:?}")] {
        assert!(!text.contains("alice"), "{text}");
    }
}
