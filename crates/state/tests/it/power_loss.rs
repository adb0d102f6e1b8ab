//! Power cuts at any operation: what `append` acknowledged is there, what is there was written, nothing else.
//!
//! Every case runs several lives of a checkpoint (or write-ahead log) on one folder; a life ends by power loss at a
//! random operation, by a failing disk, by a kill without power loss, or well. A failing seed is printed and replays.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use millstream_core::{BatchId, QueryId};
use millstream_state::fs::FileSystem;
use millstream_state::wal::read_range;
use millstream_state::{Record, RecordKind, Recovered, Retention, Wal, WalOptions, WalPosition};
use millstream_testkit::{Fault, PowerLossFs, Rng};

use crate::support::{SMALL, intent, local, open, prepared, scratch_dir, start_record};

/// `MILLSTREAM_TEST_POWER_LOSS_CASES` asks for more.
fn n_cases() -> u64 {
    std::env::var("MILLSTREAM_TEST_POWER_LOSS_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000)
}

const LIVES: u64 = 4;

/// What the test knows of the log.
#[derive(Default)]
struct Model {
    query_id: Option<QueryId>,
    /// Batches whose prepared record was acknowledged, or seen by a recovery.
    decided: BTreeMap<u64, Record>,
    committed: Option<BatchId>,
    intent: Option<Record>,
    job: Option<serde_json::Value>,
    /// The record whose append got no answer.
    maybe: Option<Record>,
    /// Everything below may have been forgotten.
    floor: u64,
    snapshots: BTreeMap<u64, Bytes>,
}

impl Model {
    fn acknowledge(&mut self, record: Record) {
        self.committed = self.committed.max(record.committed);
        match record.kind {
            RecordKind::Start => self.job = record.job,
            RecordKind::Intent | RecordKind::Proposed => self.intent = Some(record),
            RecordKind::Prepared => {
                self.intent = None;
                self.decided.insert(record.batch.unwrap().0, record);
            }
            _ => {}
        }
    }

    fn next_batch(&self) -> u64 {
        self.decided.last_key_value().map_or(0, |(last, _)| last + 1)
    }

    /// Compares what a recovery says with what is known, and learns from it whether the last append is there.
    fn check(&mut self, recovered: &Recovered) {
        assert_eq!(*self.query_id.get_or_insert(recovered.query_id), recovered.query_id);
        if let Some(maybe) = self.maybe.take()
            && is_there(&maybe, recovered)
        {
            self.acknowledge(maybe);
        }
        let last = self.decided.last_key_value().map(|(_, record)| record);
        assert_eq!(recovered.last_prepared.as_ref().map(content), last.map(content), "the last prepared record");
        assert_eq!(recovered.last_intent.as_ref().map(content), self.intent.as_ref().map(content), "the intent");
        assert_eq!(recovered.committed, self.committed, "committed");
        assert_eq!(recovered.last_start.as_ref().and_then(|start| start.job.clone()), self.job, "the job");
        let uncommitted: Vec<_> = recovered.uncommitted.iter().map(content).collect();
        let expected: Vec<_> = self.decided.values().filter(|record| record.batch > self.committed).map(content).collect();
        assert_eq!(uncommitted, expected, "uncommitted");
        self.check_source(recovered);
    }

    fn check_source(&self, recovered: &Recovered) {
        let Some(source) = recovered.sources.get("in") else {
            assert!(self.decided.is_empty());
            return;
        };
        let mut next = self.floor;
        if let Some((batch, bytes)) = &source.snapshot {
            assert_eq!(self.snapshots.get(&batch.0), Some(bytes), "the snapshot of batch {batch}");
            next = batch.0 + 1;
        }
        let first = source.ranges.first().map_or(self.next_batch(), |(batch, _)| batch.0);
        assert!(first <= next, "ranges begin with batch {first}, needed from {next}");
        let found: Vec<_> = source.ranges.iter().map(|(batch, range)| (batch.0, range.clone())).collect();
        let expected: Vec<_> = self.decided.range(first..).map(|(batch, record)| (*batch, record.sources["in"].range.clone())).collect();
        assert_eq!(found, expected, "ranges");
    }
}

/// What the caller gave, without what the checkpoint fills in.
fn content(record: &Record) -> Record {
    let mut record = record.clone();
    (record.seq, record.start_seq, record.floor_seq) = (0, 0, 0);
    record.epoch = millstream_core::RunEpoch(0);
    record.committed = None;
    record
}

fn is_there(record: &Record, recovered: &Recovered) -> bool {
    let same = |other: &Option<Record>| other.as_ref().is_some_and(|other| content(other) == content(record));
    // Of two proposals that are the same the second may be told by the fact that it carries.
    if recovered.committed < record.committed {
        return false;
    }
    match record.kind {
        RecordKind::Start => recovered.last_start.as_ref().is_some_and(|start| start.job == record.job),
        RecordKind::Intent | RecordKind::Proposed => same(&recovered.last_intent),
        RecordKind::Prepared => same(&recovered.last_prepared),
        _ => true,
    }
}

async fn live(fs: &PowerLossFs, path: &Path, model: &mut Model, rng: &mut Rng) -> millstream_core::Result<()> {
    let (mut checkpoint, recovered) = open(local(fs, path), SMALL).await?;
    model.check(&recovered);
    let start = start_record(rng.next_u64());
    model.maybe = Some(start.clone());
    let recovered = checkpoint.start(start, recovered).await?;
    let start = model.maybe.take().unwrap();
    model.acknowledge(start);
    model.check(&recovered_with_job(recovered, model));
    for _ in 0..rng.below(30) {
        let batch = model.next_batch();
        let mut record = match (&model.intent, rng.below(8)) {
            (Some(intent), 0 | 1) => Record::proposed_from(intent),
            (Some(intent), _) => Record::prepared_from(intent),
            (None, 0) => intent(batch, rng.next_u64()),
            (None, 1) if batch > 0 => Record::fact(BatchId(batch - 1), 5),
            (None, 2) if batch > 0 => {
                let bytes = Bytes::from(rng.next_u64().to_le_bytes().repeat(rng.index(40)));
                model.snapshots.entry(batch - 1).or_insert_with(|| bytes.clone());
                checkpoint.put_source_snapshot("in", BatchId(batch - 1), model.snapshots[&(batch - 1)].clone())?;
                prepared(batch, rng.next_u64())
            }
            _ => prepared(batch, rng.next_u64()),
        };
        if record.kind != RecordKind::Fact && batch > 0 && !rng.one_in(4) {
            record.committed = Some(BatchId(batch - 1));
        }
        model.maybe = Some(record.clone());
        checkpoint.append(record).await?;
        let record = model.maybe.take().unwrap();
        model.acknowledge(record);
        if rng.one_in(3) {
            let remembers = rng.one_in(2);
            checkpoint.retain(&Retention { n_batches_min: 3, keep_from: None, remembering: if remembers { &["in"] } else { &[] } });
            if !remembers {
                let kept = model.next_batch().saturating_sub(3).min(model.committed.map_or(0, |batch| batch.0 + 1));
                model.floor = model.floor.max(kept);
            }
        }
    }
    if rng.one_in(2) {
        checkpoint.close().await;
    }
    Ok(())
}

/// `start` hands back what `open` said, so the job is still the one before.
fn recovered_with_job(mut recovered: Recovered, model: &Model) -> Recovered {
    if let Some(start) = &mut recovered.last_start {
        start.job = model.job.clone();
    } else {
        recovered.last_start = Some(start_record(0));
        recovered.last_start.as_mut().unwrap().job = model.job.clone();
    }
    recovered
}

#[test]
fn a_checkpoint_survives_power_loss() {
    let counts = std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| scope.spawn(move || checkpoint_cases((0..n_cases()).filter(|seed| seed % 2 == half))));
        halves.map(|half| half.join().unwrap())
    });
    let [n_records, n_crashes, n_errors] = std::array::from_fn(|at| counts[0][at] + counts[1][at]);
    assert!(n_records > 10_000 && n_crashes > 3_000 && n_errors > 2_000, "{n_records} {n_crashes} {n_errors}");
}

