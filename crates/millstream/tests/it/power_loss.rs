//! Whole jobs on a disk that forgets what was not synced: files to files and dead letters, checkpoint and outputs on one layer.
//!
//! A life of the job ends by a power cut, a full or failing disk at a random operation, by a kill, or well. After each one a
//! reader that knows nothing of us must see no row twice and none that was not in the input; at the end every row is there.
//! `MILLSTREAM_TEST_POWER_LOSS_JOBS` asks for more cases; the seed in a failure replays one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream::{FileSystem, Result, Session, Trigger};
use millstream_testkit::PowerLossFs;
use millstream_testkit::power_loss::Fault;
use millstream_testkit::rng::Rng;

const CASES: u64 = 60;
const LIVES: u64 = 4;
const PARTITIONS: u64 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn jobs_lose_and_double_nothing_when_the_power_goes() {
    let n_cases = std::env::var("MILLSTREAM_TEST_POWER_LOSS_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(CASES);
    let from: u64 = std::env::var("MILLSTREAM_TEST_POWER_LOSS_FROM").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let (mut n_cuts, mut n_failures) = (0, 0);
    for seed in from..from + n_cases {
        let case = check(seed).await;
        n_cuts += case.0;
        n_failures += case.1;
    }
    assert!(n_cuts > n_cases / 2 && n_failures > n_cases / 2, "{n_cuts} power cuts, {n_failures} failed lives in {n_cases} cases");
}

struct Job {
    root: PathBuf,
    n_files: u64,
    n_rows: u64,
}

impl Job {
    /// One more input file: some rows, and one that is no JSON.
    fn feed(&mut self, rng: &mut Rng) {
        let mut text = String::new();
        for _ in 0..1 + rng.below(20) {
            text += &format!("{{\"id\":{}}}\n", self.n_rows);
            self.n_rows += 1;
        }
        text += &format!("{{\"bad\":{},\n", self.n_files);
        std::fs::write(self.root.join(format!("in/{:04}.json", self.n_files)), text).unwrap();
        self.n_files += 1;
    }

    async fn live(&self, fs: &PowerLossFs) -> Result<()> {
        let session = Session::builder().files(Arc::new(fs.clone()) as Arc<dyn FileSystem>).build()?;
        let frame = session
            .read_stream()
            .schema("id BIGINT")
            .option("maxFilesPerTrigger", "1")
            .option("deadLetterPath", self.root.join("dead").to_string_lossy())
            .json(self.root.join("in"))
            .await?
            .select_expr(["id", &format!("id % {PARTITIONS} AS k")])?;
        let writer = frame.write_stream().format("json").partition_by(["k"]).trigger(Trigger::AvailableNow);
        let query = writer.checkpoint(self.root.join("checkpoint")).start_path(self.root.join("out")).await?;
        query.await_termination(None).await.map(|_| ())
    }

    /// The rows in all files that look like data.
    fn visible(&self, seed: u64) -> Vec<u64> {
        let mut rows = Vec::new();
        for path in files_below(&self.root.join("out")) {
            if path.extension().is_some_and(|extension| extension == "json") {
                let text = std::fs::read_to_string(&path).unwrap();
                assert!(text.ends_with('\n'), "seed {seed}: {} is torn", path.display());
                rows.extend(text.lines().map(|line| {
                    let id = line.strip_prefix("{\"id\":").and_then(|line| line.strip_suffix('}')).and_then(|id| id.parse::<u64>().ok());
                    id.unwrap_or_else(|| panic!("seed {seed}: {line:?} in {}", path.display()))
                }));
            }
        }
        rows.sort_unstable();
        rows
    }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() { files_below(&path) } else { vec![path] }
        })
        .collect()
}

/// Runs one case; how many power cuts and failed lives it had.
async fn check(seed: u64) -> (u64, u64) {
    let mut rng = Rng::new(seed);
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    let mut job = Job { root: dir.path().to_owned(), n_files: 0, n_rows: 0 };
    let mut fs = PowerLossFs::new();
    let (mut n_cuts, mut n_failures) = (0, 0);
    for life in 0..LIVES {
        for _ in 0..1 + rng.below(3) {
            job.feed(&mut rng);
        }
        let at = fs.n_ops() + rng.below(120);
        match rng.below(6) {
            0 => {}
            1 => fs.fail_at(at, Fault::NoSpace),
            2 => fs.fail_at(at, Fault::Io),
            _ => fs.fail_at(at, Fault::PowerLoss),
        }
        n_failures += u64::from(job.live(&fs).await.is_err());
        let report = if fs.is_off() || rng.one_in(2) {
            n_cuts += 1;
            let report = fs.crash(rng.next_u64()).unwrap();
            fs = PowerLossFs::new();
            report
        } else {
            fs.fail_at(u64::MAX, Fault::Io);
            vec!["no power cut".to_owned()]
        };
        let visible = job.visible(seed);
        let distinct: BTreeSet<u64> = visible.iter().copied().collect();
        assert_eq!(distinct.len(), visible.len(), "seed {seed}, life {life}: a row is visible twice: {report:#?}");
        assert!(distinct.iter().all(|id| *id < job.n_rows), "seed {seed}, life {life}: a row that nobody wrote: {report:#?}");
    }
    fs.fail_at(u64::MAX, Fault::Io);
    job.live(&fs).await.unwrap_or_else(|error| panic!("seed {seed}: the last life failed: {error:?}"));
    assert_eq!(job.visible(seed), (0..job.n_rows).collect::<Vec<_>>(), "seed {seed}: rows at the end");

    let dead = Session::new().unwrap().read().parquet(job.root.join("dead")).await.unwrap();
    let mut dead: Vec<String> =
        dead.select_expr(["CAST(raw AS STRING)"]).unwrap().text_rows().await.unwrap().into_iter().flatten().collect();
    dead.sort();
    let mut expected: Vec<String> = (0..job.n_files).map(|n| format!("{{\"bad\":{n},")).collect();
    expected.sort();
    assert_eq!(dead, expected, "seed {seed}: dead letters");
    (n_cuts, n_failures)
}
