//! Random queries that drop duplicates.

use super::data::{DUCK, DUCK_RIGHT};
use super::query::Parts;
use super::words::{Window, filter, names, watermarked};
use crate::kill::rng::Rng;

/// `SELECT DISTINCT` of all.
pub(super) fn distinct(rng: &mut Rng) -> Parts {
    let filter = filter(rng);
    Parts {
        select: format!("SELECT DISTINCT k, g, d FROM STREAM src{filter}"),
        oracle: format!("select distinct k, g, d from {DUCK}{filter}"),
        columns: names(["k", "g", "d"]),
    }
}

/// `UNION` of two streams.
pub(super) fn union_distinct(rng: &mut Rng) -> Parts {
    let (left, right) = (filter(rng), filter(rng));
    Parts {
        select: format!("SELECT k, g FROM STREAM src{left} UNION SELECT k, g FROM STREAM rhs{right}"),
        oracle: format!("select k, g from {DUCK}{left} union select k, g from {DUCK_RIGHT}{right}"),
        columns: names(["k", "g"]),
    }
}

/// `SELECT DISTINCT` with the event time.
pub(super) fn distinct_times(rng: &mut Rng) -> Parts {
    let (filter, from) = (filter(rng), watermarked(rng));
    Parts {
        select: format!("SELECT unix_micros(ts) AS us, k, g FROM (SELECT DISTINCT ts, k, g FROM {from}{filter}) AS rows"),
        oracle: format!("select distinct ts_us as us, k, g from {DUCK}{filter}"),
        columns: names(["us", "k", "g"]),
    }
}

/// The first row of each key, kept for ever. Of rows with equal keys any may pass, so only the keys are looked at.
pub(super) fn deduplicate(rng: &mut Rng) -> Parts {
    let filter = filter(rng);
    let keys = *rng.pick(&["k", "g", "k, g", "d, k"]).unwrap_or(&"k");
    let quoted = keys.split(", ").map(|key| format!("'{key}'")).collect::<Vec<_>>().join(", ");
    Parts {
        select: format!("SELECT {keys} FROM drop_duplicates((SELECT * FROM STREAM src{filter}), {quoted})"),
        oracle: format!("select distinct {keys} from {DUCK}{filter}"),
        columns: keys.split(", ").map(str::to_owned).collect(),
    }
}

/// The first row of each key and event time, forgotten behind the watermark.
pub(super) fn deduplicate_times(rng: &mut Rng) -> Parts {
    let (filter, from) = (filter(rng), watermarked(rng));
    Parts {
        select: format!("SELECT unix_micros(ts) AS us, k FROM drop_duplicates((SELECT * FROM {from}{filter}), 'ts', 'k')"),
        oracle: format!("select distinct ts_us as us, k from {DUCK}{filter}"),
        columns: names(["us", "k"]),
    }
}

/// Windows of rows without their duplicates.
pub(super) fn deduplicate_windows(rng: &mut Rng) -> Parts {
    let (window, filter, from) = (Window::draw(rng), filter(rng), watermarked(rng));
    Parts {
        select: format!(
            "SELECT unix_micros(window.start) AS w_start, g, count(*) AS n, sum(v) AS v, max(k) AS most \
             FROM drop_duplicates((SELECT ts, k, g, v FROM {from}{filter}), 'ts', 'k', 'g', 'v') GROUP BY {}, g",
            window.ours("ts")
        ),
        oracle: format!(
            "select w as w_start, g, count(*) as n, cast(sum(v) as bigint) as v, max(k) as most from {} group by w, g",
            window.duck("ts_us", &format!("(select distinct ts_us, k, g, v from {DUCK}{filter})"))
        ),
        columns: names(["w_start", "g", "n", "v", "most"]),
    }
}
