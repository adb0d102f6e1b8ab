//! Proof that a job does not depend on how its input came: `millstream verify`.
//!
//! Every streaming table of a job is run as a batch over sample input, and as a stream over the same rows, cut at random,
//! restarted with other parallelism, crashed behind random steps of the commit protocol, and flushed at the end. The two
//! results must hold the same rows; of a stream with late rows the batch is that over the other rows. A row that is late for
//! some of its windows only is in neither: no batch has it in just the others. The stream is run again without it, cut at the
//! same places. In update mode the
//! stream's table is the last row of each key, and, in every second stream, what its changes add and take back. Each table is
//! judged by itself: what it reads of other tables of the job is what the batch makes of them.
//!
//! ```text
//!   input ─► rows ─┬─► whole ────────────────────────────────► batch ───┐
//!                  └─► pieces ─► life, crash, life, ..., flush ─► stream ─┴─► the same rows?
//! ```
//! The tests of stateful queries and the campaign of random queries use it, too.

mod compare;
mod fold;
mod inputs;
mod lives;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_analyzer::streaming::{OutputRequest, Shown, Updates, for_output_mode, hangs_on_cuts, updates};
use millstream_core::random::SparkRandom;
use millstream_core::{Error, OutputMode, Result};
use millstream_sql::Streams;
use millstream_sql::ir::{CreateDataset, DatasetKind};

pub use compare::Difference;

use crate::commands::to_options;
use crate::dataframe::DataFrame;
use crate::job::{Graph, JobText};
use crate::session::Session;
use crate::writer::INDEPENDENT_OF_CUTS;
use compare::compare_rows;
use fold::{Folding, tell_apart};
use inputs::{Inputs, LateRow, Table, with_schema};
use lives::{Lives, Staged, Stream};

/// The option by which a sink is given changes.
const CHANGES: &str = "changes";

/// How often a stream is run again without rows that were late for some of their windows.
const ATTEMPTS_MAX: u32 = 6;

/// What to verify with.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// The sample: a folder of files, or one with a folder for each table.
    pub input: PathBuf,
    /// What cuts, crashes and parallelism are drawn from.
    pub seed: u64,
    /// How many streams are run of each table.
    pub runs: u32,
    /// Settings above those of the job.
    pub settings: Vec<(String, String)>,
    /// Where inputs, checkpoints and results are written. It must not exist.
    pub folder: PathBuf,
}

/// What was found of one streaming table.
#[derive(Debug, Clone)]
pub struct DatasetReport {
    /// Its name.
    pub name: String,
    /// What was found.
    pub verdict: Verdict,
    /// Streams that were run.
    pub n_runs: u32,
    /// Starts of them.
    pub n_lives: u32,
    /// Those that crashed.
    pub n_crashes: u32,
    /// Rows of the batch's result.
    pub n_rows: usize,
    /// Rows that came too late, of all streams; the batch that such a stream is compared with goes without them.
    pub n_late: usize,
    /// Rows that were late for some of their windows only, of all streams; stream and batch are compared without them.
    pub n_partly_late: usize,
}

/// Whether a stream is its batch.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// All its streams gave the rows of the batch.
    Equal,
    /// One did not.
    Different {
        /// Which, from 1.
        run: u32,
        /// In which rows.
        difference: Difference,
    },
    /// Why it cannot be said.
    NotComparable(String),
}

/// Verifies every streaming table of a job file.
pub async fn verify(job: &Path, options: &VerifyOptions) -> Result<Vec<DatasetReport>> {
    let text = std::fs::read_to_string(job)
        .map_err(|error| Error::invalid(format!("job file '{}' cannot be read: {error}", job.display())).caused_by(error))?;
    verify_text(&text, options).await.map_err(|error| error.context(job.display().to_string()))
}

