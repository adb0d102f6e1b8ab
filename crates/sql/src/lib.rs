//! Spark SQL text to an unresolved plan.
//!
//! Three doors lead into Millstream (SQL text, the DataFrame API and Spark Connect) and all of them
//! meet in one intermediate representation, [`ir`], in the shapes of Spark Connect: operators are
//! function calls, names are unresolved, nothing has a type yet but literals and casts. This crate
//! owns that representation and the first door: a lexer and a hand-written parser for Spark's
//! grammar. The analyzer turns the result into a plan that can run.
//!
//! ```
//! use millstream_sql::ir::{Expr, Plan};
//! use millstream_sql::{parse_query, parse_script};
//!
//! // Text and builder give the same representation.
//! let text = parse_query("SELECT a FROM STREAM t WHERE a > 1").unwrap();
//! let built = Plan::table("t", true)
//!     .filter(Expr::call(">", vec![Expr::col("a"), Expr::lit(1)]))
//!     .project(vec![Expr::col("a")]);
//! assert_eq!(text, built);
//!
//! // A refusal says where, and what was perhaps meant.
//! let script = "SET a = b;\nSELECT a FORM t";
//! let error = parse_script(script).unwrap_err();
//! assert!(error.to_string().ends_with("at line 2, column 15; did you mean 'FROM'?"));
//! ```
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
    Streams, parse_data_type, parse_expression, parse_expressions, parse_interval, parse_query, parse_schema, parse_script,
    parse_script_with, parse_statement, parse_table_name,
};
pub use span::Span;
