//! Tables whose values are numbers, which are written over where they are, against a map. A failing seed is printed and replays.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Int64Array};
use arrow::datatypes::{DataType, Decimal128Type, Field, Int64Type};
use millstream_state::store::{FrozenTable, KeyHasher, KeyedTable, StateMemory, StoreRows, StoreSchema};
use millstream_testkit::Rng;

/// Expiry and two numbers.
type Row = (Option<i64>, i64, Option<i128>);
type Rows = BTreeMap<i64, Row>;

fn schema() -> StoreSchema {
    let values = vec![Field::new("n", DataType::Int64, false), Field::new("d", DataType::Decimal128(30, 2), true)];
    StoreSchema::new(vec![Field::new("k", DataType::Int64, false)], values).unwrap()
}

/// How often a case has nulls and expiries that change, both of which keep rows from being written over.
#[derive(Clone, Copy)]
struct Kind {
    has_nulls: bool,
    expiries_change: bool,
}

fn random_rows(rng: &mut Rng, kind: Kind) -> (Vec<i64>, Vec<Row>) {
    let n = rng.index(120);
    let keys: Vec<i64> = (0..n).map(|_| rng.below(150) as i64).collect();
    let row = |key: &i64| {
        let expiry = 1_000 + if kind.expiries_change && rng.one_in(9) { rng.below(900) as i64 } else { key * 7 };
        ((key % 3 > 0).then_some(expiry), rng.next_u64() as i64, (!(kind.has_nulls && rng.one_in(40))).then(|| i128::from(rng.next_u64())))
    };
    let rows = keys.iter().map(row).collect();
    (keys, rows)
}

fn columns(keys: &[i64], rows: &[Row]) -> (Vec<ArrayRef>, Int64Array, Vec<ArrayRef>) {
    let decimals: Decimal128Array = rows.iter().map(|row| row.2).collect();
    let values: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| Some(row.1)).collect::<Int64Array>()),
        Arc::new(decimals.with_precision_and_scale(30, 2).unwrap()),
    ];
    (vec![Arc::new(Int64Array::from(keys.to_vec()))], rows.iter().map(|row| row.0).collect(), values)
}

fn read(batches: impl IntoIterator<Item = millstream_core::Result<StoreRows>>) -> Rows {
    let mut all = Rows::new();
    for rows in batches {
        let rows = rows.unwrap();
        let keys = rows.keys[0].as_primitive::<Int64Type>();
        let (n, d) = (rows.values[0].as_primitive::<Int64Type>(), rows.values[1].as_primitive::<Decimal128Type>());
        for at in 0..rows.n_rows {
            let expiry = rows.expiry.as_ref().and_then(|expiry| expiry.is_valid(at).then(|| expiry.value(at)));
            let row = (expiry, n.value(at), d.is_valid(at).then(|| d.value(at)));
            assert!(all.insert(keys.value(at), row).is_none(), "a key comes twice");
        }
    }
    all
}

