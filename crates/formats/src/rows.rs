//! Rows of one decoder on their way to batches: the wanted columns, the column of bad records, counts and rejects.
//!
//! Decoders of every format fill [`Rows::root`] and say at the end of each record how it went; what then happens to good
//! and bad records is decided here only, so that the conservation law holds in one place.

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Fields, Schema, SchemaRef};
use std::sync::Arc;

use millstream_core::{Error, ParseMode, RejectedRecord, Result};

use crate::column::{Bytes, Structs};
use crate::decoder::{BatchSink, Counts, DecodeSettings, Rejects, nullable_schema};

/// How a record went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict<'a> {
    /// All of it was as wanted.
    Good,
    /// Rows were made, but some fields are null because they were bad.
    Partial(&'a str),
    /// Nothing could be made of it.
    Malformed(&'a str),
}

/// A record's text as read and its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw<'a> {
    pub bytes: &'a [u8],
    pub line: u64,
}

/// Rows that were not given yet.
#[derive(Debug)]
pub(crate) struct Rows {
    schema: SchemaRef,
    /// The columns that are read from records, without the column of bad records.
    pub root: Structs,
    corrupt: Option<(usize, Bytes)>,
    mode: ParseMode,
    settings: DecodeSettings,
    counts: Counts,
    rejected: Vec<RejectedRecord>,
    origin: String,
    bytes_waiting: usize,
    open_row: usize,
}

impl Rows {
    pub fn new(schema: &Schema, corrupt_column: &str, mode: ParseMode, settings: DecodeSettings) -> Result<Self> {
        let schema = nullable_schema(schema);
        let corrupt = schema.fields().iter().position(|field| field.name() == corrupt_column);
        if let Some(field) = corrupt.and_then(|at| schema.fields().get(at))
            && field.data_type() != &DataType::Utf8
        {
            return Err(Error::invalid(format!(
                "the column for corrupt records '{corrupt_column}' is {}: it must be a nullable STRING",
                field.data_type()
            ))
            .code("INVALID_CORRUPT_RECORD_TYPE"));
        }
        let read: Fields =
            schema.fields().iter().enumerate().filter(|(i, _)| Some(*i) != corrupt).map(|(_, field)| Arc::clone(field)).collect();
        let root = Structs::new(&read, "")?;
        Ok(Self {
            schema,
            root,
            corrupt: corrupt.map(|at| (at, Bytes::new())),
            mode,
            settings,
            counts: Counts::default(),
            rejected: Vec::new(),
            origin: String::new(),
            bytes_waiting: 0,
            open_row: 0,
        })
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub fn begin(&mut self, origin: &str) {
        self.origin = origin.to_owned();
    }

    /// The name of the input, for messages.
    pub fn origin(&self) -> &str {
        if self.origin.is_empty() { "input" } else { &self.origin }
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    pub fn take_rejected(&mut self) -> Vec<RejectedRecord> {
        std::mem::take(&mut self.rejected)
    }

    /// Whether a bad record will have to be explained.
    pub fn wants_reasons(&self) -> bool {
        self.settings.rejects == Rejects::Keep || self.mode == ParseMode::FailFast
    }

    /// Ends a record whose rows, any number, were pushed to `root`; on [`Verdict::Malformed`] they are cut off.
    #[inline]
    pub fn close(&mut self, verdict: Verdict<'_>, raw: Raw<'_>) -> Result<()> {
        if let Verdict::Good = verdict {
            let rows = self.root.len - self.open_row;
            if let Some((_, corrupt)) = &mut self.corrupt {
                (0..rows).for_each(|_| corrupt.push_null());
            }
            self.accept(rows, raw);
            return Ok(());
        }
        self.close_bad(verdict, raw)
    }

    fn accept(&mut self, rows: usize, raw: Raw<'_>) {
        self.counts.records += rows as u64;
        self.counts.rows += rows as u64;
        self.open_row = self.root.len;
        self.bytes_waiting += raw.bytes.len();
    }

    #[cold]
    fn close_bad(&mut self, verdict: Verdict<'_>, raw: Raw<'_>) -> Result<()> {
        let reason = match verdict {
            Verdict::Good => return Ok(()),
            Verdict::Partial(reason) | Verdict::Malformed(reason) => reason,
        };
        let keep_rows = self.settings.rejects == Rejects::None && self.mode == ParseMode::Permissive;
        if !keep_rows || matches!(verdict, Verdict::Malformed(_)) {
            self.root.truncate(self.open_row);
        }
        if keep_rows {
            if self.root.len == self.open_row {
                self.root.close(true);
            }
            let rows = self.root.len - self.open_row;
            if let Some((_, corrupt)) = &mut self.corrupt {
                let text = String::from_utf8_lossy(raw.bytes);
                (0..rows).for_each(|_| corrupt.push(text.as_bytes()));
                self.bytes_waiting += rows * text.len();
            }
            self.accept(rows, raw);
            return Ok(());
        }
        self.counts.records += 1;
        match (self.settings.rejects, self.mode) {
            (Rejects::Keep, _) => {
                self.counts.rejected += 1;
                self.rejected.push(RejectedRecord::new(raw.bytes, reason, self.origin.as_str(), i64::try_from(raw.line).ok()));
            }
            (Rejects::None, ParseMode::DropMalformed) => self.counts.dropped += 1,
            (Rejects::None, _) => {
                return Err(Error::data(format!("malformed record: {reason}"))
                    .code("MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION")
                    .hint("set the option 'mode' to PERMISSIVE or DROPMALFORMED, or keep bad records with 'deadLetterPath'")
                    .context(format!("{}, line {}", self.origin(), raw.line)));
            }
        }
        Ok(())
    }

    /// Gives a batch if enough waits.
    #[inline]
    pub fn give_full(&mut self, sink: &mut BatchSink<'_>) -> Result<()> {
        if self.root.len >= self.settings.batch_rows || self.bytes_waiting >= self.settings.batch_bytes {
            self.give(sink)?;
        }
        Ok(())
    }

    /// Gives what waits.
    pub fn give(&mut self, sink: &mut BatchSink<'_>) -> Result<()> {
        if self.root.len == 0 {
            return Ok(());
        }
        self.bytes_waiting = 0;
        self.open_row = 0;
        let (mut arrays, _, rows) = self.root.take()?;
        if let Some((at, corrupt)) = &mut self.corrupt {
            let array: ArrayRef = Arc::new(corrupt.finish_str()?);
            arrays.insert((*at).min(arrays.len()), array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        sink(RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)?)
    }
}
