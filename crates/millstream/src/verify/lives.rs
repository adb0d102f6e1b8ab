//! Streams over pieces of the input: cut, restarted, crashed and flushed as a generator draws it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_core::crash::{CRASH, FailAt};
use millstream_core::random::SparkRandom;
use millstream_core::{CrashPoint, CrashPoints, Error, OutputMode, Result};
use millstream_engine::physical::late_table::{Missed, late_rows_schema};
use millstream_engine::{EngineConfig, Trigger};
use millstream_sql::Streams;

use super::fold::{Folded, Folding, fold};
use super::inputs::{LateRow, file_name, with_schema};
use super::{CHANGES, Case, Rows, Table};
use crate::commands::to_options;
use crate::session::Session;
use crate::writer::{LATE_ROWS_PATH, PARTLY_LATE_ROWS};

/// Pieces of a table at most.
const PIECES_MAX: usize = 12;
/// Starts before the last, at most.
const LIVES_MAX: usize = 5;
const PARALLELISM_MAX: usize = 4;
/// What of a table's options matters to its rows; the rest is about where and when.
const OPTIONS: [&str; 3] = ["outputMode", "rowErrors", "upsertKey"];

/// The streams of one dataset.
pub(super) struct Lives<'a> {
    case: &'a Case<'a>,
    tables: &'a [Table],
}

/// Where the pieces are that have arrived.
pub(super) struct Staged {
    pub(super) root: PathBuf,
    pub(super) files_per_batch: usize,
}

impl Staged {
    pub(super) fn folder_of(&self, table: &str) -> PathBuf {
        self.root.join("in").join(table)
    }
}

/// What a stream gave.
pub(super) struct Stream {
    pub(super) table: Folded,
    pub(super) n_lives: u32,
    pub(super) n_crashes: u32,
    pub(super) late: LateRows,
}

/// What of its input a stream did not take.
#[derive(Default)]
pub(super) struct LateRows {
    /// Rows that came too late.
    pub(super) late: BTreeSet<LateRow>,
    /// How often one did: a row may be late for several operators.
    pub(super) n_late: usize,
    /// Rows that were late for some of their windows, and for no operator late as a whole.
    pub(super) partly: BTreeSet<LateRow>,
    /// Rows of either kind that were no rows of a file any more.
    pub(super) n_unknown: usize,
}

/// One start of the query.
struct Life {
    parallelism: usize,
    files_per_batch: usize,
    crash: Option<(CrashPoint, u64)>,
    flush: bool,
    shows_changes: bool,
}

/// What the batches gave, by their ids: a batch that comes again replaces itself.
type Batches = Arc<Mutex<BTreeMap<u64, Vec<RecordBatch>>>>;

/// A session with so many tasks.
pub(super) fn session(parallelism: usize, crash: Option<(CrashPoint, u64)>) -> Result<Session> {
    let mut builder = Session::builder().engine(EngineConfig { parallelism, ..EngineConfig::default() });
    if let Some((point, n)) = crash {
        builder = builder.crash_points(Arc::new(FailAt::new(point, n)) as Arc<dyn CrashPoints>);
    }
    builder.build()
}

impl<'a> Lives<'a> {
    pub(super) fn new(case: &'a Case<'a>, tables: &'a [Table]) -> Self {
        Self { case, tables }
    }

    /// The stream whose input comes at once, in one life.
    pub(super) async fn uncut(&self, folding: &Folding, name: &str) -> Result<Rows> {
        let staged = self.place(name, usize::MAX)?;
        for table in self.tables {
            table.stage(table.rows.clone(), 0, &staged).await?;
        }
        let batches = Batches::default();
        let shows_changes = *folding == Folding::Changes;
        let life = Life { parallelism: 1, files_per_batch: 1, crash: None, flush: true, shows_changes };
        self.live(&life, &staged.root, &batches).await?;
        let schema = self.case.frame(&super::one_task()?, Streams::Live, self.tables, &staged).await?.schema().await?;
        let table = fold(self.result(&schema, &staged.root, &batches).await?, folding)?;
        Ok((schema.clone(), with_schema(&schema, table.rows)?))
    }

    /// A stream cut and crashed at random, without some rows of the tables: where it is cut does not hang on them.
    pub(super) async fn run(
        &self,
        schema: &SchemaRef,
        folding: &Folding,
        name: &str,
        left_out: &BTreeSet<LateRow>,
        rng: &mut SparkRandom,
    ) -> Result<Stream> {
        let staged = self.place(name, 1)?;
        let (mut waiting, mut rows_of_files) = (Vec::new(), BTreeMap::new());
        for table in self.tables {
            let n_rows = table.rows.num_rows();
            let pieces = if table.is_streaming { cut(n_rows, rng) } else { std::iter::once(0..n_rows).collect() };
            let mut files = VecDeque::new();
            for (number, piece) in pieces.into_iter().enumerate() {
                let (rows, numbers) = table.piece(piece, left_out)?;
                rows_of_files.insert((table.name.clone(), file_name(number)), numbers);
                files.push_back((number, rows));
            }
            waiting.push((table, files));
        }
        let batches = Batches::default();
        let mut stream = Stream { table: Folded::default(), n_lives: 0, n_crashes: 0, late: LateRows::default() };
        let n_lives = rng.below(LIVES_MAX);
        // Of the last two one may crash while it flushes.
        for life in 0..n_lives + 2 {
            let is_last = life > n_lives;
            let flush = life >= n_lives;
            for (table, pieces) in &mut waiting {
                let n_now = if flush || !table.is_streaming { pieces.len() } else { rng.below(pieces.len() + 1) };
                for (number, piece) in pieces.drain(..n_now) {
                    table.stage(piece, number, &staged).await?;
                }
            }
            let point = CrashPoint::ALL.get(rng.below(CrashPoint::ALL.len())).copied();
            let crash = point.filter(|_| !is_last && rng.below(3) > 0).map(|point| (point, 1 + rng.below(4) as u64));
            let shows_changes = *folding == Folding::Changes;
            let life = Life { parallelism: 1 + rng.below(PARALLELISM_MAX), files_per_batch: 1 + rng.below(3), crash, flush, shows_changes };
            stream.n_lives += 1;
            stream.n_crashes += u32::from(self.live(&life, &staged.root, &batches).await?);
        }
        stream.table = fold(self.result(schema, &staged.root, &batches).await?, folding)?;
        stream.late = late_rows(&staged.root.join("late"), &rows_of_files).await?;
        Ok(stream)
    }

