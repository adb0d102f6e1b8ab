//! The exchange below a stateful operator: every row goes to the task that keeps its key.
//!
//! Rows are sent by the key group of their key, a hash that is part of the checkpoint format, so the same key meets its
//! state after every restart, at any parallelism. A task takes the rows of input partition 0 first, then those of 1, and
//! so on: what depends on the order of rows (`first`, which duplicate passes) is the same each time a batch is run.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::Fields;
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties};
use futures::StreamExt;
use futures::stream;
use millstream_core::{Error, Result};
use millstream_state::store::KeyHasher;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::tables::{store_keys, store_schema};
use crate::error::{from_datafusion, to_datafusion};
use crate::physical::operator::{Operator, OperatorExec, OperatorRows, OperatorTask};

/// Sends rows to the tasks that keep their keys. See the module's documentation.
pub type KeyExchangeExec = OperatorExec<KeyExchange>;

/// What an exchange is beside its input.
#[derive(Debug)]
pub struct KeyExchange {
    keys: Vec<String>,
    n_partitions: usize,
    /// The tasks of one batch: made by the first partition that is asked for.
    running: Mutex<Option<Running>>,
}

type Piece = DfResult<RecordBatch>;

/// Input partitions being read, and what came of them for each output partition.
#[derive(Debug)]
struct Running {
    /// By output partition, by input partition; taken by the output.
    pieces: Vec<Option<Vec<UnboundedReceiver<Piece>>>>,
    readers: Arc<Vec<SpawnedTask<()>>>,
}

impl KeyExchangeExec {
    /// `n_partitions` tasks, by the columns `keys`; without keys all rows go to the task that keeps the only row of a store without keys.
    pub fn new(input: Arc<dyn ExecutionPlan>, keys: Vec<String>, n_partitions: usize) -> Self {
        Self::over(KeyExchange { keys, n_partitions: n_partitions.max(1), running: Mutex::default() }, [input])
    }

    /// The key's columns.
    pub fn keys(&self) -> &[String] {
        &self.operator.keys
    }

    /// The rows before the exchange.
    pub fn input(&self) -> &Arc<dyn ExecutionPlan> {
        let [input] = &self.inputs;
        input
    }
}

impl Clone for KeyExchange {
    /// The same exchange for another batch: what is running is not shared.
    fn clone(&self) -> Self {
        Self { keys: self.keys.clone(), n_partitions: self.n_partitions, running: Mutex::default() }
    }
}

impl fmt::Display for KeyExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keys=[{}], partitions={}", self.keys.join(", "), self.n_partitions)
    }
}

impl Operator for KeyExchange {
    const NAME: &'static str = "KeyExchangeExec";

    fn properties(&self, [input]: &[Arc<dyn ExecutionPlan>; 1]) -> Arc<PlanProperties> {
        Arc::new(PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            Partitioning::UnknownPartitioning(self.n_partitions),
            input.pipeline_behavior(),
            input.boundedness(),
        ))
    }

    fn execute(&self, [input]: &[Arc<dyn ExecutionPlan>; 1], task: OperatorTask) -> Result<OperatorRows> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let running = match running.as_mut() {
            Some(running) => running,
            None => running.insert(self.start(input, &task)?),
        };
        let mine = running.pieces.get_mut(task.partition).and_then(Option::take);
        let mine = mine.ok_or_else(|| Error::internal(format!("partition {} of an exchange was read twice", task.partition)))?;
        // The readers live as long as one output is read.
        let readers = Arc::clone(&running.readers);
        let pieces = stream::iter(mine).flat_map(|mut pieces| stream::poll_fn(move |cx| pieces.poll_recv(cx)));
        Ok(pieces.inspect(move |_| _ = &readers).boxed())
    }
}

