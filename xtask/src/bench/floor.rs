//! `empty-batch`: what a micro-batch of one row costs, and how long a process takes to its first commit.
//!
//! The loop over one-row batches is `crates/millstream/examples/empty_batch.rs`: it is measured from inside, because
//! a batch is shorter than any meter's tick. It prints one line of JSON: batches, cpu_ms_per_batch, p50_ms, p99_ms, peak_rss_mb.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::table::Table;
use super::{Peer, Wish, at_most, data, last_json, measure, median, millstream, number, spark_python, workdir};
use crate::run::{Outcome, root, status};
use crate::tools;

const STARTS: usize = 10;
const SPARK_BATCHES: &str = "240";

/// Measures both and prints them beside what they must reach.
pub fn run(wish: &Wish) -> Outcome {
    let python = tools::python()?;
    let program = millstream(wish)?;
    let floor = program.with_file_name("examples").join("empty_batch");
    let ours = last_json(Command::new(&floor).current_dir(workdir("empty-batch-millstream", None)?))?;
    let first_ms = first_commit_ms(wish, &python, &program)?;

    let mut table = Table::new(&["engine", "batches", "CPU ms per batch", "p50 ms", "p99 ms", "start to first commit ms"]);
    table.row(&row("millstream", &ours, format!("{first_ms:.0}")));
    if wish.has(Peer::Spark) {
        table.row(&row("spark", &spark()?, "-".to_owned()));
    }
    println!("\nempty-batch (one row, noop sink, local checkpoint; first commit: median of {STARTS} starts)\n\n{table}");
    for (what, value, limit) in [
        ("CPU ms per batch", number(&ours, "cpu_ms_per_batch"), 1.0),
        ("p50 ms, row in to row committed", number(&ours, "p50_ms"), 10.0),
        ("ms from process start to first commit", first_ms, 300.0),
        ("peak RSS in MB", number(&ours, "peak_rss_mb"), 300.0),
    ] {
        at_most(what, value, limit);
    }
    Ok(())
}

/// From the start of the process to the first visible Parquet file of the json-filter job on a hundred rows.
fn first_commit_ms(wish: &Wish, python: &Path, program: &Path) -> Outcome<f64> {
    let tiny = data(python, "events", wish.seed, 1, 100)?;
    let sql = root().join("benches/jobs/json-filter.sql");
    let mut firsts = Vec::new();
    for _ in 0..STARTS {
        let workdir = workdir("first-commit", Some(&tiny))?;
        let cost = measure(python, &workdir, Some("out/**/*.parquet"), program, &["run", &sql.to_string_lossy()])?;
        firsts.push(cost.first_s.ok_or("the run left no Parquet file")? * 1000.0);
    }
    Ok(median(firsts))
}

/// The same loop in Spark, against the jars that come with PySpark.
fn spark() -> Outcome<Value> {
    let python = spark_python()?;
    let home = crate::run::stdout(Command::new(&python).args(["-c", "import os, pyspark; print(os.path.dirname(pyspark.__file__))"]))?;
    let home = Path::new(home.trim());
    let classes = workdir("empty-batch-spark", None)?;
    let jars = home.join("jars").join("*");
    let source = root().join("benches/spark/MicroBatchFloor.java");
    status(Command::new("javac").arg("-nowarn").arg("-cp").arg(&jars).arg("-d").arg(&classes).arg(source))?;
    status(Command::new("jar").args(["cf", "floor.jar", "-C", ".", "."]).current_dir(&classes))?;
    let mut submit = Command::new(home.join("bin/spark-submit"));
    submit.env("SPARK_HOME", home).env("PYSPARK_PYTHON", &python).current_dir(&classes);
    submit.args(["--master", "local[2]", "--driver-memory", "4g", "--conf", "spark.ui.enabled=false", "--conf", "spark.log.level=ERROR"]);
    submit.args(["--conf", "spark.sql.shuffle.partitions=2", "--class", "MicroBatchFloor", "floor.jar"]);
    last_json(submit.arg(&classes).arg(SPARK_BATCHES))
}

fn row(engine: &str, said: &Value, first: String) -> [String; 6] {
    let ms = |key| format!("{:.2}", number(said, key));
    [engine.to_owned(), format!("{:.0}", number(said, "batches")), ms("cpu_ms_per_batch"), ms("p50_ms"), ms("p99_ms"), first]
}
