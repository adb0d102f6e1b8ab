//! What every sink must do, checked through the traits alone.
//!
//! A harness offers the sink under test over one place, and what any reader of that place sees. The suite writes batches
//! with several tasks, stops between any two steps, and restarts with what the checkpoint would say.

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use millstream_core::sink::WriteAttempt;
use millstream_core::{
    BatchId, ConnectorRegistry, ErrorKind, Outcome, QueryId, RecordedBatch, Result, RunEpoch, Sink, SinkContext, TaskId, TaskOutput,
};
use uuid::Uuid;

use crate::rows::sorted_row_texts;

/// A sink under test.
#[async_trait]
pub trait SinkHarness: Send + Sync {
    /// The sink, made anew over the same place (as after a restart).
    async fn sink(&self) -> Result<Arc<dyn Sink>>;

    /// Where its writers are made.
    fn registry(&self) -> &ConnectorRegistry;

    /// Rows number `first..first + n` of the sink's schema, all different.
    fn rows(&self, first: usize, n: usize) -> Result<RecordBatch>;

    /// What a reader that knows nothing of Millstream sees now.
    async fn visible(&self) -> Result<Vec<RecordBatch>>;

    /// What is left in the place beside visible output and constant bookkeeping: staged files, open uploads.
    async fn n_leftovers(&self) -> Result<usize> {
        Ok(0)
    }

    /// Whether committed rows are still visible to a sink made anew in this test (not for sinks of effects only).
    fn keeps_rows(&self) -> bool {
        true
    }
}

/// Runs the whole suite.
pub async fn check_sink(harness: &dyn SinkHarness) -> Result<()> {
    let mut script = Script { harness, expected: Vec::new(), next_row: 0, epoch: 1 };
    let sink = script.restart(None).await?;
    if sink.decides() {
        return script.check_deciding(sink).await;
    }
    script.staged_rows_are_invisible_until_commit(&sink, BatchId(0)).await?;
    script.an_abandoned_attempt_leaves_nothing(&sink, BatchId(1)).await?;
    script.an_aborted_writer_leaves_nothing(&sink, BatchId(1)).await?;
    script.empty_batches_commit(&sink, BatchId(1)).await?;
    let sink = script.leftovers_of_a_crash_are_removed_at_start(sink, BatchId(3)).await?;
    let sink = script.a_decided_batch_is_committed_after_a_restart(sink, BatchId(3)).await?;
    script.batches_may_be_prepared_while_another_commits(&sink, BatchId(4)).await?;
    sink.stop().await
}

/// A batch of the log, and what the sink said of it.
type Recorded<'a> = Option<(BatchId, &'a serde_json::Value)>;

struct Script<'a> {
    harness: &'a dyn SinkHarness,
    expected: Vec<RecordBatch>,
    next_row: usize,
    epoch: u64,
}

