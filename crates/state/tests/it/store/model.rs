//! Tables against a map, in random order of calls. A failing seed is printed and replays.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};
use millstream_state::store::{FrozenTable, KeyHasher, KeyedMultiTable, KeyedTable, SpillStats, StateMemory, StoreRows, StoreSchema};
use millstream_testkit::Rng;

/// Keys as text, so that NaN has an order: a float and a string, both perhaps null.
pub type Key = (Option<String>, Option<String>);

/// Expiry, number, text.
pub type Row = (Option<i64>, i64, Option<String>);

pub fn schema() -> StoreSchema {
    StoreSchema::new(
        vec![Field::new("f", DataType::Float64, true), Field::new("s", DataType::Utf8, true)],
        vec![Field::new("n", DataType::Int64, false), Field::new("t", DataType::Utf8, true)],
    )
    .unwrap()
}

/// A key's columns; some ways to write the same key.
pub fn random_keys(rng: &mut Rng, n: usize) -> (Vec<Key>, Vec<ArrayRef>) {
    let floats: Vec<Option<f64>> = (0..n)
        .map(|_| match rng.below(8) {
            0 => None,
            1 => Some(-0.0),
            2 => Some(0.0),
            3 => Some(f64::NAN),
            4 => Some(-f64::NAN),
            n => Some(n as f64 - 5.5),
        })
        .collect();
    let texts: Vec<Option<String>> = (0..n).map(|_| (!rng.one_in(9)).then(|| "k".repeat(rng.index(12)))).collect();
    let keys = floats.iter().zip(&texts).map(|(f, t)| (f.map(|f| format!("{}", if f == 0.0 { 0.0 } else { f })), t.clone()));
    let columns: Vec<ArrayRef> = vec![Arc::new(Float64Array::from(floats.clone())), Arc::new(StringArray::from(texts.clone()))];
    (keys.collect(), columns)
}

/// A number below 2 to the power of `bits`, small ones more often.
pub fn up_to(rng: &mut Rng, bits: u64) -> u64 {
    let bits = rng.below(bits);
    rng.below(1 << bits)
}

pub fn random_rows(rng: &mut Rng, n: usize, now: i64) -> (Vec<Row>, Int64Array, Vec<ArrayRef>) {
    let rows: Vec<Row> = (0..n)
        .map(|_| {
            let expiry = (!rng.one_in(4)).then(|| now - 3 + (up_to(rng, 24) as i64));
            (expiry, rng.next_u64() as i64, (!rng.one_in(5)).then(|| "v".repeat(rng.index(40))))
        })
        .collect();
    let expiry = rows.iter().map(|row| row.0).collect();
    let values: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| Some(row.1)).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.2.clone()).collect::<StringArray>()),
    ];
    (rows, expiry, values)
}

pub fn read(rows: &StoreRows) -> Vec<(Key, Row)> {
    let (f, s) = (rows.keys[0].as_primitive::<Float64Type>(), rows.keys[1].as_string::<i32>());
    let (n, t) = (rows.values[0].as_primitive::<Int64Type>(), rows.values[1].as_string::<i32>());
    assert!([f.len(), s.len(), n.len(), t.len()].iter().all(|len| *len == rows.n_rows));
    assert!(rows.expiry.as_ref().is_none_or(|expiry| expiry.len() == rows.n_rows && expiry.null_count() < rows.n_rows));
    let row = |at: usize| {
        let key = (f.is_valid(at).then(|| format!("{}", f.value(at))), s.is_valid(at).then(|| s.value(at).to_owned()));
        let expiry = rows.expiry.as_ref().and_then(|expiry| expiry.is_valid(at).then(|| expiry.value(at)));
        (key, (expiry, n.value(at), t.is_valid(at).then(|| t.value(at).to_owned())))
    };
    (0..rows.n_rows).map(row).collect()
}

pub fn sorted(batches: impl IntoIterator<Item = millstream_core::Result<StoreRows>>) -> Vec<(Key, Row)> {
    let mut rows: Vec<_> = batches.into_iter().flat_map(|rows| read(&rows.unwrap())).collect();
    rows.sort();
    rows
}

pub fn all(model: &BTreeMap<Key, Row>) -> Vec<(Key, Row)> {
    model.iter().map(|(key, row)| (key.clone(), row.clone())).collect()
}

/// What a case saw: rows that expired, and bytes that were spilled.
#[derive(Debug, Default)]
struct Seen {
    n_expired: u64,
    spilled_bytes: u64,
}

