//! The operating system's files: create once, replace at once, folders, locks.

use std::io::Write;

use super::*;

#[test]
fn a_file_is_created_once_and_appended_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let mut file = OsFileSystem.create_new(&path).unwrap();
    file.write_all(b"one").unwrap();
    file.sync_data().unwrap();
    file.write_all(b"two").unwrap();
    assert_eq!(file.len(), 6);
    assert_eq!(OsFileSystem.read(&path).unwrap(), b"onetwo");
    let error = OsFileSystem.create_new(&path).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
}

#[test]
fn replace_leaves_the_new_content_and_no_other_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    std::fs::write(dir.path().join("a.tmp"), "left by a crash").unwrap();
    OsFileSystem.replace_synced(&path, b"1").unwrap();
    OsFileSystem.replace_synced(&path, b"22").unwrap();
    assert_eq!(OsFileSystem.list(dir.path()).unwrap(), [DirEntry { name: "a".into(), is_dir: false, len: 2 }]);
    assert!(OsFileSystem.write_new_synced(&path, b"3").is_err());
}

#[test]
fn folders_are_created_with_their_parents_and_a_file_in_the_way_is_named() {
    let dir = tempfile::tempdir().unwrap();
    OsFileSystem.create_dir_all(&dir.path().join("a/b/c")).unwrap();
    OsFileSystem.create_dir_all(&dir.path().join("a/b/c")).unwrap();
    OsFileSystem.write_new_synced(&dir.path().join("file"), b"").unwrap();
    let error = OsFileSystem.create_dir_all(&dir.path().join("file")).unwrap_err();
    assert!(error.to_string().contains("file"), "{error}");
    assert!(OsFileSystem.create_dir_all(&dir.path().join("file/x")).is_err());
}

#[test]
fn a_second_lock_is_refused_with_the_owner_until_the_first_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lock");
    let guard = OsFileSystem.lock(&path).unwrap();
    let error = OsFileSystem.lock(&path).unwrap_err();
    assert!(error.message().contains(&format!("pid {}", std::process::id())), "{error}");
    drop(guard);
    OsFileSystem.lock(&path).unwrap();
}
