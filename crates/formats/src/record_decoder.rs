//! [`RecordDecoder`]: the decoder of a format whose inputs are records one after the other.

use arrow::datatypes::SchemaRef;

use millstream_core::{RejectedRecord, Result};

use crate::decoder::{BatchSink, Counts, Decoder};
use crate::input::{InputCutter, Piece};
use crate::rows::Rows;

/// What a format makes of the pieces of its inputs.
pub(crate) trait Records: Send {
    /// A new input begins. Its rows know already.
    fn begin(&mut self, origin: &str);

    /// Makes rows of the records of a piece; gives how many bytes of an open piece they were.
    fn take(&mut self, piece: Piece<'_>, sink: &mut BatchSink<'_>) -> Result<usize>;

    /// The rows made.
    fn rows(&self) -> &Rows;

    /// The rows made.
    fn rows_mut(&mut self) -> &mut Rows;
}

/// Bytes to record batches, by the records of a format.
#[derive(Debug)]
pub struct RecordDecoder<R> {
    cutter: InputCutter,
    pub(crate) records: R,
}

impl<R> RecordDecoder<R> {
    pub(crate) fn of(cutter: InputCutter, records: R) -> Self {
        Self { cutter, records }
    }
}

impl<R: Records> Decoder for RecordDecoder<R> {
    fn schema(&self) -> &SchemaRef {
        self.records.rows().schema()
    }

    fn begin(&mut self, origin: &str) {
        self.cutter.begin();
        self.records.rows_mut().begin(origin);
        self.records.begin(origin);
    }

    fn push(&mut self, bytes: &[u8], sink: &mut BatchSink<'_>) -> Result<()> {
        self.cutter.push(bytes, &mut |piece| self.records.take(piece, sink))
    }

    fn end(&mut self, sink: &mut BatchSink<'_>) -> Result<()> {
        self.cutter.end(&mut |piece| self.records.take(piece, sink))
    }

    fn flush(&mut self, sink: &mut BatchSink<'_>) -> Result<()> {
        self.records.rows_mut().give(sink)
    }

    fn counts(&self) -> Counts {
        self.records.rows().counts()
    }

    fn take_rejected(&mut self) -> Vec<RejectedRecord> {
        self.records.rows_mut().take_rejected()
    }
}
