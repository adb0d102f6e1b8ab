//! Where bad records and rows go: a side table of their source.

use std::sync::Arc;

use millstream_core::{RejectedRecord, Result};

use super::side_table::{SideTable, SideWriter};
use crate::batch::BatchScope;

/// A dead-letter table. Operators that write to it have numbers: the source is 0, row guards count up from 1, guards from
/// the future down from the last.
pub type DeadLetters = SideTable;

/// One partition's dead letters of one operator.
pub(super) struct DeadLetterWriter(SideWriter);

impl DeadLetterWriter {
    /// `writer_no` tells apart the operators that write to one table.
    pub(super) fn new(target: DeadLetters, scope: Arc<BatchScope>, writer_no: u32, partition: usize) -> Result<Self> {
        SideWriter::new(target, scope, writer_no, partition).map(Self)
    }

    /// Stages records that came from `source`.
    pub(super) async fn write(&mut self, records: &[RejectedRecord], source: &str) -> Result<()> {
        let rows = RejectedRecord::to_batch(records, source, self.0.scope().facts.batch_id)?;
        self.0.write(rows).await
    }

    /// The task has ended well: reports what was staged.
    pub(super) async fn finish(&mut self) -> Result<()> {
        self.0.finish().await
    }

    /// The task has failed: removes what was staged, as far as it goes.
    pub(super) async fn abort(&mut self) {
        self.0.abort().await;
    }
}
