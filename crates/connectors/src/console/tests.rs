//! Tests of `console`.

use std::io::Write;
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use millstream_core::connector::SinkRequest;
use millstream_core::sink::WriteAttempt;
use millstream_core::{BatchId, ConnectorRegistry, Delivery, QueryId, Result, RunEpoch, Sink, TaskId, TaskOutput};
use millstream_testkit::sink_contract::{SinkHarness, check_sink};
use uuid::Uuid;

use super::{ConsoleConnector, ConsoleOutput};
use crate::harness::{id_name_rows, id_name_schema, registry, sink, sink_request};
use crate::wire;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Captured {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

struct Console {
    registry: ConnectorRegistry,
    captured: Captured,
    options: Vec<(&'static str, &'static str)>,
}

impl Console {
    fn new(options: &[(&'static str, &'static str)]) -> Self {
        let (mut registry, _) = registry();
        let captured = Captured::default();
        registry.register(Arc::new(ConsoleConnector::new(ConsoleOutput::new(captured.clone()))));
        Self { registry, captured, options: options.to_vec() }
    }

    async fn print(&self, batch: u64, rows: &[RecordBatch]) -> String {
        let sink = self.sink().await.unwrap();
        let payload = wire::rows_to_bytes(&id_name_schema(), rows).unwrap();
        let n_rows = rows.iter().map(|rows| rows.num_rows() as u64).sum();
        let output = TaskOutput { task_id: TaskId(0), n_rows, payload };
        sink.prepare(BatchId(batch), vec![output]).await.unwrap();
        self.captured.text()
    }
}

#[async_trait]
impl SinkHarness for Console {
    async fn sink(&self) -> Result<Arc<dyn Sink>> {
        sink(&self.registry, sink_request("console", &self.options, id_name_schema())).await
    }

    fn registry(&self) -> &ConnectorRegistry {
        &self.registry
    }

    fn rows(&self, first: usize, n: usize) -> Result<RecordBatch> {
        Ok(id_name_rows(first, n))
    }

    async fn visible(&self) -> Result<Vec<RecordBatch>> {
        Ok(Vec::new())
    }

    fn keeps_rows(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn keeps_the_contract() {
    let console = Console::new(&[]);
    check_sink(&console).await.unwrap();
    let sink = console.sink().await.unwrap();
    assert_eq!(sink.delivery(), Delivery::AtLeastOnce);
    assert!(sink.needs_intent());
}

#[tokio::test]
async fn a_finished_write_has_no_header() {
    let console = Console::new(&[]);
    let request = SinkRequest { output_mode: None, ..sink_request("console", &[], id_name_schema()) };
    let sink = sink(&console.registry, request).await.unwrap();
    let payload = wire::rows_to_bytes(&id_name_schema(), &[id_name_rows(0, 1)]).unwrap();
    sink.prepare(BatchId(0), vec![TaskOutput { task_id: TaskId(0), n_rows: 1, payload }]).await.unwrap();
    assert_eq!(console.captured.text().lines().next(), Some("+---+------+"));
}

#[tokio::test]
async fn prints_sparks_table() {
    let expected = "\
-------------------------------------------
Batch: 3
-------------------------------------------
+---+------+
| id|  name|
+---+------+
|  0|name 0|
|  1|name 1|
|  2|  NULL|
+---+------+

";
    assert_eq!(Console::new(&[]).print(3, &[id_name_rows(0, 3)]).await, expected);
    let expected = "\
-------------------------------------------
Batch: 0
-------------------------------------------
+---+------+
|id |name  |
+---+------+
|0  |name 0|
+---+------+
only showing top 1 row
";
    let console = Console::new(&[("numRows", "1"), ("truncate", "false")]);
    assert_eq!(console.print(0, &[id_name_rows(0, 3)]).await, expected);
}

#[tokio::test]
async fn prints_json_lines_and_the_end_of_every_batch() {
    let console = Console::new(&[("format", "json")]);
    let expected = "{\"batchId\":5,\"row\":{\"id\":1,\"name\":\"name 1\"}}\n{\"batchId\":5,\"row\":{\"id\":2,\"name\":null}}\n{\"batchId\":5,\"end\":true,\"numRows\":2}\n";
    assert_eq!(console.print(5, &[id_name_rows(1, 2)]).await, expected);
    let console = Console::new(&[("format", "json")]);
    assert_eq!(console.print(6, &[]).await, "{\"batchId\":6,\"end\":true,\"numRows\":0}\n");
}

#[tokio::test]
async fn a_table_needs_no_more_rows_than_it_shows() {
    for (options, n_kept) in [(&[("numRows", "5")][..], 6), (&[], 21), (&[("format", "json")], 300)] {
        let console = Console::new(options);
        let sink = console.sink().await.unwrap();
        let mut outputs = Vec::new();
        for task in 0..2 {
            let attempt = WriteAttempt {
                query_id: QueryId(Uuid::nil()),
                epoch: RunEpoch(1),
                batch_id: BatchId(0),
                attempt: 0,
                task_id: TaskId(task),
            };
            let mut writer = console.registry.writer(&sink.writer()).unwrap().open(attempt).await.unwrap();
            for first in [0, 3, 100] {
                writer.write(id_name_rows(first, 100)).await.unwrap();
            }
            outputs.push(writer.finish().await.unwrap());
        }
        for output in &outputs {
            let rows = wire::rows_from_bytes(&output.payload).unwrap();
            assert_eq!((output.n_rows, rows.iter().map(RecordBatch::num_rows).sum::<usize>()), (300, n_kept), "{options:?}");
        }
        sink.prepare(BatchId(0), outputs).await.unwrap();
        let n_shown = options.iter().find(|(name, _)| *name == "numRows").map_or("20", |(_, n)| n);
        let (says_more, n_lines) = (format!("only showing top {n_shown} rows"), console.captured.text().lines().count());
        assert_eq!(console.captured.text().contains(&says_more), n_kept != 300, "{options:?}");
        assert!(n_kept != 300 || n_lines == 601, "{n_lines} lines");
    }
}
