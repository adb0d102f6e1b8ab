//! Millstream: stream processing with exactly-once tables.
//!
//! One program for finished data, for live data and by hand: a [`Session`] reads with [`Session::read`] or
//! [`Session::read_stream`], a [`DataFrame`] has the same methods on both, and [`DataFrame::write`] or
//! [`DataFrame::write_stream`] say where the rows go. Text goes through [`Session::sql`]; job files through [`Job`].
//!
//! Everything here is thin: plans are resolved by `millstream-analyzer` and run by `millstream-engine`.
#![forbid(unsafe_code)]

mod answer;
mod catalog;
pub mod checkpoint;
mod column;
mod columns;
mod commands;
mod dataframe;
pub mod functions;
pub mod job;
pub mod kafka;
mod reader;
mod resolve;
mod session;
mod settings;
pub mod state;
pub mod verify;
mod writer;

pub use answer::{AnswerKind, SqlAnswer};
pub use column::{Column, call, col, expr, lit, star, when};
pub use dataframe::{AllowMissing, DataFrame, GroupedData, GroupsWithState, KeepKnown, ShowOptions};
pub use datafusion::scalar::ScalarValue;
pub use job::{Job, JobRun};
pub use millstream_analyzer::streaming::{GroupState, GroupStateTimeout};
pub use millstream_connectors::{MemoryStream, RowWriter, RowWriterFactory};
pub use millstream_core::crash;
pub use millstream_core::{BatchId, Clock, Error, ErrorKind, IdSource, QueryId, Result};
pub use millstream_engine::stream::StreamingQueryStatus;
pub use millstream_engine::{
    EngineConfig, OperatorChange, QueryEvent, QueryRefusal, StateComparison, StateFate, StreamingQuery, StreamingQueryListener,
    StreamingQueryManager, StreamingQueryProgress, Trigger,
};
pub use millstream_formats::table::TableLayout;
pub use millstream_state::FileSystem;
pub use reader::{DataFrameReader, DataStreamReader, parse_schema};
pub use session::{Session, SessionBuilder};
pub use writer::{DataFrameWriter, DataStreamWriter, SaveMode};

use millstream_sql::{SqlError, SqlErrorKind};

/// Spark's name of an Arrow type, such as `array<string>`.
pub fn type_name(data_type: &arrow::datatypes::DataType) -> String {
    millstream_analyzer::types::from_arrow(data_type).map_or_else(|_| data_type.to_string(), |spark| spark.simple_string())
}

/// The public error of a text that does not parse, with its line and a caret.
pub(crate) fn text_error(error: SqlError, text: &str) -> Error {
    let kind = if error.kind == SqlErrorKind::Unsupported { ErrorKind::Unsupported } else { ErrorKind::Invalid };
    Error::new(kind, error.render(text)).code(error.class)
}

/// The README's Rust is compiled and run as a test.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// And the guide's.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../../../docs/guide/joins.md")]
    struct Joins;
    #[doc = include_str!("../../../docs/guide/output-modes.md")]
    struct OutputModes;
    #[doc = include_str!("../../../docs/guide/state.md")]
    struct State;
    #[doc = include_str!("../../../docs/guide/watermarks.md")]
    struct Watermarks;
    #[doc = include_str!("../../../docs/guide/windows.md")]
    struct Windows;
}