impl KeyExchange {
    fn start(&self, input: &Arc<dyn ExecutionPlan>, task: &OperatorTask) -> Result<Running> {
        let n_inputs = input.output_partitioning().partition_count();
        let splitter = Splitter::new(&self.keys, input, task.scope.state.n_key_groups(), self.n_partitions)?;
        let mut pieces: Vec<Vec<UnboundedReceiver<Piece>>> = (0..self.n_partitions).map(|_| Vec::with_capacity(n_inputs)).collect();
        let mut readers = Vec::with_capacity(n_inputs);
        for partition in 0..n_inputs {
            let mut senders = Vec::with_capacity(self.n_partitions);
            for of_output in &mut pieces {
                let (sender, receiver) = unbounded_channel();
                senders.push(sender);
                of_output.push(receiver);
            }
            let rows = input.execute(partition, Arc::clone(&task.ctx)).map_err(from_datafusion)?;
            readers.push(SpawnedTask::spawn(splitter.clone().send(rows, senders)));
        }
        Ok(Running { pieces: pieces.into_iter().map(Some).collect(), readers: Arc::new(readers) })
    }
}

/// Splits rows by the partitions of their keys.
#[derive(Debug, Clone)]
struct Splitter {
    columns: Vec<usize>,
    hasher: Arc<KeyHasher>,
    n_key_groups: u32,
    n_partitions: usize,
}

impl Splitter {
    fn new(keys: &[String], input: &Arc<dyn ExecutionPlan>, n_key_groups: u32, n_partitions: usize) -> Result<Self> {
        let schema = input.schema();
        let columns = keys.iter().map(|key| schema.index_of(key)).collect::<Result<Vec<_>, _>>()?;
        let fields = columns.iter().filter_map(|idx| schema.fields().get(*idx).cloned()).collect();
        let hasher = KeyHasher::new(store_schema(fields, Fields::empty())?.keys())?;
        Ok(Self { columns, hasher: Arc::new(hasher), n_key_groups, n_partitions })
    }

    async fn send(self, mut rows: SendableRecordBatchStream, to: Vec<UnboundedSender<Piece>>) {
        while let Some(batch) = rows.next().await {
            let pieces = batch.and_then(|batch| self.split(&batch).map_err(to_datafusion));
            match pieces {
                Ok(pieces) => {
                    for (piece, sender) in pieces.into_iter().zip(&to) {
                        if piece.num_rows() > 0 {
                            // A receiver that is gone asks for no more rows; the others still do.
                            _ = sender.send(Ok(piece));
                        }
                    }
                }
                Err(error) => {
                    let error = Arc::new(error);
                    for sender in &to {
                        _ = sender.send(Err(DataFusionError::Shared(Arc::clone(&error))));
                    }
                    return;
                }
            }
        }
    }

    fn split(&self, batch: &RecordBatch) -> Result<Vec<RecordBatch>> {
        let mut pieces = vec![batch.slice(0, 0); self.n_partitions];
        let keys: Vec<ArrayRef> = self.columns.iter().filter_map(|idx| batch.columns().get(*idx).cloned()).collect();
        let keys = store_keys(keys, batch.num_rows());
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); self.n_partitions];
        let n_partitions = u32::try_from(self.n_partitions).unwrap_or(u32::MAX);
        for (row, partition) in (0..).zip(self.hasher.partitions(&keys, self.n_key_groups, n_partitions)?) {
            if let Some(rows) = rows.get_mut(partition as usize) {
                rows.push(row);
            }
        }
        for (piece, rows) in pieces.iter_mut().zip(rows) {
            *piece = if rows.len() == batch.num_rows() { batch.clone() } else { take_record_batch(batch, &UInt32Array::from(rows))? };
        }
        Ok(pieces)
    }
}

/// Whether the only row of a store without keys is that of this task.
pub fn keeps_only_row(task: &OperatorTask, n_tasks: usize) -> Result<bool> {
    let hasher = KeyHasher::new(store_schema(Fields::empty(), Fields::empty())?.keys())?;
    let n_tasks = u32::try_from(n_tasks.max(1)).unwrap_or(u32::MAX);
    let keeper = hasher.partitions(&store_keys(Vec::new(), 1), task.scope.state.n_key_groups(), n_tasks)?;
    Ok(keeper.first().is_some_and(|keeper| *keeper as usize == task.partition))
}
