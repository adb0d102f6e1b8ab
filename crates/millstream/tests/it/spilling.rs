//! `state.memoryLimit`: a query whose state does not fit gives the same rows, says what it spilled, and goes on after a restart.

use std::collections::BTreeSet;
use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use millstream::{EngineConfig, Session, SessionBuilder, StreamingQuery};

const ROWS_PER_BATCH: i64 = 5_000;

/// For suites that compare streams of random cut with batches: a session of so many tasks, of which none keeps state in memory between
/// batches where their number is odd.
pub fn builder(parallelism: usize) -> SessionBuilder {
    let builder = Session::builder().engine(EngineConfig { parallelism, ..EngineConfig::default() });
    if parallelism % 2 == 1 { builder.config("state.memoryLimit", "1") } else { builder }
}

fn session(dir: &Path) -> Session {
    let spill = dir.join("spill").display().to_string();
    Session::builder().config("state.memoryLimit", "40k").config("state.spillDir", spill).build().unwrap()
}

async fn distinct(session: &Session, dir: &Path) -> StreamingQuery {
    std::fs::create_dir_all(dir.join("in")).unwrap();
    let frame = session.read_stream().schema("v BIGINT").json(dir.join("in")).await.unwrap();
    let writer = frame.drop_duplicates(["v"]).write_stream().format("parquet").option("path", dir.join("out").display().to_string());
    writer.checkpoint(dir.join("checkpoint")).start().await.unwrap()
}

/// Batches of which each has half its rows in common with the one before, and the last with the first.
async fn add(dir: &Path, query: &StreamingQuery, batches: std::ops::Range<i64>) {
    for batch in batches {
        let from = batch * ROWS_PER_BATCH / 2;
        let rows: String = (from..from + ROWS_PER_BATCH).map(|v| format!("{{\"v\":{}}}\n", v % 20_000)).collect();
        std::fs::write(dir.join(format!(".{batch}")), rows).unwrap();
        std::fs::rename(dir.join(format!(".{batch}")), dir.join(format!("in/{batch}.json"))).unwrap();
        query.process_all_available().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn state_beyond_its_memory_goes_to_disk_and_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    {
        let session = session(dir);
        let query = distinct(&session, dir).await;
        add(dir, &query, 0..8).await;
        let progress = query.recent_progress();
        let state = &progress.last().unwrap().state_operators[0];
        assert_eq!(state.num_rows_total, 20_000);
        let [rows, bytes, written, read] =
            ["spilledRows", "spilledBytes", "spillBytesWritten", "spillBytesRead"].map(|name| state.custom_metrics[name]);
        assert!(rows > 10_000 && bytes > rows * 9 && written >= bytes && read > 0, "{:?}", state.custom_metrics);
        // Slots, indexes and filters stay, but few rows do.
        assert!(state.memory_used_bytes < 20_000 * 46, "{}", state.memory_used_bytes);
        let error = session.set("state.memoryLimit", "1g").unwrap_err();
        assert!(error.message().contains("while a query with state runs"), "{error}");
        query.stop().await;
        assert_eq!(session.get("state.memoryLimit").as_deref(), Some("40k"));
    }
    assert_eq!(std::fs::read_dir(dir.join("spill")).unwrap().count(), 0, "nothing stays behind");
    // The state comes back from the checkpoint, and is spilled again.
    let session = session(dir);
    let query = distinct(&session, dir).await;
    add(dir, &query, 8..12).await;
    query.stop().await;
    let read = session.read().parquet(dir.join("out").display().to_string()).await.unwrap().collect().await.unwrap();
    let values: Vec<i64> = read.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    assert_eq!(values.len(), 20_000);
    assert_eq!(values.into_iter().collect::<BTreeSet<_>>().len(), 20_000);
}

#[test]
fn a_limit_is_a_number_of_bytes() {
    let session = Session::new().unwrap();
    for wrong in ["0", "-1", "much", ""] {
        assert!(session.set("state.memoryLimit", wrong).unwrap_err().message().contains("is not a number of bytes"), "{wrong}");
    }
    // Else a misspelt limit would be none.
    assert!(session.set("state.memoryLimt", "1g").unwrap_err().message().contains("no setting 'state.memoryLimt'"));
    assert!(session.set("state.spillDir", "'/tmp'").unwrap_err().message().contains("with quotes"));
    session.set("state.memoryLimit", "512m").unwrap();
    session.reset(Some("state.memoryLimit")).unwrap();
    assert_eq!(session.get("state.memoryLimit"), None);
}
