//! Spark SQL text to an unresolved plan.
//!
//! Three doors lead into Millstream (SQL text, the DataFrame API and Spark Connect) and all of them
//! meet in one intermediate representation, [`ir`], in the shapes of Spark Connect: operators are
//! function calls, names are unresolved, nothing has a type yet but literals and casts. This crate
//! owns that representation and the first door: a lexer and a hand-written parser for Spark's
//! grammar. The analyzer turns the result into a plan that can run.
//!
//! What this crate never does: it looks nothing up (no catalog, no function registry), it decides
//! no type, and it knows neither Arrow nor DataFusion, so that it builds in seconds.
#![forbid(unsafe_code)]

pub mod ir;
mod lexer;
mod parse;
mod parser;
mod redact;

pub mod error;
pub mod span;

pub use error::{SqlError, SqlErrorKind};
pub use parse::{
    parse_data_type, parse_expression, parse_expressions, parse_interval, parse_query, parse_schema, parse_script, parse_statement,
    parse_table_name,
};
pub use span::Span;
