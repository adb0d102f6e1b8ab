//! Joins the rows of a batch with the sessions of the state.
//!
//! The partial aggregation below gives a row for each key and start and end: what came at one moment. All of a batch are
//! needed before the first session is known, so they are kept until the input ends. Then the state's sessions of the same
//! keys are looked up, pieces that touch are joined, and their accumulators are merged in the order of their starts.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, RecordBatch, UInt32Array};
use arrow::compute::{interleave, take};
use arrow::datatypes::TimestampMicrosecondType;
use millstream_core::{Error, Result};
use millstream_state::store::{KeyedMultiTable, Slot};

use super::columns::{N_BOUNDS, SessionColumns, SessionRows};
use super::pieces::{Piece, Place, Session, join};
use crate::physical::stateful::aggregate::merge::Accumulators;
use crate::physical::stateful::tables::store_keys;

/// The partial groups of a batch.
#[derive(Default)]
pub struct SessionMerge {
    chunks: Vec<RecordBatch>,
}

/// The sessions that a batch touched.
#[derive(Default)]
pub struct Touched {
    /// As they are now: rows of the state, ordered by key and start.
    pub now: SessionRows,
    /// For each the row of the state that it takes the place of, if it is not new.
    pub over: Vec<Option<Slot>>,
    /// Further rows of the state that became part of one of them.
    pub swallowed: Vec<Slot>,
    /// What the state had of them before, by session: the session's position and its row.
    pub before: Vec<(usize, Slot)>,
}

impl SessionMerge {
    /// Keeps partial groups.
    pub fn add(&mut self, partial: RecordBatch) {
        if partial.num_rows() > 0 {
            self.chunks.push(partial);
        }
    }

    /// All are there: what they make of the sessions of the state.
    pub fn finish(self, columns: &SessionColumns, state: &mut KeyedMultiTable) -> Result<Touched> {
        if self.chunks.is_empty() {
            return Ok(Touched::default());
        }
        let n_keys = columns.n_other_keys();
        let keys = self.keys(n_keys, state)?;
        let mut pieces = self.pieces(&keys, n_keys)?;
        pieces.extend(pieces_of_state(state, &keys.distinct)?);
        let mut sessions = join(&mut pieces);
        let is_of_batch = |piece: &Piece| matches!(piece.place, Place::Batch { .. });
        sessions.retain(|session| pieces.get(session.pieces.clone()).is_some_and(|pieces| pieces.iter().any(is_of_batch)));
        let now = self.joined(columns, state, &keys.distinct, &sessions, &pieces)?;
        let mut touched = Touched { now, over: Vec::with_capacity(sessions.len()), swallowed: Vec::new(), before: Vec::new() };
        for (at, session) in sessions.iter().enumerate() {
            let mut slots = pieces.get(session.pieces.clone()).unwrap_or_default().iter().filter_map(|piece| piece.place.slot());
            let first = slots.next();
            touched.over.push(first);
            touched.before.extend(first.map(|slot| (at, slot)));
            for slot in slots {
                touched.swallowed.push(slot);
                touched.before.push((at, slot));
            }
        }
        Ok(touched)
    }

    /// Numbers the different keys by their first rows.
    fn keys(&self, n_keys: usize, state: &KeyedMultiTable) -> Result<Keys> {
        let mut known: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut of_rows = Vec::with_capacity(self.chunks.len());
        let mut first_rows = Vec::new();
        for (chunk, partial) in self.chunks.iter().enumerate() {
            let keys = store_keys(partial.columns().iter().take(n_keys).cloned().collect(), partial.num_rows());
            let mut of_chunk = Vec::with_capacity(partial.num_rows());
            for (row, key) in state.encode(&keys)?.iter().enumerate() {
                let key = key.unwrap_or_default();
                let number = match known.get(key) {
                    Some(number) => *number,
                    None => {
                        known.insert(key.to_vec(), first_rows.len());
                        first_rows.push((chunk, row));
                        first_rows.len() - 1
                    }
                };
                of_chunk.push(number);
            }
            of_rows.push(of_chunk);
        }
        let distinct = (0..n_keys).map(|column| self.interleaved(column, None, &first_rows)).collect::<Result<Vec<_>>>()?;
        Ok(Keys { of_rows, distinct: store_keys(distinct, first_rows.len()) })
    }

