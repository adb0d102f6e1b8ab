//! The jobs of the campaign: SQL, inputs, outputs, and what DuckDB says the outputs must be.
//!
//! The oracle reads the inputs with its own parser and its own SQL: a mistake would have to be made twice, in the
//! same way, to go unseen.

use serde_json::{Value, json};

use super::inputs::Format;
use super::process::{CRASH_POINTS, CRASH_POINTS_DECIDING};

/// One job.
pub struct Job {
    pub name: &'static str,
    pub program: Program,
    /// Another job file, with which its first lives run: the query is changed on the way.
    pub before: Option<&'static str>,
    pub input: Format,
    pub outputs: &'static [Output],
}

/// What runs.
pub enum Program {
    /// A job file for `millstream run`; a template: `{root}` is where outputs and checkpoints go.
    Sql(&'static str),
    /// A job of the example [`EXAMPLE`], for what SQL cannot say.
    Example(&'static str),
}

/// The example of the crate `millstream` that holds the jobs which are programs.
pub const EXAMPLE: &str = "kill_job";

/// What a life does when its input has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It ends; more input may come.
    Pause,
    /// It makes everything final.
    Flush,
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
    rows: Rows,
}

/// What of the rows in the files is the table.
enum Rows {
    /// All.
    All,
    /// The last of each key: the column of the key, and that of what grows.
    LastOf(&'static str, &'static str),
    /// Those with the greatest value of a column.
    Last(&'static str),
    /// What is left of changes, which the column `_change_type` tells.
    Changes,
}

impl Output {
    /// Parquet, where every row stays.
    const PARQUET: Self = Self { folder: "out", format: "parquet", columns: &[], oracle: "", json_columns: "", rows: Rows::All };
    /// JSON lines, where every row stays.
    const JSON: Self = Self { format: "json", ..Self::PARQUET };
    /// A topic of JSON records.
    const TOPIC: Self = Self { format: "kafka", ..Self::PARQUET };
}

const JSON_SRC: &str = "read_json('in/*.json', format='newline_delimited', \
    columns={id: 'VARCHAR', ts: 'VARCHAR', kind: 'VARCHAR', n: 'BIGINT', text: 'VARCHAR'})";
const CSV_SRC: &str = "read_csv('in/*.csv', header=true, auto_detect=false, delim=',', quote='\"', \
    columns={id: 'VARCHAR', n: 'BIGINT', price: 'DOUBLE', text: 'VARCHAR'})";

/// `ms`: the event time in milliseconds; `at10`, `at20`: where its windows of 10 and 20 seconds begin.
const EVENTS_SRC: &str = "(select *, ms // 10000 * 10000 as at10, ms // 20000 * 20000 as at20 \
    from (select *, epoch_ms(cast(ts as timestamptz)) as ms from read_json('in/*.json', format='newline_delimited', \
    columns={id: 'VARCHAR', ts: 'VARCHAR', k: 'VARCHAR', v: 'BIGINT', token: 'VARCHAR'})))";

/// All jobs over files; a run takes one of them.
pub const JOBS: &[Job] = &[
    Job {
        name: "json-partitions",
        program: Program::Sql(include_str!("jobs/json-partitions.sql")),
        before: None,
        input: Format::Json,
        outputs: &[Output {
            columns: &[
                ("id", "id"),
                ("ts", "epoch_us(ts)"),
                ("n", "n"),
                ("text", "text"),
                ("day", "cast(day as varchar)"),
                ("kind", "nullif(kind, '__HIVE_DEFAULT_PARTITION__')"),
            ],
            oracle: "select id, epoch_us(cast(ts as timestamptz)) as ts, n + 1 as n, text, left(ts, 10) as day, kind from {src} where n % 10 <> 3",
            ..Output::PARQUET
        }],
    },
    Job {
        name: "chained",
        program: Program::Sql(include_str!("jobs/chained.sql")),
        before: None,
        input: Format::Json,
        outputs: &[
            Output {
                folder: "bronze",
                columns: &[("id", "id"), ("n", "n"), ("text", "text")],
                oracle: "select id, n, text from {src}",
                ..Output::PARQUET
            },
            Output {
                folder: "silver",
                columns: &[("id", "id"), ("n2", "n2"), ("text", "text")],
                oracle: "select id, n * 2 as n2, upper(text) as text from {src} where n % 2 = 0",
                ..Output::PARQUET
            },
        ],
    },
    Job {
        name: "csv-json",
        program: Program::Sql(include_str!("jobs/csv-json.sql")),
        before: None,
        input: Format::Csv,
        outputs: &[Output {
            columns: &[("id", "id"), ("n", "n"), ("price2", "price2"), ("text", "text")],
            oracle: "select id, n, price * 2 as price2, text from {src} where n % 7 <> 0",
            json_columns: "{id: 'VARCHAR', n: 'BIGINT', price2: 'DOUBLE', text: 'VARCHAR'}",
            ..Output::JSON
        }],
    },
    Job {
        name: "foreach-batch",
        program: Program::Example("foreach-batch"),
        before: None,
        input: Format::Json,
        outputs: &[Output {
            columns: &[("id", "id"), ("n", "n"), ("text", "text")],
            oracle: "select id, n, upper(text) as text from {src} where n % 3 <> 1",
            json_columns: "{id: 'VARCHAR', n: 'BIGINT', text: 'VARCHAR'}",
            ..Output::JSON
        }],
    },
    Job {
        name: "windows",
        program: Program::Sql(include_str!("jobs/windows.sql")),
        before: None,
        input: Format::Events,
        outputs: &[
            Output {
                folder: "tumbling",
                columns: &[("id", "id"), ("n", "n"), ("v", "v"), ("first", "first")],
                oracle: "select concat(at10, '/', coalesce(k, '-')) as id, count(*) as n, cast(sum(v) as bigint) as v, min(id) as first \
                         from {src} as s where ms is not null group by at10, k",
                ..Output::PARQUET
            },
            Output {
                folder: "sliding",
                columns: &[("id", "id"), ("n", "n"), ("ks", "ks"), ("v", "v")],
                oracle: "select concat(start, '') as id, count(*) as n, count(distinct k) as ks, max(v) as v \
                         from (select k, v, unnest([at10, at10 - 10000, at10 - 20000]) as start from {src} where ms is not null and v is not null) \
                         group by start",
                ..Output::PARQUET
            },
            Output {
                folder: "rollup",
                columns: &[("id", "id"), ("n", "n"), ("v", "v")],
                oracle: "select concat(at20, '/', coalesce(k, '-'), '/', grouping(k)) as id, count(*) as n, cast(sum(v) as bigint) as v \
                         from {src} where ms is not null group by grouping sets ((at20, k), (at20))",
                ..Output::PARQUET
            },
        ],
    },
    Job {
        name: "windows-update",
        program: Program::Example("windows-update"),
        before: None,
        input: Format::Events,
        outputs: &[Output {
            columns: &[("key", "key"), ("n", "n"), ("v", "v")],
            oracle: "select concat(at10, '/', coalesce(k, '-')) as key, count(*) as n, cast(sum(v) as bigint) as v \
                     from {src} where ms is not null group by at10, k",
            json_columns: "{key: 'VARCHAR', n: 'BIGINT', v: 'BIGINT', batch: 'BIGINT'}",
            rows: Rows::LastOf("key", "batch"),
            ..Output::JSON
        }],
    },
    Job {
        name: "sliding-update",
        program: Program::Example("sliding-update"),
        before: None,
        input: Format::Events,
        outputs: &[Output { rows: Rows::LastOf("key", "batch"), ..SLIDING }],
    },
    Job {
        name: "sliding-complete",
        program: Program::Example("sliding-complete"),
        before: None,
        input: Format::Events,
        outputs: &[Output { rows: Rows::Last("batch"), ..SLIDING }],
    },
    Job {
        name: "windows-changed",
        program: Program::Sql(include_str!("jobs/windows-changed.sql")),
        before: Some(include_str!("jobs/windows-before.sql")),
        input: Format::Events,
        outputs: &[Output {
            // Files from before the change have no areas.
            columns: &[("id", "id"), ("n", "n"), ("most", "most"), ("v", "v"), ("area", "if(v is null, null, coalesce(area, n * v))")],
            oracle: "select concat(at10, '/', coalesce(k, '-')) as id, count(*) as n, max(v) as most, cast(sum(v) as bigint) as v, \
                     cast(sum(v) * count(*) as bigint) as area from {src} where ms is not null group by at10, k",
            ..Output::PARQUET
        }],
    },
    Job {
        name: "window-chain",
        program: Program::Sql(include_str!("jobs/window-chain.sql")),
        before: None,
        input: Format::Events,
        outputs: &[Output {
            columns: &[("id", "id"), ("groups", "groups"), ("n", "n"), ("most", "most"), ("v", "v")],
            oracle: "select concat(at10 // 60000 * 60000, '') as id, count(*) as groups, cast(sum(n) as bigint) as n, \
                     max(n) as most, cast(sum(v) as bigint) as v \
                     from (select at10, k, count(*) as n, sum(v) as v from {src} where ms is not null group by at10, k) \
                     group by at10 // 60000",
            ..Output::PARQUET
        }],
    },
    Job {
        name: "join",
        program: Program::Sql(include_str!("jobs/join.sql")),
        before: None,
        input: Format::Events,
        outputs: &[Output {
            columns: &[("id", "id"), ("v", "v"), ("k", "k")],
            oracle: "select concat(l.id, '+', coalesce(r.id, '-')) as id, l.v, r.k \
                     from (select * from {src} where ms is not null) as l \
                     left join (select * from {src} where ms is not null and v > 0) as r \
                     on l.k = r.k and r.ms >= l.ms - 1000 and r.ms <= l.ms + 2000 and l.id <> r.id",
            ..Output::PARQUET
        }],
    },
    Job {
        name: "join-changes",
        program: Program::Example("join-changes"),
        before: None,
        input: Format::Events,
        outputs: &[Output {
            columns: &[("lid", "lid"), ("rid", "rid"), ("v", "v")],
            oracle: "select l.id as lid, r.id as rid, l.v \
                     from (select * from {src} where ms is not null) as l \
                     left join (select * from {src} where ms is not null and v > 0) as r \
                     on l.k = r.k and r.ms >= l.ms - 1000 and r.ms <= l.ms + 2000 and l.id <> r.id",
            json_columns: "{_change_type: 'VARCHAR', lid: 'VARCHAR', rid: 'VARCHAR', v: 'BIGINT'}",
            rows: Rows::Changes,
            ..Output::JSON
        }],
    },
    Job {
        name: "join-of-groups",
        program: Program::Example("join-of-groups"),
        before: None,
        input: Format::Events,
        outputs: &[Output {
            columns: &[("token", "token"), ("n", "n"), ("negative", "negative")],
            oracle: "select token, count(*) as n, nullif(count(*) filter (where v < 0), 0) as negative from {src} group by token",
            json_columns: "{_change_type: 'VARCHAR', token: 'VARCHAR', n: 'BIGINT', negative: 'BIGINT'}",
            rows: Rows::Changes,
            ..Output::JSON
        }],
    },
    Job {
        name: "sessions",
        program: Program::Sql(include_str!("jobs/sessions.sql")),
        before: None,
        input: Format::Events,
        outputs: &[Output {
            columns: &[("id", "id"), ("ends", "ends"), ("n", "n"), ("v", "v"), ("tokens", "tokens")],
            oracle: "select concat(min(ms), '/', coalesce(k, '-')) as id, max(ms) + 2000 as ends, count(*) as n, cast(sum(v) as bigint) as v, \
                     count(distinct token) as tokens \
                     from (select *, sum(begins) over (partition by k order by ms, id) as session \
                           from (select *, case when ms - lag(ms) over (partition by k order by ms, id) <= 2000 then 0 else 1 end as begins \
                                 from {src} where ms is not null)) \
                     group by k, session",
            ..Output::PARQUET
        }],
    },
    Job {
        name: "groups-with-state",
        program: Program::Example("groups-with-state"),
        before: None,
        input: Format::Events,
        outputs: &[Output {
            columns: &[("id", "id"), ("n", "n")],
            oracle: "select token as id, count(*) as n from {src} where ms is not null group by token",
            ..Output::PARQUET
        }],
    },
    Job {
        name: "deduplicate",
        program: Program::Example("deduplicate"),
        before: None,
        input: Format::Events,
        outputs: &[Output {
            columns: &[("id", "id"), ("token", "token"), ("ms", "epoch_ms(ts)"), ("v", "v")],
            // A batch is a file, so the first row that comes is that of the least id.
            oracle: "select min(id) as id, token, ms, min(v) as v from {src} group by token, ms",
            ..Output::PARQUET
        }],
    },
    Job {
        name: "deduplicate-within-watermark",
        program: Program::Example("deduplicate-within-watermark"),
        before: None,
        input: Format::Events,
        outputs: &[Output {
            columns: &[("id", "id"), ("token", "token"), ("v", "v")],
            oracle: "select min(id) as id, token, min(v) as v from {src} where ms is not null group by token",
            ..Output::PARQUET
        }],
    },
];

/// All jobs over topics: what comes in files for the others comes as records, which the oracle finds in the files.
pub const KAFKA_JOBS: &[Job] = &[
    Job {
        name: "kafka-to-kafka",
        program: Program::Sql(include_str!("jobs/kafka-to-kafka.sql")),
        before: None,
        input: Format::Json,
        outputs: &[Output {
            columns: &[("id", "id"), ("n", "n"), ("text", "text")],
            oracle: "select id, n + 1 as n, text from {src} where n % 10 <> 3",
            json_columns: "{id: 'VARCHAR', n: 'BIGINT', text: 'VARCHAR'}",
            ..Output::TOPIC
        }],
    },
    Job {
        name: "kafka-windows-to-kafka",
        program: Program::Sql(include_str!("jobs/kafka-windows-to-kafka.sql")),
        before: None,
        input: Format::Events,
        outputs: &[Output {
            columns: &[("id", "id"), ("n", "n"), ("v", "v"), ("first", "first")],
            oracle: "select concat(at10, '/', coalesce(k, '-')) as id, count(*) as n, cast(sum(v) as bigint) as v, min(id) as first \
                     from {src} as s where ms is not null group by at10, k",
            json_columns: "{id: 'VARCHAR', n: 'BIGINT', v: 'BIGINT', first: 'VARCHAR'}",
            ..Output::TOPIC
        }],
    },
    Job {
        name: "kafka-counts-to-kafka",
        program: Program::Sql(include_str!("jobs/kafka-counts-to-kafka.sql")),
        before: None,
        input: Format::Events,
        outputs: &[Output {
            columns: &[("k", "k"), ("n", "n"), ("v", "v")],
            oracle: "select coalesce(k, '-') as k, count(*) as n, cast(sum(v) as bigint) as v from {src} group by coalesce(k, '-')",
            json_columns: "{id: 'VARCHAR', k: 'VARCHAR', n: 'BIGINT', v: 'BIGINT'}",
            rows: Rows::LastOf("k", "n"),
            ..Output::TOPIC
        }],
    },
    Job {
        name: "kafka-to-parquet",
        program: Program::Sql(include_str!("jobs/kafka-to-parquet.sql")),
        before: None,
        input: Format::Json,
        outputs: &[Output {
            columns: &[("id", "id"), ("n", "n"), ("kind", "kind")],
            oracle: "select id, n, kind from {src}",
            ..Output::PARQUET
        }],
    },
    Job {
        name: "kafka-windows-to-parquet",
        program: Program::Sql(include_str!("jobs/kafka-windows-to-parquet.sql")),
        before: None,
        input: Format::Events,
        outputs: &[Output {
            columns: &[("id", "id"), ("n", "n"), ("ks", "ks"), ("v", "v")],
            oracle: "select concat(start, '') as id, count(*) as n, count(distinct k) as ks, max(v) as v \
                     from (select k, v, unnest([at10, at10 - 10000, at10 - 20000]) as start from {src} where ms is not null) group by start",
            ..Output::PARQUET
        }],
    },
];

/// Counts of sliding windows, whole or as updates, each row with the batch that gave it.
const SLIDING: Output = Output {
    columns: &[("key", "key"), ("n", "n"), ("ks", "ks"), ("v", "v")],
    oracle: "select concat(start, '') as key, count(*) as n, count(distinct k) as ks, cast(sum(v) as bigint) as v \
             from (select k, v, unnest([at10, at10 - 10000, at10 - 20000]) as start from {src} where ms is not null) group by start",
    json_columns: "{key: 'VARCHAR', n: 'BIGINT', ks: 'BIGINT', v: 'BIGINT', batch: 'BIGINT'}",
    ..Output::JSON
};

impl Format {
    /// How DuckDB reads the inputs.
    fn src(self) -> &'static str {
        match self {
            Self::Json => JSON_SRC,
            Self::Csv => CSV_SRC,
            Self::Events => EVENTS_SRC,
        }
    }
}

impl Job {
    /// Whether a program of its own writes the output, and replaces the file of a batch that comes again.
    pub fn replaces_files(&self) -> bool {
        matches!(self.program, Program::Example(_))
    }

