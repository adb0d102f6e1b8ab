//! A query of two stores, with as many tasks as it likes, on a checkpoint; and what it must remember.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, AsArray, Int64Array, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::Int64Type;
use millstream_core::{BatchId, Result};
use millstream_state::store::{
    KEY_GROUPS, KeyHasher, KeyedMultiTable, KeyedTable, LoadedState, OperatorState, RecoveredState, StateLog, StateMemory,
    StoreDescription, StoreHistory, StoreId, StoreKind, StoreRows, StoreSpec, Tasks,
};
use millstream_state::{Checkpoint, CheckpointOptions, Location, Record, Recovered, Retention};
use millstream_testkit::Rng;

use super::model::{Key, Lists, Row, random_keys, random_rows, read, schema, up_to};
use crate::support::{open, prepared, start_record};

/// What is remembered after a batch. Lists in their order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    pub rows: BTreeMap<Key, Row>,
    pub lists: Lists,
}

pub fn store_id(store: &str) -> StoreId {
    StoreId { operator: "op-1".into(), store: store.into() }
}

pub fn specs() -> [StoreSpec; 2] {
    [("rows", StoreKind::Single), ("lists", StoreKind::Multi)].map(|(name, kind)| StoreSpec {
        id: store_id(name),
        kind,
        schema: schema(),
        history: StoreHistory::default(),
    })
}

pub fn operator() -> OperatorState {
    let stores = specs().map(|spec| StoreDescription { name: spec.id.store, kind: spec.kind, schema: spec.schema });
    OperatorState::new("test", KEY_GROUPS, stores.into())
}

pub fn tasks(parallelism: u32) -> Tasks {
    Tasks { n_key_groups: KEY_GROUPS, parallelism }
}

/// What state may take: with an odd number of tasks so little that most of it is on disk.
pub fn job_memory(parallelism: u32) -> StateMemory {
    if parallelism % 2 == 1 { StateMemory::limited(8_000, &std::env::temp_dir()) } else { StateMemory::unlimited() }
}

/// A running query.
pub struct Job {
    pub checkpoint: Checkpoint,
    pub log: StateLog,
    pub recovered: RecoveredState,
    pub tables: Vec<(KeyedTable, KeyedMultiTable)>,
    pub memory: Memory,
    pub next_batch: u64,
    pub now: i64,
    /// A call has fewer rows than 2 to the power of this.
    pub call_bits: u64,
}

pub fn tables_of(loaded: LoadedState) -> Vec<(KeyedTable, KeyedMultiTable)> {
    let mut by_store = loaded.tables;
    let (rows, lists) = (by_store.remove(&store_id("rows")).unwrap(), by_store.remove(&store_id("lists")).unwrap());
    rows.into_iter().zip(lists).map(|(rows, lists)| (rows, KeyedMultiTable::recover(schema(), lists).unwrap())).collect()
}

/// What tables remember; that each key is with its task; and that lists are in order.
pub fn memory_of(tables: &[(KeyedTable, KeyedMultiTable)]) -> Memory {
    let hasher = KeyHasher::new(schema().keys()).unwrap();
    let mut memory = Memory::default();
    let check = |task: usize, keys: &[ArrayRef]| {
        let owners = hasher.partitions(&keys[..2], KEY_GROUPS, tables.len() as u32).unwrap();
        assert!(owners.iter().all(|owner| *owner as usize == task));
    };
    for (task, (rows, lists)) in tables.iter().enumerate() {
        for rows in rows.scan() {
            let rows = rows.unwrap();
            check(task, &rows.keys);
            memory.rows.extend(read(&rows));
        }
        let mut numbered: BTreeMap<Key, Vec<(i64, Row)>> = BTreeMap::new();
        for rows in lists.scan() {
            let mut rows: StoreRows = rows.unwrap();
            check(task, &rows.keys);
            let numbers = rows.keys.pop().unwrap();
            for ((key, row), number) in read(&rows).into_iter().zip(numbers.as_primitive::<Int64Type>().values()) {
                numbered.entry(key).or_default().push((*number, row));
            }
        }
        for (key, mut rows) in numbered {
            rows.sort();
            memory.lists.insert(key, rows.into_iter().map(|(_, row)| row).collect());
        }
    }
    memory
}

/// Opens the checkpoint and begins a run; does not look at the state yet.
pub async fn begin(location: Location, options: CheckpointOptions) -> Result<(Checkpoint, Recovered)> {
    let (mut checkpoint, recovered) = open(location, options).await?;
    let mut start = start_record(0);
    start.operators.insert("op-1".into(), operator());
    let recovered = checkpoint.start(start, recovered).await?;
    Ok((checkpoint, recovered))
}

