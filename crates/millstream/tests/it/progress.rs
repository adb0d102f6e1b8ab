//! Progress beside Spark's own (`gold/spark-4.3.0/progress`): the same fields in the same order, of the same JSON types, and
//! where a value does not depend on the machine the same value. Then idleness, as listeners hear of it.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch};
use millstream::{QueryEvent, Session, StreamingQuery, StreamingQueryListener, Trigger};
use millstream_testkit::ManualClock;
use serde_json::Value;

fn gold(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../gold/spark-4.3.0/progress").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn of(query: &StreamingQuery) -> Vec<Value> {
    query.recent_progress().iter().map(|progress| serde_json::from_str(&progress.json()).unwrap()).collect()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "decimal",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// What differs between two values in shape: names, order, types. `path` names where.
fn shape_differences(path: &str, spark: &Value, ours: &Value, found: &mut Vec<String>) {
    if kind(spark) != kind(ours) {
        found.push(format!("{path}: {} and {}", kind(spark), kind(ours)));
        return;
    }
    match (spark, ours) {
        (Value::Object(spark), Value::Object(ours)) => {
            let names = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<Vec<_>>().join(" ");
            if names(spark) != names(ours) {
                found.push(format!("{path}: [{}] and [{}]", names(spark), names(ours)));
            }
            for (name, spark) in spark {
                if let Some(ours) = ours.get(name) {
                    shape_differences(&format!("{path}.{name}"), spark, ours, found);
                }
            }
        }
        (Value::Array(spark), Value::Array(ours)) => {
            assert_eq!(spark.len(), ours.len(), "{path}");
            for (idx, (spark, ours)) in spark.iter().zip(ours).enumerate() {
                shape_differences(&format!("{path}[{idx}]"), spark, ours, found);
            }
        }
        _ => {}
    }
}

fn compare(spark: &[Value], ours: &[Value]) -> Vec<String> {
    assert_eq!(spark.len(), ours.len());
    let mut found = Vec::new();
    for (idx, (spark, ours)) in spark.iter().zip(ours).enumerate() {
        shape_differences(&format!("{idx}"), spark, ours, &mut found);
    }
    found
}

fn write_input(dir: &Path) {
    std::fs::create_dir_all(dir.join("in")).unwrap();
    for number in 0..3 {
        let lines: Vec<String> = (0..5).map(|i| format!("{{\"id\":{},\"name\":\"n{i}\"}}\n", number * 10 + i)).collect();
        std::fs::write(dir.join(format!("in/f{number}.json")), lines.concat()).unwrap();
    }
}

/// The source's own counters, which Spark's file source does not have.
const FILE_METRICS: [&str; 1] =
    [".sources[0]: [description startOffset endOffset latestOffset numInputRows inputRowsPerSecond processedRowsPerSecond] and \
     [description startOffset endOffset latestOffset numInputRows inputRowsPerSecond processedRowsPerSecond metrics]"];

#[tokio::test(flavor = "multi_thread")]
async fn files_to_parquet_report_as_spark_does() {
    let dir = tempfile::tempdir().unwrap();
    write_input(dir.path());
    let session = Session::new().unwrap();
    let source = session.read_stream().schema("id INT, name STRING").option("maxFilesPerTrigger", "2");
    let frame = source.json(dir.path().join("in")).await.unwrap().filter(millstream::functions::expr("id % 2 = 0").unwrap());
    let writer = frame.write_stream().format("parquet").query_name("files_to_parquet").trigger(Trigger::AvailableNow);
    let query = writer.checkpoint(dir.path().join("cp1")).start_path(dir.path().join("out")).await.unwrap();
    query.await_termination(None).await.unwrap();

    let spark = gold("file-to-parquet-available-now.json");
    let text = serde_json::to_string(&of(&query)).unwrap().replace(&dir.path().display().to_string(), "/data");
    let ours: Vec<Value> = serde_json::from_str(&text).unwrap();
    let want: Vec<String> = (0..2).map(|idx| format!("{idx}{}", FILE_METRICS[0])).collect();
    assert_eq!(compare(&spark, &ours), want);
    for (spark, ours) in spark.iter().zip(&ours) {
        for same in ["/name", "/batchId", "/numInputRows", "/stateOperators", "/sink/description"] {
            assert_eq!(spark.pointer(same), ours.pointer(same), "{same}");
        }
        for same in ["description", "startOffset", "endOffset", "latestOffset", "numInputRows"] {
            assert_eq!(spark["sources"][0][same], ours["sources"][0][same], "{same}");
        }
    }
    assert_eq!(ours[0]["inputRowsPerSecond"], spark[0]["inputRowsPerSecond"], "no rate before the second trigger");
    // Spark says -1 for files.
    assert_eq!((&ours[0]["sink"]["numOutputRows"], &ours[1]["sink"]["numOutputRows"]), (&Value::from(6), &Value::from(3)));
    let outstanding = |idx: usize| ours[idx]["sources"][0]["metrics"]["numFilesOutstanding"].clone();
    assert_eq!((outstanding(0), outstanding(1)), (Value::from("1"), Value::from("0")));
    // Rates have one decimal, and are rows through time.
    let rows = ours[1]["numInputRows"].as_f64().unwrap();
    let ms = ours[1]["batchDuration"].as_f64().unwrap();
    assert_eq!(ours[1]["processedRowsPerSecond"].as_f64().unwrap(), (rows / ms.max(1.0) * 10_000.0).round() / 10.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_to_memory_report_as_spark_does() {
    let dir = tempfile::tempdir().unwrap();
    write_input(dir.path());
    let session = Session::new().unwrap();
    let frame = session.read_stream().schema("id INT").json(dir.path().join("in")).await.unwrap();
    let query = frame.write_stream().format("memory").query_name("mem").checkpoint(dir.path().join("cp")).start().await.unwrap();
    query.process_all_available().await.unwrap();
    let (spark, ours) = (gold("file-to-memory.json"), of(&query));
    assert_eq!(compare(&spark, &ours), [format!("0{}", FILE_METRICS[0])]);
    assert_eq!(spark[0]["sink"], ours[0]["sink"]);
    query.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_reports_as_spark_does_but_for_its_offsets() {
    let session = Session::new().unwrap();
    let frame = session.read_stream().format("rate").option("rowsPerSecond", "100").load().await.unwrap();
    let query = frame.write_stream().format("console").start().await.unwrap();
    while !query.recent_progress().iter().any(|progress| progress.num_input_rows > 0) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    query.stop().await;
    let ours: Vec<Value> = of(&query).into_iter().filter(|progress| progress["numInputRows"] != 0).take(1).collect();
    // Ours hold the query's first start beside the seconds: an object, not a number.
    let want = ["endOffset", "latestOffset"].map(|field| format!("0.sources[0].{field}: integer and object"));
    assert_eq!(compare(&gold("rate-to-console.json")[..1], &ours), want);
}

fn gold_status(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../gold/spark-4.3.0/progress").join(format!("status-{name}.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_says_what_it_does_in_sparks_words() {
    let session = Session::new().unwrap();
    let stream = session.memory_stream("numbers", millstream::parse_schema("v BIGINT").unwrap()).unwrap();
    let status = |query: &StreamingQuery| serde_json::to_value(query.status()).unwrap();
    let frame = session.read_stream().format("memory").option("stream", "numbers").load().await.unwrap();
    let query = frame.select_expr(["10 DIV v AS x"]).unwrap().write_stream().format("noop").start().await.unwrap();
    query.process_all_available().await.unwrap();
    while status(&query) != gold_status("waiting") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    query.stop().await;
    assert_eq!(status(&query), gold_status("terminated"));

    let schema = stream.schema();
    stream.add(RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![0]))]).unwrap()).unwrap();
    let query = frame.select_expr(["10 DIV v AS x"]).unwrap().write_stream().format("noop").start().await.unwrap();
    query.await_termination(None).await.unwrap_err();
    let (spark, ours) = (gold_status("failed"), status(&query));
    let mut found = Vec::new();
    shape_differences("", &spark, &ours, &mut found);
    assert_eq!(found, Vec::<String>::new());
    let prefix = "Terminated with exception: ";
    assert!(spark["message"].as_str().unwrap().starts_with(prefix) && ours["message"].as_str().unwrap().starts_with(prefix), "{ours}");
    assert!(ours["message"].as_str().unwrap().contains("DIVIDE_BY_ZERO"), "{ours}");
}

#[derive(Default)]
struct Idle(Mutex<Vec<(String, String, String)>>);

impl StreamingQueryListener for Idle {
    fn on_event(&self, event: &QueryEvent) {
        if let QueryEvent::Idle { id, run_id, timestamp } = event {
            self.0.lock().unwrap().push((id.to_string(), run_id.to_string(), timestamp.clone()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_of_the_session_hear_that_a_query_is_idle() {
    let clock = Arc::new(ManualClock::new(0));
    let session = Session::builder().clock(Arc::clone(&clock) as Arc<dyn millstream::Clock>).build().unwrap();
    session.set("spark.sql.streaming.noDataProgressEventInterval", "2000").unwrap();
    let idle = Arc::new(Idle::default());
    session.streams().add_listener(Arc::clone(&idle) as Arc<dyn StreamingQueryListener>);
    session.memory_stream("numbers", millstream::parse_schema("v BIGINT").unwrap()).unwrap();
    let frame = session.read_stream().format("memory").option("stream", "numbers").load().await.unwrap();
    let query = frame.write_stream().format("noop").start().await.unwrap();
    for _ in 0..5 {
        query.process_all_available().await.unwrap();
        clock.advance(Duration::from_secs(1));
    }
    query.stop().await;
    session.streams().flush_listeners().await;
    let heard = idle.0.lock().unwrap();
    assert!(heard.iter().all(|(id, run_id, _)| (id, run_id) == (&query.id().to_string(), &query.run_id().to_string())), "{heard:?}");
    // The time is that of the trigger's beginning; the clock may have been moved on behind it.
    let seconds: Vec<&str> = heard.iter().map(|(.., timestamp)| &timestamp[17..19]).collect();
    assert!(matches!(seconds[..], ["01" | "02", "03" | "04"]), "{heard:?}");
}
