//! Unresolved plans to DataFusion plans: names, types, casts.
//!
//! ```text
//! ir::Plan ─ plan ─► Rel (LogicalPlan over #ids + attributes) ─► top projection with written names ─► Analyzed
//!             │
//!             └ expr ─► Typed (DataFusion expression + Spark type + Spark's name)
//!                 └ registry, coerce: which kernel, which casts
//! ```
//! Only this crate knows names. A scan projects `column AS #n`, everything above uses `#n`, and the top projection
//! restores the written names. All casts are explicit when a plan leaves, so DataFusion has nothing to decide.
//! What a stream adds are the watermark ([`nodes`]), stateful operators ([`streaming`]) and a list of refusals; nothing here knows how anything runs, does
//! I/O or knows a connector.
#![forbid(unsafe_code)]

mod analyzer;
pub mod catalog;
pub mod computed_once;
pub mod nested_pruning;
pub mod nodes;
pub mod row_facts;
mod settings;

mod coerce;
mod expr;
mod plan;
mod registry;
mod resolver;
mod scope;
mod stream_check;
pub mod streaming;
pub mod types;
mod window;

mod constant;
mod error;
mod walk;

pub use analyzer::{Analyzed, AnalyzedExpr, Analyzer, OutputColumn, Watermark};
pub use catalog::{Catalog, Relation, UserFunction};
pub use computed_once::{ComputedOnceNode, compute_once};
pub use expr::lists_windows;
pub use nested_pruning::prune_nested_fields;
pub use nodes::EventTimeWatermarkNode;
pub use plan::by_schema::{AGGREGATE_NUMERIC, FILL_NULLS, KEEP_KNOWN};
pub use row_facts::{RowFact, RowFactNode, Seed};
pub use settings::SessionSettings;
pub use walk::{RelationRef, referenced_relations};

/// Functions of the analyzer's own that plans may call; a session registers them to decode plans.
pub fn functions() -> Vec<std::sync::Arc<datafusion::logical_expr::ScalarUDF>> {
    vec![registry::positions::udf(), registry::recursion_level::udf(), registry::single_row::udf()]
}
