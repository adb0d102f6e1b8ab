//! The rows that a job is verified with: its tables' sample files, and what its batch makes of them for the tables behind.
//!
//! A table is read once, with its own format and options, and kept as rows, so that they can be cut anywhere and are the
//! same whatever reads them. They are written as Parquet, which keeps every type.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::SchemaRef;
use millstream_core::{Error, Options, Result};
use millstream_sql::ir::{CreateDataset, Plan};

use super::lives::Staged;
use crate::catalog::{Entry, TableDefinition};
use crate::dataframe::DataFrame;
use crate::job::reads_of;
use crate::session::Session;

/// Options of a table that do things to its files or ask for an order of their own.
const LEFT_OUT: [&str; 6] = ["cleanSource", "sourceArchiveDir", "latestFirst", "maxFileAge", "idleTimeout", "maxFutureSkew"];
const DEAD_LETTER_PATH: &str = "deadLetterPath";
const DEAD_LETTER_TOPIC: &str = "deadLetterTopic";

/// The tables of a job, read as they are needed.
pub(super) struct Inputs {
    /// One task, the job's tables as the job defines them.
    session: Session,
    sample: PathBuf,
    folder: PathBuf,
    known: Vec<Table>,
}

/// A table's rows.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) schema: SchemaRef,
    pub(super) rows: RecordBatch,
    /// Whether the query at hand reads it as a stream.
    pub(super) is_streaming: bool,
    has_dead_letters: bool,
}

impl Inputs {
    /// Of a job that is defined in `session`; the sample is in `sample`, and `folder` is for what is written.
    pub(super) fn new(session: &Session, sample: &Path, folder: &Path) -> Self {
        Self { session: session.clone(), sample: sample.to_owned(), folder: folder.to_owned(), known: Vec::new() }
    }

    /// Adds what the batch made of a dataset, for those that read it.
    pub(super) fn add(&mut self, name: &str, schema: SchemaRef, rows: &[RecordBatch]) -> Result<()> {
        let rows = concat_batches(&schema, rows)?;
        self.known.push(Table { name: name.to_owned(), schema, rows, is_streaming: false, has_dead_letters: false });
        Ok(())
    }

    /// The tables that a dataset reads. One that is read as finished data and has no sample stays as the job defines it.
    pub(super) async fn of(&mut self, dataset: &CreateDataset) -> Result<Vec<Table>> {
        let mut tables: Vec<Table> = Vec::new();
        let reads: Vec<_> = dataset.query.iter().flat_map(|query| reads_of(&self.session, query)).collect();
        for read in &reads {
            let Some(name) = &read.table else {
                if read.is_streaming {
                    return Err(Error::unsupported("verifying a stream that is not a table of the job")
                        .hint("declare it with CREATE TABLE, so that its sample can stand in for it"));
                }
                continue;
            };
            if let Some(seen) = tables.iter().find(|table| table.name.eq_ignore_ascii_case(name)) {
                if seen.is_streaming != read.is_streaming {
                    return Err(Error::unsupported(format!("verifying a query that reads '{name}' both as a stream and as finished data")));
                }
                continue;
            }
            if let Some(table) = self.table(name, read.is_streaming).await? {
                tables.push(Table { is_streaming: read.is_streaming, ..table });
            }
        }
        Ok(tables)
    }

    async fn table(&mut self, name: &str, is_streaming: bool) -> Result<Option<Table>> {
        if let Some(known) = self.known.iter().find(|table| table.name.eq_ignore_ascii_case(name)) {
            return Ok(Some(known.clone()));
        }
        let Some(Entry::Table(definition)) = self.session.catalog().get(name) else { return Err(self.session.no_such_table(name)) };
        let Some(path) = self.sample_of(&definition.name, is_streaming)? else { return Ok(None) };
        let table = self.read(&definition, &path).await.map_err(|error| error.context(format!("the sample of table '{name}'")))?;
        self.known.push(table.clone());
        Ok(Some(table))
    }

    /// Where the sample of a table is: in a folder of its name, or, of the one stream, in the folder of all.
    fn sample_of(&self, name: &str, is_streaming: bool) -> Result<Option<PathBuf>> {
        let own = self.sample.join(name);
        if own.is_dir() {
            return Ok(Some(own));
        }
        let mut entries = std::fs::read_dir(&self.sample)
            .map_err(|error| Error::invalid(format!("the sample '{}' cannot be read: {error}", self.sample.display())).caused_by(error))?;
        let has_files = entries.any(|entry| entry.is_ok_and(|entry| entry.path().is_file()));
        match (is_streaming, has_files) {
            (true, true) => Ok(Some(self.sample.clone())),
            (true, false) => Err(Error::invalid(format!("the sample '{}' has no folder '{name}', and no files", self.sample.display()))
                .hint("put files of each table that is read as a stream into a folder of the table's name")),
            (false, _) => Ok(None),
        }
    }

