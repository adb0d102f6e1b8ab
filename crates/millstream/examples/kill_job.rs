//! Jobs of the kill campaign (`cargo xtask kill`) that SQL cannot say: `kill_job NAME [--parallelism N] [--flush]`.
//!
//! Each reads `in`, writes `out` and remembers in `checkpoint`, all in the working directory, and ends when the input does.
//! What a foreach_batch writer is given it writes to one file per batch, put there whole: a replayed batch comes with the same
//! id and the same rows, so that the writer is exactly once. `MILLSTREAM_CRASH_AT=after-state:2` makes the program abort there.
#![forbid(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::compute::max;
use arrow::datatypes::TimestampMicrosecondType;
use millstream::crash::AbortAt;
use millstream::{
    BatchId, DataFrame, DataStreamWriter, EngineConfig, Error, GroupState, GroupStateTimeout, GroupsWithState, QueryEvent, Result,
    ScalarValue, Session, StreamingQueryListener, Trigger, expr, lit, parse_schema,
};

/// The columns of the inputs whose event time advances.
const EVENTS: &str = "id STRING, ts TIMESTAMP, k STRING, v BIGINT, token STRING";
/// More than the disorder of those inputs, and than the distance of two rows with one token.
const DELAY: &str = "60 seconds";

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_default();
    let (mut engine, mut flush) = (EngineConfig::default(), false);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--flush" => flush = true,
            "--parallelism" => engine.parallelism = args.next().and_then(|n| n.parse().ok()).ok_or_else(|| Error::invalid("how many?"))?,
            _ => return Err(Error::invalid(format!("unknown argument '{arg}'"))),
        }
    }
    let mut session = Session::builder().engine(engine);
    if let Ok(point) = std::env::var("MILLSTREAM_CRASH_AT") {
        session = session.crash_points(Arc::new(AbortAt::parse(&point)?));
    }
    let session = session.build()?;
    session.streams().add_listener(Arc::new(ProgressFile));
    let writer = job(&session, &name).await?.trigger(Trigger::AvailableNow).checkpoint("checkpoint");
    let writer = if flush { writer.option("flush", true) } else { writer };
    writer.start().await?.await_termination(None).await?;
    Ok(())
}

/// The job of a name, but for its trigger and checkpoint.
async fn job(session: &Session, name: &str) -> Result<DataStreamWriter> {
    let read = |schema| session.read_stream().format("json").schema(schema).option("maxFilesPerTrigger", 1).load_path("in");
    let files = |frame: DataFrame| frame.write_stream().format("parquet").option("path", "out");
    Ok(match name {
        "foreach-batch" => {
            let frame = read("id STRING, n BIGINT, text STRING").await?;
            frame.filter_expr("n % 3 <> 1")?.select_expr(["id", "n", "upper(text) AS text"])?.write_stream().foreach_batch(replace)
        }
        "deduplicate" => {
            let frame = read(EVENTS).await?.with_watermark("ts", DELAY)?;
            files(frame.drop_duplicates(["token", "ts"]).select_expr(["id", "token", "ts", "v"])?)
        }
        "deduplicate-within-watermark" => {
            let frame = read(EVENTS).await?.filter_expr("ts IS NOT NULL")?.with_watermark("ts", DELAY)?;
            files(frame.drop_duplicates_within_watermark(["token"]).select_expr(["id", "token", "v"])?)
        }
        "windows-update" => {
            let frame = read(EVENTS).await?.with_watermark("ts", DELAY)?;
            let groups = frame.group_by([expr("window(ts, '10 seconds')")?.alias("w"), expr("k")?]);
            let sums = groups.agg([expr("count(*)")?.alias("n"), expr("sum(v)")?.alias("v")]);
            let rows = sums.select_expr(["concat(unix_millis(w.start), '/', coalesce(k, '-')) AS key", "n", "v"])?;
            rows.write_stream().output_mode("update").foreach_batch(updates)
        }
        "sliding-update" | "sliding-complete" => {
            let frame = read(EVENTS).await?.with_watermark("ts", DELAY)?;
            let groups = frame.group_by([expr("window(ts, '30 seconds', '10 seconds')")?.alias("w")]);
            let calls = [("count(*)", "n"), ("count(DISTINCT k)", "ks"), ("sum(v)", "v")];
            let calls = calls.into_iter().map(|(call, name)| Ok(expr(call)?.alias(name))).collect::<Result<Vec<_>>>()?;
            let rows = groups.agg(calls).select_expr(["concat(unix_millis(w.start), '') AS key", "n", "ks", "v"])?;
            let mode = name.trim_start_matches("sliding-");
            rows.write_stream().output_mode(mode).foreach_batch(updates)
        }
        "join-changes" => {
            read(EVENTS).await?.with_watermark("ts", DELAY)?.filter_expr("ts IS NOT NULL")?.create_or_replace_temp_view("events");
            let rows = session.sql(JOIN).await?;
            rows.write_stream().output_mode("update").option("changes", true).foreach_batch(changes)
        }
        "join-of-groups" => {
            read(EVENTS).await?.create_or_replace_temp_view("events");
            let writer = session.sql(JOIN_OF_GROUPS).await?.write_stream().output_mode("update");
            writer.option("changes", true).option("upsertKey", "token").foreach_batch(changes)
        }
        "groups-with-state" => {
            let frame = read(EVENTS).await?.filter_expr("ts IS NOT NULL")?.with_watermark("ts", DELAY)?;
            let spec = GroupsWithState::new("rows_of_token", parse_schema(ROWS_OF_TOKEN)?, parse_schema("n BIGINT")?);
            files(frame.group_by(["token"]).flat_map_groups_with_state(spec.timeout(GroupStateTimeout::EventTime), rows_of_token))
        }
        _ => return Err(Error::invalid(format!("there is no job '{name}'"))),
    })
}

