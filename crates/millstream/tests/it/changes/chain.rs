//! Random chains of aggregations, filters, projections and deduplications.

use millstream::{DataFrame, Result, Session};
use millstream_testkit::Rng;

/// The columns of the input.
pub const COLUMNS: &str = "ts TIMESTAMP, k STRING, g INT, v INT, d DOUBLE";

/// Row number `number` as JSON. Few different values, so that groups meet; doubles whose sums are exact; times that go on, out of
/// order by less than the delay of the watermark.
pub fn random_row(rng: &mut Rng, number: u64) -> String {
    let or_null = |rng: &mut Rng, text: String| if rng.one_in(8) { "null".to_owned() } else { text };
    let k = format!("\"{}\"", ["a", "b", "c", "d"][rng.index(4)]);
    let k = or_null(rng, k);
    let v = rng.below(7) as i64 - 3;
    let v = or_null(rng, v.to_string());
    let d = (rng.below(9) as f64 - 4.0) / 4.0;
    let d = or_null(rng, d.to_string());
    let second = 60 + number * 10 - rng.below(50);
    let ts = format!("\"2024-01-01T00:{:02}:{:02}Z\"", second / 60, second % 60);
    let ts = or_null(rng, ts);
    format!("{{\"ts\":{ts},\"k\":{k},\"g\":{},\"v\":{v},\"d\":{d}}}\n", rng.below(3))
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Text,
    Whole,
    Double,
    Other,
}

#[derive(Clone, Debug)]
struct Column {
    name: String,
    kind: Kind,
}

/// A step over the relation `{}`.
#[derive(Debug)]
enum Step {
    Sql(String),
    DropDuplicates(Vec<String>),
}

/// Steps from the input up; the last aggregates.
#[derive(Debug)]
pub struct Chain {
    steps: Vec<Step>,
    n_keys: usize,
    has_key: bool,
    window: Option<&'static str>,
}

impl Chain {
    pub fn random(rng: &mut Rng) -> Self {
        let column = |(name, kind): (&str, Kind)| Column { name: name.to_owned(), kind };
        let mut columns: Vec<Column> =
            [("k", Kind::Text), ("g", Kind::Whole), ("v", Kind::Whole), ("d", Kind::Double)].map(column).to_vec();
        let mut steps = Vec::new();
        let window =
            *[None, None, Some("window(ts, '20 seconds')"), Some("window(ts, '40 seconds', '20 seconds')")].get(rng.index(4)).unwrap();
        if rng.one_in(3) {
            let ts = if window.is_some() { "ts, " } else { "" };
            steps.push(Step::Sql(format!("SELECT DISTINCT {ts}k, g, v, d FROM {{}}")));
        }
        let n_levels = 1 + rng.below(3);
        let (mut n_keys, mut has_key) = (0, false);
        for level in 0..n_levels {
            if level > 0 {
                between(rng, level, &mut columns, &mut steps);
            }
            (n_keys, has_key) = aggregate(rng, level, window.filter(|_| level == 0), &mut columns, &mut steps);
        }
        if rng.one_in(5) {
            // Filters above the last aggregation delete rows.
            let column = &columns[rng.index(columns.len())].name;
            steps.push(Step::Sql(format!("SELECT * FROM {{}} WHERE {column} IS NOT NULL AND CAST({column} AS STRING) <> '1'")));
        }
        Self { steps, n_keys, has_key, window }
    }

    /// Whether the first aggregation is one of windows, whose state the watermark bounds.
    pub fn has_windows(&self) -> bool {
        self.window.is_some()
    }

    /// The first columns of the result are its keys.
    pub fn n_keys(&self) -> usize {
        self.n_keys
    }

    /// Whether they tell its rows apart.
    pub fn has_key(&self) -> bool {
        self.has_key
    }

    pub fn text(&self) -> String {
        format!("{:#?}", self.steps)
    }

    /// The chain over a relation.
    pub async fn frame(&self, session: &Session, input: &str) -> Result<DataFrame> {
        let mut below = input.to_owned();
        let mut frame = None;
        for (number, step) in self.steps.iter().enumerate() {
            let next = match step {
                Step::Sql(sql) => session.sql(&sql.replace("{}", &below)).await?,
                Step::DropDuplicates(keys) => session.sql(&format!("SELECT * FROM {below}")).await?.drop_duplicates(keys.clone()),
            };
            below = format!("step{number}");
            next.create_or_replace_temp_view(&below);
            frame = Some(next);
        }
        Ok(frame.unwrap())
    }
}