    fn place(&self, name: &str, files_per_batch: usize) -> Result<Staged> {
        let root = self.case.options.folder.join(&self.case.name).join(name);
        std::fs::create_dir_all(&root)?;
        Ok(Staged { root, files_per_batch })
    }

    /// Runs the query over what has arrived; whether it crashed.
    async fn live(&self, life: &Life, root: &Path, batches: &Batches) -> Result<bool> {
        let ended = self.live_to_end(life, root, batches).await;
        match ended {
            Ok(()) => Ok(false),
            Err(error) if error.error_class() == Some(CRASH) => Ok(true),
            Err(error) => Err(error),
        }
    }

    async fn live_to_end(&self, life: &Life, root: &Path, batches: &Batches) -> Result<()> {
        let session = session(life.parallelism, life.crash)?;
        let staged = Staged { root: root.to_owned(), files_per_batch: life.files_per_batch };
        let frame = self.case.frame(&session, Streams::Live, self.tables, &staged).await?;
        let mut writer = frame.write_stream().trigger(Trigger::AvailableNow).checkpoint(root.join("checkpoint"));
        let options = to_options(&self.case.live.1.clauses.options);
        for (name, value) in OPTIONS.iter().filter_map(|name| Some((name, options.get(name)?))) {
            writer = writer.option(name, value);
        }
        if life.shows_changes {
            writer = writer.option(CHANGES, true);
        }
        writer = writer.option("flush", life.flush).option(LATE_ROWS_PATH, root.join("late").to_string_lossy());
        writer = writer.option(PARTLY_LATE_ROWS, true);
        let query = if self.case.output_mode()? == OutputMode::Append {
            writer.format("parquet").start_path(root.join("out")).await?
        } else {
            let batches = Arc::clone(batches);
            let keep = move |frame: crate::DataFrame, batch: crate::BatchId| {
                let batches = Arc::clone(&batches);
                async move {
                    let rows = frame.collect().await?;
                    batches.lock().unwrap_or_else(PoisonError::into_inner).insert(batch.0, rows);
                    Ok(())
                }
            };
            writer.foreach_batch(keep).start().await?
        };
        query.await_termination(None).await.map(|_| ())
    }

    /// What the stream gave, in the order of its batches.
    async fn result(&self, schema: &SchemaRef, root: &Path, batches: &Batches) -> Result<Vec<RecordBatch>> {
        let batches = batches.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match self.case.output_mode()? {
            OutputMode::Append if root.join("out").exists() => {
                let frame = super::one_task()?.read().arrow_schema(schema.clone()).parquet(root.join("out")).await?;
                with_schema(schema, frame.collect().await?)
            }
            OutputMode::Append => Ok(Vec::new()),
            // Each batch gives the whole result.
            OutputMode::Complete => Ok(batches.into_values().next_back().unwrap_or_default()),
            OutputMode::Update => Ok(batches.into_values().flatten().collect()),
        }
    }
}

/// Rows in pieces of random lengths, in their order.
fn cut(n_rows: usize, rng: &mut SparkRandom) -> Vec<Range<usize>> {
    let mut ends: Vec<usize> = (0..rng.below(PIECES_MAX)).map(|_| rng.below(n_rows + 1)).chain([n_rows]).collect();
    ends.sort_unstable();
    ends.dedup();
    let starts = std::iter::once(0).chain(ends.clone());
    starts.zip(ends).filter(|(from, to)| from < to).map(|(from, to)| from..to).collect()
}

/// The table of late rows, each with its table and its number there, by which rows the files have.
async fn late_rows(folder: &Path, rows_of_files: &BTreeMap<(String, String), Vec<usize>>) -> Result<LateRows> {
    let mut out = LateRows::default();
    if !folder.exists() {
        return Ok(out);
    }
    let table = super::one_task()?.read().arrow_schema(late_rows_schema()).parquet(folder).await?;
    let row_of = |file: &str, record: &str| {
        let (folder, file) = file.rsplit_once('/')?;
        let table = folder.rsplit('/').next()?.to_owned();
        let row = *rows_of_files.get(&(table.clone(), file.to_owned()))?.get(record.parse::<usize>().ok()?)?;
        Some(LateRow { table, row })
    };
    for cells in table.select_expr(["file", "record", "missed_windows"])?.text_rows().await? {
        let [file, record, missed] = cells.as_slice() else { return Err(Error::internal("a late row of other columns")) };
        let is_late = missed == Missed::All.name();
        out.n_late += usize::from(is_late);
        match row_of(file, record) {
            Some(row) if is_late => drop(out.late.insert(row)),
            Some(row) => drop(out.partly.insert(row)),
            None => out.n_unknown += 1,
        }
    }
    out.partly.retain(|row| !out.late.contains(row));
    Ok(out)
}