fn one_case(seed: u64, memory: &StateMemory) -> Seen {
    let mut rng = Rng::new(seed);
    let mut table = KeyedTable::within(schema(), memory).unwrap();
    let mut follower = KeyedTable::within(schema(), memory).unwrap();
    let mut model: BTreeMap<Key, Row> = BTreeMap::new();
    let mut frozen: Vec<(FrozenTable, Vec<(Key, Row)>)> = Vec::new();
    let (mut now, mut n_expired) = (1_000_i64, 0);
    for _ in 0..rng.below(120) {
        let n = up_to(&mut rng, 8) as usize;
        match rng.below(10) {
            0..3 => {
                let ((keys, key_columns), (rows, expiry, values)) = (random_keys(&mut rng, n), random_rows(&mut rng, n, now));
                if rng.one_in(2) {
                    let known = table.lookup(&key_columns).unwrap();
                    let hashed = KeyHasher::new(table.schema().keys()).unwrap().hashed(&key_columns).unwrap();
                    let rows = StoreRows { n_rows: n, keys: key_columns, expiry: Some(expiry), values };
                    table.upsert_known(&hashed, &known, &rows).unwrap();
                } else {
                    table.upsert(&key_columns, Some(&expiry), &values).unwrap();
                }
                model.extend(keys.into_iter().zip(rows));
            }
            3 => {
                let ((keys, key_columns), (rows, _, values)) = (random_keys(&mut rng, n), random_rows(&mut rng, n, now));
                table.upsert(&key_columns, None, &values).unwrap();
                model.extend(keys.into_iter().zip(rows.into_iter().map(|(_, n, t)| (None, n, t))));
            }
            4 => {
                let ((keys, key_columns), (rows, expiry, values)) = (random_keys(&mut rng, n), random_rows(&mut rng, n, now));
                let is_new = table.insert_new(&key_columns, Some(&expiry), &values).unwrap();
                for (at, (key, row)) in keys.into_iter().zip(rows).enumerate() {
                    assert_eq!(is_new.value(at), !model.contains_key(&key), "insert_new, row {at}");
                    model.entry(key).or_insert(row);
                }
            }
            5 => {
                let (keys, columns) = random_keys(&mut rng, n / 4);
                table.remove(&columns).unwrap();
                keys.iter().for_each(|key| drop(model.remove(key)));
            }
            6 => {
                // Now and then time stands still, or seems to go back.
                let t = if rng.one_in(5) { now - 2 } else { now + up_to(&mut rng, 22) as i64 };
                now = now.max(t);
                let mut expected = all(&model);
                expected.retain(|(_, row)| row.0.is_some_and(|expiry| expiry <= t));
                model.retain(|_, row| row.0.is_none_or(|expiry| expiry > t));
                n_expired += expected.len() as u64;
                if rng.one_in(2) {
                    assert_eq!(sorted(table.expire(t).unwrap().into_iter().map(Ok)), expected, "expired at {t}");
                } else {
                    assert_eq!(table.discard_expired(t).unwrap(), expected.len());
                }
            }
            7 => {
                let (keys, columns) = random_keys(&mut rng, n);
                let found = table.lookup(&columns).unwrap();
                assert_eq!(
                    found.iter().map(Option::is_some).collect::<Vec<_>>(),
                    keys.iter().map(|key| model.contains_key(key)).collect::<Vec<_>>()
                );
                let slots: Vec<_> = found.into_iter().flatten().collect();
                let rows = StoreRows {
                    n_rows: slots.len(),
                    keys: table.gather_keys(&slots).unwrap(),
                    expiry: Some(table.gather_expiry(&slots)).filter(|expiry| expiry.null_count() < slots.len()),
                    values: table.gather(&slots).unwrap(),
                };
                let expected: Vec<_> = keys.into_iter().filter_map(|key| model.get(&key).cloned().map(|row| (key, row))).collect();
                assert_eq!(read(&rows), expected);
            }
            8 => {
                if let Some(delta) = table.take_delta().unwrap() {
                    follower.apply(&delta).unwrap();
                    assert!(follower.take_delta().unwrap().is_none(), "what was applied is no change");
                }
                assert_eq!(sorted(follower.scan()), all(&model), "after the delta");
                assert!(table.take_delta().unwrap().is_none());
                // Or recovery goes on from here.
                if rng.one_in(6) {
                    std::mem::swap(&mut table, &mut follower);
                }
            }
            _ => frozen.push((table.freeze(), all(&model))),
        }
        assert_eq!(table.n_rows(), model.len());
    }
    assert_eq!(sorted(table.scan()), all(&model));
    for (frozen, then) in frozen {
        assert_eq!(frozen.n_rows(), then.len());
        assert_eq!(sorted(frozen.scan()), then, "a frozen table changed");
    }
    Seen { n_expired, spilled_bytes: written(table.spilled()) + written(follower.spilled()) }
}

