//! The task's half of writing: rows become records of the transaction that all tasks of the batch share.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use millstream_core::sink::WriteAttempt;
use millstream_core::{Error, Result, TaskOutput, TaskWriter, WriterFactory, WriterSpec};
use rdkafka::message::{Header, OwnedHeaders};

use super::dead_letters;
use super::producer::{OutputRecord, Turn};
use super::sink_columns::{Columns, RowFate, SinkRows};
use super::transaction::{Output, Outputs, Run, TaskRecords};

/// Makes writers for one sink.
#[derive(Debug)]
pub(super) struct KafkaWriters {
    output: Arc<Output>,
    columns: Columns,
    topic: Option<String>,
    adds_headers: bool,
    /// The rows are dead letters.
    writes_letters: bool,
}

impl KafkaWriters {
    pub(super) fn new(outputs: &Outputs, spec: &WriterSpec) -> Result<Self> {
        let number = spec.options.get_u64(Outputs::OPTION)?.ok_or_else(|| Error::internal("a kafka writer without its sink"))?;
        let topic = spec.options.get("topic").map(str::to_owned);
        let (writes_letters, letters) = (spec.format == dead_letters::FORMAT, dead_letters::schema());
        Ok(Self {
            output: outputs.get(number)?,
            columns: Columns::of(if writes_letters { &letters } else { &spec.schema }, topic.as_deref())?,
            topic,
            writes_letters,
            adds_headers: spec.options.get_bool("batchHeaders")?.unwrap_or(false),
        })
    }
}

#[async_trait]
impl WriterFactory for KafkaWriters {
    async fn open(&self, attempt: WriteAttempt) -> Result<Box<dyn TaskWriter>> {
        Ok(Box::new(KafkaWriter {
            run: self.output.run()?,
            attempt,
            columns: self.columns,
            topic: self.topic.clone(),
            adds_headers: self.adds_headers,
            writes_letters: self.writes_letters,
            n_rows: 0,
            written: TaskRecords::default(),
        }))
    }
}

struct KafkaWriter {
    run: Arc<Run>,
    attempt: WriteAttempt,
    columns: Columns,
    topic: Option<String>,
    adds_headers: bool,
    writes_letters: bool,
    n_rows: u64,
    written: TaskRecords,
}

impl KafkaWriter {
    /// Whether it is a record.
    async fn write_row(&self, rows: &SinkRows, row: usize, turn: &mut Turn<'_>) -> Result<bool> {
        let value = match rows.fate(row)? {
            RowFate::Record => rows.value(row),
            RowFate::Tombstone => None,
            RowFate::Nothing => return Ok(false),
        };
        let topic = match &self.topic {
            Some(topic) => topic,
            None => rows.topic(row)?,
        };
        let sequence = self.run.sequence.fetch_add(1, Ordering::Relaxed);
        let mut headers = rows.headers(row)?;
        if self.adds_headers {
            headers = Some(self.batch_headers(headers.unwrap_or_default(), sequence));
        }
        let record = OutputRecord { topic, partition: rows.partition(row)?, key: rows.key(row), value, headers };
        turn.send(record, usize::try_from(sequence).unwrap_or(usize::MAX)).await?;
        Ok(true)
    }

    fn batch_headers(&self, headers: OwnedHeaders, sequence: u64) -> OwnedHeaders {
        let (query, batch) = (self.attempt.query_id.to_string(), self.attempt.batch_id.to_string());
        headers
            .insert(Header { key: "millstream.query", value: Some(&query) })
            .insert(Header { key: "millstream.batch", value: Some(&batch) })
            .insert(Header { key: "millstream.sequence", value: Some(&sequence.to_string()) })
    }
}

#[async_trait]
impl TaskWriter for KafkaWriter {
    async fn write(&mut self, rows: RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        self.run.enter(&self.attempt).await?;
        let rows = if self.writes_letters { dead_letters::as_records(&rows, self.attempt.query_id)? } else { rows };
        let as_records = SinkRows::new(&self.columns, &rows)?;
        let run = Arc::clone(&self.run);
        let mut turn = run.producer.turn().await;
        for row in 0..rows.num_rows() {
            self.written.records += u64::from(self.write_row(&as_records, row, &mut turn).await?);
        }
        drop(turn);
        self.n_rows += rows.num_rows() as u64;
        self.run.producer.failure()
    }

    async fn finish(self: Box<Self>) -> Result<TaskOutput> {
        Ok(TaskOutput { task_id: self.attempt.task_id, n_rows: self.n_rows, payload: self.written.to_payload()? })
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        let mut transaction = self.run.transaction.lock().await;
        self.run.give_up(&mut transaction, self.attempt.batch_id).await
    }
}