/// Rows without a partner come at once and are taken back when they find one.
const JOIN: &str = "SELECT l.id AS lid, r.id AS rid, l.v FROM STREAM events AS l LEFT JOIN (SELECT * FROM STREAM events WHERE v > 0) AS r \
    ON l.k = r.k AND r.ts >= l.ts - INTERVAL 1 SECOND AND r.ts <= l.ts + INTERVAL 2 SECONDS AND l.id <> r.id";

/// One row a token, which both sides update.
const JOIN_OF_GROUPS: &str = "SELECT a.token, a.n, b.n AS negative FROM (SELECT token, count(*) AS n FROM STREAM events GROUP BY token) AS a \
    LEFT JOIN (SELECT token, count(*) AS n FROM STREAM events WHERE v < 0 GROUP BY token) AS b ON a.token = b.token";

const ROWS_OF_TOKEN: &str = "id STRING, n BIGINT";

/// Counts the rows of a token, and tells when no more of them can come: they have one event time.
fn rows_of_token(key: &[ScalarValue], rows: &[RecordBatch], state: &mut GroupState) -> Result<Vec<RecordBatch>> {
    let before = state.value::<i64>("n")?.unwrap_or(0);
    if state.has_timed_out() {
        state.remove();
        let token = key.first().ok_or_else(|| Error::internal("a group without its key"))?;
        let token = token.to_array().map_err(|error| Error::internal(error.to_string()))?;
        let row = RecordBatch::try_new(parse_schema(ROWS_OF_TOKEN)?, vec![token, Arc::new(Int64Array::from(vec![before]))])?;
        return Ok(vec![row]);
    }
    let n_rows = rows.iter().map(RecordBatch::num_rows).sum::<usize>();
    state.update([(before + i64::try_from(n_rows).unwrap_or(i64::MAX)).into()])?;
    let times = rows.iter().filter_map(|rows| max(rows.column_by_name("ts")?.as_primitive_opt::<TimestampMicrosecondType>()?));
    let newest_us = times.max().ok_or_else(|| Error::internal("rows without their time"))?;
    state.set_timeout_timestamp(newest_us / 1000 + 1)?;
    Ok(Vec::new())
}

/// Puts the updates of a batch where its id says, with the batch that made them.
async fn updates(rows: DataFrame, batch: BatchId) -> Result<()> {
    let number = i64::try_from(batch.0).map_err(|_| Error::internal("a batch id over 2^63"))?;
    let rows = rows.with_column("batch", lit(number)).with_column("id", expr("concat(key, '@', batch)")?);
    replace(rows, batch).await
}

/// Puts the changes of a batch where its id says. Their ids name all of their columns but the value of the row.
async fn changes(rows: DataFrame, batch: BatchId) -> Result<()> {
    let number = i64::try_from(batch.0).map_err(|_| Error::internal("a batch id over 2^63"))?;
    let key = if rows.schema().await?.column_with_name("token").is_some() { "token" } else { "concat(lid, '+', coalesce(rid, '-'))" };
    let id = format!("concat({key}, '@', {number}, '/', _change_type)");
    replace(rows.with_column("id", expr(&id)?), batch).await
}

/// Puts the batch where its id says.
async fn replace(rows: DataFrame, batch: BatchId) -> Result<()> {
    let lines = rows.json_lines().await?;
    // A batch is given materialised: a second reading must find the same rows.
    let (n_rows, n_lines) = (rows.count().await?, lines.iter().filter(|byte| **byte == b'\n').count() as u64);
    if n_rows != n_lines {
        return Err(Error::internal(format!("batch {} has {n_rows} rows when read again, {n_lines} at first", batch.0)));
    }
    fs::create_dir_all("out")?;
    let (unfinished, path) = ("unfinished", format!("out/batch-{:06}.json", batch.0));
    let mut file = File::create(unfinished)?;
    file.write_all(&lines)?;
    file.sync_all()?;
    fs::rename(unfinished, Path::new(&path))?;
    File::open("out")?.sync_all()?;
    Ok(())
}

/// Tells the campaign of every batch, as the progress file of the command does.
struct ProgressFile;

impl StreamingQueryListener for ProgressFile {
    fn on_event(&self, event: &QueryEvent) {
        let QueryEvent::Progress(progress) = event else { return };
        let file = OpenOptions::new().create(true).append(true).open("progress");
        // It only aims kills.
        drop(file.and_then(|mut file| writeln!(file, "{}", progress.json())));
    }
}
