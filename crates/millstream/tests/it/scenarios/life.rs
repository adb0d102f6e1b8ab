//! Runs a scenario: a file for each source and step, the query until it is idle, what its batches did.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use millstream::{Clock, DataFrame, Error, Result, Session, StreamingQuery, type_name};
use millstream_testkit::gold::rows_of;
use millstream_testkit::{ManualClock, put_file};
use serde_json::Value;

use super::case::{Answer, Columns, Scenario};
use crate::gold::dataframes;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// One query lives through all steps.
    Whole,
    /// It is stopped after each step and started again, by a new session.
    Restarted,
}

/// What ran.
#[derive(Debug)]
pub struct Lived {
    pub schema: Columns,
    /// The batches of every step; after an error there are no further steps.
    pub steps: Vec<Vec<OurBatch>>,
    pub failed: Option<Error>,
}

#[derive(Debug)]
pub struct OurBatch {
    pub batch: u64,
    pub watermark: Option<String>,
    pub rows: Vec<Vec<Value>>,
    pub n_late: u64,
}

type Seen = Arc<Mutex<BTreeMap<u64, Vec<Vec<Value>>>>>;

/// Lives through the steps. `Err` if the query was refused.
pub async fn live(scenario: &Scenario, life: Life) -> Result<Lived> {
    let dir = tempfile::tempdir().unwrap();
    for name in scenario.sources.keys() {
        std::fs::create_dir_all(dir.path().join(name)).unwrap();
    }
    let seen = Seen::default();
    let mut lived = Lived { schema: Vec::new(), steps: Vec::new(), failed: None };
    let mut running: Option<StreamingQuery> = None;
    for (number, files) in scenario.steps.iter().enumerate() {
        for (name, rows) in files {
            write(&dir.path().join(name).join(format!("{number:02}.json")), &scenario.sources[name], rows);
        }
        let query = match running.take() {
            Some(query) => query,
            None => {
                let frame = frame(scenario, dir.path()).await?;
                lived.schema = frame.schema().await?.fields().iter().map(|f| (f.name().clone(), type_name(f.data_type()))).collect();
                start(&frame, scenario, dir.path(), &seen).await?
            }
        };
        let done = query.process_all_available().await;
        lived.steps.push(batches(&query, &seen));
        if let Err(error) = done {
            lived.failed = Some(error);
            return Ok(lived);
        }
        match life {
            Life::Whole => running = Some(query),
            Life::Restarted => query.stop().await,
        }
    }
    if let Some(query) = running {
        query.stop().await;
    }
    Ok(lived)
}

fn write(path: &Path, ddl: &str, rows: &[Vec<Value>]) {
    let columns: Vec<&str> = ddl.split(',').map(|column| column.split_whitespace().next().unwrap()).collect();
    let mut text = String::new();
    for row in rows {
        assert_eq!(columns.len(), row.len(), "{}", path.display());
        let fields: serde_json::Map<String, Value> = columns.iter().map(|name| (*name).to_owned()).zip(row.iter().cloned()).collect();
        text.push_str(&format!("{}\n", Value::Object(fields)));
    }
    put_file(path, text).unwrap();
}

/// The program in a session of its own. The clock stands still, so that a query looks for files only when it is asked
/// to: the files of a step come in one batch.
async fn frame(scenario: &Scenario, dir: &Path) -> Result<DataFrame> {
    let session = Session::builder().clock(Arc::new(ManualClock::new(1_800_000_000_000)) as Arc<dyn Clock>).build()?;
    for (key, value) in &scenario.conf {
        session.set(key, value)?;
    }
    for (name, sql) in &scenario.tables {
        session.sql(sql).await?.create_or_replace_temp_view(name);
    }
    for (name, ddl) in &scenario.sources {
        session.read_stream().schema(ddl).json(dir.join(name)).await?.create_or_replace_temp_view(name);
    }
    match &scenario.program {
        Value::String(sql) => session.sql(sql).await,
        steps => dataframes::build(&session, steps.as_array().unwrap(), &scenario.mode).await,
    }
}

async fn start(frame: &DataFrame, scenario: &Scenario, dir: &Path, seen: &Seen) -> Result<StreamingQuery> {
    let seen = Arc::clone(seen);
    let keep = move |batch: DataFrame, id: millstream::BatchId| {
        let seen = Arc::clone(&seen);
        async move {
            let rows = rows_of(&batch.collect().await?).map_err(Error::internal)?;
            let before = seen.lock().unwrap().insert(id.0, rows);
            assert!(before.is_none(), "batch {id} came twice");
            Ok(())
        }
    };
    // Rows that Spark never deletes may be deleted beyond it.
    let shows_changes = matches!(scenario.answer, Answer::Beyond) && scenario.mode == "update";
    let writer = frame.write_stream().output_mode(&scenario.mode).option("changes", shows_changes.to_string());
    writer.foreach_batch(keep).checkpoint(dir.join("checkpoint")).start().await
}

/// What ran since the last call.
fn batches(query: &StreamingQuery, seen: &Seen) -> Vec<OurBatch> {
    let progress: Vec<Value> = query.recent_progress().iter().map(|progress| serde_json::from_str(&progress.json()).unwrap()).collect();
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    let batch = |(id, rows): (u64, Vec<Vec<Value>>)| {
        // A batch that failed has no progress.
        let of_batch = progress.iter().find(|progress| progress["batchId"] == id).unwrap_or(&Value::Null);
        let operators = of_batch["stateOperators"].as_array().into_iter().flatten();
        OurBatch {
            batch: id,
            watermark: of_batch["eventTime"]["watermark"].as_str().map(str::to_owned),
            rows,
            n_late: operators.map(|operator| operator["numRowsDroppedByWatermark"].as_u64().unwrap()).sum(),
        }
    };
    seen.into_iter().map(batch).collect()
}