    fn pieces(&self, keys: &Keys, n_keys: usize) -> Result<Vec<Piece>> {
        let mut pieces = Vec::with_capacity(self.chunks.iter().map(RecordBatch::num_rows).sum());
        for (chunk, (partial, keys)) in self.chunks.iter().zip(&keys.of_rows).enumerate() {
            let starts = times(partial.columns().get(n_keys))?;
            let ends = times(partial.columns().get(n_keys + 1))?;
            for (row, ((key, start_us), end_us)) in keys.iter().zip(starts.values()).zip(ends.values()).enumerate() {
                pieces.push(Piece { key: *key, start_us: *start_us, end_us: *end_us, place: Place::Batch { chunk, row } });
            }
        }
        Ok(pieces)
    }

    /// The rows of the state that sessions become.
    fn joined(
        &self,
        columns: &SessionColumns,
        state: &KeyedMultiTable,
        distinct: &[ArrayRef],
        sessions: &[Session],
        pieces: &[Piece],
    ) -> Result<SessionRows> {
        let pieces_of = |session: &Session| pieces.get(session.pieces.clone()).unwrap_or_default();
        let slots: Vec<Slot> = sessions.iter().flat_map(pieces_of).filter_map(|piece| piece.place.slot()).collect();
        // State pieces are rows of the first array, those of the batch of one for each chunk.
        let mut from_state = 0..slots.len();
        let mut rows = Vec::with_capacity(pieces.len());
        let mut groups = Vec::with_capacity(pieces.len());
        for (group, session) in sessions.iter().enumerate() {
            for piece in pieces_of(session) {
                groups.push(group);
                rows.push(match piece.place {
                    Place::State(_) => (0, from_state.next().unwrap_or(0)),
                    Place::Batch { chunk, row } => (chunk + 1, row),
                });
            }
        }
        let known = state.gather(&slots)?;
        let n_keys = columns.n_other_keys();
        let states = known.iter().enumerate().skip(N_BOUNDS).map(|(column, known)| self.interleaved(n_keys + column, Some(known), &rows));
        let mut accumulators = Accumulators::new(columns.aggregates())?;
        accumulators.merge(&states.collect::<Result<Vec<_>>>()?, &groups, sessions.len())?;
        let starts = columns.times(sessions.iter().map(|session| session.start_us));
        let ends = columns.times(sessions.iter().map(|session| session.end_us));
        let values = [starts, ends].into_iter().chain(accumulators.states()?).collect();
        let keys_of = UInt32Array::from_iter_values(sessions.iter().map(|session| u32::try_from(session.key).unwrap_or(u32::MAX)));
        let keys = distinct.iter().map(|key| Ok(take(key, &keys_of, None)?)).collect::<Result<Vec<_>>>()?;
        Ok(SessionRows { n_rows: sessions.len(), keys, values })
    }

    /// Rows of a column of all chunks, as (chunk, row); with `before` that column stands before them, as chunk 0.
    fn interleaved(&self, column: usize, before: Option<&ArrayRef>, rows: &[(usize, usize)]) -> Result<ArrayRef> {
        let mut columns: Vec<&dyn Array> = before.iter().map(|before| before.as_ref() as &dyn Array).collect();
        for partial in &self.chunks {
            let column = partial.columns().get(column).ok_or_else(|| Error::internal("partial groups without all columns"))?;
            columns.push(column.as_ref());
        }
        Ok(interleave(&columns, rows)?)
    }
}

/// The keys of a batch.
struct Keys {
    /// By chunk and row the number of the key.
    of_rows: Vec<Vec<usize>>,
    /// The columns of the different keys, by number.
    distinct: Vec<ArrayRef>,
}

/// All sessions that the state has of these keys.
fn pieces_of_state(state: &mut KeyedMultiTable, keys: &[ArrayRef]) -> Result<Vec<Piece>> {
    let mut matches = state.lookup_all(keys)?;
    let Some(found) = state.next_pairs(&mut matches, usize::MAX) else { return Ok(Vec::new()) };
    let (starts, ends) = (state.gather_column(&found.slots, 0)?, state.gather_column(&found.slots, 1)?);
    let (starts, ends) = (times(Some(&starts))?.clone(), times(Some(&ends))?.clone());
    let bounds = starts.values().iter().zip(ends.values());
    let of_state = found.probe_rows.iter().zip(&found.slots).zip(bounds);
    Ok(of_state
        .map(|((key, slot), (start_us, end_us))| Piece {
            key: *key as usize,
            start_us: *start_us,
            end_us: *end_us,
            place: Place::State(*slot),
        })
        .collect())
}

fn times(column: Option<&ArrayRef>) -> Result<&PrimitiveArray<TimestampMicrosecondType>> {
    let times = column.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    times.ok_or_else(|| Error::internal("a session without its bounds"))
}
