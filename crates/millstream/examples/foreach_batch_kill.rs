//! A job of the kill campaign (`cargo xtask kill --job foreach-batch`): a foreach_batch writer that is exactly once.
//!
//! A replayed batch comes with the same id and the same rows, so the writer replaces its output by batch id: one file
//! per batch, written outside of the table's folder, synced, renamed over the old one. Reads `in`, writes `out`, all in the working directory.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use millstream::{BatchId, DataFrame, Error, Result, Session, Trigger};

#[tokio::main]
async fn main() -> Result<()> {
    let session = Session::new()?;
    let stream = session.read_stream().format("json").schema("id STRING, n BIGINT, text STRING").option("maxFilesPerTrigger", 1);
    let frame = stream.load_path("in").await?.filter_expr("n % 3 <> 1")?.select_expr(["id", "n", "upper(text) AS text"])?;
    let writer = frame.write_stream().trigger(Trigger::AvailableNow).checkpoint("checkpoint").foreach_batch(replace);
    writer.start().await?.await_termination(None).await?;
    Ok(())
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
