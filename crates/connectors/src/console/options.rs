//! Options of the console sink.

use millstream_core::{Error, OptionSpec, Options, Result};

/// What the sink knows.
pub(super) const OPTIONS: [OptionSpec; 4] = [
    OptionSpec::new(
        "format",
        "table (as Spark prints it) or json (one line per row: all rows of a batch are held in memory), default table",
    ),
    OptionSpec::new("numRows", "rows shown per batch in a table, and held in memory by each task, default 20"),
    OptionSpec::new("truncate", "whether cells of a table are cut at 20 characters, default true"),
    OptionSpec::new("mode", "of batch writes: has no effect here"),
];

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConsoleFormat {
    Table { num_rows: usize, width_max: Option<usize> },
    Json,
}

/// The options, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ConsoleOptions {
    pub(super) format: ConsoleFormat,
}

impl ConsoleOptions {
    pub(super) fn parse(options: &Options) -> Result<Self> {
        options.check("console sink", &OPTIONS)?;
        let num_rows = options.get_u64("numRows")?.map_or(20, |n| usize::try_from(n).unwrap_or(usize::MAX));
        let width_max = options.get_bool("truncate")?.unwrap_or(true).then_some(20);
        let format = match options.get("format").unwrap_or("table").to_ascii_lowercase().as_str() {
            "table" => ConsoleFormat::Table { num_rows, width_max },
            "json" => ConsoleFormat::Json,
            other => return Err(Error::invalid(format!("option 'format' is '{other}': expected table or json"))),
        };
        Ok(Self { format })
    }
}