impl Job {
    pub async fn start(location: Location, options: CheckpointOptions, parallelism: u32, now: i64) -> Result<Self> {
        let (checkpoint, recovered) = begin(location, options).await?;
        let log = checkpoint.open_state(&recovered).await?;
        let tables = tables_of(log.recover(&specs(), tasks(parallelism), &job_memory(parallelism)).await?);
        let memory = memory_of(&tables);
        let next_batch = recovered.state.last_batch.map_or(0, |last| last.0 + 1);
        Ok(Self { checkpoint, log, recovered: recovered.state, tables, memory, next_batch, now, call_bits: 6 })
    }

    /// Changes tables and memory as a batch would.
    pub fn change(&mut self, rng: &mut Rng) {
        for _ in 0..rng.below(4) {
            let n = up_to(rng, self.call_bits) as usize;
            let (keys, columns) = random_keys(rng, n);
            let (rows, expiry, values) = random_rows(rng, n, self.now);
            let pairs = keys.iter().cloned().zip(rows);
            match rng.below(7) {
                0..2 => {
                    self.each(&columns, &expiry, &values, |(table, _), keys, expiry, values| {
                        table.upsert(keys, Some(expiry), values).unwrap()
                    });
                    self.memory.rows.extend(pairs);
                }
                2..4 => {
                    self.each(&columns, &expiry, &values, |(_, lists), keys, expiry, values| {
                        lists.append(keys, Some(expiry), values).unwrap()
                    });
                    pairs.for_each(|(key, row)| self.memory.lists.entry(key).or_default().push(row));
                }
                4 => {
                    self.each(&columns, &expiry, &values, |(table, lists), keys, _, _| {
                        table.remove(keys).unwrap();
                        lists.remove(keys).unwrap();
                    });
                    self.memory.rows.retain(|key, _| !keys.contains(key));
                    self.memory.lists.retain(|key, _| !keys.contains(key));
                }
                _ => {}
            }
        }
        if rng.one_in(2) {
            self.now += up_to(rng, 20) as i64;
            let t = self.now;
            for (table, lists) in &mut self.tables {
                table.discard_expired(t).unwrap();
                lists.discard_expired(t).unwrap();
            }
            let stays = |row: &Row| row.0.is_none_or(|expiry| expiry > t);
            self.memory.rows.retain(|_, row| stays(row));
            self.memory.lists.values_mut().for_each(|list| list.retain(stays));
            self.memory.lists.retain(|_, list| !list.is_empty());
        }
    }

    fn each(
        &mut self,
        keys: &[ArrayRef],
        expiry: &Int64Array,
        values: &[ArrayRef],
        mut call: impl FnMut(&mut (KeyedTable, KeyedMultiTable), &[ArrayRef], &Int64Array, &[ArrayRef]),
    ) {
        let owners = KeyHasher::new(schema().keys()).unwrap().partitions(keys, KEY_GROUPS, self.tables.len() as u32).unwrap();
        for (task, tables) in self.tables.iter_mut().enumerate() {
            let rows = UInt32Array::from_iter_values((0..).zip(&owners).filter(|(_, owner)| **owner as usize == task).map(|(row, _)| row));
            let taken = |columns: &[ArrayRef]| columns.iter().map(|column| take(column, &rows, None).unwrap()).collect::<Vec<_>>();
            call(tables, &taken(keys), take(expiry, &rows, None).unwrap().as_primitive(), &taken(values));
        }
    }

    /// The changes since the last call, of all tasks.
    pub async fn write(&mut self) -> Result<Record> {
        let mut deltas = Vec::new();
        for (table, lists) in &mut self.tables {
            deltas.extend(table.take_delta()?.map(|delta| (store_id("rows"), delta)));
            deltas.extend(lists.take_delta()?.map(|delta| (store_id("lists"), delta)));
        }
        let mut record = prepared(self.next_batch, 0);
        record.committed = self.next_batch.checked_sub(1).map(BatchId);
        record.state_delta = self.log.write(BatchId(self.next_batch), deltas).await?;
        if record.state_delta.is_some() {
            record.state.insert("op-1".into(), self.next_batch);
        }
        Ok(record)
    }

    /// The end of a batch: its state is durable, then it is decided.
    pub async fn commit(&mut self) -> Result<()> {
        let record = self.write().await?;
        self.checkpoint.append(record).await?;
        self.next_batch += 1;
        Ok(())
    }

    /// Of the last batch.
    pub fn snapshot(&mut self) -> Result<()> {
        let frozen = self.tables.iter().flat_map(|(rows, lists)| [(store_id("rows"), rows.freeze()), (store_id("lists"), lists.freeze())]);
        self.log.snapshot(BatchId(self.next_batch - 1), frozen.collect())
    }

    pub fn retain(&mut self) {
        self.checkpoint.retain(&Retention { n_batches_min: 3, keep_from: None, remembering: &[] });
    }

    pub async fn close(self) {
        self.log.close().await;
        self.checkpoint.close().await;
    }
}
