//! Tests of `foreach`.

use std::sync::{Arc, Mutex};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use async_trait::async_trait;
use millstream_core::{BatchId, Error, Result, Sink, TaskId, TaskOutput};

use super::{RowWriter, foreach_sink};
use crate::harness::{id_name_rows, id_name_schema};
use crate::wire;

struct Logging(Arc<Mutex<Vec<String>>>);

impl Logging {
    fn log(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }
}

#[async_trait]
impl RowWriter for Logging {
    async fn open(&mut self, partition: TaskId, batch: BatchId) -> Result<bool> {
        self.log(format!("open {partition} {batch}"));
        Ok(partition != TaskId(1))
    }

    async fn process(&mut self, rows: &RecordBatch, row_idx: usize) -> Result<()> {
        let id = rows.column(0).as_primitive::<Int64Type>().value(row_idx);
        self.log(format!("row {id}"));
        if id == 99 { Err(Error::data("no 99s")) } else { Ok(()) }
    }

    async fn close(&mut self, error: Option<&Error>) -> Result<()> {
        self.log(format!("close {}", error.map_or("well".to_owned(), ToString::to_string)));
        Ok(())
    }
}

fn output(task: u32, rows: RecordBatch) -> TaskOutput {
    let payload = wire::rows_to_bytes(&id_name_schema(), std::slice::from_ref(&rows)).unwrap();
    TaskOutput { task_id: TaskId(task), n_rows: rows.num_rows() as u64, payload }
}

#[tokio::test]
async fn opens_processes_and_closes_each_partition() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let for_writers = Arc::clone(&log);
    let factory = move || Box::new(Logging(for_writers.clone())) as Box<dyn RowWriter>;
    let sink = foreach_sink(Arc::new(factory), id_name_schema(), "UTC");
    let outputs = vec![output(1, id_name_rows(5, 2)), output(0, id_name_rows(0, 2))];
    sink.prepare(BatchId(7), outputs).await.unwrap();
    let expected = ["open 0 7", "row 0", "row 1", "close well", "open 1 7", "close well"];
    assert_eq!(*log.lock().unwrap(), expected);
    log.lock().unwrap().clear();
    let error = sink.prepare(BatchId(8), vec![output(2, id_name_rows(99, 3))]).await.unwrap_err();
    assert_eq!(error.to_string(), "in foreach, batch 8, partition 2: no 99s");
    assert_eq!(*log.lock().unwrap(), ["open 2 8", "row 99", "close no 99s"]);
}