fn checkpoint_cases(seeds: impl Iterator<Item = u64>) -> [u64; 3] {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).max_blocking_threads(2).enable_all().build().unwrap();
    let (mut n_records, mut n_crashes, mut n_errors) = (0, 0, 0);
    for seed in seeds {
        let mut rng = Rng::new(seed);
        let dir = scratch_dir();
        let root = dir.path().join("checkpoint");
        let mut model = Model::default();
        let mut fs = PowerLossFs::new();
        for life in 0..LIVES {
            let at = fs.n_ops() + rng.below(120);
            match rng.below(6) {
                0 => {}
                1 => fs.fail_at(at, Fault::NoSpace),
                2 => fs.fail_at(at, Fault::Io),
                _ => fs.fail_at(at, Fault::PowerLoss),
            }
            let replay = Replay { what: "checkpoint", seed, life };
            let ended = runtime.block_on(live(&fs, &root, &mut model, &mut rng));
            n_errors += u64::from(ended.is_err());
            if let Err(error) = &ended {
                // A failing disk is an error; damage is never seen, and nothing is out of order.
                assert!(!matches!(error.kind(), millstream_core::ErrorKind::Data | millstream_core::ErrorKind::Internal), "{error}");
            }
            // Else: killed, the machine lives on.
            if fs.is_off() || rng.one_in(2) {
                let crash_seed = rng.next_u64();
                fs.crash(crash_seed).unwrap();
                fs = PowerLossFs::new();
                n_crashes += 1;
            } else {
                fs.fail_at(u64::MAX, Fault::Io);
            }
            std::mem::forget(replay);
        }
        n_records += model.decided.len() as u64;
        let replay = Replay { what: "checkpoint", seed, life: LIVES };
        runtime.block_on(async {
            let (_, recovered) = open(local(&PowerLossFs::new(), &root), SMALL).await.unwrap();
            model.check(&recovered);
        });
        std::mem::forget(replay);
    }
    [n_records, n_crashes, n_errors]
}

