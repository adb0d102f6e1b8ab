//! A write of finished data.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use datafusion::logical_expr::LogicalPlan;
use millstream_analyzer::Analyzed;
use millstream_core::connector::SinkRequest;
use millstream_core::{Error, Result, Sink};
use millstream_engine::{Engine, RowErrors, TableGates};

use super::{DataFrameWriter, ROW_ERRORS, row_errors};
use crate::columns::check_distinct;

/// What a batch write does with what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SaveMode {
    /// Fails if there is anything.
    #[default]
    ErrorIfExists,
    /// Adds to it.
    Append,
    /// Replaces it.
    Overwrite,
    /// Does nothing if there is anything.
    Ignore,
}

impl SaveMode {
    fn as_str(self) -> &'static str {
        match self {
            Self::ErrorIfExists => "error",
            Self::Append => "append",
            Self::Overwrite => "overwrite",
            Self::Ignore => "ignore",
        }
    }
}

impl FromStr for SaveMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "error" | "errorifexists" | "default" => Ok(Self::ErrorIfExists),
            "append" => Ok(Self::Append),
            "overwrite" => Ok(Self::Overwrite),
            "ignore" => Ok(Self::Ignore),
            _ => Err(Error::invalid(format!("save mode '{text}' is not one of error, append, overwrite, ignore"))),
        }
    }
}

impl DataFrameWriter {
    /// What to do with what is there.
    #[must_use]
    pub fn mode(mut self, mode: SaveMode) -> Self {
        self.target = mode;
        self
    }

    /// Writes parquet files to a folder.
    pub async fn parquet(self, path: impl AsRef<Path>) -> Result<u64> {
        self.format("parquet").save_path(path).await
    }

    /// Writes JSON files to a folder.
    pub async fn json(self, path: impl AsRef<Path>) -> Result<u64> {
        self.format("json").save_path(path).await
    }

    /// Writes CSV files to a folder.
    pub async fn csv(self, path: impl AsRef<Path>) -> Result<u64> {
        self.format("csv").save_path(path).await
    }

    /// Writes text files to a folder; there must be one column of text.
    pub async fn text(self, path: impl AsRef<Path>) -> Result<u64> {
        self.format("text").save_path(path).await
    }

    /// Writes to a path (option `path`).
    pub async fn save_path(self, path: impl AsRef<Path>) -> Result<u64> {
        let path = path.as_ref().to_string_lossy().into_owned();
        self.option("path", path).save().await
    }

    /// Writes, and gives the number of rows written.
    pub async fn save(self) -> Result<u64> {
        self.prepare().await?.run(&TableGates::default()).await
    }

    /// Everything but the writing: analyses the query and checks the options.
    pub(crate) async fn prepare(self) -> Result<PreparedWrite> {
        let analyzed = self.frame.analyze().await?;
        self.prepare_analyzed(analyzed).await
    }

    /// The same with the query's analysis.
    pub(crate) async fn prepare_analyzed(mut self, analyzed: Analyzed) -> Result<PreparedWrite> {
        let session = &self.frame.session;
        let format = self.format_name(session);
        self.options.set("mode", self.target.as_str());
        let row_errors = row_errors(&self.options)?;
        self.options.remove(ROW_ERRORS);
        let engine = session.engine();
        if engine.registry().is_file_format(&format) {
            check_distinct(session, analyzed.plan.schema().as_arrow())?;
        }
        let request = SinkRequest {
            format: format.clone(),
            options: self.options,
            schema: Arc::clone(analyzed.plan.schema().inner()),
            partition_by: self.partition_by,
            query_name: None,
            output_mode: None,
            time_zone: session.time_zone(),
            clock: Arc::clone(engine.clock()),
        };
        let sink = engine.registry().for_format(&format)?.sink(request).await?;
        Ok(PreparedWrite { engine: Arc::clone(engine), plan: analyzed.plan, sink, row_errors })
    }
}

/// A write of finished data, ready to run.
pub(crate) struct PreparedWrite {
    engine: Arc<Engine>,
    plan: LogicalPlan,
    sink: Arc<dyn Sink>,
    pub(crate) row_errors: RowErrors,
}

impl PreparedWrite {
    /// Writes, and gives the number of rows written.
    pub(crate) async fn run(self, gates: &TableGates) -> Result<u64> {
        self.engine.write(&self.plan, &self.sink, self.row_errors, gates).await
    }
}
