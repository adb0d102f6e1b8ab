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
        millstream checkpoint show out/_checkpoint\n  \
        millstream state show out/_checkpoint\n  \
        millstream kafka offsets out/_checkpoint --bootstrap-servers localhost:9092"
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
    #[command(after_help = "Examples:\n  millstream check job.sql\n  millstream check job.sql --against out/_checkpoint")]
    Check(CheckArgs),
    /// Prove on a sample that a job's streaming tables do not hang on how their input comes
    #[command(
        long_about = "Prove on a sample that a job's streaming tables do not hang on how their input comes.\n\nEvery streaming \
            table is run as a batch over the sample, and several times as a stream: its rows cut into batches at random, restarted \
            with other parallelism, crashed behind random steps of the commit protocol, flushed at the end. All results must hold \
            the same rows. Nothing of the job's own tables and checkpoints is touched; the sample is held in memory.",
        after_help = "The sample is a folder with a folder of files for each table that the job reads; if the job reads one stream, the \
            files may be in the sample itself. A table that is no stream and has no folder there is read as the job says.\n\n\
            Within-watermark deduplication, arbitrary state, LIMIT and which row drop_duplicates over some of the columns keeps hang on \
            the cuts by their nature: such a table is not comparable unless it says OPTIONS (independentOfCuts 'true').\n\n\
            Exit code: 0 all equal, 1 one differs or failed, 2 wrong usage, 3 none differs but one is not comparable\n\n\
            Example:\n  millstream verify job.sql --input sample --runs 20"
    )]
    Verify(VerifyArgs),
    /// Look into a checkpoint
    #[command(subcommand)]
    Checkpoint(CheckpointCommand),
    /// Read what a query remembers between batches
    #[command(
        subcommand,
        after_help = "Examples:\n  millstream state show out/_checkpoint\n  \
            millstream state show out/_checkpoint --operator aggregate-page --version 41\n  \
            millstream state export out/_checkpoint --operator 0 --output state.parquet"
    )]
    State(StateCommand),
    /// Show or move the positions of a query in its Kafka topics
    #[command(
        subcommand,
        after_help = "Examples:\n  millstream kafka offsets out/_checkpoint --bootstrap-servers localhost:9092\n  \
            millstream kafka reset out/_checkpoint --to earliest --bootstrap-servers localhost:9092 --dry-run"
    )]
    Kafka(KafkaCommand),
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
    /// Stateful operators that may begin afresh if they cannot go on from what the checkpoint remembers (several streaming tables: TABLE:OP)
    #[arg(long, value_name = "OP", value_delimiter = ',')]
    pub allow_state_drop: Vec<String>,
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
    /// Say of each stateful operator what becomes of its state in this checkpoint: kept, migrated, dropped, new or refused
    #[arg(long, value_name = "CHECKPOINT")]
    pub against: Option<String>,
    /// The streaming table that the checkpoint is of, if the job has several
    #[arg(long, value_name = "TABLE", requires = "against")]
    pub dataset: Option<String>,
    /// Stateful operators that may begin afresh if they cannot go on from what the checkpoint remembers (several streaming tables: TABLE:OP)
    #[arg(long, value_name = "OP", value_delimiter = ',')]
    pub allow_state_drop: Vec<String>,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The job file
    pub job: PathBuf,
    /// The folder of the sample
    #[arg(long, value_name = "DIR")]
    pub input: PathBuf,
    /// How many streams are run of each table
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub runs: u32,
    /// What cuts, crashes and parallelism are drawn from; the same number draws the same
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// A setting, in place of the job's
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    /// Keep inputs, checkpoints and results in this folder, which must not exist
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
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

#[derive(Debug, Subcommand)]
pub enum KafkaCommand {
    /// Print where the query stands in each partition; it may be running
    Offsets {
        /// The checkpoint folder or URL
        checkpoint: String,
        #[command(flatten)]
        broker: BrokerArgs,
        /// One JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Move the stopped query to another place: what lies between is read again, or never
    #[command(
        long_about = "Move the stopped query to another place in its topics: what lies between is read again, or never. What it has \
            written, and what it remembers between batches, stays as it is.\n\nA query that runs on a local checkpoint refuses it. \
            A checkpoint on an object store has no lock: a query that runs there is stopped by the reset."
    )]
    Reset {
        /// The checkpoint folder or URL
        checkpoint: String,
        /// earliest, latest, a time in ms since 1970 (the first record of then or later), or offsets such as
        /// {"topic":{"0":23,"1":-1}} with -1 = latest and -2 = earliest; partitions that offsets do not name stay
        #[arg(long, value_name = "PLACE")]
        to: String,
        /// The query's source, if it reads several
        #[arg(long, value_name = "NAME")]
        source: Option<String>,
        #[command(flatten)]
        broker: BrokerArgs,
        /// Say what would be moved, and write nothing
        #[arg(long)]
        dry_run: bool,
        /// One JSON object per line
        #[arg(long)]
        json: bool,
    },
}

/// How the brokers are reached: a checkpoint does not hold it, as secrets would be in it.
#[derive(Debug, Args)]
pub struct BrokerArgs {
    /// The brokers
    #[arg(long, value_name = "SERVERS")]
    pub bootstrap_servers: Option<String>,
    /// Another option of the client, such as kafka.security.protocol=ssl
    #[arg(long = "option", value_name = "KEY=VALUE")]
    pub options: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// Print the rows of a store; without --operator the stores, if there are several
    Show {
        #[command(flatten)]
        which: StateArgs,
        /// Rows at most
        #[arg(long, default_value_t = 20, value_name = "N")]
        limit: u32,
        /// How rows are printed
        #[arg(long, default_value = "table", value_enum)]
        format: RowFormat,
    },
    /// Copy all rows of a store into one new file
    Export {
        #[command(flatten)]
        which: StateArgs,
        /// The file: .parquet, .json (one object per line) or .csv (a column for each field)
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
    },
}

/// Which state.
#[derive(Debug, Args)]
pub struct StateArgs {
    /// The checkpoint folder or URL; its query may be running
    pub checkpoint: String,
    /// The stateful operator, by name or number
    #[arg(long, value_name = "OP")]
    pub operator: Option<String>,
    /// The operator's store, such as left or right of a join
    #[arg(long, value_name = "NAME")]
    pub store: Option<String>,
    /// The batch after which the state is read: any that is kept; the last decided one if not said
    #[arg(long, value_name = "BATCH")]
    pub version: Option<u64>,
}