#[test]
fn a_table_is_a_map() {
    let mut n_expired = 0;
    for seed in 0..200 {
        let replay = Replay(seed);
        let seen = one_case(seed, &StateMemory::unlimited());
        n_expired += seen.n_expired;
        assert_eq!(seen.spilled_bytes, 0);
        std::mem::forget(replay);
    }
    assert!(n_expired > 1_000, "{n_expired}");
}

fn written(spilled: Option<SpillStats>) -> u64 {
    spilled.map_or(0, |spilled| spilled.bytes_written)
}

/// From nothing at all to about what a case needs.
fn tiny_memory(seed: u64, dir: &Path) -> StateMemory {
    let limits = [1, 5_000, 20_000, 60_000];
    StateMemory::limited(limits[seed as usize % limits.len()], dir)
}

#[test]
fn a_table_that_is_spilled_is_a_map() {
    let dir = tempfile::tempdir().unwrap();
    let mut spilled_bytes = 0;
    for seed in 0..200 {
        let replay = Replay(seed);
        spilled_bytes += one_case(seed, &tiny_memory(seed, dir.path())).spilled_bytes;
        std::mem::forget(replay);
    }
    assert!(spilled_bytes > 1_000_000, "{spilled_bytes}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing stays behind");
}

pub type Lists = BTreeMap<Key, Vec<Row>>;

/// Every key's rows in order, by way of a lookup that gives few pairs at a time.
fn lists(table: &mut KeyedMultiTable, keys: &[Key], columns: &[ArrayRef], pairs_max: usize) -> Lists {
    let mut lists = Lists::new();
    let (mut matches, mut rows_before) = (table.lookup_all(columns).unwrap(), 0);
    let first = table.lookup_first(columns).unwrap();
    while let Some(pairs) = table.next_pairs(&mut matches, pairs_max) {
        assert!(pairs.slots.len() <= pairs_max && pairs.probe_rows.is_sorted() && pairs.probe_rows[0] >= rows_before);
        rows_before = *pairs.probe_rows.last().unwrap();
        let rows = StoreRows {
            n_rows: pairs.slots.len(),
            keys: table.gather_keys(&pairs.slots).unwrap(),
            expiry: Some(table.gather_expiry(&pairs.slots)).filter(|expiry| expiry.null_count() < expiry.len()),
            values: table.gather(&pairs.slots).unwrap(),
        };
        for ((key, row), (probe_row, slot)) in read(&rows).into_iter().zip(pairs.probe_rows.iter().zip(&pairs.slots)) {
            assert_eq!(key, keys[*probe_row as usize]);
            let list = lists.entry(key).or_default();
            assert_eq!(list.is_empty(), first[*probe_row as usize] == Some(*slot));
            list.push(row);
        }
    }
    lists
}

/// Every key that the generator makes, once.
fn all_keys() -> (Vec<Key>, Vec<ArrayRef>) {
    let floats = [None, Some(0.0), Some(f64::NAN), Some(-0.5), Some(0.5), Some(1.5)];
    let texts: Vec<Option<String>> = (0..12).map(|n| Some("k".repeat(n))).chain([None]).collect();
    let keys = || floats.iter().flat_map(|f| texts.iter().map(move |t| (f, t)));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(keys().map(|(f, _)| *f).collect::<Float64Array>()),
        Arc::new(keys().map(|(_, t)| t.clone()).collect::<StringArray>()),
    ];
    (keys().map(|(f, t)| (f.map(|f| format!("{f}")), t.clone())).collect(), columns)
}

