//! Random stateful queries, each said twice: in our SQL over a stream, and in DuckDB's over the files.
//!
//! A kind of query is a function in [`KINDS`]. What one of the two cannot say, or says otherwise (an average of decimals), is
//! left out here; that the stream is the batch is checked for everything that a kind makes.

use super::data::{COLUMNS, DISORDER_S, DUCK, DUCK_RIGHT};
use crate::kill::rng::Rng;

/// A query as a job, and what DuckDB is asked.
pub struct Query {
    /// Which kind made it.
    pub kind: &'static str,
    /// `append`, `update` or `complete`.
    pub mode: &'static str,
    /// The text behind `AS`.
    pub select: String,
    /// The same for DuckDB.
    pub oracle: String,
    /// The columns of the result.
    pub columns: Vec<String>,
}

type Kind = (&'static str, fn(&mut Rng) -> Parts);

const KINDS: &[Kind] = &[
    ("windows", windows),
    ("windows", windows),
    ("window-sets", window_sets),
    ("groups", groups),
    ("sets", sets),
    ("complete-windows", complete_windows),
    ("distinct", distinct),
    ("chain", chain),
    ("sessions", sessions),
    ("sessions", sessions),
    ("static-join", static_join),
    ("join", join),
    ("join", join),
];

/// What a kind says.
struct Parts {
    mode: &'static str,
    select: String,
    oracle: String,
    columns: Vec<String>,
}

impl Query {
    /// Draws one.
    pub fn draw(rng: &mut Rng) -> Self {
        let (kind, make) = *rng.pick(KINDS).unwrap_or(&("windows", windows));
        let Parts { mode, select, oracle, columns } = make(rng);
        Self { kind, mode, select, oracle, columns }
    }

    /// The whole job file.
    pub fn job(&self) -> String {
        format!(
            "SET spark.sql.session.timeZone = UTC;\nCREATE TABLE src ({COLUMNS}) USING json OPTIONS (path 'in/src');\n\
             CREATE TABLE rhs ({COLUMNS}) USING json OPTIONS (path 'in/rhs');\n\
             CREATE STREAMING TABLE result USING parquet LOCATION 'out'\n  \
             OPTIONS (checkpointLocation 'checkpoint', outputMode '{}')\n  AS {};\n",
            self.mode, self.select
        )
    }
}

/// An aggregate: ours, DuckDB's.
const AGGREGATES: &[(&str, &str)] = &[
    ("count(*)", "count(*)"),
    ("count(v)", "count(v)"),
    ("sum(v)", "cast(sum(v) as bigint)"),
    ("min(v)", "min(v)"),
    ("max(v)", "max(v)"),
    ("sum(d)", "sum(d)"),
    ("max(d)", "max(d)"),
    ("sum(x)", "sum(x)"),
    ("avg(x)", "avg(x)"),
    ("avg(v)", "avg(v)"),
    ("min(k)", "min(k)"),
    ("max(k)", "max(k)"),
    ("count(DISTINCT k)", "count(distinct k)"),
    ("sum(DISTINCT g)", "cast(sum(distinct g) as bigint)"),
    ("unix_micros(max(other))", "max(other_us)"),
    ("sum(v) FILTER (WHERE g > 1)", "cast(sum(v) filter (where g > 1) as bigint)"),
    ("count(*) FILTER (WHERE k IS NULL)", "count(*) filter (where k is null)"),
    ("bool_or(g = 2)", "bool_or(g = 2)"),
    ("sum(v + g)", "cast(sum(v + g) as bigint)"),
    ("count(DISTINCT v) FILTER (WHERE x > 0)", "count(distinct v) filter (where x > 0)"),
];

/// Conditions that both understand alike.
const CONDITIONS: &[&str] =
    &["g > 0", "k IS NOT NULL", "v IS NULL OR v > -200", "k <> 'a'", "x >= 10 AND d < 500", "k IN ('a', 'b', '')", "id % 3 <> 1"];
/// Conditions on groups; `c0` is always `count(*)`.
const HAVINGS: &[&str] = &["count(*) > 1", "sum(v) > 0", "max(k) IS NOT NULL", "count(DISTINCT g) = 1"];
const KEYS: &[&str] = &["k", "g"];

/// A window: size, slide and start in seconds.
struct Window {
    size: u64,
    slide: u64,
    start: u64,
}

impl Window {
    fn draw(rng: &mut Rng) -> Self {
        let size = *rng.pick(&[5, 10, 30, 60]).unwrap_or(&10);
        let slide = if rng.one_in(2) { size } else { *rng.pick(&[size, size / 5 * 2, size / 5, size / 5 * 3]).unwrap_or(&size) };
        let start = if rng.one_in(3) { rng.range(0, slide) } else { 0 };
        Self { size, slide: slide.max(1), start }
    }

    fn ours(&self, time: &str) -> String {
        let Self { size, slide, start } = self;
        match (slide == size, start) {
            (true, 0) => format!("window({time}, '{size} seconds')"),
            (false, 0) => format!("window({time}, '{size} seconds', '{slide} seconds')"),
            _ => format!("window({time}, '{size} seconds', '{slide} seconds', '{start} seconds')"),
        }
    }

    /// Rows of `from` with `w`, where each of their windows begins, in microseconds.
    fn duck(&self, us: &str, from: &str) -> String {
        let Self { size, slide, start } = self;
        let (size, slide, start) = (size * 1_000_000, slide * 1_000_000, start * 1_000_000);
        let last = format!("{us} - (({us} - {start}) % {slide} + {slide}) % {slide}");
        format!("(select *, unnest(range({last}, {us} - {size}, -{slide})) as w from {from})")
    }
}

/// A few keys, aggregates, a filter and a condition on groups.
struct Shape {
    keys: Vec<&'static str>,
    aggregates: Vec<(&'static str, &'static str)>,
    filter: String,
    having: String,
}

impl Shape {
    fn draw(rng: &mut Rng) -> Self {
        let keys = KEYS.iter().copied().filter(|_| rng.one_in(2)).collect();
        let n = rng.range(1, 5);
        let aggregates = (0..n).filter_map(|_| rng.pick(AGGREGATES).copied()).collect();
        let filter = if rng.one_in(3) { rng.pick(CONDITIONS).map(|c| format!(" WHERE {c}")).unwrap_or_default() } else { String::new() };
        let having = if rng.one_in(5) { rng.pick(HAVINGS).map(|c| format!(" HAVING {c}")).unwrap_or_default() } else { String::new() };
        Self { keys, aggregates, filter, having }
    }

    /// What is selected of `keys` (named expressions, ours and DuckDB's) and the aggregates.
    fn select(&self, keys: &[(&str, &str, &str)]) -> (String, String, Vec<String>) {
        let calls = self.aggregates.iter().enumerate().map(|(n, (ours, duck))| ((*ours).to_owned(), (*duck).to_owned(), format!("c{n}")));
        let all = keys.iter().map(|(ours, duck, name)| ((*ours).to_owned(), (*duck).to_owned(), (*name).to_owned())).chain(calls);
        let (mut ours, mut ducks, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for (our, duck, name) in all {
            ours.push(format!("{our} AS {name}"));
            ducks.push(format!("{duck} as {name}"));
            names.push(name);
        }
        (ours.join(", "), ducks.join(", "), names)
    }
}

const WATERMARKED: &str = "STREAM src WATERMARK ts DELAY OF INTERVAL";

fn watermarked(rng: &mut Rng) -> String {
    format!("{WATERMARKED} {} SECONDS", DISORDER_S + rng.range(0, 30))
}

/// Windows of event time and other keys, final by the watermark.
fn windows(rng: &mut Rng) -> Parts {
    let (window, shape, from) = (Window::draw(rng), Shape::draw(rng), watermarked(rng));
    let mut keys = vec![("unix_micros(window.start)", "w", "w_start")];
    keys.extend(shape.keys.iter().map(|key| (*key, *key, *key)));
    let (ours, duck, columns) = shape.select(&keys);
    let by = |window: &str| [vec![window.to_owned()], shape.keys.iter().map(ToString::to_string).collect()].concat().join(", ");
    let Shape { filter, having, .. } = &shape;
    Parts {
        mode: "append",
        select: format!("SELECT {ours} FROM {from}{filter} GROUP BY {}{having}", by(&window.ours("ts"))),
        oracle: format!("select {duck} from {}{filter} group by {}{having}", window.duck("ts_us", DUCK), by("w")),
        columns,
    }
}

/// Grouping sets that all hold the window.
fn window_sets(rng: &mut Rng) -> Parts {
    let (window, shape, from) = (Window::draw(rng), Shape::draw(rng), watermarked(rng));
    let keys = [("unix_micros(window.start)", "w", "w_start"), ("k", "k", "k"), ("g", "g", "g"), ("grouping(k)", "grouping(k)", "of_k")];
    let (ours, duck, columns) = shape.select(&keys);
    let sets = |window: &str| {
        let all = [format!("({window}, k, g)"), format!("({window}, k)"), format!("({window}, g)"), format!("({window})")];
        all.join(", ")
    };
    let Shape { filter, .. } = &shape;
    Parts {
        mode: "append",
        select: format!("SELECT {ours} FROM {from}{filter} GROUP BY GROUPING SETS ({})", sets(&window.ours("ts"))),
        oracle: format!("select {duck} from {}{filter} group by grouping sets ({})", window.duck("ts_us", DUCK), sets("w")),
        columns,
    }
}

/// Groups without time, given whole after each batch; without keys one group of all.
fn groups(rng: &mut Rng) -> Parts {
    let shape = Shape::draw(rng);
    let keys: Vec<(&str, &str, &str)> = shape.keys.iter().map(|key| (*key, *key, *key)).collect();
    let (ours, duck, columns) = shape.select(&keys);
    let by = if shape.keys.is_empty() { String::new() } else { format!(" GROUP BY {}", shape.keys.join(", ")) };
    let Shape { filter, having, .. } = &shape;
    Parts {
        mode: "complete",
        select: format!("SELECT {ours} FROM STREAM src{filter}{by}{having}"),
        oracle: format!("select {duck} from {DUCK}{filter}{by}{having}"),
        columns,
    }
}

/// Rollups, cubes and sets of groups without time.
fn sets(rng: &mut Rng) -> Parts {
    let shape = Shape::draw(rng);
    let (ours, duck, columns) =
        shape.select(&[("k", "k", "k"), ("g", "g", "g"), ("grouping(k)", "grouping(k)", "of_k"), ("grouping(g)", "grouping(g)", "of_g")]);
    let by = *rng.pick(&["ROLLUP (k, g)", "CUBE (k, g)", "GROUPING SETS ((k), (g))", "GROUPING SETS ((k, g), ())"]).unwrap_or(&"");
    let Shape { filter, .. } = &shape;
    Parts {
        mode: "complete",
        select: format!("SELECT {ours} FROM STREAM src{filter} GROUP BY {by}"),
        oracle: format!("select {duck} from {DUCK}{filter} group by {by}"),
        columns,
    }
}

/// Windows of a time without watermark, also before 1970.
fn complete_windows(rng: &mut Rng) -> Parts {
    let (window, shape) = (Window::draw(rng), Shape::draw(rng));
    let (ours, duck, columns) = shape.select(&[("unix_micros(window.start)", "w", "w_start"), ("g", "g", "g")]);
    let Shape { filter, having, .. } = &shape;
    Parts {
        mode: "complete",
        select: format!("SELECT {ours} FROM STREAM src{filter} GROUP BY {}, g{having}", window.ours("other")),
        oracle: format!("select {duck} from {}{filter} group by w, g{having}", window.duck("other_us", DUCK)),
        columns,
    }
}

/// Sessions of event time, final by the watermark or given whole after each batch.
fn sessions(rng: &mut Rng) -> Parts {
    let (shape, from, gap) = (Shape::draw(rng), watermarked(rng), *rng.pick(&[1, 3, 5, 20]).unwrap_or(&1));
    let mut keys = vec![
        ("unix_micros(session_window.start)", "min(ts_us)", "starts"),
        ("unix_micros(session_window.end)", "max(ts_us) + gap_us", "ends"),
    ];
    keys.extend(shape.keys.iter().map(|key| (*key, *key, *key)));
    let (ours, duck, columns) = shape.select(&keys);
    let Shape { filter, having, keys, .. } = &shape;
    let and_keys = keys.iter().map(|key| format!(", {key}")).collect::<String>();
    let gap_us = gap * 1_000_000;
    let over = format!("over (partition by 1{and_keys} order by ts_us)");
    let duck_filter = if filter.is_empty() { String::new() } else { format!(" and ({})", filter.replacen(" WHERE ", "", 1)) };
    Parts {
        mode: if rng.one_in(4) { "complete" } else { "append" },
        select: format!("SELECT {ours} FROM {from}{filter} GROUP BY session_window(ts, '{gap} seconds'){and_keys}{having}"),
        oracle: format!(
            "select {duck} from (select *, {gap_us} as gap_us, sum(begins) {over} as session_no from \
             (select *, case when ts_us - lag(ts_us) {over} <= {gap_us} then 0 else 1 end as begins from {DUCK} where ts_us is not null{duck_filter})) \
             group by session_no, gap_us{and_keys}{having}"
        ),
        columns,
    }
}

/// Keys of a join, ours and DuckDB's.
const JOIN_KEYS: &[(&str, &str)] = &[
    ("l.k = r.k", "l.k = r.k"),
    ("l.g = r.g", "l.g = r.g"),
    ("l.k = r.k AND l.g = r.g", "l.k = r.k and l.g = r.g"),
    ("l.k <=> r.k", "l.k is not distinct from r.k"),
];

/// A stream joined with a table, counted by its windows.
fn static_join(rng: &mut Rng) -> Parts {
    let (window, from, (ours_on, duck_on)) = (Window::draw(rng), watermarked(rng), *rng.pick(JOIN_KEYS).unwrap_or(&("", "")));
    let kind = *rng.pick(&["JOIN", "LEFT JOIN"]).unwrap_or(&"JOIN");
    let (time, columns) = (window.ours("ts"), ["w_start", "n", "v", "w"]);
    Parts {
        mode: "append",
        select: format!(
            "SELECT unix_micros(window.start) AS w_start, count(*) AS n, sum(v) AS v, sum(rv) AS w \
             FROM (SELECT l.ts, l.v, r.v AS rv FROM {from} AS l {kind} rhs AS r ON {ours_on}) AS joined GROUP BY {time}"
        ),
        oracle: format!(
            "select w as w_start, count(*) as n, cast(sum(v) as bigint) as v, cast(sum(rv) as bigint) as w from {} group by w_start",
            window.duck("ts_us", &format!("(select l.ts_us, l.v, r.v as rv from {DUCK} as l {kind} {DUCK_RIGHT} as r on {duck_on})"))
        ),
        columns: columns.map(str::to_owned).to_vec(),
    }
}

/// Two streams within a range of time.
fn join(rng: &mut Rng) -> Parts {
    let (left, right, (ours_on, duck_on)) =
        (watermarked(rng), watermarked(rng).replace("src", "rhs"), *rng.pick(JOIN_KEYS).unwrap_or(&("", "")));
    let kind = *rng.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "LEFT SEMI JOIN", "LEFT ANTI JOIN"]).unwrap_or(&"JOIN");
    let duck_kind = kind.replace("LEFT SEMI", "SEMI").replace("LEFT ANTI", "ANTI");
    let (before, after) = (rng.range(0, 20), rng.range(1, 40));
    let more = *rng.pick(&["", "", " AND l.v < r.v", " AND l.g > 0", " AND r.k IS NOT NULL"]).unwrap_or(&"");
    let one_side = kind.contains("SEMI") || kind.contains("ANTI");
    let (ours_right, duck_right) = if one_side {
        ("", "")
    } else {
        (", r.id AS rid, unix_micros(r.ts) AS rts, r.d AS rd", ", r.id as rid, r.ts_us as rts, r.d as rd")
    };
    let mut columns = vec!["id", "lts", "k", "v"];
    columns.extend(if one_side { &[][..] } else { &["rid", "rts", "rd"] });
    Parts {
        mode: "append",
        select: format!(
            "SELECT l.id, unix_micros(l.ts) AS lts, l.k, l.v{ours_right} FROM {left} AS l {kind} {right} AS r \
             ON {ours_on} AND r.ts >= l.ts - INTERVAL {before} SECONDS AND r.ts <= l.ts + INTERVAL {after} SECONDS{more}"
        ),
        oracle: format!(
            "select l.id, l.ts_us as lts, l.k, l.v{duck_right} from {DUCK} as l {duck_kind} {DUCK_RIGHT} as r \
             on {duck_on} and r.ts_us >= l.ts_us - {before}000000 and r.ts_us <= l.ts_us + {after}000000{more}"
        ),
        columns: columns.into_iter().map(str::to_owned).collect(),
    }
}