    async fn read(&self, definition: &TableDefinition, path: &Path) -> Result<Table> {
        let is_file = self.session.engine().registry().is_file_format(&definition.format);
        let has_dead_letters = [DEAD_LETTER_PATH, DEAD_LETTER_TOPIC].iter().any(|name| definition.options.get(name).is_some());
        let (format, mut options, schema) = if is_file {
            (definition.format.clone(), definition.options.clone(), definition.schema.clone())
        } else {
            // A socket, say: its rows are given as JSON.
            let schema = DataFrame::new(self.session.clone(), Plan::table(&definition.name, true)).schema().await?;
            ("json".to_owned(), Options::new(), Some(schema))
        };
        for name in LEFT_OUT {
            options.remove(name);
        }
        options.remove(DEAD_LETTER_TOPIC);
        options = options
            .iter()
            .filter(|(name, _)| !name.to_ascii_lowercase().starts_with("deadletter."))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        if has_dead_letters {
            options.set(DEAD_LETTER_PATH, self.folder.join("dead").join(&definition.name).to_string_lossy());
        }
        options.set("path", path.to_string_lossy());
        let session = super::one_task()?;
        for (key, value) in self.session.settings() {
            session.set(&key, &value)?;
        }
        session.catalog().set_table(TableDefinition { format, options, schema, ..definition.clone() });
        let frame = session.table(&definition.name);
        let schema = frame.schema().await?;
        let rows = concat_batches(&schema, &with_schema(&schema, frame.collect().await?)?)?;
        Ok(Table { name: definition.name.clone(), schema, rows, is_streaming: false, has_dead_letters })
    }
}

/// A row that came too late: the table, and its number among the rows of the sample.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LateRow {
    pub(super) table: String,
    pub(super) row: usize,
}

/// The same rows under the names of `schema`.
pub(super) fn with_schema(schema: &SchemaRef, rows: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
    rows.into_iter().map(|batch| Ok(RecordBatch::try_new(schema.clone(), batch.columns().to_vec())?)).collect()
}

/// The file of a piece.
pub(super) fn file_name(number: usize) -> String {
    format!("{number:06}.parquet")
}

impl Table {
    /// Makes the table one of the session's, over the files that are staged.
    pub(super) fn define(&self, session: &Session, staged: &Staged) {
        let mut options = Options::new().with("path", staged.folder_of(&self.name).to_string_lossy()).with("pathMustExist", "false");
        if self.is_streaming {
            options.set("maxFilesPerTrigger", staged.files_per_batch.to_string());
        }
        if self.has_dead_letters {
            options.set(DEAD_LETTER_PATH, staged.root.join("dead").join(&self.name).to_string_lossy());
        }
        session.catalog().set_table(TableDefinition {
            name: self.name.clone(),
            format: "parquet".to_owned(),
            options,
            schema: Some(self.schema.clone()),
            partition_by: Vec::new(),
        });
    }

    /// The table without rows that came too late.
    pub(super) fn without(&self, late: &BTreeSet<LateRow>) -> Result<Self> {
        Ok(Self { rows: self.piece(0..self.rows.num_rows(), late)?.0, ..self.clone() })
    }

    /// Some of its rows without those that came too late, and which they are.
    pub(super) fn piece(&self, range: Range<usize>, late: &BTreeSet<LateRow>) -> Result<(RecordBatch, Vec<usize>)> {
        let late: BTreeSet<usize> = late.iter().filter(|late| late.table == self.name).map(|late| late.row).collect();
        let kept: BooleanArray = range.clone().map(|row| Some(!late.contains(&row))).collect();
        let rows = filter_record_batch(&self.rows.slice(range.start, range.len()), &kept)?;
        Ok((rows, range.filter(|row| !late.contains(row)).collect()))
    }

    /// Puts rows into the table's folder, as file number `number`.
    pub(super) async fn stage(&self, rows: RecordBatch, number: usize, staged: &Staged) -> Result<()> {
        let folder = staged.folder_of(&self.name);
        std::fs::create_dir_all(&folder)?;
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let unfinished = staged.root.join("unfinished");
        let session = super::one_task()?;
        session.create_dataframe(self.schema.clone(), vec![rows])?.write().parquet(&unfinished).await?;
        let mut written = std::fs::read_dir(&unfinished)?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        let file = written.find(|path| path.extension().is_some_and(|extension| extension == "parquet"));
        std::fs::rename(
            file.ok_or_else(|| Error::internal("a piece of the sample was not written"))?,
            folder.join(format!("{number:06}.parquet")),
        )?;
        std::fs::remove_dir_all(&unfinished)?;
        Ok(())
    }
}
