//! One case: the lives of one job on one disk, and the verdict.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream::job::RunOptions;
use millstream::{BatchId, DataFrame, FileSystem, Result, Session, Trigger};
use millstream_testkit::power_loss::{Fault, PowerLossFs};
use millstream_testkit::rng::Rng;
use millstream_testkit::wal_decoder;

use super::feeder::{self, Feeder};
use super::jobs::{DEAD, DEAD_COLUMNS, Job, Life};
use super::{inputs, reader};

/// Lives before the last one, in which nothing goes wrong.
const LIVES: u64 = 4;
/// No life of so few rows takes that long.
const HANG: Duration = Duration::from_secs(60);

/// What happened in the cases of a job.
#[derive(Debug, Default)]
pub struct Tally {
    pub n_cases: u64,
    pub n_cuts: u64,
    pub n_failures: u64,
    pub n_rows: u64,
    pub n_dead: u64,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        self.n_cases += other.n_cases;
        self.n_cuts += other.n_cuts;
        self.n_failures += other.n_failures;
        self.n_rows += other.n_rows;
        self.n_dead += other.n_dead;
    }
}

/// One job on one disk.
pub struct Case {
    job: &'static Job,
    seed: u64,
    rng: Rng,
    dir: tempfile::TempDir,
    fs: PowerLossFs,
    n_files: u64,
    feeder: Option<Feeder>,
    outside: Arc<Mutex<Outside>>,
    /// What readers saw, and when.
    looks: Vec<Look>,
    /// The rows of every segment of the write-ahead log that ever was, as last seen.
    log: BTreeMap<PathBuf, Vec<String>>,
}

/// What readers saw at a moment, by folder.
#[derive(Debug)]
struct Look {
    when: String,
    /// Whether all that is there is durable: the power was cut, or the run ended well.
    is_durable: bool,
    /// A foreign reader: every row.
    rows: BTreeMap<&'static str, Vec<String>>,
    /// Millstream's own reader, which sees whole committed batches only: the rows' keys.
    keys: BTreeMap<&'static str, Vec<String>>,
}

/// What a writer of foreach_batch was given: a store elsewhere, which loses nothing and replaces by batch id.
#[derive(Debug, Default)]
struct Outside {
    batches: BTreeMap<u64, Vec<u8>>,
    /// Batches that came again with other rows.
    differing: Vec<String>,
}

impl Case {
    /// Runs one case.
    pub async fn check(job: &'static Job, seed: u64) -> Tally {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        std::fs::create_dir(dir.path().join("in")).unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        let mut rng = Rng::new(seed);
        let feeder = if job.life == Life::Endless { Some(Feeder::start(rng.next_u64()).await) } else { None };
        let (fs, outside) = (PowerLossFs::new(), Arc::default());
        let mut case = Self { job, seed, rng, dir, fs, n_files: 0, feeder, outside, looks: Vec::new(), log: BTreeMap::new() };
        let mut tally = Tally { n_cases: 1, ..Tally::default() };
        for life in 0..LIVES {
            case.one_life(life, &mut tally).await;
        }
        case.feed().await;
        let ended = case.live(true).await;
        ended.unwrap_or_else(|error| panic!("{}, seed {seed}: the last life failed: {error:?}", job.name));
        case.look("at the end".to_owned(), true).await;
        case.verdict(&mut tally).await;
        tally
    }

    async fn one_life(&mut self, life: u64, tally: &mut Tally) {
        self.feed().await;
        let at = self.fs.n_ops() + self.rng.below(120);
        let fault = match self.rng.below(8) {
            0 => None,
            1 => Some(Fault::NoSpace),
            2 => Some(Fault::Io),
            3 | 4 => Some(Fault::Kill),
            _ => Some(Fault::PowerLoss),
        };
        if let Some(fault) = fault {
            self.fs.fail_at(at, fault);
        }
        let drains = self.rng.one_in(2);
        let ended = self.live(drains).await;
        let is_well = ended.is_ok();
        tally.n_failures += u64::from(!is_well);
        let is_off = fault == Some(Fault::PowerLoss) && self.fs.is_off();
        // However it ended: what it left running can do nothing more.
        self.fs = self.fs.restarted();
        let how = ended.err().map_or_else(|| "well".to_owned(), |error| error.to_string());
        self.look(format!("after life {life}, which ended: {how}"), is_well).await;
        if is_off || self.rng.one_in(2) {
            tally.n_cuts += 1;
            let report = self.fs.crash(self.rng.next_u64()).unwrap();
            self.fs = PowerLossFs::new();
            self.look(format!("after the power cut of life {life}: {report:#?}"), true).await;
        }
    }

