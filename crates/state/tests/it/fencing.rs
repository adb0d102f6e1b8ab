//! Rivals on one object store: the higher epoch wins, the older run stops, and nothing acknowledged is ever lost.
//!
//! On a store in memory always; on a real S3 server when `MILLSTREAM_TEST_S3_ENDPOINT`, `_KEY`, `_SECRET` and `_BUCKET`
//! name one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use millstream_core::{BatchId, ErrorKind, IdSource, Options, RandomIds};
use millstream_state::checkpoint::verify;
use millstream_state::{Checkpoint, CheckpointOptions, Location};
use millstream_testkit::{FaultyStore, Rng, StoreFault};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;

use crate::support::{intent, open, prepared, range, run, start_record};

const OPTIONS: CheckpointOptions = CheckpointOptions { segment_bytes: 0, state_segment_bytes: 0 };

fn in_memory() -> Location {
    Location::object(Arc::new(InMemory::new()), "memory://test", ObjectPath::from("checkpoint"))
}

/// A fresh place on the S3 server that the environment names.
pub fn on_s3() -> Option<Location> {
    let get = |name: &str| std::env::var(format!("MILLSTREAM_TEST_S3_{name}")).ok();
    let options = Options::new()
        .with("aws_endpoint", get("ENDPOINT")?)
        .with("aws_access_key_id", get("KEY")?)
        .with("aws_secret_access_key", get("SECRET")?)
        .with("aws_region", "us-east-1");
    Some(Location::parse(&format!("s3://{}/state-it/{}", get("BUCKET")?, RandomIds.new_uuid()), &options).unwrap())
}

