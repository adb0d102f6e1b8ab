//! Folders in which nothing happens.

use std::path::PathBuf;
use std::time::Duration;

use millstream_core::{BatchId, Clock, Position};
use millstream_testkit::ManualClock;
use tokio::sync::Notify;

use super::*;
use crate::file::quiet::{QuietFolder, QuietFolders};

const LOOK: Duration = Duration::from_millis(500);

/// A stream over a folder of old files.
struct Stream {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    source: Box<dyn Source>,
    position: Position,
}

impl Stream {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let mut request = source_request("text", &[("path", dir.path().to_str().unwrap())], None);
        request.clock = Arc::clone(&clock) as Arc<dyn Clock>;
        let mut source = crate::harness::source(&registry().0, request).await.unwrap();
        let position = source.start(SourceStart::Fresh).await.unwrap();
        Self { dir, clock, source, position }
    }

    fn add(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        write_text(&path, "row", 1_600_000_000);
        path
    }

    /// As if nothing had changed for long.
    fn age(&self, mtime_s: u64) {
        std::fs::File::open(self.dir.path()).unwrap().set_modified(UNIX_EPOCH + Duration::from_secs(mtime_s)).unwrap();
    }

    /// How many files the next batch has.
    async fn n_files(&mut self) -> usize {
        let Some(range) = self.source.plan(&self.position, &Admission::default()).await.unwrap() else { return 0 };
        self.source.decided(BatchId(0), &range).await.unwrap();
        self.position = range.end.clone();
        file_names(&range).len()
    }

    /// Moves the clock from look to look until it is told.
    async fn is_told(&self, changed: &Notify) {
        let told = changed.notified();
        tokio::pin!(told);
        let looks = async {
            loop {
                self.clock.advance(LOOK);
                tokio::select! {
                    () = &mut told => return,
                    () = tokio::time::sleep(Duration::from_millis(1)) => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), looks).await.expect("it is told");
    }
}

#[tokio::test]
async fn who_waits_at_a_folder_is_told_when_it_changes() {
    let mut stream = Stream::new().await;
    stream.add("a.txt");
    stream.age(1_600_000_000);
    assert!(stream.source.wakeup().is_none(), "nobody has looked yet");
    assert_eq!(stream.n_files().await, 1);
    assert!(stream.source.wakeup().is_none(), "the last look found something");
    assert_eq!(stream.n_files().await, 0);
    let changed = stream.source.wakeup().expect("it is quiet");

    stream.add("b.txt");
    stream.is_told(&changed).await;
    assert_eq!(stream.n_files().await, 1);
    // It may still change without its time changing.
    assert_eq!(stream.n_files().await, 0);
    assert!(stream.source.wakeup().is_none());

    stream.age(1_600_000_001);
    assert_eq!((stream.n_files().await, stream.n_files().await), (0, 0));
    let changed = stream.source.wakeup().expect("it is quiet again");
    std::fs::remove_file(stream.dir.path().join("b.txt")).unwrap();
    std::fs::remove_file(stream.dir.path().join("a.txt")).unwrap();
    std::fs::remove_dir(stream.dir.path()).unwrap();
    stream.is_told(&changed).await;
}

#[tokio::test]
async fn files_that_wait_are_not_waited_for() {
    let mut stream = Stream::new().await;
    let request = source_request("text", &[("path", stream.dir.path().to_str().unwrap()), ("maxFilesPerTrigger", "1")], None);
    stream.source = crate::harness::source(&registry().0, request).await.unwrap();
    stream.source.start(SourceStart::Fresh).await.unwrap();
    stream.add("a.txt");
    stream.add("b.txt");
    stream.age(1_600_000_000);
    assert_eq!(stream.n_files().await, 1);
    stream.source.fix_end().await.unwrap();
    assert!(stream.source.wakeup().is_none(), "the second is there");
    assert_eq!(stream.n_files().await, 1);
}

#[tokio::test]
async fn one_task_looks_at_all_folders_while_somebody_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (manual, folders) = (Arc::new(ManualClock::new(0)), QuietFolders::default());
    let clock: Arc<dyn Clock> = Arc::clone(&manual) as Arc<dyn Clock>;
    let quiet = |name: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        let mtime_us = crate::file::listing::modified_us(&std::fs::metadata(&path).unwrap());
        Arc::new(QuietFolder::new(path, mtime_us))
    };
    let (first, second) = (quiet("first"), quiet("second"));
    let n_tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let told = folders.changed(&first, &clock);
    folders.changed(&first, &clock);
    folders.changed(&second, &clock);
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!(alive(), n_tasks + 1);

    std::fs::write(dir.path().join("first/a"), "").unwrap();
    let passes = async {
        loop {
            manual.advance(LOOK);
            tokio::select! {
                () = told.notified() => break,
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
            }
        }
        // Nobody waits at the second any more.
        drop(second);
        while alive() > n_tasks {
            manual.advance(LOOK);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), passes).await.expect("it ends");
    folders.changed(&quiet("third"), &clock);
    assert_eq!(alive(), n_tasks + 1, "and begins again");
}
