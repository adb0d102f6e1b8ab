//! Reading one store as a table, without running its query: the rows of a snapshot as they come from the file, but for those
//! that the deltas behind it have touched, and then the rows that the deltas have left.
//!
//! ```text
//!  deltas ─► table of their rows, set of the keys they touched          in memory: what changed since the snapshot
//!  snapshot ─► part by part ─► without touched keys ─► rows             64 Ki rows at a time
//!             table ─────────────────────────────────► rows
//! ```
//! Takes no lock and writes nothing. The snapshot's checksums are read through first, so that one which is damaged is passed
//! over for the one before when no row of it has been given yet. A running query may remove files meanwhile: then the log is
//! read again.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int32Array, Int64Array};
use arrow::compute::{filter, or};
use arrow::datatypes::Fields;
use millstream_core::{BatchId, Error, ErrorKind, QueryId, Result, RunEpoch};

use super::files::{STATE_DIR, SnapshotName, StateFile};
use super::kept::KeptVersions;
use super::load::{
    KeptDelta, RecoveredState, StoreSpec, begin_empty, hashed_keys, is_followed, list_snapshots, no_snapshot_is_whole, read_delta,
};
use super::operator::StoreKind;
use super::part;
use super::snapshot::SnapshotReader;
use crate::checkpoint::read_state;
use crate::fs::blocking;
use crate::location::Location;
use crate::store::delta::TableDelta;
use crate::store::key_group::{KeyHasher, key_group};
use crate::store::multi_table::KeyedMultiTable;
use crate::store::schema::{StoreRows, StoreSchema};
use crate::store::table::KeyedTable;
use crate::store::{StoreId, arrow_error};

/// How often the log is read again when files have gone meanwhile.
const TRIES: usize = 5;

/// A store that is being read. See the module's documentation.
#[derive(Debug)]
pub struct StoreScan {
    spec: StoreSpec,
    n_key_groups: u32,
    row_schema: Arc<StoreSchema>,
    hasher: KeyHasher,
    snapshot: Option<OpenSnapshot>,
    touched: Touched,
    /// What deltas have left, to be given last.
    left: Option<KeyedTable>,
    batches: std::vec::IntoIter<StoreRows>,
}

#[derive(Debug)]
struct OpenSnapshot {
    dir: Location,
    name: SnapshotName,
    reader: SnapshotReader,
}

/// What deltas say of older rows.
#[derive(Debug)]
struct Touched {
    keys: KeyedTable,
    expired_to: Option<i64>,
}

/// Rows of a store as a reader gets them.
#[derive(Debug, Clone)]
pub struct ScannedRows {
    /// The rows, keys without the number that tells the rows of a key apart.
    pub rows: StoreRows,
    /// The key group of each.
    pub key_groups: Int32Array,
}

impl StoreScan {
    /// Opens a store as it was after a batch that is kept.
    pub async fn open(checkpoint: &Location, version: BatchId, id: &StoreId) -> Result<Self> {
        let mut tries = 0;
        loop {
            let (query_id, state) = read_state(checkpoint).await?;
            let before = list_snapshots(&checkpoint.join(STATE_DIR)).await?;
            tries += 1;
            match Self::open_of(checkpoint, query_id, &state, version, id).await {
                // What a running query has removed meanwhile is no damage: newer snapshots are there.
                Err(error) if error.kind() == ErrorKind::Data && tries < TRIES => {
                    if list_snapshots(&checkpoint.join(STATE_DIR)).await? == before {
                        return Err(error);
                    }
                }
                opened => return opened.map_err(|error| error.context(format!("reading the state of checkpoint '{checkpoint}'"))),
            }
        }
    }