    /// More input.
    async fn feed(&mut self) {
        if let Some(feeder) = &self.feeder {
            feeder.hung_up().await;
            feeder.allow(1 + self.rng.index(30));
        }
        if let Some(format) = self.job.input {
            for _ in 0..1 + self.rng.below(3) {
                let (name, text) = inputs::file(format, self.n_files, &mut self.rng);
                std::fs::write(self.dir.path().join("in").join(name), text).unwrap();
                self.n_files += 1;
            }
        }
    }

    /// One run of the job, until it ends, well or not. `drains`: an endless one is not stopped before it has done all.
    async fn live(&self, drains: bool) -> Result<()> {
        let session = Session::builder().files(Arc::new(self.fs.clone()) as Arc<dyn FileSystem>);
        // The log lets go of what is old as soon as it may.
        let session = session.config("spark.sql.streaming.minBatchesToRetain", "1").build()?;
        let run = async {
            match self.job.life {
                Life::Bounded => run(&session, &self.text(self.job.stream(), "root"), Some(Trigger::AvailableNow)).await,
                Life::ForeachBatch => self.foreach_batch(&session).await,
                Life::Endless => {
                    let text = self.text(self.job.stream(), "root");
                    let job = millstream::Job::parse(&session, &text).await?;
                    let mut run = job.run(RunOptions::default()).await?;
                    let stop = run.stop_token();
                    tokio::select! {
                        ended = run.wait() => ended,
                        () = self.until_enough(&session, drains) => {
                            stop.cancel();
                            run.wait().await
                        }
                    }
                }
            }
        };
        let ended = tokio::time::timeout(HANG, run).await;
        ended.unwrap_or_else(|_| panic!("{}, seed {}: a life hangs", self.job.name, self.seed))
    }

    async fn foreach_batch(&self, session: &Session) -> Result<()> {
        session.sql_script(&self.text(self.job.source().to_owned(), "root")).await?;
        let (fs, out, outside) = (self.fs.clone(), self.dir.path().join("root/out"), Arc::clone(&self.outside));
        let replace = move |rows: DataFrame, batch: BatchId| {
            let (fs, out, outside) = (fs.clone(), out.clone(), Arc::clone(&outside));
            async move {
                let lines = rows.json_lines().await?;
                outside.lock().unwrap().replace(batch, lines.clone());
                // Behind the store that loses nothing one on the disk of the job.
                fs.create_dir_all(&out)?;
                fs.replace_synced(&out.join(format!("batch-{:06}.json", batch.0)), &lines)?;
                Ok(())
            }
        };
        let writer = session.sql(self.job.query()).await?.write_stream().option("rowErrors", "deadLetter").trigger(Trigger::AvailableNow);
        let query = writer.checkpoint(self.dir.path().join("root/checkpoint")).foreach_batch(replace).start().await?;
        query.await_termination(None).await.map(|_| ())
    }

