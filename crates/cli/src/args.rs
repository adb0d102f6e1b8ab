//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Stream processing with exactly-once tables.
#[derive(Debug, Parser)]
#[command(
    name = "millstream",
    version,
    about,
    after_help = "Examples:\n  \
        millstream run examples/cloudtrail/job.sql\n  \
        millstream run job.sql --trigger available-now --set spark.sql.session.timeZone=Europe/Berlin\n  \
        millstream sql \"SELECT day, count(*) FROM parquet.`out/events` GROUP BY day\"\n  \
        millstream check job.sql\n  \
        millstream checkpoint show out/_checkpoint"
)]
pub struct Options {
    #[command(flatten)]
    pub log: LogArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// Logs go to standard error.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// error, warn, info, debug, trace, or a filter such as millstream_engine=debug
    #[arg(long, global = true, default_value = "warn", value_name = "LEVEL")]
    pub log_level: String,
    /// How log lines look
    #[arg(long, global = true, default_value = "text", value_enum)]
    pub log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run all datasets of a job file until they end, or until Ctrl-C
    #[command(after_help = "Example:\n  millstream run job.sql --trigger available-now --progress-file progress.jsonl")]
    Run(RunArgs),
    /// Run a query over finished data and print its rows
    #[command(after_help = "Examples:\n  millstream sql \"SELECT count(*) FROM json.`data`\"\n  millstream sql -f query.sql --format csv")]
    Sql(SqlArgs),
    /// Parse, resolve and plan a job file without touching its data
    Check(CheckArgs),
    /// Look into a checkpoint
    #[command(subcommand)]
    Checkpoint(CheckpointCommand),
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The job file
    pub job: PathBuf,
    /// The trigger of all streaming tables: available-now, once, default, or an interval such as '10 seconds'
    #[arg(long)]
    pub trigger: Option<String>,
    /// A setting, in place of the job's
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    /// Tasks per batch, default one per core; a query may have another number at every start
    #[arg(long, value_name = "N", value_parser = parallelism)]
    pub parallelism: Option<usize>,
    /// Append the progress of every batch to this file, one JSON object per line
    #[arg(long, value_name = "FILE")]
    pub progress_file: Option<PathBuf>,
    /// Print the progress of every batch
    #[arg(long)]
    pub verbose: bool,
}

/// A number of tasks.
fn parallelism(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| (1..=256).contains(n)).ok_or_else(|| "expected a number from 1 to 256".to_owned())
}

#[derive(Debug, Args)]
pub struct SqlArgs {
    /// The query; several statements are divided by ';', and the rows of the last are printed
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    pub query: Option<String>,
    /// Read the query from a file
    #[arg(short, long)]
    pub file: Option<PathBuf>,
    /// How rows are printed
    #[arg(long, default_value = "table", value_enum)]
    pub format: RowFormat,
    /// A setting
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RowFormat {
    Table,
    Json,
    Csv,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The job file
    pub job: PathBuf,
    /// The trigger with which it will be run, if not its own
    #[arg(long)]
    pub trigger: Option<String>,
    /// A setting, in place of the job's
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum CheckpointCommand {
    /// Print the records of a checkpoint
    Show {
        /// The checkpoint folder
        dir: String,
        /// One JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Read everything in a checkpoint and say whether it can be trusted
    Verify {
        /// The checkpoint folder
        dir: String,
    },
}