/// A power cut at every operation of a short run, and another at every operation of the recovery from it.
#[test]
fn a_crash_at_every_operation_and_one_more_in_recovery() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let script = async |fs: &PowerLossFs, root: &Path, n_acknowledged: &mut u64| -> millstream_core::Result<()> {
        let (mut checkpoint, opened) = open(local(fs, root), SMALL).await?;
        checkpoint.start(start_record(7), opened).await?;
        let mut second = prepared(1, 1);
        second.committed = Some(BatchId(0));
        for record in [intent(0, 0), Record::prepared_from(&intent(0, 0)), second, Record::fact(BatchId(1), 9)] {
            checkpoint.append(record).await?;
            *n_acknowledged += 1;
        }
        Ok(())
    };
    let mut n_pairs = 0;
    for first in 0.. {
        let mut n_acknowledged = 0;
        for second in 0.. {
            let dir = scratch_dir();
            let root = dir.path().join("c");
            let fs = PowerLossFs::with_fault(first, Fault::PowerLoss);
            n_acknowledged = 0;
            let ended = runtime.block_on(script(&fs, &root, &mut n_acknowledged));
            assert_eq!(ended.is_err(), fs.is_off());
            fs.crash(first * 1_000 + second).unwrap();
            let fs = PowerLossFs::with_fault(second, Fault::PowerLoss);
            let recovering = runtime.block_on(open(local(&fs, &root), SMALL));
            let is_whole = recovering.is_ok();
            drop(recovering);
            fs.crash(second).unwrap();
            let (_, recovered) = runtime.block_on(open(local(&PowerLossFs::new(), &root), SMALL)).unwrap();
            let n_found = match (&recovered.last_prepared, &recovered.last_intent) {
                (None, None) => 0,
                (None, Some(_)) => 1,
                (Some(record), _) if record.batch == Some(BatchId(0)) => 2,
                _ => 3 + u64::from(recovered.committed == Some(BatchId(1))),
            };
            assert!((n_acknowledged..=n_acknowledged + 1).contains(&n_found), "power loss at {first}, then at {second}: {n_found}");
            n_pairs += 1;
            if is_whole {
                break;
            }
        }
        if n_acknowledged == 4 {
            break;
        }
    }
    assert!(n_pairs > 40, "{n_pairs}");
}

