//! Whether the files of state are whole: reads all of them, builds no table.
//!
//! Takes no lock. What a running query removes meanwhile is no damage: it goes only when two newer snapshots are there.

use millstream_core::{BatchId, ErrorKind, QueryId, Result};

use super::files::{STATE_DIR, SnapshotName, StateFile};
use super::load::{KeptDelta, RecoveredState, list_snapshots, read_delta};
use super::snapshot::SnapshotReader;
use crate::location::Location;

/// What the files of state come to.
#[derive(Debug, Default)]
pub struct StateReport {
    /// The batches of the snapshots that are whole.
    pub snapshots: Vec<BatchId>,
    /// Deltas that a recovery may need.
    pub n_deltas: usize,
    /// What is wrong, with the names of files.
    pub problems: Vec<String>,
}

/// Reads every snapshot, and every delta that a recovery may need.
pub async fn verify(checkpoint: &Location, query_id: QueryId, state: &RecoveredState) -> Result<StateReport> {
    let dir = checkpoint.join(STATE_DIR);
    let mut report = StateReport::default();
    for (name, len) in list_snapshots(&dir).await? {
        let file = StateFile::Snapshot(name).name();
        match read_all(&dir, query_id, name, len).await {
            Ok(()) => report.snapshots.push(name.batch),
            Err(error) if error.kind() == ErrorKind::Data => {
                if list_snapshots(&dir).await?.iter().any(|(there, _)| *there == name) {
                    report.problems.push(format!("file '{STATE_DIR}/{file}': {}", error.message()));
                }
            }
            Err(error) => return Err(error),
        }
    }
    for delta in needed(state, &list_snapshots(&dir).await?) {
        match read_delta(dir.clone(), delta.clone()).await {
            Ok(_) => report.n_deltas += 1,
            Err(error) if error.kind() == ErrorKind::Data => {
                if needed(state, &list_snapshots(&dir).await?).any(|still| still == delta) {
                    report.problems.push(error.message().to_owned());
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(report)
}

/// The deltas behind the older of the two newest snapshots.
fn needed<'a>(state: &'a RecoveredState, snapshots: &[(SnapshotName, u64)]) -> impl Iterator<Item = &'a KeptDelta> {
    let after = if let [.., (older, _), _] = snapshots { Some(older.batch) } else { None };
    state.deltas.iter().filter(move |delta| Some(delta.batch) > after)
}

async fn read_all(dir: &Location, query_id: QueryId, name: SnapshotName, len: u64) -> Result<()> {
    let mut reader = SnapshotReader::open(dir, query_id, name, len).await?;
    while reader.next().await?.is_some() {}
    Ok(())
}