impl Script<'_> {
    fn ctx(&self) -> SinkContext {
        SinkContext { query_id: QueryId(Uuid::from_u128(0x5157)), epoch: RunEpoch(self.epoch) }
    }

    async fn restart(&mut self, decided: Option<BatchId>) -> Result<Arc<dyn Sink>> {
        self.epoch += 1;
        let sink = self.harness.sink().await?;
        sink.start(&self.ctx(), decided).await?;
        if sink.decides() && decided.is_none() {
            sink.recover(None, None).await?;
        }
        Ok(sink)
    }

    /// A restart of a sink that decides: what the log has decided and proposed, and what the sink must say of it.
    async fn restart_asking(&mut self, decided: Recorded<'_>, proposed: Recorded<'_>, expected: Outcome) -> Result<Arc<dyn Sink>> {
        let sink = self.restart(decided.map(|(batch, _)| batch)).await?;
        let recorded = |(batch, prepared)| RecordedBatch { batch, prepared: Some(prepared) };
        let outcome = sink.recover(decided.map(recorded), proposed.map(recorded)).await?;
        if proposed.is_some() {
            assert_eq!(outcome, expected, "what became of the proposed batch");
        }
        Ok(sink)
    }

    /// Writes with two tasks, two batches of rows each; what they wrote is returned but not yet expected to be visible.
    async fn write(&mut self, sink: &Arc<dyn Sink>, batch_id: BatchId, attempt: u32) -> Result<(Vec<TaskOutput>, Vec<RecordBatch>)> {
        let factory = self.harness.registry().writer(&sink.writer())?;
        let mut outputs = Vec::new();
        let mut written = Vec::new();
        for task in 0..2 {
            let ctx = self.ctx();
            let attempt = WriteAttempt { query_id: ctx.query_id, epoch: ctx.epoch, batch_id, attempt, task_id: TaskId(task) };
            let mut writer = factory.open(attempt).await?;
            for _ in 0..2 {
                let rows = self.harness.rows(self.next_row, 5)?;
                self.next_row += 5;
                writer.write(rows.clone()).await?;
                written.push(rows);
            }
            let output = writer.finish().await?;
            assert_eq!(output.n_rows, 10, "a task counts its rows");
            assert_eq!(output.task_id, TaskId(task), "a task says who it is");
            outputs.push(output);
        }
        Ok((outputs, written))
    }

    async fn check_visible(&self, when: &str) -> Result<()> {
        if self.harness.keeps_rows() {
            let visible = sorted_row_texts(&self.harness.visible().await?)?;
            assert_eq!(visible, sorted_row_texts(&self.expected)?, "visible rows {when}");
        }
        Ok(())
    }

    /// The commit of such a sink is the decision: what was staged dies with the run, and one batch is written at a time.
    async fn check_deciding(&mut self, sink: Arc<dyn Sink>) -> Result<()> {
        self.staged_rows_are_invisible_until_commit(&sink, BatchId(0)).await?;
        self.an_abandoned_attempt_leaves_nothing(&sink, BatchId(1)).await?;
        self.an_aborted_writer_leaves_nothing(&sink, BatchId(1)).await?;
        self.empty_batches_commit(&sink, BatchId(1)).await?;
        let decided = through_json(sink.prepare(BatchId(3), Vec::new()).await?);
        sink.commit(BatchId(3), &decided).await?;
        drop(sink);
        let decided = Some((BatchId(3), &decided));
        // Staged, then a crash; prepared, then a crash before the proposal; proposed, then a crash before the commit.
        let sink = self.restart_asking(decided, None, Outcome::RunAgain).await?;
        let (_lost, _) = self.write(&sink, BatchId(4), 0).await?;
        drop(sink);
        let sink = self.restart_asking(decided, None, Outcome::RunAgain).await?;
        let (outputs, _) = self.write(&sink, BatchId(4), 0).await?;
        let lost = sink.prepare(BatchId(4), outputs).await?;
        drop(sink);
        let sink = self.restart_asking(decided, Some((BatchId(4), &lost)), Outcome::RunAgain).await?;
        self.check_visible("after crashes before the commit").await?;
        let (outputs, rows) = self.write(&sink, BatchId(4), 0).await?;
        let prepared = through_json(sink.prepare(BatchId(4), outputs).await?);
        sink.commit(BatchId(4), &prepared).await?;
        drop(sink);
        self.expected.extend(rows);
        // Committed, then a crash before the prepared record; then one after it.
        let sink = self.restart_asking(decided, Some((BatchId(4), &prepared)), Outcome::Committed).await?;
        sink.commit(BatchId(4), &prepared).await?;
        drop(sink);
        let sink = self.restart_asking(Some((BatchId(4), &prepared)), None, Outcome::Committed).await?;
        sink.commit(BatchId(4), &prepared).await?;
        self.check_visible("after recovery").await?;
        // A proposed batch without rows is committed as it is.
        let empty = through_json(sink.prepare(BatchId(5), Vec::new()).await?);
        drop(sink);
        let sink = self.restart_asking(Some((BatchId(4), &prepared)), Some((BatchId(5), &empty)), Outcome::Committed).await?;
        self.a_zombie_commits_nothing(&sink, Some((BatchId(5), &empty))).await?;
        sink.stop().await
    }

    /// An older run that wakes up after its successor began, at any step.
    async fn a_zombie_commits_nothing(&mut self, sink: &Arc<dyn Sink>, decided: Recorded<'_>) -> Result<()> {
        let (outputs, _) = self.write(sink, BatchId(6), 0).await?;
        let lost = sink.prepare(BatchId(6), outputs).await?;
        let ctx = self.ctx();
        let successor = self.restart_asking(decided, Some((BatchId(6), &lost)), Outcome::RunAgain).await?;
        let error = sink.commit(BatchId(6), &lost).await.err();
        assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::Fenced), "the older run stops");
        self.check_visible("after the older run woke up").await?;
        let factory = self.harness.registry().writer(&sink.writer())?;
        let attempt = WriteAttempt { query_id: ctx.query_id, epoch: ctx.epoch, batch_id: BatchId(7), attempt: 0, task_id: TaskId(0) };
        let mut writer = factory.open(attempt).await?;
        let written = match writer.write(self.harness.rows(self.next_row, 5)?).await {
            Ok(()) => sink.prepare(BatchId(7), vec![writer.finish().await?]).await.map(drop),
            Err(error) => Err(error),
        };
        assert!(written.is_err(), "and writes no more");
        let (outputs, rows) = self.write(&successor, BatchId(6), 0).await?;
        let prepared = through_json(successor.prepare(BatchId(6), outputs).await?);
        successor.commit(BatchId(6), &prepared).await?;
        self.expected.extend(rows);
        self.check_visible("after its successor ran the batch again").await?;
        successor.stop().await
    }

    async fn staged_rows_are_invisible_until_commit(&mut self, sink: &Arc<dyn Sink>, batch: BatchId) -> Result<()> {
        let (outputs, rows) = self.write(sink, batch, 0).await?;
        self.check_visible("before prepare").await?;
        let prepared = through_json(sink.prepare(batch, outputs).await?);
        if !sink.needs_intent() {
            self.check_visible("before commit").await?;
        }
        sink.commit(batch, &prepared).await?;
        self.expected.extend(rows);
        self.check_visible("after commit").await?;
        sink.commit(batch, &prepared).await?;
        self.check_visible("after a second commit").await?;
        Ok(())
    }

    async fn an_abandoned_attempt_leaves_nothing(&mut self, sink: &Arc<dyn Sink>, batch: BatchId) -> Result<()> {
        let before = self.harness.n_leftovers().await?;
        let (outputs, _) = self.write(sink, batch, 0).await?;
        sink.abandon(batch, outputs).await?;
        self.check_visible("after abandon").await?;
        assert_eq!(self.harness.n_leftovers().await?, before, "an abandoned attempt is cleaned up");
        Ok(())
    }

    async fn an_aborted_writer_leaves_nothing(&mut self, sink: &Arc<dyn Sink>, batch_id: BatchId) -> Result<()> {
        let before = self.harness.n_leftovers().await?;
        let factory = self.harness.registry().writer(&sink.writer())?;
        let ctx = self.ctx();
        let attempt = WriteAttempt { query_id: ctx.query_id, epoch: ctx.epoch, batch_id, attempt: 1, task_id: TaskId(0) };
        let mut writer = factory.open(attempt).await?;
        writer.write(self.harness.rows(self.next_row, 5)?).await?;
        writer.abort().await?;
        self.check_visible("after abort").await?;
        assert_eq!(self.harness.n_leftovers().await?, before, "an aborted writer cleans up");
        Ok(())
    }

    /// One batch without tasks, and one whose task wrote no row.
    async fn empty_batches_commit(&mut self, sink: &Arc<dyn Sink>, batch: BatchId) -> Result<()> {
        let prepared = through_json(sink.prepare(batch, Vec::new()).await?);
        sink.commit(batch, &prepared).await?;
        let ctx = self.ctx();
        let batch_id = batch.next();
        let attempt = WriteAttempt { query_id: ctx.query_id, epoch: ctx.epoch, batch_id, attempt: 0, task_id: TaskId(0) };
        let writer = self.harness.registry().writer(&sink.writer())?.open(attempt).await?;
        let output = writer.finish().await?;
        assert_eq!(output.n_rows, 0, "nothing was written");
        let prepared = through_json(sink.prepare(batch_id, vec![output]).await?);
        sink.commit(batch_id, &prepared).await?;
        self.check_visible("after empty batches").await?;
        Ok(())
    }

    async fn leftovers_of_a_crash_are_removed_at_start(&mut self, sink: Arc<dyn Sink>, batch: BatchId) -> Result<Arc<dyn Sink>> {
        let before = self.harness.n_leftovers().await?;
        let _lost = self.write(&sink, batch, 0).await?;
        let (outputs, _) = self.write(&sink, batch, 1).await?;
        if !sink.needs_intent() {
            // Prepared, but the record never became durable.
            let _lost = sink.prepare(batch, outputs).await?;
        }
        drop(sink);
        let decided = batch.0.checked_sub(1).map(BatchId);
        let sink = self.restart(decided).await?;
        self.check_visible("after a crash before the decision").await?;
        assert_eq!(self.harness.n_leftovers().await?, before, "leftovers of undecided attempts are removed at start");
        Ok(sink)
    }

    async fn a_decided_batch_is_committed_after_a_restart(&mut self, sink: Arc<dyn Sink>, batch: BatchId) -> Result<Arc<dyn Sink>> {
        let (outputs, rows) = self.write(&sink, batch, 0).await?;
        let prepared = through_json(sink.prepare(batch, outputs).await?);
        drop(sink);
        let sink = self.restart(Some(batch)).await?;
        sink.commit(batch, &prepared).await?;
        self.expected.extend(rows);
        self.check_visible("after recovery").await?;
        // Crash after the commit, before its fact: the same again.
        let sink = self.restart(Some(batch)).await?;
        sink.commit(batch, &prepared).await?;
        self.check_visible("after a second recovery").await?;
        Ok(sink)
    }

    async fn batches_may_be_prepared_while_another_commits(&mut self, sink: &Arc<dyn Sink>, batch: BatchId) -> Result<()> {
        let (first_outputs, first_rows) = self.write(sink, batch, 0).await?;
        let first = through_json(sink.prepare(batch, first_outputs).await?);
        let (second_outputs, second_rows) = self.write(sink, batch.next(), 0).await?;
        sink.commit(batch, &first).await?;
        self.expected.extend(first_rows);
        if !sink.needs_intent() {
            self.check_visible("after the first of two").await?;
        }
        let second = through_json(sink.prepare(batch.next(), second_outputs).await?);
        sink.commit(batch.next(), &second).await?;
        self.expected.extend(second_rows);
        self.check_visible("after the second of two").await
    }
}

fn through_json(value: serde_json::Value) -> serde_json::Value {
    let back = serde_json::from_str(&value.to_string()).unwrap_or_default();
    assert_eq!(back, value, "a prepared value survives its record");
    back
}