    /// Until an endless job has been sent all of this life's lines, and has done them if it is to, or can do nothing more.
    async fn until_enough(&self, session: &Session, drains: bool) {
        let feeder = self.feeder.as_ref().unwrap();
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if self.fs.is_off() {
                return;
            }
            let Some(n_sent) = feeder.n_sent_if_all() else { continue };
            if !drains {
                return;
            }
            let Some(query) = session.streams().active().pop() else { continue };
            let Some(progress) = query.last_progress() else { continue };
            if progress.sources[0].metrics.get("rowsReceived").is_some_and(|n| *n == n_sent.to_string()) {
                // A failure is the run's to tell.
                let _ = query.process_all_available().await;
                return;
            }
        }
    }

    /// Looks at all that is there.
    async fn look(&mut self, when: String, is_durable: bool) {
        let root = self.dir.path().join("root");
        if self.job.life == Life::Endless {
            self.log.extend(wal_decoder::segments(&root).unwrap());
        }
        let keys = self.keys(&root).await;
        let keys = keys.unwrap_or_else(|error| panic!("{}, seed {}, {when}: {error:?}", self.job.name, self.seed));
        let rows = self.rows(&root).unwrap_or_else(|error| panic!("{}, seed {}, {when}: {error}", self.job.name, self.seed));
        self.looks.push(Look { when, is_durable, rows, keys });
    }

    /// All rows, as a reader that knows nothing of us sees them.
    fn rows(&self, root: &Path) -> Result<BTreeMap<&'static str, Vec<String>>, String> {
        let folders = self.job.tables().map(|table| (table, [].as_slice())).chain([(DEAD, DEAD_COLUMNS)]);
        folders.map(|(folder, columns)| Ok((folder, reader::rows(&root.join(folder), columns)?))).collect()
    }

    /// The keys of all rows that Millstream's reader sees.
    async fn keys(&self, root: &Path) -> Result<BTreeMap<&'static str, Vec<String>>> {
        let session = quiet_session()?;
        let mut keys = BTreeMap::new();
        for (table, format) in self.job.sinks() {
            let reader = session.read().format(format).schema(&format!("{} STRING", self.job.key)).option("pathMustExist", "false");
            let rows = reader.load_path(root.join(table)).await?.select_expr([self.job.key])?.text_rows().await?;
            keys.insert(table, sorted(rows.into_iter().flatten()));
        }
        Ok(keys)
    }

    /// Compares all that was ever seen with what must be there.
    async fn verdict(&self, tally: &mut Tally) {
        let place = format!("{}, seed {}", self.job.name, self.seed);
        let expected = match self.job.life {
            Life::Endless => self.logged(&place),
            _ => self.batch().await,
        };
        for look in &self.looks {
            for (folder, rows) in &look.rows {
                if let Some(row) = surplus(rows, &expected[folder]) {
                    panic!("{place}, '{folder}' {}: a row twice, or one that nobody wrote: {row}", look.when);
                }
            }
        }
        let last = self.looks.last().unwrap();
        for (folder, rows) in &last.rows {
            if let Some(row) = surplus(&expected[folder], rows) {
                panic!("{place}, '{folder}': a row is missing at the end: {row}; {:#?}", self.looks);
            }
            *(if *folder == DEAD { &mut tally.n_dead } else { &mut tally.n_rows }) += rows.len() as u64;
        }
        self.judge_own_reader(&place, &expected);
        let outside = self.outside.lock().unwrap();
        assert!(outside.differing.is_empty(), "{place}: {:#?}", outside.differing);
        if self.job.life == Life::ForeachBatch {
            let given = sorted(outside.batches.values().flat_map(|lines| text_lines(lines)));
            assert_eq!(given, expected["out"], "{place}: what the writer was given");
        }
    }

    /// Millstream's reader: whole batches, which stay once they were there, and in the end all.
    fn judge_own_reader(&self, place: &str, expected: &BTreeMap<&'static str, Vec<String>>) {
        for (table, _) in self.job.sinks() {
            let all = sorted(expected[table].iter().map(|row| self.job.key_of(row).to_owned()));
            let mut before: &[String] = &[];
            for look in &self.looks {
                let keys = &look.keys[table];
                if let Some(key) = surplus(before, keys) {
                    panic!("{place}, '{table}' {}: Millstream's reader saw a row before, and sees it no more: {key}", look.when);
                }
                // A batch is a file: the front of its rows' keys.
                for file in keys.iter().filter_map(|key| key.split_once("-r")).map(|(file, _)| file) {
                    let n_of = |keys: &[String]| keys.iter().filter(|key| key.starts_with(file)).count();
                    let (n, n_all) = (n_of(keys), n_of(&all));
                    assert_eq!(n, n_all, "{place}, '{table}' {}: Millstream's reader sees a part of batch {file}", look.when);
                }
                if look.is_durable {
                    before = keys;
                }
            }
            assert_eq!(before, all, "{place}, '{table}': Millstream's reader at the end");
        }
    }

    /// The result of the job as a batch over all its input.
    async fn batch(&self) -> BTreeMap<&'static str, Vec<String>> {
        let session = quiet_session().unwrap();
        run(&session, &self.text(self.job.batch(), "batch"), None).await.unwrap();
        self.rows(&self.dir.path().join("batch")).unwrap()
    }

    /// The result of the socket job: what is in the log, which was sent, in order, without a hole within a connection.
    fn logged(&self, place: &str) -> BTreeMap<&'static str, Vec<String>> {
        let (n_sent, last_from) = self.feeder.as_ref().unwrap().sent();
        let mut next = 0;
        let mut expected = BTreeMap::from([("out", Vec::new()), (DEAD, Vec::new())]);
        for (segment, rows) in &self.log {
            for (at, row) in rows.iter().enumerate() {
                let idx = feeder::idx_of(row).unwrap_or_else(|| panic!("{place}: torn or invented in {}: {row:?}", segment.display()));
                let fits = if at == 0 { idx >= next } else { idx == next };
                assert!(fits && idx < n_sent, "{place}: line {idx} behind line {next} in {}", segment.display());
                next = idx + 1;
                match row[..6].parse::<u32>() {
                    Ok(n) => expected.get_mut("out").unwrap().push(format!("value={row}, n={n}")),
                    Err(_) => expected.get_mut(DEAD).unwrap().push(format!("raw={{\"value\":\"{row}\"}}")),
                }
            }
        }
        assert!(next == n_sent, "{place}: the last connection was sent lines {last_from} to {n_sent}, and the log ends at {next}");
        expected.values_mut().for_each(|rows| rows.sort_unstable());
        expected
    }

    fn text(&self, template: String, root: &str) -> String {
        let port = self.feeder.as_ref().map_or(0, |feeder| feeder.port);
        let dir = self.dir.path().display();
        template.replace("{in}", &format!("{dir}/in")).replace("{root}", &format!("{dir}/{root}")).replace("{port}", &port.to_string())
    }
}

