//! Writers: the same formats and options for finished and live data.

mod batch;
mod stream;
mod stream_options;

use std::fmt;

use millstream_core::{Options, Result};
use millstream_engine::RowErrors;

pub use self::batch::SaveMode;
pub use self::stream::Target;
pub(crate) use self::stream_options::{ALLOW_STATE_DROP, INDEPENDENT_OF_CUTS, LATE_ROWS_PATH, PARTLY_LATE_ROWS};
use crate::dataframe::DataFrame;
use crate::session::Session;
use crate::settings;

/// What becomes of rows on which an expression fails: `fail` or `deadLetter`.
const ROW_ERRORS: &str = "rowErrors";

/// Writes the rows of a DataFrame, finished ([`DataFrameWriter`]) or live ([`DataStreamWriter`]).
#[derive(Clone)]
pub struct Writer<T> {
    frame: DataFrame,
    format: Option<String>,
    options: Options,
    partition_by: Vec<String>,
    target: T,
}

/// Writes finished data: Spark's `DataFrameWriter`.
pub type DataFrameWriter = Writer<SaveMode>;

/// Writes a stream: Spark's `DataStreamWriter`.
pub type DataStreamWriter = Writer<Target>;

impl<T> fmt::Debug for Writer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("format", &self.format).field("options", &self.options).finish_non_exhaustive()
    }
}

impl<T: Default> Writer<T> {
    pub(crate) fn new(frame: DataFrame) -> Self {
        Self { frame, format: None, options: Options::new(), partition_by: Vec::new(), target: T::default() }
    }
}

impl<T> Writer<T> {
    /// The format: parquet, json, csv, text, console, memory, noop, ...
    #[must_use]
    pub fn format(mut self, format: &str) -> Self {
        self.format = Some(format.to_owned());
        self
    }

    /// An option: of the format, or `rowErrors` (`fail`, or `deadLetter`: rows on which an expression fails go to the
    /// dead letters of their source, which needs `deadLetterPath` or `deadLetterTopic`); of streams also `checkpointLocation`, `outputMode`,
    /// `trigger`, `queryName`, `stopTimeout`, `commitInterval`, `maxBytesPerBatch`, `targetBatchDuration`, `flush`, `lateRowsPath`.
    #[must_use]
    pub fn option(mut self, name: &str, value: impl ToString) -> Self {
        self.options.set(name, value.to_string());
        self
    }

    /// The columns whose values become folders.
    #[must_use]
    pub fn partition_by<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.partition_by = columns.into_iter().map(Into::into).collect();
        self
    }

    fn format_name(&self, session: &Session) -> String {
        self.format.clone().or_else(|| session.get(settings::DEFAULT_FORMAT)).unwrap_or_else(|| "parquet".to_owned())
    }
}

/// What a writer's options say of rows on which an expression fails.
pub(crate) fn row_errors(options: &Options) -> Result<RowErrors> {
    options.get(ROW_ERRORS).map_or(Ok(RowErrors::default()), str::parse)
}