/// What stands between two aggregations.
fn between(rng: &mut Rng, level: u64, columns: &mut Vec<Column>, steps: &mut Vec<Step>) {
    let names = |columns: &[Column]| columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
    if rng.one_in(3) {
        let wanted = &columns[rng.index(columns.len())].name;
        steps.push(Step::Sql(format!("SELECT * FROM {{}} WHERE {wanted} IS NOT NULL AND CAST({wanted} AS STRING) <> '2'")));
    }
    if rng.one_in(4) {
        let all = names(columns).join(", ");
        steps.push(Step::Sql(format!("SELECT {all} FROM {{}} UNION ALL SELECT {all} FROM {{}}")));
    }
    if rng.one_in(3) {
        // Of rows with equal keys any may pass, so only the keys are looked at behind it.
        let n = 1 + rng.index(columns.len());
        columns.truncate(n);
        steps.push(Step::DropDuplicates(names(columns)));
        steps.push(Step::Sql(format!("SELECT {} FROM {{}}", names(columns).join(", "))));
    }
    if rng.one_in(3) {
        let mut exprs = names(columns);
        let name = format!("x{level}");
        let of = &columns[rng.index(columns.len())];
        let (expr, kind) = match of.kind {
            Kind::Whole => (format!("{} % 3", of.name), Kind::Whole),
            Kind::Double => (format!("{} > 0", of.name), Kind::Other),
            Kind::Text => (format!("upper({})", of.name), Kind::Text),
            Kind::Other => (format!("{} IS NULL", of.name), Kind::Other),
        };
        exprs.push(format!("{expr} AS {name}"));
        columns.push(Column { name, kind });
        steps.push(Step::Sql(format!("SELECT {} FROM {{}}", exprs.join(", "))));
    }
    if rng.one_in(4) {
        let all = names(columns).join(", ");
        let name = format!("u{level}");
        steps.push(Step::Sql(format!("SELECT {all}, {name} FROM {{}} LATERAL VIEW explode(array(1, 2)) t AS {name}")));
        columns.push(Column { name, kind: Kind::Whole });
    }
}

/// An aggregation; the number of its keys, and whether they tell its rows apart.
fn aggregate(rng: &mut Rng, level: u64, window: Option<&str>, columns: &mut Vec<Column>, steps: &mut Vec<Step>) -> (usize, bool) {
    let mut keys: Vec<Column> = columns.iter().filter(|column| column.kind != Kind::Other).cloned().collect();
    while !keys.is_empty() && (keys.len() > 2 || rng.one_in(3)) {
        keys.remove(rng.index(keys.len()));
    }
    // Some levels can be subtracted, others not.
    let only_exact = rng.one_in(2);
    let mut out: Vec<Column> = Vec::new();
    let mut exprs: Vec<String> = Vec::new();
    if window.is_some() {
        exprs.push("unix_timestamp(window.start) - 1704067200 AS w_0".to_owned());
        out.push(Column { name: "w_0".to_owned(), kind: Kind::Whole });
    }
    for key in &keys {
        let name = format!("{}_{level}", key.name);
        exprs.push(format!("{} AS {name}", key.name));
        out.push(Column { name, kind: key.kind });
    }
    let n_calls = 1 + rng.below(3);
    for call in 0..n_calls {
        let of = columns[rng.index(columns.len())].clone();
        let name = format!("a{level}_{call}");
        let x = &of.name;
        let exact = match (rng.below(5), of.kind) {
            (0, Kind::Whole) => (format!("sum({x})"), Kind::Whole),
            (1, Kind::Whole) => (format!("avg({x})"), Kind::Double),
            (2, Kind::Whole) => (format!("sum(CAST({x} AS DECIMAL(10, 2)))"), Kind::Other),
            (3, _) => (format!("count({x})"), Kind::Whole),
            (4, _) => (format!("count({x}) FILTER (WHERE {x} IS NOT NULL AND CAST({x} AS STRING) > '0')"), Kind::Whole),
            _ => ("count(*)".to_owned(), Kind::Whole),
        };
        let other = match (rng.below(6), of.kind) {
            (0, Kind::Double) => (format!("sum({x})"), Kind::Double),
            (0 | 1, Kind::Other) => (format!("count(DISTINCT {x})"), Kind::Whole),
            (0, kind) => (format!("min({x})"), kind),
            (1, kind) => (format!("max({x})"), kind),
            (2, _) => (format!("sort_array(collect_list({x}))"), Kind::Other),
            (3, Kind::Whole | Kind::Double) => (format!("sum(DISTINCT {x})"), of.kind),
            (4, Kind::Whole | Kind::Double) => (format!("median({x})"), Kind::Double),
            _ => (format!("count(DISTINCT {x})"), Kind::Whole),
        };
        let (expr, kind) = if only_exact { exact } else { other };
        exprs.push(format!("{expr} AS {name}"));
        out.push(Column { name, kind });
    }
    let names: Vec<String> = window.map(str::to_owned).into_iter().chain(keys.iter().map(|key| key.name.clone())).collect();
    let is_rollup = !names.is_empty() && window.is_none() && rng.one_in(5);
    let group_by = match (names.join(", "), is_rollup) {
        (names, _) if names.is_empty() => String::new(),
        // The batch query gives a total of no rows, which Spark does not.
        (names, true) => format!(" GROUP BY ROLLUP ({names}) HAVING count(*) > 0"),
        (names, false) => format!(" GROUP BY {names}"),
    };
    steps.push(Step::Sql(format!("SELECT {} FROM {{}}{group_by}", exprs.join(", "))));
    *columns = out;
    // A null of a rollup may be of the key or of a total.
    (names.len(), !is_rollup)
}
