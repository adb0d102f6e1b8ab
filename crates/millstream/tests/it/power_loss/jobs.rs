//! The table of jobs, as of the kill campaign (`xtask/src/kill/jobs.rs`), each with dead letters of records and of rows.

use super::inputs::Format;

/// One job.
pub struct Job {
    pub name: &'static str,
    pub input: Option<Format>,
    pub life: Life,
    /// The column that tells its rows apart.
    pub key: &'static str,
    /// `CREATE TABLE src`. `{in}` is the folder of the inputs, `{root}` where everything is written.
    source: &'static str,
    /// A streaming table each: its name, which is its folder, what is between it and `LOCATION`, its options, its query.
    tables: &'static [(&'static str, &'static str, &'static str, &'static str)],
}

/// How a run of the job goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// As a job file, over what is there.
    Bounded,
    /// As a job file that is fed through a socket and stopped.
    Endless,
    /// The query of the first table, into a foreach_batch writer that replaces by batch id.
    ForeachBatch,
}

/// Where bad records and rows go, in every job.
pub const DEAD: &str = "dead";
/// The columns of a dead letter that do not tell of the run that met it.
pub const DEAD_COLUMNS: &[&str] = &["raw"];

const JSON: &str = "CREATE TABLE src (id STRING, ts STRING, kind STRING, n BIGINT) USING json
  OPTIONS (path '{in}', deadLetterPath '{root}/dead', maxFilesPerTrigger '1');";
/// What a batch is depends on what is there: only the batch's intent makes it the same when it comes again.
const JSON_BY_TWO: &str = "CREATE TABLE src (id STRING, ts STRING, kind STRING, n BIGINT) USING json
  OPTIONS (path '{in}', deadLetterPath '{root}/dead', maxFilesPerTrigger '2');";
const CSV: &str = "CREATE TABLE src (id STRING, n BIGINT, price DOUBLE, text STRING) USING csv
  OPTIONS (path '{in}', deadLetterPath '{root}/dead', header 'true', maxFilesPerTrigger '1');";
const SOCKET: &str = "CREATE TABLE src USING socket
  OPTIONS (host '127.0.0.1', port '{port}', writeAheadLog 'true', deadLetterPath '{root}/dead');";
const SET_ASIDE: &str = "rowErrors 'deadLetter'";

pub const JOBS: &[Job] = &[
    Job {
        name: "json-partitions",
        input: Some(Format::Json),
        life: Life::Bounded,
        key: "id",
        source: JSON,
        tables: &[(
            "out",
            "USING parquet PARTITIONED BY (day, kind)",
            SET_ASIDE,
            "SELECT id, CAST(ts AS TIMESTAMP) AS ts, 1000 DIV n AS n, date(CAST(ts AS TIMESTAMP)) AS day, kind FROM STREAM src WHERE n <> 3",
        )],
    },
    Job {
        name: "chained",
        input: Some(Format::Json),
        life: Life::Bounded,
        key: "id",
        source: JSON,
        tables: &[
            ("bronze", "USING parquet", SET_ASIDE, "SELECT id, n, 1000 DIV n AS part FROM STREAM src"),
            ("silver", "USING parquet", "", "SELECT id, n * 2 AS n2, upper(id) AS name FROM STREAM bronze WHERE n % 2 = 0"),
        ],
    },
    Job {
        name: "csv-json",
        input: Some(Format::Csv),
        life: Life::Bounded,
        key: "id",
        source: CSV,
        tables: &[("out", "USING json", SET_ASIDE, "SELECT id, 1000 DIV n AS n, price * 2 AS price2, text FROM STREAM src WHERE n <> 7")],
    },
    Job {
        name: "socket",
        input: None,
        life: Life::Endless,
        key: "value",
        source: SOCKET,
        tables: &[(
            "out",
            "USING parquet",
            "commitInterval '0 seconds', rowErrors 'deadLetter'",
            "SELECT value, CAST(substr(value, 1, 6) AS INT) AS n FROM STREAM src",
        )],
    },
    Job {
        name: "foreach-batch",
        input: Some(Format::Json),
        life: Life::ForeachBatch,
        key: "id",
        source: JSON_BY_TWO,
        tables: &[("out", "USING json", SET_ASIDE, "SELECT id, 1000 DIV n AS n, upper(kind) AS kind FROM STREAM src WHERE n % 3 <> 1")],
    },
];

impl Job {
    /// The names, and folders, of what it writes, without dead letters.
    pub fn tables(&self) -> impl Iterator<Item = &'static str> {
        self.tables.iter().map(|(name, ..)| *name)
    }

    /// The tables that are file sinks, and their formats.
    pub fn sinks(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let tables = if self.life == Life::ForeachBatch { &[] } else { self.tables };
        tables.iter().map(|(name, using, ..)| (*name, using.split(' ').nth(1).unwrap()))
    }

    /// The key in the text of a row, as the foreign reader gives it.
    pub fn key_of<'a>(&self, row: &'a str) -> &'a str {
        match row.find("-r") {
            Some(at) => &row[at - 4..at + 4],
            None => row.strip_prefix("value=").and_then(|row| row.split(',').next()).unwrap(),
        }
    }

    /// The definition of the table that it reads.
    pub fn source(&self) -> &'static str {
        self.source
    }

    /// The query of its first table.
    pub fn query(&self) -> &'static str {
        self.tables[0].3
    }

    /// The whole job file as a stream.
    pub fn stream(&self) -> String {
        self.file("STREAMING TABLE", |name, options| {
            let comma = if options.is_empty() { "" } else { ", " };
            format!("checkpointLocation '{{root}}/checkpoint/{name}'{comma}{options}")
        })
    }

    /// The same as a batch: no stream, no checkpoint.
    pub fn batch(&self) -> String {
        self.file("MATERIALIZED VIEW", |_, options| options.to_owned()).replace("FROM STREAM ", "FROM ")
    }

    fn file(&self, kind: &str, options_of: impl Fn(&str, &str) -> String) -> String {
        let mut text = self.source.to_owned();
        for (name, using, options, query) in self.tables {
            let options = options_of(name, options);
            let options = if options.is_empty() { String::new() } else { format!("OPTIONS ({options})") };
            text += &format!("\nCREATE {kind} {name} {using} LOCATION '{{root}}/{name}' {options}\n  AS {query};");
        }
        text
    }
}