/// `SELECT DISTINCT`, by the event time or of all.
fn distinct(rng: &mut Rng) -> Parts {
    let filter = if rng.one_in(2) { rng.pick(CONDITIONS).map(|c| format!(" WHERE {c}")).unwrap_or_default() } else { String::new() };
    if rng.one_in(2) {
        let from = watermarked(rng);
        return Parts {
            mode: "append",
            select: format!("SELECT unix_micros(ts) AS us, k, g FROM (SELECT DISTINCT ts, k, g FROM {from}{filter}) AS rows"),
            oracle: format!("select distinct ts_us as us, k, g from {DUCK}{filter}"),
            columns: ["us", "k", "g"].map(str::to_owned).to_vec(),
        };
    }
    Parts {
        mode: "complete",
        select: format!("SELECT DISTINCT k, g, d FROM STREAM src{filter}"),
        oracle: format!("select distinct k, g, d from {DUCK}{filter}"),
        columns: ["k", "g", "d"].map(str::to_owned).to_vec(),
    }
}

/// An aggregation of what an aggregation gave.
fn chain(rng: &mut Rng) -> Parts {
    let (inner, from) = (Window::draw(rng), watermarked(rng));
    let outer = Window { size: inner.slide.max(5) * rng.range(1, 7), slide: 0, start: 0 };
    let outer = Window { slide: outer.size, ..outer };
    let (filter, key) = (if rng.one_in(3) { " WHERE g > 0" } else { "" }, rng.one_in(2));
    let (comma_k, names) =
        if key { (", k", vec!["w_start", "k", "groups", "n", "v", "most"]) } else { ("", vec!["w_start", "groups", "n", "v", "most"]) };
    let having = if rng.one_in(4) { " HAVING count(*) > 1" } else { "" };
    Parts {
        mode: "append",
        select: format!(
            "SELECT unix_micros(window.start) AS w_start{comma_k}, count(*) AS groups, sum(n) AS n, sum(v) AS v, max(n) AS most \
             FROM (SELECT window_time(window) AS t, k, count(*) AS n, sum(v) AS v FROM {from}{filter} GROUP BY {}, k{having}) AS inner_groups \
             GROUP BY {}{comma_k}",
            inner.ours("ts"),
            outer.ours("t")
        ),
        oracle: format!(
            "select w as w_start{comma_k}, count(*) as groups, cast(sum(n) as bigint) as n, cast(sum(v) as bigint) as v, max(n) as most from {} \
             group by w{comma_k}",
            outer.duck(
                "t_us",
                &format!(
                    "(select w + {} as t_us, k, count(*) as n, sum(v) as v from {}{filter} group by w, k{having})",
                    inner.size * 1_000_000 - 1,
                    inner.duck("ts_us", DUCK)
                )
                .replace("as w from", "as w from")
            )
        ),
        columns: names.into_iter().map(str::to_owned).collect(),
    }
}