fn one_case(seed: u64, memory: &StateMemory) {
    let mut rng = Rng::new(seed);
    let kind = Kind { has_nulls: rng.one_in(2), expiries_change: rng.one_in(2) };
    let mut table = KeyedTable::within(schema(), memory).unwrap();
    let mut follower = KeyedTable::within(schema(), memory).unwrap();
    let mut model = Rows::new();
    let mut frozen: Vec<(FrozenTable, Rows)> = Vec::new();
    let mut now = 1_000;
    for _ in 0..rng.below(100) {
        match rng.below(9) {
            0..4 => {
                let (mut keys, mut rows) = random_rows(&mut rng, kind);
                if rng.one_in(2) {
                    // As an aggregation does it: each key once.
                    let once: Rows = keys.iter().copied().zip(rows.iter().copied()).collect();
                    (keys, rows) = once.into_iter().unzip();
                }
                let (columns, expiry, values) = columns(&keys, &rows);
                if rng.one_in(2) {
                    let mut known = table.lookup(&columns).unwrap();
                    if rng.one_in(4) {
                        // A row that is gone in the meantime is put in again.
                        let gone: Vec<_> = known.iter().flatten().take(1).copied().collect();
                        table.remove_slots(&gone).unwrap();
                        known.iter_mut().for_each(|slot| *slot = slot.filter(|slot| !gone.contains(slot)));
                    }
                    let hashed = KeyHasher::new(table.schema().keys()).unwrap().hashed(&columns).unwrap();
                    let rows = StoreRows { n_rows: keys.len(), keys: columns, expiry: Some(expiry), values };
                    table.upsert_known(&hashed, &known, &rows).unwrap();
                } else {
                    table.upsert(&columns, Some(&expiry), &values).unwrap();
                }
                model.extend(keys.into_iter().zip(rows));
            }
            4 => {
                let keys: Vec<i64> = (0..rng.below(20)).map(|_| rng.below(150) as i64).collect();
                table.remove(&[Arc::new(Int64Array::from(keys.clone()))]).unwrap();
                keys.iter().for_each(|key| _ = model.remove(key));
            }
            5 => {
                now += rng.below(40) as i64;
                let due = model.values().filter(|row| row.0.is_some_and(|expiry| expiry <= now)).count();
                model.retain(|_, row| row.0.is_none_or(|expiry| expiry > now));
                assert_eq!(table.discard_expired(now).unwrap(), due);
            }
            6..8 => {
                if let Some(delta) = table.take_delta().unwrap() {
                    follower.apply(&delta).unwrap();
                }
                assert_eq!(read(follower.scan()), model, "after the delta");
                assert!(table.take_delta().unwrap().is_none());
                if rng.one_in(6) {
                    std::mem::swap(&mut table, &mut follower);
                }
            }
            _ => frozen.push((table.freeze(), model.clone())),
        }
        assert_eq!(table.n_rows(), model.len());
    }
    assert_eq!(read(table.scan()), model);
    for (frozen, then) in frozen {
        assert_eq!(read(frozen.scan()), then, "a frozen table changed");
    }
}

#[test]
fn numbers_that_are_written_over_are_a_map() {
    for seed in 0..400 {
        let replay = super::model::Replay(seed);
        one_case(seed, &StateMemory::unlimited());
        std::mem::forget(replay);
    }
}

#[test]
fn numbers_that_are_spilled_are_a_map() {
    let dir = tempfile::tempdir().unwrap();
    for seed in 0..200 {
        let replay = super::model::Replay(seed);
        one_case(seed, &StateMemory::limited([1, 3_000, 9_000][seed as usize % 3], dir.path()));
        std::mem::forget(replay);
    }
}

/// A row that is updated again and again is where it was: neither dead rows nor copies of its key pile up.
#[test]
fn updates_of_numbers_take_no_more_memory() {
    let mut table = KeyedTable::new(schema()).unwrap();
    let keys: Vec<i64> = (0..20_000).collect();
    let round = |table: &mut KeyedTable, n: i64| {
        let rows: Vec<Row> = keys.iter().map(|key| (None, key * n, Some(i128::from(n)))).collect();
        let (columns, _, values) = columns(&keys, &rows);
        let known = table.lookup(&columns).unwrap();
        let hashed = KeyHasher::new(table.schema().keys()).unwrap().hashed(&columns).unwrap();
        let new = StoreRows { n_rows: keys.len(), keys: columns, expiry: None, values };
        table.upsert_known(&hashed, &known, &new).unwrap();
        let delta = table.take_delta().unwrap().unwrap();
        assert_eq!(read([Ok(delta.upserted)]), keys.iter().copied().zip(rows).collect());
    };
    round(&mut table, 1);
    let before = table.memory_bytes();
    (2..10).for_each(|n| round(&mut table, n));
    assert!(table.memory_bytes() <= before, "{} bytes and then {}", before, table.memory_bytes());
    assert_eq!(table.scan().count(), 1, "the rows are where they were put first");
}