    async fn open_of(checkpoint: &Location, query_id: QueryId, state: &RecoveredState, version: BatchId, id: &StoreId) -> Result<Self> {
        let (spec, n_key_groups) = state.store_at(version, id)?;
        let dir = checkpoint.join(STATE_DIR);
        let mut snapshots = list_snapshots(&dir).await?;
        KeptVersions::among(state, &snapshots).ok_or_else(|| Error::invalid("no batch is decided yet"))?.check(version)?;
        snapshots.retain(|(name, _)| name.batch <= version);
        let mut damaged = Vec::new();
        while let Some((name, len)) = snapshots.pop() {
            if !is_followed(state, Some(name.batch), Some(version)) {
                break;
            }
            match SnapshotReader::check(&dir, query_id, name, len).await {
                Ok(()) => {
                    let reader = SnapshotReader::open(&dir, query_id, name, len).await?;
                    let snapshot = OpenSnapshot { dir: dir.clone(), name, reader };
                    return Self::over(dir, state, Some(snapshot), version, spec, n_key_groups).await;
                }
                Err(error) if error.kind() == ErrorKind::Data => {
                    let file = format!("{STATE_DIR}/{}", StateFile::Snapshot(name).name());
                    tracing::warn!(checkpoint = %checkpoint, file, %error, "a snapshot of state is damaged; the one before is used");
                    damaged.push((file, error.message().to_owned()));
                }
                Err(error) => return Err(error),
            }
        }
        let is_whole = is_followed(state, None, Some(version)) || begin_empty(state, std::slice::from_ref(&spec));
        if damaged.len() > 1 || !is_whole {
            return Err(no_snapshot_is_whole(state, Some(version), &damaged));
        }
        Self::over(dir, state, None, version, spec, n_key_groups).await
    }

    async fn over(
        dir: Location,
        state: &RecoveredState,
        snapshot: Option<OpenSnapshot>,
        version: BatchId,
        spec: StoreSpec,
        n_key_groups: u32,
    ) -> Result<Self> {
        let after = snapshot.as_ref().map(|snapshot| snapshot.name.batch);
        let row_schema = Arc::new(match spec.kind {
            StoreKind::Multi => KeyedMultiTable::row_schema(&spec.schema)?,
            StoreKind::Single | StoreKind::Sliced => spec.schema.clone(),
        });
        let keys_only = StoreSchema::new(row_schema.keys().clone(), Fields::empty())?;
        let mut scan = Self {
            n_key_groups,
            hasher: KeyHasher::new(&hashed_keys(spec.kind, &spec.schema))?,
            snapshot,
            touched: Touched { keys: KeyedTable::new(keys_only)?, expired_to: None },
            left: Some(KeyedTable::new(row_schema.as_ref().clone())?),
            batches: Vec::new().into_iter(),
            row_schema,
            spec,
        };
        let wanted = state.deltas.iter().filter(|delta| Some(delta.batch) > after && delta.batch <= version);
        for delta in wanted.cloned().collect::<Vec<_>>() {
            let written_by = written_by(&delta)?;
            if !scan.spec.history.owns(written_by) {
                continue;
            }
            let parts = read_delta(dir.clone(), delta).await?;
            scan = blocking(move || {
                for (id, delta) in parts {
                    if id == scan.spec.id {
                        scan.take_in(written_by, delta)?;
                    }
                }
                Ok(scan)
            })
            .await?;
        }
        Ok(scan)
    }

    /// The store's columns, keys without the row number.
    pub fn schema(&self) -> &StoreSchema {
        &self.spec.schema
    }