/// Verifies every streaming table of a job's text.
pub async fn verify_text(text: &str, options: &VerifyOptions) -> Result<Vec<DatasetReport>> {
    if options.runs == 0 {
        return Err(Error::invalid("0 streams to compare with").hint("verify with one at least"));
    }
    let live = JobText::parse(text, Streams::Live)?;
    let finished = JobText::parse(text, Streams::Finished)?;
    let session = one_task()?;
    live.define(&session, &options.settings).await?;
    let graph = Graph::new(&session, live.datasets())?;
    let mut inputs = Inputs::new(&session, &options.input, &options.folder);
    let mut reports = Vec::new();
    for position in graph.order() {
        let (Some(live_dataset), Some(dataset)) = (live.datasets().get(*position), finished.datasets().get(*position)) else { continue };
        let name = dataset.name.parts.join(".");
        let case = Case { name: name.clone(), live: (&live, live_dataset), finished: (&finished, dataset), options };
        let in_dataset = |error: Error| error.context(format!("dataset '{name}'"));
        let tables = inputs.of(live_dataset).await.map_err(in_dataset)?;
        let (schema, rows) = if live_dataset.kind == DatasetKind::StreamingTable {
            let (report, result) = case.judge(&tables).await.map_err(in_dataset)?;
            reports.push(report);
            result
        } else {
            case.batch(&tables, "whole").await.map_err(in_dataset)?
        };
        inputs.add(&name, schema, &rows)?;
    }
    if reports.is_empty() {
        return Err(Error::invalid("the job declares no streaming table").hint("there is nothing to verify in a batch"));
    }
    Ok(reports)
}

/// A session with one task, in which rows keep their order.
fn one_task() -> Result<Session> {
    lives::session(1, None)
}

/// One dataset of the job, as a stream and as a batch.
struct Case<'a> {
    name: String,
    live: (&'a JobText, &'a CreateDataset),
    finished: (&'a JobText, &'a CreateDataset),
    options: &'a VerifyOptions,
}

type Rows = (SchemaRef, Vec<RecordBatch>);

