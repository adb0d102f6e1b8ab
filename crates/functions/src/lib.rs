//! Spark's functions as Arrow kernels, wrapped as DataFusion functions.
//!
//! Knows nothing of streaming, of names in a query, or of SQL. The analyzer resolves names and types, makes every
//! implicit cast explicit, names columns, and calls what is here with arguments that already have the right types.
//!
//! # The contract
//!
//! **Types.** One Arrow type per Spark type, and no other ever leaves a function (no views, no large offsets, no
//! unsigned integers, no nanoseconds):
//!
//! | Spark | Arrow |
//! |---|---|
//! | BOOLEAN, TINYINT .. BIGINT, FLOAT, DOUBLE | Boolean, Int8 .. Int64, Float32, Float64 |
//! | DECIMAL(p,s) | Decimal128(p, s) |
//! | STRING, BINARY | Utf8, Binary |
//! | DATE | Date32 |
//! | TIMESTAMP, TIMESTAMP_NTZ | Timestamp(us, "UTC"), Timestamp(us, None) |
//! | INTERVAL DAY TO SECOND, YEAR TO MONTH, calendar | Duration(us), Interval(YearMonth), Interval(MonthDayNano) |
//! | `ARRAY<t>` | List of a nullable field `element` |
//! | `MAP<k,v>` | Map of `entries` with `key` (not null) and `value`, unsorted |
//! | `STRUCT<..>` | Struct |
//! | VOID | Null |
//!
//! [`types::parse_type`] and [`types::type_name`] translate Spark's names.
//!
//! **Stateless.** A function is its name. The target type of a cast, the session time zone, patterns and options
//! are literal arguments: `spark_cast(value, 'decimal(10,2)', 'ansi', 'Europe/Berlin')`. Where
//! [`FunctionDef::time_zone`] says so, the zone is appended after the user's arguments.
//!
//! **Looking up.** [`scalar`] finds a [`FunctionDef`] by Spark's name: argument classes, result type, kernel.
//! [`FunctionDef::udf`] makes the DataFusion function, named `spark_<name>`; [`all_scalar`] lists them for a
//! session's registry and for decoding plans. Aggregates are in [`mod@aggregate`].
//!
//! **Operators and casts** have names of ours: `cast` (see [`cast`]), `add`, `subtract`, `multiply`, `divide`,
//! `div`, `remainder`, `negative` (see
//! [`arithmetic`]). Comparison, AND, OR, NOT, CASE and IS NULL stay
//! DataFusion's own; `current_timestamp()` and its like are no functions here, for they are facts of a batch.
//!
//! **Errors** carry Spark's condition as code ([`error_class`]). NULL rows never raise one.
#![forbid(unsafe_code)]

pub mod def;
mod error;
pub mod registry;
pub mod types;

pub mod cast;

pub mod aggregate;
pub mod arithmetic;
pub mod bitmap;
pub mod collections;
pub mod datetime;
pub mod decimal;
pub mod hash;
mod interval_math;
pub mod json;
pub mod math;
pub mod misc;
mod options;
pub mod passthrough;
pub mod regexp;
mod rows;
pub mod strings;
#[cfg(test)]
mod testing;
mod text;

pub use aggregate::{aggregate, all_aggregate};
pub use def::{Arg, FunctionDef, Returns, SparkFunction};
pub use error::error_class;
pub use registry::{all_scalar, scalar};
