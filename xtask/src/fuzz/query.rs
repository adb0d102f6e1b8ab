//! Random stateful queries, each said twice: in our SQL over a stream, and in DuckDB's over the files.
//!
//! A kind of query is a function in [`KINDS`]. What one of the two cannot say, or says otherwise (an average of decimals), is
//! left out here; that the stream is the batch is checked for everything that a kind makes.

use super::data::COLUMNS;
use super::duplicates::{deduplicate, deduplicate_times, deduplicate_windows, distinct, distinct_times, union_distinct};
use super::groups::{
    chain, chain_of_groups, groups, sessions, sets, sets_of_sessions, sets_of_windows, window_sets, windows, windows_without_watermark,
};
use super::joins::{groups_of_join, join, join_of_groups, join_of_two_groups, static_join};
use crate::kill::rng::Rng;

/// A query as a job, and what DuckDB is asked.
pub struct Query {
    /// Which kind made it.
    pub kind: &'static str,
    /// In which output mode.
    pub mode: Mode,
    /// The text behind `AS`.
    pub select: String,
    /// The same for DuckDB.
    pub oracle: String,
    /// The columns of the result.
    pub columns: Vec<String>,
}

/// What a batch gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Append,
    Complete,
    /// New rows of groups; `verify` runs every second stream with changes.
    Update,
    /// Update mode in which rows may be deleted: only changes tell.
    Changes,
}

use Mode::{Append, Changes, Complete, Update};

/// A name, in which modes, and what makes it.
type Kind = (&'static str, &'static [Mode], fn(&mut Rng) -> Parts);

const KINDS: &[Kind] = &[
    ("windows", &[Append, Append, Update, Complete], windows),
    ("windows", &[Append, Append, Update, Complete], windows),
    ("window-sets", &[Append, Append, Update, Complete], window_sets),
    ("groups", &[Complete, Update], groups),
    ("sets", &[Complete, Update], sets),
    ("windows-without-watermark", &[Complete, Update], windows_without_watermark),
    ("distinct", &[Complete, Update], distinct),
    ("distinct-times", &[Append, Update, Complete], distinct_times),
    ("deduplicate", &[Append, Update], deduplicate),
    ("deduplicate-times", &[Append, Update], deduplicate_times),
    ("deduplicate-windows", &[Append, Update, Complete], deduplicate_windows),
    ("chain", &[Append, Append, Changes, Complete], chain),
    ("chain-of-groups", &[Changes, Complete], chain_of_groups),
    ("sessions", &[Append, Append, Changes, Complete], sessions),
    ("sessions", &[Append, Append, Changes, Complete], sessions),
    ("static-join", &[Append, Update, Complete], static_join),
    ("join", &[Append, Append, Changes], join),
    ("join", &[Append, Append, Changes], join),
    ("join-of-groups", &[Changes], join_of_groups),
    ("groups-of-join", &[Changes, Complete], groups_of_join),
    ("join-of-two-groups", &[Changes, Complete], join_of_two_groups),
    ("sets-of-windows", &[Append, Append, Update, Complete], sets_of_windows),
    ("sets-of-sessions", &[Append, Append, Changes, Complete], sets_of_sessions),
    ("union-distinct", &[Update, Complete], union_distinct),
];

/// What a kind says.
pub struct Parts {
    pub select: String,
    pub oracle: String,
    pub columns: Vec<String>,
}

impl Mode {
    /// The options of the table.
    fn options(self) -> &'static str {
        match self {
            Append => "outputMode 'append'",
            Complete => "outputMode 'complete'",
            Update => "outputMode 'update'",
            Changes => "outputMode 'update', changes 'true'",
        }
    }
}

impl Query {
    /// Draws one.
    pub fn draw(rng: &mut Rng) -> Self {
        let (kind, modes, make) = *rng.pick(KINDS).unwrap_or(&("windows", &[], windows));
        let mode = *rng.pick(modes).unwrap_or(&Append);
        let Parts { select, oracle, columns } = make(rng);
        Self { kind, mode, select, oracle, columns }
    }

    /// The whole job file.
    pub fn job(&self) -> String {
        // Of the sinks that a job can name these take what the mode gives; `verify` does not run them.
        let sink = if self.mode == Changes { "noop" } else { "parquet LOCATION 'out'" };
        format!(
            "SET spark.sql.session.timeZone = UTC;\nCREATE TABLE src ({COLUMNS}) USING json OPTIONS (path 'in/src');\n\
             CREATE TABLE rhs ({COLUMNS}) USING json OPTIONS (path 'in/rhs');\n\
             CREATE STREAMING TABLE result USING {sink}\n  \
             OPTIONS (checkpointLocation 'checkpoint', {})\n  AS {};\n",
            self.mode.options(),
            self.select
        )
    }
}
