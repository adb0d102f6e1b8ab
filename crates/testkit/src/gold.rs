//! Gold files: what Spark 4.3.0 really answers, and how our answers are compared with it.
//!
//! The files live in `/gold` (its README has the format). This module reads the cases, brings Arrow columns and
//! types into the form of the files ([`rows_of`], [`type_name`]), and judges: a case agrees in column names, types
//! and values, or in the error condition. What is not there yet stands in `gold/known-differences.txt`, one line a
//! case; [`Report::finish`] fails on a difference that is not listed **and** on a listed case that agrees, so that
//! the list can only shrink. `MILLSTREAM_GOLD=shrink` takes off what agrees by now and adds nothing;
//! `MILLSTREAM_GOLD=accept` lists every difference it sees (for a new suite, or a decision).
//!
//! It runs nothing itself: a suite hands every case to the code under test and reports the [`Outcome`].

mod case;
mod report;
mod value;

pub use case::{Case, Expected, ReaderCase, cases, expected, lines, reader_cases, root, tables};
pub use report::{Outcome, Report};
pub use value::{arrow_type, rows_of, type_name};