impl Case<'_> {
    /// Runs the streams and the batch; gives the batch's rows to those that read them.
    async fn judge(&self, tables: &[Table]) -> Result<(DatasetReport, Rows)> {
        let mut report = DatasetReport {
            name: self.name.clone(),
            verdict: Verdict::Equal,
            n_runs: 0,
            n_lives: 0,
            n_crashes: 0,
            n_rows: 0,
            n_late: 0,
            n_partly_late: 0,
        };
        let lives = Lives::new(self, tables);
        let (doubt, mut foldings) = self.plan(tables).await?;
        let batch_is_stream = doubt.is_some();
        let batch = match foldings.first() {
            Some(folding) if batch_is_stream => lives.uncut(folding, "uncut").await?,
            _ => self.batch(tables, "whole").await?,
        };
        self.keep(&batch).await?;
        report.n_rows = batch.1.iter().map(RecordBatch::num_rows).sum();
        if let Some(Folding::ByKey(key)) = foldings.first()
            && !tell_apart(key, &batch.1)?
        {
            foldings.remove(0);
        }
        let is_declared = to_options(&self.live.1.clauses.options).get_bool(INDEPENDENT_OF_CUTS)?.unwrap_or(false);
        if let Some(why) = doubt.filter(|_| !is_declared) {
            let option = format!("give the table OPTIONS ({INDEPENDENT_OF_CUTS} 'true') if it does not, and it will be compared");
            report.verdict = Verdict::NotComparable(format!("{why} hangs on how its input is cut into batches; {option}"));
            return Ok((report, batch));
        }
        for (run, folding) in (1..=self.options.runs).zip(foldings.iter().cycle()) {
            let (stream, mut left_out) = self
                .whole_rows(&lives, &batch.0, folding, run)
                .await
                .map_err(|error| error.context(format!("run {run}, seed {}", self.options.seed)))?;
            report.n_runs += 1;
            report.n_lives += stream.n_lives;
            report.n_crashes += stream.n_crashes;
            report.n_late += stream.late.n_late;
            report.n_partly_late += left_out.len();
            let n_unknown = stream.late.n_unknown;
            if n_unknown > 0 || !stream.late.partly.is_empty() {
                let n_late = stream.late.n_late + stream.late.partly.len();
                let why = match n_unknown {
                    0 => format!("without {} rows that were late for some of their windows others were, in stream {run}", left_out.len()),
                    _ => format!("of {n_late} rows that came too late in stream {run} {n_unknown} were not rows of a file any more"),
                };
                report.verdict = Verdict::NotComparable(why);
                break;
            }
            left_out.extend(stream.late.late);
            let without_late;
            let wanted = if left_out.is_empty() {
                &batch.1
            } else {
                let tables = tables.iter().map(|table| table.without(&left_out)).collect::<Result<Vec<_>>>()?;
                without_late = match batch_is_stream {
                    true => Lives::new(self, &tables).uncut(folding, &format!("uncut-without-late{run}")).await?.1,
                    false => self.batch(&tables, &format!("whole-without-late{run}")).await?.1,
                };
                &without_late
            };
            if let Some(difference) = compare_rows(&batch.0, &stream.table, wanted)? {
                report.verdict = Verdict::Different { run, difference };
                break;
            }
        }
        Ok((report, batch))
    }

    /// The stream of that number, of rows that are in all of their windows or in none, and the other rows, without which it was
    /// run. They may leave a batch without rows, and so let others be late, which is why it may take several tries.
    async fn whole_rows(&self, lives: &Lives<'_>, schema: &SchemaRef, folding: &Folding, run: u32) -> Result<(Stream, BTreeSet<LateRow>)> {
        let mut left_out = BTreeSet::new();
        let mut name = format!("run{run}");
        for attempt in 1.. {
            let mut rng = SparkRandom::new(i64::from_ne_bytes(self.options.seed.to_ne_bytes()).wrapping_add(i64::from(run) << 32));
            let mut stream = lives.run(schema, folding, &name, &left_out, &mut rng).await?;
            if stream.late.partly.is_empty() || stream.late.n_unknown > 0 || attempt == ATTEMPTS_MAX {
                return Ok((stream, left_out));
            }
            left_out.append(&mut stream.late.partly);
            name = format!("run{run}-without-partly-late{attempt}");
        }
        Err(Error::internal("more streams than there are numbers"))
    }

    /// The dataset as a batch over all rows of the tables, which are written into a folder of that name.
    async fn batch(&self, tables: &[Table], folder: &str) -> Result<Rows> {
        let staged = Staged { root: self.options.folder.join(&self.name).join(folder), files_per_batch: 1 };
        for table in tables {
            table.stage(table.rows.clone(), 0, &staged).await?;
        }
        let session = one_task()?;
        let frame = self.frame(&session, Streams::Finished, tables, &staged).await?;
        let schema = frame.schema().await?;
        let rows = with_schema(&schema, frame.collect().await?)?;
        Ok((schema, rows))
    }

    /// Writes the batch's rows for those who look into the folder.
    async fn keep(&self, (schema, rows): &Rows) -> Result<()> {
        let frame = one_task()?.create_dataframe(schema.clone(), rows.clone())?;
        frame.write().parquet(self.options.folder.join(&self.name).join("batch")).await.map(drop)
    }

    /// What of the query hangs on cuts, and how what its streams give is folded, in turn. A query that would not run is refused.
    async fn plan(&self, tables: &[Table]) -> Result<(Option<String>, Vec<Folding>)> {
        let staged = Staged { root: self.options.folder.join(&self.name).join("nothing"), files_per_batch: 1 };
        let session = one_task()?;
        let analyzed = self.frame(&session, Streams::Live, tables, &staged).await?.analyze().await?;
        let mode = self.output_mode()?;
        let shows_changes = to_options(&self.live.1.clauses.options).get_bool(CHANGES)? == Some(true);
        let shown = if shows_changes { Shown::Changes } else { Shown::NewRows };
        let plan = for_output_mode(&analyzed.plan, OutputRequest { mode, shown, upsert_key: None, keeps_late_rows: false })?;
        let foldings = match mode {
            _ if shows_changes => vec![Folding::Changes],
            OutputMode::Append | OutputMode::Complete => vec![Folding::Rows],
            OutputMode::Update => match updates(&analyzed.plan)? {
                Updates::Rows => vec![Folding::Rows],
                Updates::Replaced(key) => vec![Folding::ByKey(key), Folding::Changes],
                Updates::Changes => vec![Folding::Changes],
            },
        };
        Ok((hangs_on_cuts(&analyzed.plan, &plan)?, foldings))
    }

    fn output_mode(&self) -> Result<OutputMode> {
        to_options(&self.live.1.clauses.options).get("outputMode").map_or(Ok(OutputMode::default()), str::parse)
    }

    /// The query in a session where its tables are those that are staged.
    async fn frame(&self, session: &Session, streams: Streams, tables: &[Table], staged: &Staged) -> Result<DataFrame> {
        let (text, dataset) = if streams == Streams::Live { self.live } else { self.finished };
        text.define(session, &self.options.settings).await?;
        for table in tables {
            table.define(session, staged);
        }
        let query = dataset.query.clone().ok_or_else(|| Error::unsupported("a dataset without AS"))?;
        Ok(DataFrame::with_text(session.clone(), query, text.text()))
    }
}
