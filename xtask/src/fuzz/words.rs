//! What random queries are made of: aggregates, conditions, windows and keys that both understand alike.

use super::data::DISORDER_S;
use crate::kill::rng::Rng;

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
pub(super) const CONDITIONS: &[&str] =
    &["g > 0", "k IS NOT NULL", "v IS NULL OR v > -200", "k <> 'a'", "x >= 10 AND d < 500", "k IN ('a', 'b', '')", "id % 3 <> 1"];
/// Conditions on groups; `c0` is always `count(*)`.
const HAVINGS: &[&str] = &["count(*) > 1", "sum(v) > 0", "max(k) IS NOT NULL", "count(DISTINCT g) = 1"];
const KEYS: &[&str] = &["k", "g"];

/// A window: size, slide and start in seconds.
pub(super) struct Window {
    pub(super) size: u64,
    pub(super) slide: u64,
    pub(super) start: u64,
}

impl Window {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let size = *rng.pick(&[5, 10, 30, 60]).unwrap_or(&10);
        let slide = if rng.one_in(2) { size } else { *rng.pick(&[size, size / 5 * 2, size / 5, size / 5 * 3]).unwrap_or(&size) };
        let start = if rng.one_in(3) { rng.range(0, slide) } else { 0 };
        Self { size, slide: slide.max(1), start }
    }

    pub(super) fn ours(&self, time: &str) -> String {
        let Self { size, slide, start } = self;
        match (slide == size, start) {
            (true, 0) => format!("window({time}, '{size} seconds')"),
            (false, 0) => format!("window({time}, '{size} seconds', '{slide} seconds')"),
            _ => format!("window({time}, '{size} seconds', '{slide} seconds', '{start} seconds')"),
        }
    }

    /// Rows of `from` with `w`, where each of their windows begins, in microseconds.
    pub(super) fn duck(&self, us: &str, from: &str) -> String {
        let Self { size, slide, start } = self;
        let (size, slide, start) = (size * 1_000_000, slide * 1_000_000, start * 1_000_000);
        let last = format!("{us} - (({us} - {start}) % {slide} + {slide}) % {slide}");
        format!("(select *, unnest(range({last}, {us} - {size}, -{slide})) as w from {from})")
    }
}

/// A few keys, aggregates, a filter and a condition on groups.
pub(super) struct Shape {
    pub(super) keys: Vec<&'static str>,
    pub(super) aggregates: Vec<(&'static str, &'static str)>,
    pub(super) filter: String,
    pub(super) having: String,
}

impl Shape {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let keys = KEYS.iter().copied().filter(|_| rng.one_in(2)).collect();
        let n = rng.range(1, 5);
        let aggregates = (0..n).filter_map(|_| rng.pick(AGGREGATES).copied()).collect();
        let filter = if rng.one_in(3) { rng.pick(CONDITIONS).map(|c| format!(" WHERE {c}")).unwrap_or_default() } else { String::new() };
        let having = if rng.one_in(5) { rng.pick(HAVINGS).map(|c| format!(" HAVING {c}")).unwrap_or_default() } else { String::new() };
        Self { keys, aggregates, filter, having }
    }

    /// What is selected of `keys` (named expressions, ours and DuckDB's) and the aggregates.
    pub(super) fn select(&self, keys: &[(&str, &str, &str)]) -> (String, String, Vec<String>) {
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

pub(super) fn watermarked(rng: &mut Rng) -> String {
    format!("{WATERMARKED} {} SECONDS", DISORDER_S + rng.range(0, 30))
}

pub(super) fn filter(rng: &mut Rng) -> String {
    if rng.one_in(2) { rng.pick(CONDITIONS).map(|c| format!(" WHERE {c}")).unwrap_or_default() } else { String::new() }
}

pub(super) fn names<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).to_vec()
}
