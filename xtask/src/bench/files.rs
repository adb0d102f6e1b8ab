//! The benchmarks over files: the same input through us and through the peer, to Parquet.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::lives;
use super::runs::{self, Runs};
use super::{Peer, Wish, data, measure, millstream, spark_python, target, work_folder, workdir};
use crate::run::{Outcome, root, shown};
use crate::tools;

/// Rows of the run that shows the cost of starting.
const START_UP_ROWS: u64 = 100;

/// The job whose measure is what a slide costs, and the rows of its slides.
const SLIDES: &str = "hashtags-1s";
const ROWS_PER_SLIDE: f64 = 1000.0;

/// A slide may cost so much, but for writing its rows.
const SLIDE_MS_AT_MOST: f64 = 1.0;

/// One job in `benches/jobs`, and what it has to reach.
struct Job {
    name: &'static str,
    /// What `benches/gen.py` makes.
    kind: &'static str,
    n_files: u64,
    n_rows: u64,
    rows_per_cpu_s: Option<f64>,
    times_the_peer: Option<f64>,
    peak_rss_mb: Option<f64>,
    check: Check,
}

/// How the result is checked where there is no peer to compare with.
#[derive(Clone, Copy, PartialEq)]
enum Check {
    /// By the number of rows.
    Rows,
    /// Row by row, by `benches/windows.py`.
    Windows,
    /// Row by row, ours and the peer's, by `benches/answers.py`: with a peer, too, as several results are right.
    Answers,
}

/// A job that counts in windows.
const fn windows(name: &'static str, n_files: u64, n_rows: u64, rows_per_cpu_s: Option<f64>, times_the_peer: Option<f64>) -> Job {
    Job { name, kind: name, n_files, n_rows, rows_per_cpu_s, times_the_peer, peak_rss_mb: None, check: Check::Windows }
}

/// A job over the events that remembers keys or rows.
const fn remembering(name: &'static str, times_the_peer: f64) -> Job {
    Job {
        name,
        kind: "events",
        n_files: 8,
        n_rows: 4_000_000,
        rows_per_cpu_s: None,
        times_the_peer: Some(times_the_peer),
        peak_rss_mb: None,
        check: Check::Answers,
    }
}

const JOBS: &[Job] = &[
    Job {
        name: "cloudtrail",
        kind: "cloudtrail",
        n_files: 2000,
        n_rows: 200_000,
        rows_per_cpu_s: None,
        times_the_peer: Some(8.0),
        peak_rss_mb: Some(300.0),
        check: Check::Rows,
    },
    Job {
        name: "json-filter",
        kind: "events",
        n_files: 8,
        n_rows: 4_000_000,
        rows_per_cpu_s: Some(1_500_000.0),
        times_the_peer: Some(6.0),
        peak_rss_mb: Some(300.0),
        check: Check::Rows,
    },
    windows("ysb-parquet", 20, 10_000_000, Some(10_000_000.0), Some(20.0)),
    windows("ysb-json", 20, 10_000_000, Some(1_500_000.0), Some(5.0)),
    windows("hashtags", 15, 5_000_000, Some(400_000.0), Some(11.0)),
    // Spark does not finish it: the measure is what a slide costs, see [`print_slides`].
    windows(SLIDES, 12, 720_000, None, None),
    remembering("dedup", 8.0),
    remembering("join", 8.0),
];

/// The names of the jobs.
pub fn names() -> impl Iterator<Item = &'static str> {
    JOBS.iter().map(|job| job.name)
}

/// Generates, runs, compares, prints.
pub fn run(wish: &Wish) -> Outcome {
    let job = JOBS.iter().find(|j| j.name == wish.name).ok_or("no such job")?;
    let (n_files, n_rows) = wish.files_and_rows(job.n_files, job.n_rows);
    let python = tools::python()?;
    let full = data(&python, job.kind, wish.seed, n_files, n_rows)?;
    let tiny = data(&python, job.kind, wish.seed, 1, START_UP_ROWS)?;

    let program = millstream(wish)?;
    let sql = root().join("benches/jobs").join(format!("{}.sql", job.name));
    let ours = runs(wish, &python, "millstream", &full, &tiny, &program, &["run", &sql.to_string_lossy()])?;
    let theirs = if wish.has(Peer::Spark) {
        let spark = spark_python()?;
        let script = root().join("benches/spark_job.py");
        Some(runs(wish, &python, "spark", &full, &tiny, &spark, &[&script.to_string_lossy(), job.name])?)
    } else {
        None
    };

    // Without the peer DuckDB still says whether the rows, or their number, are right.
    let mut compare = Command::new(&python);
    let output = |engine: &str| work_folder(&format!("{}-{engine}", wish.name)).join("out");
    let out = output("millstream");
    match &theirs {
        _ if job.check == Check::Answers => {
            compare.arg(root().join("benches/answers.py")).arg(job.name).arg(&full).arg(&out);
            compare.args(theirs.iter().map(|theirs| output(theirs.name)))
        }
        Some(theirs) => compare.arg(root().join("benches/compare.py")).arg(&out).arg(output(theirs.name)),
        None if job.check == Check::Windows => compare.arg(root().join("benches/windows.py")).arg(job.name).arg(&full).arg(&out),
        None => {
            let n_rows = expected_rows(&python, job, &full, n_rows)?.to_string();
            compare.arg(root().join("benches/compare.py")).arg(&out).args(["--rows", &n_rows])
        }
    };
    let verdict = compare.output().map_err(|e| format!("cannot start {}: {e}", shown(&compare)))?;
    let said = String::from_utf8_lossy(&verdict.stdout).trim().to_owned();

    print(job, n_rows, &ours, theirs.as_ref(), wish);
    if job.name == SLIDES {
        print_slides(&ours, &quiet(wish, &python, &full, &tiny, &program, &sql)?, n_rows);
    }
    if let Some(kills) = wish.kills {
        lives::check(&python, &program, &sql, &full, &out, kills, wish.seed)?;
    }
    println!("check: {said}");
    if verdict.status.success() {
        Ok(())
    } else {
        Err(format!("the results are not right: {said} {}", String::from_utf8_lossy(&verdict.stderr)))
    }
}