    /// Whether it remembers rows of earlier batches. Then its parallelism changes from life to life, its last lives end with a
    /// flush, and one row of the output comes of many of the inputs.
    pub fn is_stateful(&self) -> bool {
        self.input == Format::Events
    }

    /// The job file as a stream, writing under `root`.
    pub fn stream_sql(&self, root: &str, ending: Ending) -> Option<String> {
        match self.program {
            Program::Sql(sql) => Some(placed(sql, root, ending)),
            Program::Example(_) => None,
        }
    }

    /// The job file of its first lives, if that is another one.
    pub fn sql_before(&self, root: &str) -> Option<String> {
        self.before.map(|sql| placed(sql, root, Ending::Pause))
    }

    /// The job file as a batch: one word changed, and no checkpoint.
    pub fn batch_sql(&self, root: &str) -> Option<String> {
        match self.program {
            // What is in a topic stays: a batch would add to it.
            Program::Sql(sql) if !self.outputs.iter().any(Output::is_topic) => Some(batch_of(sql).replace("{root}", root)),
            Program::Sql(_) | Program::Example(_) => None,
        }
    }

    /// The steps of the commit protocol at which it may crash.
    pub fn crash_points(&self) -> &'static [&'static str] {
        if self.outputs.iter().any(Output::is_topic) { CRASH_POINTS_DECIDING } else { CRASH_POINTS }
    }
}

fn placed(sql: &str, root: &str, ending: Ending) -> String {
    let flush = if ending == Ending::Flush { ", flush 'true'" } else { "" };
    sql.replace("{root}", root).replace("{flush}", flush)
}

/// A job as a batch: `STREAM` left out, and the line of options that only a stream has.
pub fn batch_of(sql: &str) -> String {
    let lines: Vec<&str> = sql.lines().filter(|l| !l.trim_start().starts_with("OPTIONS (checkpointLocation")).collect();
    lines.join("\n").replace("STREAMING TABLE", "MATERIALIZED VIEW").replace("FROM STREAM ", "FROM ")
}

impl Output {
    /// Whether it is a Kafka topic.
    pub fn is_topic(&self) -> bool {
        self.format == Self::TOPIC.format
    }

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
            "rows": match self.rows {
                Rows::All => json!(null),
                Rows::LastOf(key, by) => json!({"last_of": [key, by]}),
                Rows::Last(by) => json!({"last": by}),
                Rows::Changes => json!("changes"),
            },
            "cwd": cwd,
        })
    }
}
