//! Operators and the micro-batch loop: runs plans over finished data once, and over live data batch by batch.
//!
//! The engine knows no SQL, no names and no connector: it takes a logical plan whose leaves are [`SourceTable`]s, and
//! speaks to sources and sinks through the traits of `millstream-core`.
//!
//! Read in this order: [`batch`] (what a task knows), [`physical`] (operators), [`runner`] (who executes),
//! [`engine`](mod@engine) (batch life), [`stream`] (the loop).
#![forbid(unsafe_code)]

pub mod batch;
pub mod engine;
mod error;
pub mod physical;
pub mod runner;
pub mod stream;
pub mod table_gate;

pub use batch::{BatchFacts, BatchReport, BatchWatermarks, EventTimeStats, SourceCounts, StateOperatorReport};
pub use engine::{BatchResult, Engine, EngineConfig, RowErrors};
pub use error::{from_datafusion, to_datafusion};
pub use physical::SourceTable;
pub use runner::{LocalRunner, MAIN_SINK, RunOutcome, StageRunner};
pub use stream::{
    OperatorChange, QueryDefinition, QueryEvent, QueryRefusal, StateComparison, StateFate, StreamingQuery, StreamingQueryListener,
    StreamingQueryManager, StreamingQueryProgress, Trigger,
};
pub use table_gate::{TableGate, TableGates};