    /// The next rows, in no particular order; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<ScannedRows>> {
        loop {
            if let Some(rows) = self.batches.next() {
                return self.given(rows).map(Some);
            }
            if let Some(part) = self.next_part().await? {
                self.batches = vec![part].into_iter();
                continue;
            }
            let Some(left) = self.left.take() else { return Ok(None) };
            self.batches = left.scan().collect::<Result<Vec<_>>>()?.into_iter();
        }
    }

    /// Rows of the snapshot that no delta has touched.
    async fn next_part(&mut self) -> Result<Option<StoreRows>> {
        let Some(snapshot) = &mut self.snapshot else { return Ok(None) };
        let written_by = snapshot.name.epoch;
        let damaged = |error: Error, snapshot: &OpenSnapshot| {
            let file = format!("{STATE_DIR}/{}", StateFile::Snapshot(snapshot.name).name());
            Error::data(format!("file '{file}': {}", error.message()))
        };
        loop {
            let payload = match snapshot.reader.next_payload().await {
                Ok(Some(payload)) => payload,
                Ok(None) => {
                    self.snapshot = None;
                    return Ok(None);
                }
                Err(error) if error.kind() == ErrorKind::Data => {
                    let is_there = list_snapshots(&snapshot.dir).await?.iter().any(|(name, _)| *name == snapshot.name);
                    let gone = "the running query has replaced the snapshot that was being read: read again";
                    return Err(if is_there { damaged(error, snapshot) } else { Error::unavailable(gone) });
                }
                Err(error) => return Err(error),
            };
            let unreadable = |why: String| damaged(Error::data(why), snapshot);
            if part::id_of(&payload).map_err(unreadable)? != self.spec.id || !self.spec.history.owns(written_by) {
                continue;
            }
            let (_, delta) = part::decode(&payload).map_err(unreadable)?;
            let delta = self.spec.history.in_todays_columns(written_by, delta, &self.row_schema, self.spec.kind)?;
            let rows = self.touched.others(delta.upserted)?;
            if rows.n_rows > 0 {
                return Ok(Some(rows));
            }
        }
    }

    fn take_in(&mut self, written_by: RunEpoch, delta: TableDelta) -> Result<()> {
        if !self.spec.history.owns(written_by) {
            return Ok(());
        }
        let delta = self.spec.history.in_todays_columns(written_by, delta, &self.row_schema, self.spec.kind)?;
        if self.snapshot.is_some() {
            self.touched.expired_to = self.touched.expired_to.max(delta.expired_to);
            for keys in [&delta.removed, &delta.upserted.keys] {
                if keys.first().is_some_and(|column| !column.is_empty()) {
                    self.touched.keys.insert_new(keys, None, &[])?;
                }
            }
        }
        match &mut self.left {
            Some(left) => left.apply(&delta),
            None => Ok(()),
        }
    }

    fn given(&self, mut rows: StoreRows) -> Result<ScannedRows> {
        rows.keys.truncate(self.spec.schema.keys().len());
        let n_hashed = hashed_keys(self.spec.kind, &self.spec.schema).len();
        let groups =
            self.hasher.hashes(rows.keys.get(..n_hashed).unwrap_or_default())?.into_iter().map(|hash| key_group(hash, self.n_key_groups));
        let key_groups = groups.map(|group| i32::try_from(group).unwrap_or(i32::MAX)).collect();
        Ok(ScannedRows { rows, key_groups })
    }
}

impl Touched {
    /// The rows that no delta has touched.
    fn others(&mut self, rows: StoreRows) -> Result<StoreRows> {
        let mut gone: BooleanArray = self.keys.lookup(&rows.keys)?.iter().map(|slot| Some(slot.is_some())).collect();
        if let (Some(t), Some(expiry)) = (self.expired_to, &rows.expiry) {
            let expired: BooleanArray = expiry.iter().map(|at| Some(at.is_some_and(|at| at <= t))).collect();
            gone = or(&gone, &expired).map_err(arrow_error)?;
        }
        if gone.true_count() == 0 {
            return Ok(rows);
        }
        let stays = arrow::compute::not(&gone).map_err(arrow_error)?;
        let kept = |column: &ArrayRef| filter(column, &stays).map_err(arrow_error);
        let StoreRows { keys, expiry, values, .. } = rows;
        let expiry = match expiry {
            Some(expiry) => Some(Int64Array::from(filter(&expiry, &stays).map_err(arrow_error)?.to_data())),
            None => None,
        };
        Ok(StoreRows {
            n_rows: stays.true_count(),
            keys: keys.iter().map(kept).collect::<Result<_>>()?,
            expiry: expiry.filter(|expiry| expiry.null_count() < expiry.len()),
            values: values.iter().map(kept).collect::<Result<_>>()?,
        })
    }
}

/// Which run wrote a delta.
pub(super) fn written_by(delta: &KeptDelta) -> Result<RunEpoch> {
    match StateFile::parse(&delta.reference.file) {
        Some(StateFile::Segment { epoch, .. } | StateFile::Delta { epoch, .. }) => Ok(epoch),
        _ => Err(Error::data(format!("'{}' is no name of a file of state changes", delta.reference.file))),
    }
}
