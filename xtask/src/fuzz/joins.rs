//! Random joins: of two streams, with a table, of groups and below groups.

use super::data::{DUCK, DUCK_RIGHT};
use super::query::Parts;
use super::words::{Window, filter, names, watermarked};
use crate::kill::rng::Rng;

/// Keys of a join, ours and DuckDB's.
pub(super) const JOIN_KEYS: &[(&str, &str)] = &[
    ("l.k = r.k", "l.k = r.k"),
    ("l.g = r.g", "l.g = r.g"),
    ("l.k = r.k AND l.g = r.g", "l.k = r.k and l.g = r.g"),
    ("l.k <=> r.k", "l.k is not distinct from r.k"),
];

/// A stream joined with a table, counted by its windows.
pub(super) fn static_join(rng: &mut Rng) -> Parts {
    let (window, from, (ours_on, duck_on)) = (Window::draw(rng), watermarked(rng), *rng.pick(JOIN_KEYS).unwrap_or(&("", "")));
    let kind = *rng.pick(&["JOIN", "LEFT JOIN"]).unwrap_or(&"JOIN");
    let (time, columns) = (window.ours("ts"), ["w_start", "n", "v", "w"]);
    Parts {
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
pub(super) fn join(rng: &mut Rng) -> Parts {
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

/// Groups that go on into a join with the rows of another stream.
pub(super) fn join_of_groups(rng: &mut Rng) -> Parts {
    let filter = filter(rng);
    let kind = *rng.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]).unwrap_or(&"JOIN");
    let more = *rng.pick(&["", "", " AND a.n > 2", " AND a.v < r.v"]).unwrap_or(&"");
    let (inner, rows) = ("count(*) AS n, sum(v) AS v", "a.g, a.n, a.v, r.id, r.d");
    Parts {
        select: format!(
            "SELECT {rows} FROM (SELECT g, {inner} FROM STREAM src{filter} GROUP BY g) AS a {kind} (SELECT * FROM STREAM rhs) AS r ON a.g = r.g{more}"
        ),
        oracle: format!(
            "select {rows} from (select g, {inner} from {DUCK}{filter} group by g) as a {kind} {DUCK_RIGHT} as r on a.g = r.g{more}"
        ),
        columns: names(["g", "n", "v", "id", "d"]),
    }
}

/// Groups of both streams, joined; in complete mode both sides are given whole.
pub(super) fn join_of_two_groups(rng: &mut Rng) -> Parts {
    let (left, right) = (filter(rng), filter(rng));
    let kind = *rng.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]).unwrap_or(&"JOIN");
    let (ours_on, duck_on) = *rng.pick(&[("a.g = b.g", "a.g = b.g"), ("a.g <=> b.g", "a.g is not distinct from b.g")]).unwrap_or(&("", ""));
    let more = *rng.pick(&["", "", " AND a.n > 2", " AND a.n < b.n", " AND b.v > 0"]).unwrap_or(&"");
    let inner = "count(*) AS n, sum(v) AS v";
    let rows = "a.g AS ag, a.n AS an, a.v AS av, b.g AS bg, b.n AS bn, b.v AS bv";
    let of = |table: &str, filter: &str| format!("(SELECT g, {inner} FROM {table}{filter} GROUP BY g)");
    Parts {
        select: format!("SELECT {rows} FROM {} AS a {kind} {} AS b ON {ours_on}{more}", of("STREAM src", &left), of("STREAM rhs", &right)),
        oracle: format!("select {rows} from {} as a {kind} {} as b on {duck_on}{more}", of(DUCK, &left), of(DUCK_RIGHT, &right)),
        columns: names(["ag", "an", "av", "bg", "bn", "bv"]),
    }
}

/// Groups of joined rows: one without a partner leaves its group when it finds one.
pub(super) fn groups_of_join(rng: &mut Rng) -> Parts {
    let filter = filter(rng);
    let kind = *rng.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]).unwrap_or(&"JOIN");
    let (ours_on, duck_on) = *rng.pick(JOIN_KEYS).unwrap_or(&("", ""));
    let key = *rng.pick(&["l.g", "r.g", "r.k"]).unwrap_or(&"l.g");
    Parts {
        select: format!(
            "SELECT {key} AS key, count(*) AS n, count(r.id) AS pairs, sum(l.v) AS v, max(r.d) AS most \
             FROM (SELECT * FROM STREAM src{filter}) AS l {kind} (SELECT * FROM STREAM rhs) AS r ON {ours_on} GROUP BY {key}"
        ),
        oracle: format!(
            "select {key} as key, count(*) as n, count(r.id) as pairs, cast(sum(l.v) as bigint) as v, max(r.d) as most \
             from (select * from {DUCK}{filter}) as l {kind} {DUCK_RIGHT} as r on {duck_on} group by {key}"
        ),
        columns: names(["key", "n", "pairs", "v", "most"]),
    }
}
