use std::sync::Arc;

use super::*;

fn directory(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("lease-{name}-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    directory
}

fn record(holder: &str, epoch: u64) -> Record {
    Record {
        holder: holder.to_owned(),
        epoch,
        renewals: 0,
    }
}

/// A lock that is not given back, as of a controller that is stopped at the wrong instruction.
fn taken(directory: &Path) -> File {
    let lock = directory.join("lease.json.lock");
    let lock = File::options().write(true).open(lock).unwrap();
    lock.try_lock().unwrap();
    lock
}

/// The lock, and the record that its holder has seen itself entitled to put in place, and is about to.
fn asleep(directory: &Path, record: &Record) -> (File, PathBuf) {
    let new = directory.join("lease.json.new.1");
    fs::write(&new, serde_json::to_string(record).unwrap()).unwrap();
    (taken(directory), new)
}

#[tokio::test]
async fn a_record_is_written_on_its_condition_alone() {
    let directory = directory("condition");
    let lease = FileLease::new(directory.join("lease.json"));
    assert_eq!(lease.read().await, Ok(None));
    let other = Some("something else");
    assert_eq!(
        lease.write(other, &record("a", 1)).await,
        Err(LeaseError::Conflict)
    );
    let version = lease.write(None, &record("a", 1)).await.unwrap();
    assert_eq!(
        lease.write(None, &record("b", 2)).await,
        Err(LeaseError::Conflict)
    );
    let seen = lease.read().await.unwrap().unwrap();
    assert_eq!((&seen.record, &seen.version), (&record("a", 1), &version));
    lease.write(Some(&version), &record("b", 2)).await.unwrap();
    assert_eq!(
        lease.write(Some(&version), &record("a", 3)).await,
        Err(LeaseError::Conflict)
    );
    fs::remove_dir_all(directory).unwrap();
}

/// Two controllers on one host: of writes on one condition exactly one comes through, every time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_write_at_once_one_does() {
    let directory = directory("race");
    let lease = Arc::new(FileLease::new(directory.join("lease.json")));
    let mut version = lease.write(None, &record("begin", 0)).await.unwrap();
    for round in 1..20 {
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..6 {
            let (lease, version) = (Arc::clone(&lease), version.clone());
            writers.spawn(async move {
                let mine = record(&format!("w{writer}"), round);
                lease.write(Some(&version), &mine).await
            });
        }
        let answers = writers.join_all().await;
        let mut written = answers.iter().filter_map(|answer| answer.as_ref().ok());
        version = written.next().unwrap().clone();
        assert_eq!(written.next(), None);
        assert!(answers.iter().flat_map(Result::as_ref).count() == 1);
        assert_eq!(lease.read().await.unwrap().unwrap().version, version);
    }
    let left = fs::read_dir(&directory).unwrap().count();
    assert_eq!(
        left, 2,
        "the file and its lock, and nothing of those that lost"
    );
    fs::remove_dir_all(directory).unwrap();
}

#[tokio::test]
async fn what_a_crash_leaves_beside_it_hinders_nobody() {
    let directory = directory("crash");
    let file = directory.join("lease.json");
    let lease = FileLease::new(file.clone());
    let version = lease.write(None, &record("a", 1)).await.unwrap();
    // A writer that died between writing and renaming, and a lock file that nobody holds.
    fs::write(directory.join("lease.json.lock"), "").unwrap();
    fs::write(directory.join("lease.json.new.1.0"), "{\"hold").unwrap();
    assert_eq!(lease.read().await.unwrap().unwrap().record, record("a", 1));
    lease.write(Some(&version), &record("b", 2)).await.unwrap();
    assert_eq!(lease.read().await.unwrap().unwrap().record, record("b", 2));
    fs::remove_dir_all(directory).unwrap();
}

/// a controller that is stopped between its look and its rename keeps nobody from the lease for longer than a second, and
/// cannot change it when it wakes.
#[tokio::test]
async fn whoever_sleeps_with_the_lock_keeps_nobody_out_and_changes_nothing() {
    let directory = directory("asleep");
    let file = directory.join("lease.json");
    let lease = FileLease::new(file.clone());
    let version = lease.write(None, &record("a", 1)).await.unwrap();
    let (lock, renewal) = asleep(&directory, &record("a", 1));

    let taken = lease.write(Some(&version), &record("b", 2)).await.unwrap();
    assert!(fs::rename(&renewal, &file).is_err());
    assert_eq!(lease.read().await.unwrap().unwrap().record, record("b", 2));
    // Nor does it keep out anybody who comes later, whether it has gone on or not.
    let taken = lease.write(Some(&taken), &record("c", 3)).await.unwrap();
    drop(lock);
    lease.write(Some(&taken), &record("d", 4)).await.unwrap();
    fs::remove_dir_all(directory).unwrap();
}

/// what the sleeper changes before its lock is broken stands.
#[tokio::test]
async fn what_was_changed_before_a_lock_was_broken_stands() {
    let directory = directory("woken");
    let file = directory.join("lease.json");
    let lease = FileLease::new(file.clone());
    let version = lease.write(None, &record("a", 1)).await.unwrap();
    let (_lock, renewal) = asleep(&directory, &record("a", 5));
    let late = {
        let lease = lease.clone();
        tokio::spawn(async move { lease.write(Some(&version), &record("b", 2)).await })
    };
    fs::rename(&renewal, &file).unwrap();
    assert_eq!(late.await.unwrap(), Err(LeaseError::Conflict));
    assert_eq!(lease.read().await.unwrap().unwrap().record, record("a", 5));
    fs::remove_dir_all(directory).unwrap();
}

/// of many that break a lock never two come through, and soon one does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_break_a_lock_never_two_write() {
    let directory = directory("broken");
    let lease = Arc::new(FileLease::new(directory.join("lease.json")));
    let mut version = lease.write(None, &record("begin", 0)).await.unwrap();
    for round in 1..4 {
        let _asleep = taken(&directory);
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..6 {
            let (lease, version) = (Arc::clone(&lease), version.clone());
            writers.spawn(async move {
                let mine = record(&format!("w{writer}"), round);
                lease.write(Some(&version), &mine).await
            });
        }
        let answers = writers.join_all().await;
        let mut written = answers.iter().filter_map(|answer| answer.as_ref().ok());
        if let Some(newest) = written.next() {
            version.clone_from(newest);
        }
        assert_eq!(written.next(), None);
        assert_eq!(lease.read().await.unwrap().unwrap().version, version);
    }
    lease
        .write(Some(&version), &record("end", 9))
        .await
        .unwrap();
    fs::remove_dir_all(directory).unwrap();
}

#[tokio::test]
async fn nonsense_is_neither_read_nor_written_over() {
    let directory = directory("nonsense");
    let file = directory.join("lease.json");
    let lease = FileLease::new(file.clone());
    for text in [
        "",
        "{",
        "[]",
        "{\"holder\":\"a\",\"epoch\":-1,\"renewals\":0}",
        &"x".repeat(10_000),
    ] {
        fs::write(&file, text).unwrap();
        for answer in [
            lease.read().await.map(|_| ()),
            lease.write(None, &record("a", 1)).await.map(|_| ()),
        ] {
            assert!(
                matches!(&answer, Err(LeaseError::Unreadable(words)) if words.contains("lease.json")),
                "{answer:?}"
            );
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
    let nowhere = FileLease::new(directory.join("none/lease.json"));
    assert_eq!(nowhere.read().await, Ok(None));
    assert!(matches!(
        nowhere.write(None, &record("a", 1)).await,
        Err(LeaseError::Failed(_))
    ));
    fs::remove_dir_all(directory).unwrap();
}
