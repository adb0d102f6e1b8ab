//! The life of a streaming query: started, run batch by batch, recovered, stopped.
//!
//! [`definition`] says what a query is; [`start`] compares it with its checkpoint ([`state_change`]), recovers and begins; [`micro_batch`]
//! is the loop; [`trigger`] says when; [`watermark_tracker`] how far event time is; [`progress`], [`query`], [`listener`] and [`manager`] are what users see.

pub mod definition;
pub mod job;
mod lasting_tables;
pub mod listener;
pub mod manager;
pub mod micro_batch;
mod pace;
mod plan_facts;
pub mod progress;
pub mod query;
mod run_state;
pub mod start;
mod start_sinks;
pub mod state_change;
pub mod trigger;
pub mod watermark_tracker;

pub use definition::{QueryDefinition, StreamPlan};
pub use listener::{ListenerBus, QueryEvent, StreamingQueryListener};
pub use manager::StreamingQueryManager;
pub use progress::{SinkProgress, SourceProgress, StateOperatorProgress, StreamingQueryProgress, StreamingQueryStatus};
pub use query::{QueryEnd, StreamingQuery};
pub use start::compare_with_checkpoint;
pub use state_change::{OperatorChange, QueryRefusal, StateComparison, StateFate};
pub use trigger::Trigger;
