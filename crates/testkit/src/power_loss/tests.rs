//! The layer keeps what was synced and loses the rest in every allowed way.

use std::collections::BTreeSet;

use super::*;

/// All states of one file that seeds lead to after `program` and a power loss; `None` = no file.
fn outcomes(name: &str, program: impl Fn(&PowerLossFs, &Path)) -> BTreeSet<Option<Vec<u8>>> {
    (0..300)
        .map(|seed| {
            let dir = tempfile::tempdir().unwrap();
            let fs = PowerLossFs::new();
            program(&fs, dir.path());
            fs.crash(seed).unwrap();
            assert!(fs.list(dir.path()).is_err());
            std::fs::read(dir.path().join(name)).ok()
        })
        .collect()
}

#[test]
fn synced_bytes_and_names_survive() {
    let all = outcomes("a", |fs, dir| fs.write_new_synced(&dir.join("a"), b"whole").unwrap());
    assert_eq!(all, BTreeSet::from([Some(b"whole".to_vec())]));
}

#[test]
fn an_unsynced_name_may_be_missing_and_unsynced_bytes_may_be_torn() {
    let all = outcomes("a", |fs, dir| {
        let mut file = fs.create_new(&dir.join("a")).unwrap();
        file.write_all(b"ab").unwrap();
        file.sync_data().unwrap();
        file.write_all(b"cd").unwrap();
    });
    for expected in [None, Some(b"ab".to_vec()), Some(b"abc".to_vec()), Some(b"abcd".to_vec()), Some(b"ab\0\0".to_vec())] {
        assert!(all.contains(&expected), "{expected:?}");
    }
    assert!(all.iter().flatten().all(|bytes| bytes.starts_with(b"ab")));
}

#[test]
fn replace_gives_the_old_or_the_new_content() {
    let old_or_new = outcomes("a", |fs, dir| {
        fs.write_new_synced(&dir.join("a"), b"old").unwrap();
        let fault = fs.n_ops() + 4;
        fs.fail_at(fault, Fault::PowerLoss);
        fs.replace_synced(&dir.join("a"), b"new").unwrap_err();
    });
    assert_eq!(old_or_new, BTreeSet::from([Some(b"old".to_vec()), Some(b"new".to_vec())]));
}

#[test]
fn a_removed_file_may_come_back() {
    let all = outcomes("a", |fs, dir| {
        std::fs::write(dir.join("a"), "x").unwrap();
        fs.remove(&dir.join("a")).unwrap();
    });
    assert_eq!(all, BTreeSet::from([None, Some(b"x".to_vec())]));
}

#[test]
fn after_a_failed_sync_later_syncs_promise_nothing() {
    let all = outcomes("a", |fs, dir| {
        let mut file = fs.create_new(&dir.join("a")).unwrap();
        fs.sync_dir(dir).unwrap();
        file.write_all(b"x").unwrap();
        fs.fail_at(fs.n_ops(), Fault::Io);
        file.sync_data().unwrap_err();
        file.sync_data().unwrap();
    });
    assert!(all.contains(&Some(Vec::new())));
}

#[test]
fn a_lock_is_free_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let fs = PowerLossFs::new();
    let _guard = fs.lock(&dir.path().join("lock")).unwrap();
    assert!(PowerLossFs::new().lock(&dir.path().join("lock")).is_err());
    fs.crash(0).unwrap();
    PowerLossFs::new().lock(&dir.path().join("lock")).unwrap();
}

#[test]
fn a_folder_that_was_not_synced_may_go_with_what_is_in_it() {
    let all = outcomes("d/a", |fs, dir| {
        fs.create_dir(&dir.join("d")).unwrap();
        fs.write_new_synced(&dir.join("d/a"), b"x").unwrap();
    });
    assert_eq!(all, BTreeSet::from([None, Some(b"x".to_vec())]));
    let all = outcomes("d/e/a", |fs, dir| {
        fs.create_dir_all(&dir.join("d/e")).unwrap();
        fs.write_new_synced(&dir.join("d/e/a"), b"x").unwrap();
    });
    assert_eq!(all, BTreeSet::from([Some(b"x".to_vec())]));
}

#[test]
fn a_rename_between_folders_is_durable_when_the_new_one_is_synced() {
    let run = |name: &str| {
        outcomes(name, |fs, dir| {
            fs.create_dir_all(&dir.join("from")).unwrap();
            fs.create_dir_all(&dir.join("to")).unwrap();
            fs.write_new_synced(&dir.join("from/a"), b"x").unwrap();
            fs.rename(&dir.join("from/a"), &dir.join("to/a")).unwrap();
            fs.sync_dir(&dir.join("to")).unwrap();
        })
    };
    assert_eq!(run("to/a"), BTreeSet::from([Some(b"x".to_vec())]));
    assert_eq!(run("from/a"), BTreeSet::from([None, Some(b"x".to_vec())]));
}

#[test]
fn a_killed_process_loses_nothing_and_can_do_nothing_more() {
    let all = outcomes("a", |fs, dir| {
        let mut file = fs.create_new(&dir.join("a")).unwrap();
        fs.sync_dir(dir).unwrap();
        let _lock = fs.lock(&dir.join("LOCK")).unwrap();
        fs.fail_at(fs.n_ops() + 1, Fault::Kill);
        file.write_all(b"ab").unwrap();
        file.sync_data().unwrap_err();
        file.write_all(b"late").unwrap_err();
        assert!(fs.is_off());
        // The next one finds it all, and the lock free; it is not durable yet.
        let next = fs.restarted();
        assert_eq!(next.read(&dir.join("a")).unwrap(), b"ab");
        let _lock = next.lock(&dir.join("LOCK")).unwrap();
        // A process that lives is killed by the restart.
        let third = next.restarted();
        assert!(next.is_off() && !third.is_off());
    });
    for expected in [b"".as_slice(), b"a", b"ab"] {
        assert!(all.contains(&Some(expected.to_vec())), "{expected:?}");
    }
}