async fn older_stops(location: Location) {
    let (mut older, _) = run(location.clone(), OPTIONS).await.unwrap();
    older.append(prepared(0, 0)).await.unwrap();
    // The newer one has read the log, and the older one still writes.
    let (mut newer, opened) = open(location.clone(), OPTIONS).await.unwrap();
    assert_eq!(opened.last_prepared.as_ref().unwrap().batch, Some(BatchId(0)));
    older.append(prepared(1, 11)).await.unwrap();
    older.append(intent(2, 12)).await.unwrap();
    older.ensure_newest().await.unwrap();
    let recovered = newer.start(start_record(2), opened).await.unwrap();
    assert_eq!(recovered.last_prepared.as_ref().unwrap().batch, Some(BatchId(1)));
    assert_eq!(recovered.last_intent.as_ref().unwrap().batch, Some(BatchId(2)));
    assert_eq!(recovered.sources["in"].ranges, [(BatchId(0), range(0, 0)), (BatchId(1), range(1, 11))]);
    newer.ensure_newest().await.unwrap();
    assert_eq!(older.ensure_newest().await.unwrap_err().kind(), ErrorKind::Fenced);
    let error = older.append(millstream_state::Record::prepared_from(&intent(2, 12))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    assert!(error.message().contains("another run (epoch 1) has taken over"), "{error}");
    assert_eq!(older.append(prepared(2, 0)).await.unwrap_err().kind(), ErrorKind::Fenced);
    newer.append(millstream_state::Record::prepared_from(&intent(2, 12))).await.unwrap();

    // Two that start at the same moment: one of them wins.
    let (mut left, left_opened) = open(location.clone(), OPTIONS).await.unwrap();
    let (mut right, right_opened) = open(location.clone(), OPTIONS).await.unwrap();
    let (left, right) = tokio::join!(left.start(start_record(3), left_opened), right.start(start_record(4), right_opened));
    assert_eq!([left.is_ok(), right.is_ok()].into_iter().filter(|won| *won).count(), 1);
    let error = left.err().or(right.err()).unwrap();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    assert_eq!(newer.append(prepared(3, 0)).await.unwrap_err().kind(), ErrorKind::Fenced);
}

#[tokio::test]
async fn an_older_run_stops_at_its_next_record() {
    older_stops(in_memory()).await;
    if let Some(location) = on_s3() {
        older_stops(location).await;
    }
}

/// Several runs after and beside each other, each until it fails; every acknowledged record is in the log at the end.
async fn race(location: Location, seed: u64, n_rounds: u64) -> usize {
    let acknowledged: Arc<Mutex<BTreeMap<u64, u64>>> = Arc::default();
    let mut runs = tokio::task::JoinSet::new();
    for rival in 0..3_u64 {
        let (location, acknowledged) = (location.clone(), Arc::clone(&acknowledged));
        runs.spawn(async move {
            let mut rng = Rng::new(seed * 31 + rival);
            for _ in 0..n_rounds {
                for _ in 0..rng.below(20) {
                    tokio::task::yield_now().await;
                }
                let mut session = async || -> millstream_core::Result<()> {
                    let (mut checkpoint, opened) = open(location.clone(), OPTIONS).await?;
                    let recovered = checkpoint.start(start_record(rng.next_u64()), opened).await?;
                    for (batch, range) in &recovered.sources.get("in").cloned().unwrap_or_default().ranges {
                        let nonce = range.detail["nonce"].as_u64().unwrap();
                        let known = acknowledged.lock().unwrap().insert(batch.0, nonce);
                        assert!(known.is_none_or(|known| known == nonce), "batch {batch} changed from {known:?} to {nonce}");
                    }
                    let first = recovered.last_prepared.map_or(0, |record| record.batch.unwrap().0 + 1);
                    for batch in first..first + rng.below(6) {
                        let nonce = rng.next_u64() >> 1;
                        checkpoint.append(prepared(batch, nonce)).await?;
                        let known = acknowledged.lock().unwrap().insert(batch, nonce);
                        assert!(known.is_none_or(|known| known == nonce), "batch {batch} changed from {known:?} to {nonce}");
                        tokio::task::yield_now().await;
                    }
                    Ok(())
                };
                if let Err(error) = session().await {
                    assert!(matches!(error.kind(), ErrorKind::Fenced | ErrorKind::Unavailable), "seed {seed}: {error:?}");
                }
            }
        });
    }
    while let Some(ended) = runs.join_next().await {
        ended.unwrap();
    }
    Arc::into_inner(acknowledged).unwrap().into_inner().unwrap().len()
}

async fn check_end(location: Location, seed: u64, n_acknowledged: usize) {
    let report = verify(&location).await.unwrap();
    assert!(report.is_ok(), "seed {seed}: {report}");
    let (_, recovered) = open(location, OPTIONS).await.unwrap();
    let n_ranges = recovered.sources.get("in").map_or(0, |source| source.ranges.len());
    assert!(n_ranges >= n_acknowledged, "seed {seed}: {n_ranges} batches of {n_acknowledged}");
}

#[tokio::test]
async fn rivals_lose_nothing_that_was_acknowledged() {
    let mut n = 0;
    for seed in 0..60 {
        let location = in_memory();
        let n_acknowledged = race(location.clone(), seed, 6).await;
        n += n_acknowledged;
        check_end(location, seed, n_acknowledged).await;
    }
    assert!(n > 500, "{n}");
    if let Some(location) = on_s3() {
        let n_acknowledged = race(location.clone(), 1, 6).await;
        check_end(location, 1, n_acknowledged).await;
    }
}

#[tokio::test]
async fn rivals_on_a_bad_network_lose_nothing_that_was_acknowledged() {
    let mut n_faults = 0;
    for seed in 0..60 {
        let inner = Arc::new(InMemory::new());
        let faulty = FaultyStore::new(inner.clone());
        faulty.fail_one_in(6, seed);
        let at = |store: Arc<dyn millstream_state::Store>| Location::object(store, "memory://test", ObjectPath::from("checkpoint"));
        let late = tokio::spawn({
            let faulty = faulty.clone();
            async move {
                loop {
                    for _ in 0..50 {
                        tokio::task::yield_now().await;
                    }
                    faulty.deliver_late().await;
                }
            }
        });
        let n_acknowledged = race(at(Arc::new(faulty.clone())), seed, 8).await;
        late.abort();
        faulty.deliver_late().await;
        n_faults += faulty.n_faults();
        check_end(at(inner), seed, n_acknowledged).await;
    }
    assert!(n_faults > 1_000, "{n_faults}");
}

/// Every request of a short run fails once, in every way: the run goes on or stops, and nothing acknowledged is lost.
#[tokio::test]
async fn every_request_may_fail() {
    let script = async |location: Location, n_acknowledged: &mut u64| -> millstream_core::Result<()> {
        let (mut checkpoint, opened): (Checkpoint, _) = open(location, OPTIONS).await?;
        checkpoint.start(start_record(1), opened).await?;
        for batch in 0..3 {
            checkpoint.append(prepared(batch, batch)).await?;
            *n_acknowledged += 1;
        }
        Ok(())
    };
    let mut n_survived = 0;
    for fault in [StoreFault::RequestLost, StoreFault::AnswerLost, StoreFault::Late] {
        for at in 0.. {
            let inner = Arc::new(InMemory::new());
            let faulty = FaultyStore::new(inner.clone());
            faulty.fail_at(at, fault);
            let mut n_acknowledged = 0;
            let place = |store: Arc<dyn millstream_state::Store>| Location::object(store, "memory://test", ObjectPath::from("c"));
            let ended = script(place(Arc::new(faulty.clone())), &mut n_acknowledged).await;
            n_survived += u32::from(ended.is_ok() && faulty.n_faults() == 1);
            faulty.deliver_late().await;
            let (_, recovered) = run(place(inner), OPTIONS).await.unwrap();
            let n_ranges = recovered.sources.get("in").map_or(0, |source| source.ranges.len() as u64);
            assert!((n_acknowledged..=n_acknowledged + 1).contains(&n_ranges), "{fault:?} at request {at}");
            if faulty.n_faults() == 0 {
                break;
            }
        }
    }
    // The puts, at least, bear a lost answer or request.
    assert!(n_survived >= 8, "{n_survived}");
}

#[tokio::test]
async fn a_damaged_or_missing_object_is_named() {
    let store = Arc::new(InMemory::new());
    let location = Location::object(store.clone(), "memory://test", ObjectPath::from("c"));
    let (mut checkpoint, _) = run(location.clone(), OPTIONS).await.unwrap();
    for batch in 0..3 {
        checkpoint.append(prepared(batch, 0)).await.unwrap();
    }
    let key = ObjectPath::from("c/log/00000000000000000002.rec");
    let whole = store.get(&key).await.unwrap().bytes().await.unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 1;
        store.put(&key, bytes.into()).await.unwrap();
        let error = open(location.clone(), OPTIONS).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Data && error.message().contains("00000000000000000002.rec"), "{error}");
    }
    store.delete(&key).await.unwrap();
    let error = open(location, OPTIONS).await.unwrap_err();
    assert!(error.message().contains("records 2 to 2 are missing"), "{error}");
}
