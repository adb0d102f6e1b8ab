//! The jobs of the campaign: SQL, inputs, outputs, and what DuckDB says the outputs must be.
//!
//! The oracle reads the inputs with its own parser and its own SQL: a mistake would have to be made twice, in the
//! same way, to go unseen.

use serde_json::{Value, json};

use super::inputs::Format;

/// One job.
pub struct Job {
    pub name: &'static str,
    pub program: Program,
    pub input: Format,
    pub outputs: &'static [Output],
}

/// What runs.
pub enum Program {
    /// A job file for `millstream run`; a template: `{root}` is where outputs and checkpoints go.
    Sql(&'static str),
    /// An example of the crate `millstream`, for what SQL cannot say.
    Example(&'static str),
}

/// One table that the job writes.
pub struct Output {
    pub folder: &'static str,
    pub format: &'static str,
    /// Name and SQL over the files' columns.
    columns: &'static [(&'static str, &'static str)],
    /// The same columns over `{src}`.
    oracle: &'static str,
    /// Types of the columns in files that do not carry them.
    json_columns: &'static str,
}

const JSON_SRC: &str = "read_json('in/*.json', format='newline_delimited', \
    columns={id: 'VARCHAR', ts: 'VARCHAR', kind: 'VARCHAR', n: 'BIGINT', text: 'VARCHAR'})";
const CSV_SRC: &str = "read_csv('in/*.csv', header=true, auto_detect=false, delim=',', quote='\"', \
    columns={id: 'VARCHAR', n: 'BIGINT', price: 'DOUBLE', text: 'VARCHAR'})";

/// All jobs over files; a run takes one of them.
pub const JOBS: &[Job] = &[
    Job {
        name: "json-partitions",
        program: Program::Sql(include_str!("jobs/json-partitions.sql")),
        input: Format::Json,
        outputs: &[Output {
            folder: "out",
            format: "parquet",
            columns: &[
                ("id", "id"),
                ("ts", "epoch_us(ts)"),
                ("n", "n"),
                ("text", "text"),
                ("day", "cast(day as varchar)"),
                ("kind", "nullif(kind, '__HIVE_DEFAULT_PARTITION__')"),
            ],
            oracle: "select id, epoch_us(cast(ts as timestamptz)) as ts, n + 1 as n, text, left(ts, 10) as day, kind from {src} where n % 10 <> 3",
            json_columns: "",
        }],
    },
    Job {
        name: "chained",
        program: Program::Sql(include_str!("jobs/chained.sql")),
        input: Format::Json,
        outputs: &[
            Output {
                folder: "bronze",
                format: "parquet",
                columns: &[("id", "id"), ("n", "n"), ("text", "text")],
                oracle: "select id, n, text from {src}",
                json_columns: "",
            },
            Output {
                folder: "silver",
                format: "parquet",
                columns: &[("id", "id"), ("n2", "n2"), ("text", "text")],
                oracle: "select id, n * 2 as n2, upper(text) as text from {src} where n % 2 = 0",
                json_columns: "",
            },
        ],
    },
    Job {
        name: "csv-json",
        program: Program::Sql(include_str!("jobs/csv-json.sql")),
        input: Format::Csv,
        outputs: &[Output {
            folder: "out",
            format: "json",
            columns: &[("id", "id"), ("n", "n"), ("price2", "price2"), ("text", "text")],
            oracle: "select id, n, price * 2 as price2, text from {src} where n % 7 <> 0",
            json_columns: "{id: 'VARCHAR', n: 'BIGINT', price2: 'DOUBLE', text: 'VARCHAR'}",
        }],
    },
    Job {
        name: "foreach-batch",
        program: Program::Example("foreach_batch_kill"),
        input: Format::Json,
        outputs: &[Output {
            folder: "out",
            format: "json",
            columns: &[("id", "id"), ("n", "n"), ("text", "text")],
            oracle: "select id, n, upper(text) as text from {src} where n % 3 <> 1",
            json_columns: "{id: 'VARCHAR', n: 'BIGINT', text: 'VARCHAR'}",
        }],
    },
];

impl Format {
    /// How DuckDB reads the inputs.
    fn src(self) -> &'static str {
        match self {
            Self::Json => JSON_SRC,
            Self::Csv => CSV_SRC,
        }
    }
}

impl Job {
    /// Whether a program of its own writes the output, and replaces the file of a batch that comes again.
    pub fn replaces_files(&self) -> bool {
        matches!(self.program, Program::Example(_))
    }

    /// The job file as a stream, writing under `root`.
    pub fn stream_sql(&self, root: &str) -> Option<String> {
        match self.program {
            Program::Sql(sql) => Some(sql.replace("{root}", root)),
            Program::Example(_) => None,
        }
    }

    /// The job file as a batch: one word changed, and no checkpoint.
    pub fn batch_sql(&self, root: &str) -> Option<String> {
        match self.program {
            Program::Sql(sql) => Some(batch_of(sql).replace("{root}", root)),
            Program::Example(_) => None,
        }
    }
}

/// A job as a batch: `STREAM` left out, and the line of options that only a stream has.
pub fn batch_of(sql: &str) -> String {
    let lines: Vec<&str> = sql.lines().filter(|l| !l.trim_start().starts_with("OPTIONS (checkpointLocation")).collect();
    lines.join("\n").replace("STREAMING TABLE", "MATERIALIZED VIEW").replace("FROM STREAM ", "FROM ")
}

impl Output {
    /// As the foreign reader takes it.
    pub fn place(&self, root: &str) -> Value {
        json!({"url": format!("{root}{}", self.folder), "format": self.format})
    }

    /// The question whether each look of a Millstream reader saw whole batches.
    pub fn whole(&self, input: Format, looks: &[Vec<String>], cwd: &str) -> Value {
        json!({"do": "whole", "looks": looks, "oracle": self.oracle.replace("{src}", input.src()), "cwd": cwd})
    }

    /// The question whether the output under `root` is what the inputs in `cwd` make it.
    pub fn comparison(&self, input: Format, root: &str, cwd: &str) -> Value {
        json!({
            "do": "compare",
            "output": self.place(root),
            "columns": self.columns.iter().map(|(name, sql)| json!([name, sql])).collect::<Vec<_>>(),
            "oracle": self.oracle.replace("{src}", input.src()),
            "json_columns": self.json_columns,
            "cwd": cwd,
        })
    }
}