/// All runs of one engine: start-up and full interleaved, so that a noisy minute hits both.
fn runs(wish: &Wish, python: &Path, engine: &'static str, full: &Path, tiny: &Path, program: &Path, args: &[&str]) -> Outcome<Runs> {
    let mut runs = Runs::of(engine);
    for rep in 1..=wish.reps {
        let one = |folder: &str, data: &Path| measure(python, &workdir(folder, Some(data))?, None, program, args);
        let start_up = one(&format!("{}-{engine}-start-up", wish.name), tiny)?;
        runs.add(rep, wish.reps, start_up, one(&format!("{}-{engine}", wish.name), full)?);
    }
    Ok(runs)
}

/// The runs of a job with the noop sink: what they cost less is the cost of writing.
fn quiet(wish: &Wish, python: &Path, full: &Path, tiny: &Path, program: &Path, sql: &Path) -> Outcome<Runs> {
    let text = fs::read_to_string(sql).map_err(|e| format!("cannot read {}: {e}", sql.display()))?;
    let job = workdir(&format!("{}-noop-job", wish.name), None)?.join("job.sql");
    let text = text.replace("USING parquet LOCATION 'out'", "USING noop");
    fs::write(&job, text).map_err(|e| format!("cannot write {}: {e}", job.display()))?;
    runs(wish, python, "millstream-noop", full, tiny, program, &["run", &job.to_string_lossy()])
}

/// What a slide costs, with writing its rows and without.
fn print_slides(ours: &Runs, quiet: &Runs, n_rows: u64) {
    #[expect(clippy::cast_precision_loss, reason = "a count of rows, shown with two digits")]
    let n_slides = n_rows as f64 / ROWS_PER_SLIDE;
    let per_slide = |runs: &Runs| runs.net_cpu_s() * 1000.0 / n_slides;
    let (all, without) = (per_slide(ours), per_slide(quiet));
    println!(
        "CPU ms per slide of 1 second: {all:.2}, of which writing its rows to Parquet {:.2} (the noop sink saves so much)",
        all - without
    );
    let verdict = if without <= SLIDE_MS_AT_MOST { "reached" } else { "MISSED" };
    println!("CPU ms per slide but for writing its rows: {without:.2}, at most {SLIDE_MS_AT_MOST}: {verdict}");
}

/// The rows the job must write, by DuckDB over the source.
fn expected_rows(python: &Path, job: &Job, data: &Path, n_rows: u64) -> Outcome<u64> {
    if job.kind == "cloudtrail" {
        return Ok(n_rows);
    }
    let query = format!(
        "import duckdb; print(duckdb.sql(\"select count(*) from read_json('{}/*.json', format='newline_delimited') \
         where event_type = 'view' and ad_type <> 'mail'\").fetchall()[0][0])",
        data.display()
    );
    let said = crate::run::stdout(Command::new(python).args(["-c", &query]))?;
    said.trim().parse().map_err(|e| format!("DuckDB counted {said:?}: {e}"))
}

/// The table for people and for docs/benchmarks.md, and the targets.
fn print(job: &Job, n_rows: u64, ours: &Runs, theirs: Option<&Runs>, wish: &Wish) {
    #[expect(clippy::cast_precision_loss, reason = "a count of rows, shown with four digits")]
    let rows = n_rows as f64;
    let table = runs::table(rows, std::iter::once(ours).chain(theirs));
    println!("\n{} (seed {}, median of {} runs)\n\n{table}", job.name, wish.seed, wish.reps);
    if let Some(theirs) = theirs {
        let net = theirs.net_cpu_s() / ours.net_cpu_s();
        println!("ratio net {net:.1}, raw {:.1}", theirs.cpu_s() / ours.cpu_s());
        if let Some(wanted) = job.times_the_peer {
            target("records per CPU-second, start-up excluded, against Spark", net, wanted);
        }
    }
    if let Some(wanted) = job.rows_per_cpu_s {
        target("rows per CPU-second, net", rows / ours.net_cpu_s(), wanted);
    }
    if let Some(at_most) = job.peak_rss_mb {
        let rss = ours.peak_rss_mb();
        println!("peak RSS: {rss:.0} MB, at most {at_most:.0}: {}", if rss <= at_most { "reached" } else { "MISSED" });
    }
}
