//! Rows of partitions that have no open file: a task opens so many files at once and no more, and writes the rest
//! partition by partition when its input has ended. Kept in memory up to a bound, beyond it in temporary files sorted by
//! partition, so that a task's memory does not grow with the number of partitions or rows.
//!
//! Spark sorts for the same reason (`spark.sql.maxConcurrentOutputFileWriters`).

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, SeekFrom};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{interleave_record_batch, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use millstream_core::{Error, Result};

use super::partition_rows::Group;

/// Rows of a batch that is given back.
const BATCH_ROWS: usize = 8192;

/// See the [module](self).
pub(super) struct WaitingRows {
    /// The rows' columns and, last, the number of their folder.
    schema: SchemaRef,
    held_bytes_max: usize,
    folders: Vec<String>,
    numbers: HashMap<String, u32>,
    held: Vec<RecordBatch>,
    held_bytes: usize,
    spilled: Vec<File>,
}

impl WaitingRows {
    /// For rows of `schema`; holds at most about `held_bytes_max` in memory.
    pub(super) fn new(schema: &SchemaRef, held_bytes_max: usize) -> Self {
        let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new("", DataType::UInt32, false)));
        Self {
            schema: Arc::new(Schema::new(fields)),
            held_bytes_max,
            folders: Vec::new(),
            numbers: HashMap::new(),
            held: Vec::new(),
            held_bytes: 0,
            spilled: Vec::new(),
        }
    }

    /// Takes the rows of some groups.
    pub(super) fn push(&mut self, rows: &RecordBatch, groups: Vec<Group>) -> Result<()> {
        let (mut indices, mut numbers) = (Vec::new(), Vec::new());
        for group in groups {
            let number = match self.numbers.get(&group.folder) {
                Some(number) => *number,
                None => {
                    let number = u32::try_from(self.folders.len()).map_err(|_| Error::internal("more than 2^32 partitions"))?;
                    self.folders.push(group.folder.clone());
                    self.numbers.insert(group.folder, number);
                    number
                }
            };
            numbers.extend(std::iter::repeat_n(number, group.rows.len()));
            indices.extend(group.rows);
        }
        let mut columns = take_record_batch(rows, &UInt32Array::from(indices))?.columns().to_vec();
        columns.push(Arc::new(UInt32Array::from(numbers)));
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        self.held_bytes += batch.get_array_memory_size();
        self.held.push(batch);
        if self.held_bytes > self.held_bytes_max { self.spill() } else { Ok(()) }
    }

    /// All rows, partition by partition; within one in the order they came.
    pub(super) fn into_partitions(mut self) -> Result<Partitions> {
        let mut runs = Vec::with_capacity(self.spilled.len() + 1);
        for file in std::mem::take(&mut self.spilled) {
            let reader = StreamReader::try_new(BufReader::new(file), None)?;
            runs.push(Run::start(Box::new(reader.map(|batch| batch.map_err(Error::from))))?);
        }
        let order = self.order()?;
        let held = std::mem::take(&mut self.held);
        let chunks: Vec<Vec<(usize, usize)>> = order.chunks(BATCH_ROWS).map(<[_]>::to_vec).collect();
        runs.push(Run::start(Box::new(chunks.into_iter().map(move |chunk| gather(&held, &chunk))))?);
        Ok(Partitions { folders: self.folders, runs })
    }

    fn spill(&mut self) -> Result<()> {
        // Without a name: gone with the process, however that ends.
        let mut file =
            tempfile::tempfile().map_err(|error| Error::from(error).context("opening a temporary file for rows to be written"))?;
        {
            let mut writer = StreamWriter::try_new(BufWriter::new(&mut file), &self.schema)?;
            for chunk in self.order()?.chunks(BATCH_ROWS) {
                writer.write(&gather(&self.held, chunk)?)?;
            }
            writer.finish()?;
        }
        file.seek(SeekFrom::Start(0))?;
        self.spilled.push(file);
        self.held.clear();
        self.held_bytes = 0;
        Ok(())
    }

    /// Batch and row of all held rows, by folder.
    fn order(&self) -> Result<Vec<(usize, usize)>> {
        let mut order = Vec::new();
        for (batch_idx, batch) in self.held.iter().enumerate() {
            let numbers = numbers_of(batch)?;
            order.extend(numbers.values().iter().enumerate().map(|(row_idx, number)| (*number, batch_idx, row_idx)));
        }
        order.sort_unstable();
        Ok(order.into_iter().map(|(_, batch_idx, row_idx)| (batch_idx, row_idx)).collect())
    }
}

/// The rows of [`WaitingRows`] on their way out.
pub(super) struct Partitions {
    folders: Vec<String>,
    runs: Vec<Run>,
}

impl Partitions {
    /// The next rows and their folder; a folder's rows follow each other.
    pub(super) fn next(&mut self) -> Result<Option<(&str, RecordBatch)>> {
        let number = self.runs.iter().filter_map(Run::number).min();
        let Some(number) = number else { return Ok(None) };
        let run = self.runs.iter_mut().find(|run| run.number() == Some(number));
        let rows = run.ok_or_else(|| Error::internal("a run of rows is gone"))?.take(number)?;
        let folder = self.folders.get(number as usize).ok_or_else(|| Error::internal("rows of an unknown partition"))?;
        Ok(Some((folder, rows)))
    }
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// Rows sorted by folder.
struct Run {
    batches: Batches,
    current: Option<RecordBatch>,
    at: usize,
}

impl Run {
    fn start(mut batches: Batches) -> Result<Self> {
        let current = batches.next().transpose()?;
        Ok(Self { batches, current, at: 0 })
    }

    /// The folder of the next row.
    fn number(&self) -> Option<u32> {
        numbers_of(self.current.as_ref()?).ok()?.values().get(self.at).copied()
    }

    /// The next rows, all of folder `number`, without its column.
    fn take(&mut self, number: u32) -> Result<RecordBatch> {
        let batch = self.current.as_ref().ok_or_else(|| Error::internal("a run of rows is at its end"))?;
        let rest = numbers_of(batch)?.values().get(self.at..).unwrap_or_default();
        let n_rows = rest.iter().take_while(|of_row| **of_row == number).count();
        let data: Vec<usize> = (0..batch.num_columns().saturating_sub(1)).collect();
        let rows = batch.slice(self.at, n_rows).project(&data)?;
        self.at += n_rows;
        if self.at >= batch.num_rows() {
            self.current = self.batches.next().transpose()?;
            self.at = 0;
        }
        Ok(rows)
    }
}

fn gather(held: &[RecordBatch], rows: &[(usize, usize)]) -> Result<RecordBatch> {
    let held: Vec<&RecordBatch> = held.iter().collect();
    Ok(interleave_record_batch(&held, rows)?)
}

fn numbers_of(batch: &RecordBatch) -> Result<&UInt32Array> {
    let last: Option<&ArrayRef> = batch.columns().last();
    last.and_then(|column| column.as_primitive_opt::<UInt32Type>()).ok_or_else(|| Error::internal("rows without their folder's number"))
}

#[cfg(test)]
#[path = "tests/waiting.rs"]
mod tests;