impl Outside {
    fn replace(&mut self, batch: BatchId, lines: Vec<u8>) {
        if let Some(before) = self.batches.insert(batch.0, lines.clone())
            && text_lines(&before) != text_lines(&lines)
        {
            self.differing.push(format!("batch {batch} was {:?} and came again as {:?}", text_lines(&before), text_lines(&lines)));
        }
    }
}

/// On a layer on which nothing goes wrong, and which does not wait for the real disk.
fn quiet_session() -> Result<Session> {
    Session::builder().files(Arc::new(PowerLossFs::new()) as Arc<dyn FileSystem>).build()
}

/// Runs a job file.
async fn run(session: &Session, text: &str, trigger: Option<Trigger>) -> Result<()> {
    let job = millstream::Job::parse(session, text).await?;
    job.run(RunOptions { trigger, ..RunOptions::default() }).await?.wait().await
}

fn text_lines(bytes: &[u8]) -> Vec<String> {
    sorted(String::from_utf8_lossy(bytes).lines().map(str::to_owned))
}

fn sorted(rows: impl Iterator<Item = String>) -> Vec<String> {
    let mut rows: Vec<String> = rows.collect();
    rows.sort_unstable();
    rows
}

/// A row of `rows` that is not in `whole`, or more often than there. Both are sorted.
fn surplus<'a>(rows: &'a [String], whole: &[String]) -> Option<&'a String> {
    let mut rest = whole.iter();
    rows.iter().find(|row| rest.by_ref().find(|there| there >= row) != Some(*row))
}