#[test]
fn a_write_ahead_log_survives_power_loss() {
    const OPTIONS: WalOptions = WalOptions { segment_bytes: 600, bytes_max: 0 };
    let (mut n_rows, mut n_crashes) = (0, 0);
    for seed in 0..n_cases() {
        let mut rng = Rng::new(seed);
        let dir = scratch_dir();
        let root = dir.path().join("wal");
        // Rows from `start` on: first those known to be there, then those of an append without an answer.
        let (mut known, mut maybe): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
        let mut start: Option<WalPosition> = None;
        let mut fs = PowerLossFs::new();
        for life in 0..=LIVES {
            let replay = Replay { what: "write-ahead log", seed, life };
            if life < LIVES {
                let at = fs.n_ops() + rng.below(60);
                let fault = [Fault::PowerLoss, Fault::PowerLoss, Fault::NoSpace, Fault::Io][rng.index(4)];
                fs.fail_at(at, fault);
            }
            let shared: Arc<dyn FileSystem> = Arc::new(fs.clone());
            let mut session = || -> millstream_core::Result<()> {
                let mut wal = Wal::open(Arc::clone(&shared), &root, OPTIONS)?;
                let from = *start.get_or_insert(wal.start());
                let rows: millstream_core::Result<Vec<_>> = read_range(Arc::clone(&shared), &root, from, wal.end())?.collect();
                let rows: Vec<u64> = rows?.iter().map(|row| u64::from_le_bytes(row.bytes[..8].try_into().unwrap())).collect();
                let both: Vec<u64> = known.iter().chain(&maybe).copied().collect();
                assert!(rows == known || rows == both, "{rows:?} is neither {known:?} nor that and {maybe:?}");
                assert_eq!(wal.n_rows(from, wal.end()), rows.len() as u64);
                known = rows;
                maybe.clear();
                for _ in 0..rng.below(20) {
                    maybe = (0..1 + rng.below(4)).map(|_| rng.next_u64()).collect();
                    let rows: Vec<Vec<u8>> = maybe.iter().map(|row| row.to_le_bytes().repeat(1 + (*row % 9) as usize)).collect();
                    wal.append(&rows.iter().map(|row| (1, row.as_slice())).collect::<Vec<_>>())?;
                    n_rows += maybe.len();
                    known.append(&mut maybe);
                    if rng.one_in(6) {
                        let n_committed = rng.below(known.len() as u64 + 1);
                        let committed = wal.advance(start.unwrap(), n_committed);
                        known.drain(..n_committed as usize);
                        start = Some(committed);
                        wal.trim(committed)?;
                    }
                }
                Ok(())
            };
            if let Err(error) = session() {
                assert!(!matches!(error.kind(), millstream_core::ErrorKind::Data | millstream_core::ErrorKind::Internal), "{error}");
            }
            if fs.is_off() || rng.one_in(2) {
                fs.crash(rng.next_u64()).unwrap();
                fs = PowerLossFs::new();
                n_crashes += 1;
            } else {
                fs.fail_at(u64::MAX, Fault::Io);
            }
            std::mem::forget(replay);
        }
    }
    assert!(n_rows > 50_000 && n_crashes > 3_000, "{n_rows} {n_crashes}");
}

/// Dropped by a failing assertion: says how to see it again.
struct Replay {
    what: &'static str,
    seed: u64,
    life: u64,
}

impl Drop for Replay {
    fn drop(&mut self) {
        eprintln!("failed: {} case with seed {}, life {}", self.what, self.seed, self.life);
    }
}