fn one_case_of_lists(seed: u64, memory: &StateMemory) -> u64 {
    let mut rng = Rng::new(seed);
    let mut table = KeyedMultiTable::within(schema(), memory).unwrap();
    let mut follower = KeyedMultiTable::rows_within(&schema(), memory).unwrap();
    let mut spilled_bytes = 0;
    let mut model = Lists::new();
    let mut now = 1_000_i64;
    let (every_key, every_column) = all_keys();
    for _ in 0..rng.below(80) {
        let n = up_to(&mut rng, 7) as usize;
        match rng.below(8) {
            0..3 => {
                let ((keys, key_columns), (rows, expiry, values)) = (random_keys(&mut rng, n), random_rows(&mut rng, n, now));
                table.append(&key_columns, Some(&expiry), &values).unwrap();
                keys.into_iter().zip(rows).for_each(|(key, row)| model.entry(key).or_default().push(row));
            }
            3 => {
                let (keys, columns) = random_keys(&mut rng, n / 8);
                table.remove(&columns).unwrap();
                keys.iter().for_each(|key| drop(model.remove(key)));
            }
            4 => {
                let t = now + up_to(&mut rng, 22) as i64;
                now = t;
                let is_due = |row: &Row| row.0.is_some_and(|expiry| expiry <= t);
                let rows = model.iter().flat_map(|(key, list)| list.iter().filter(|row| is_due(row)).map(|row| (key.clone(), row.clone())));
                let mut expected: Vec<_> = rows.collect();
                expected.sort();
                model.values_mut().for_each(|list| list.retain(|row| !is_due(row)));
                assert_eq!(sorted(table.expire(t).unwrap().into_iter().map(Ok)), expected);
            }
            5 => {
                // The number of the oldest row of some keys is set.
                let (keys, columns) = random_keys(&mut rng, 3);
                let slots: Vec<_> = table.lookup_first(&columns).unwrap().into_iter().flatten().collect();
                let flags: ArrayRef = Arc::new(Int64Array::from(vec![-1; slots.len()]));
                table.set_value(&slots, 0, flags).unwrap();
                keys.iter().for_each(|key| model.get_mut(key).and_then(|list| list.first_mut()).into_iter().for_each(|row| row.1 = -1));
            }
            6 => {
                if let Some(delta) = table.take_delta().unwrap() {
                    follower.apply(&delta).unwrap();
                }
                if rng.one_in(3) {
                    spilled_bytes += written(table.spilled());
                    let fresh = KeyedMultiTable::rows_within(&schema(), memory).unwrap();
                    table = KeyedMultiTable::recover(schema(), std::mem::replace(&mut follower, fresh)).unwrap();
                    for rows in table.freeze().scan() {
                        let StoreRows { keys, expiry, values, .. } = rows.unwrap();
                        follower.upsert(&keys, expiry.as_ref(), &values).unwrap();
                    }
                    follower.take_delta().unwrap();
                }
            }
            _ => {
                let (keys, columns) = random_keys(&mut rng, n);
                let pairs_max = 1 + rng.index(50);
                let mut once: Vec<&Key> = keys.iter().collect();
                once.sort();
                once.dedup();
                if once.len() == keys.len() {
                    let expected = once.into_iter().filter_map(|key| Some((key.clone(), model.get(key)?.clone())));
                    assert_eq!(lists(&mut table, &keys, &columns, pairs_max), expected.filter(|(_, list)| !list.is_empty()).collect());
                }
            }
        }
        model.retain(|_, list| !list.is_empty());
        assert_eq!(table.n_rows(), model.values().map(Vec::len).sum::<usize>());
    }
    assert_eq!(lists(&mut table, &every_key, &every_column, 13), model);
    spilled_bytes + written(table.spilled())
}

#[test]
fn a_multi_table_is_a_map_of_lists() {
    for seed in 0..200 {
        let replay = Replay(seed);
        assert_eq!(one_case_of_lists(seed, &StateMemory::unlimited()), 0);
        std::mem::forget(replay);
    }
}

#[test]
fn a_multi_table_that_is_spilled_is_a_map_of_lists() {
    let dir = tempfile::tempdir().unwrap();
    let mut spilled_bytes = 0;
    for seed in 0..200 {
        let replay = Replay(seed);
        spilled_bytes += one_case_of_lists(seed, &tiny_memory(seed, dir.path()));
        std::mem::forget(replay);
    }
    assert!(spilled_bytes > 1_000_000, "{spilled_bytes}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing stays behind");
}

/// Names the seed when a case fails.
pub struct Replay(pub u64);

impl Drop for Replay {
    fn drop(&mut self) {
        eprintln!("seed {} failed", self.0);
    }
}
