//! What operators remember: after every batch exactly the rows that can still matter, told by a model of each operator.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use millstream::StreamingQueryProgress;

use super::{DELAY_S, Row, holds, lives, rows, streamed, watermark_s};

/// An operator's state, as a model: it takes the rows of a batch that are in time, forgets by the watermark (seconds of the
/// day), and says how many rows it has.
type Model = Box<dyn FnMut(&[Row], i64) -> usize>;

/// Before every time of the input, as the watermark is before the first batch.
const LONG_AGO: i64 = i64::MIN / 2;
const GAP_S: i64 = 5;
const RANGE_S: i64 = 10;

fn watermark(progress: &StreamingQueryProgress) -> i64 {
    match progress.event_time.get("watermark").map(String::as_str) {
        Some("infinity") => i64::MAX,
        _ => watermark_s(progress).unwrap_or(LONG_AGO - 2 * DELAY_S),
    }
}

/// After every batch the state has as many rows as the model. `read` in the query stands for the stream.
fn check(name: &str, sql: &str, model: impl Fn() -> Model) {
    let n_forgotten = Cell::new(0);
    let n_reads = sql.matches("{read}").count();
    let sql = sql.replace("{read}", &format!("STREAM events WATERMARK ts DELAY OF INTERVAL {DELAY_S} SECONDS"));
    holds((rows(15, 8), lives()), async |(rows, lives)| {
        let dir = tempfile::tempdir().unwrap();
        let stream = streamed(dir.path(), &rows, &sql, "append", &lives).await;
        let late: BTreeSet<i64> = stream.late.iter().copied().collect();
        let (mut model, mut n_seen) = (model(), 0);
        for progress in &stream.progress {
            // Batches take the rows in their order; a row counts as often as it is read.
            let n_new = usize::try_from(progress.num_input_rows).unwrap() / n_reads;
            let new: Vec<Row> = rows[n_seen..n_seen + n_new].iter().filter(|row| !late.contains(&row.id)).copied().collect();
            n_seen += n_new;
            let operator = &progress.state_operators[0];
            let want = model(&new, watermark(progress));
            assert_eq!(operator.num_rows_total, want as u64, "{name}, batch {}", progress.batch_id);
            n_forgotten.set(n_forgotten.get() + operator.num_rows_removed);
        }
        assert_eq!(n_seen, rows.len(), "{name}");
    });
    assert!(n_forgotten.get() > 100, "{name}: {n_forgotten:?}");
}

#[test]
fn drop_duplicates_remembers_keys_whose_time_has_not_passed() {
    let model = || -> Model {
        let mut keys: BTreeSet<(Option<i64>, i64)> = BTreeSet::new();
        Box::new(move |new, watermark| {
            keys.extend(new.iter().map(|row| (row.ts, row.k)));
            // A key without a time is remembered for ever.
            keys.retain(|(ts, _)| ts.is_none_or(|ts| ts > watermark));
            keys.len()
        })
    };
    check("drop_duplicates", "SELECT id, k FROM drop_duplicates((SELECT * FROM {read}), 'ts', 'k')", model);
}

#[test]
fn drop_duplicates_within_watermark_remembers_keys_for_the_delay_behind_their_first_row() {
    let model = || -> Model {
        let mut until: BTreeMap<i64, i64> = BTreeMap::new();
        Box::new(move |new, watermark| {
            for row in new {
                // A row without a time counts as one of the epoch, as in Spark.
                until.entry(row.k * 100 + row.id % 13).or_insert(row.ts.unwrap_or(LONG_AGO) + DELAY_S);
            }
            until.retain(|_, until| *until > watermark);
            until.len()
        })
    };
    let sql = "SELECT id, k FROM drop_duplicates_within_watermark((SELECT id, ts, k * 100 + id % 13 AS k FROM {read}), 'k')";
    check("drop_duplicates_within_watermark", sql, model);
}

#[test]
fn sessions_are_remembered_until_they_are_final() {
    let model = || -> Model {
        let mut open: Vec<(i64, i64, i64)> = Vec::new();
        Box::new(move |new, watermark| {
            for row in new {
                let Some(ts) = row.ts else { continue };
                let (mut start, mut end) = (ts, ts + GAP_S);
                // What touches is one; what has grown may touch more.
                while let Some(at) = open.iter().position(|(k, s, e)| *k == row.k && *s <= end && start <= *e) {
                    let (_, s, e) = open.swap_remove(at);
                    (start, end) = (start.min(s), end.max(e));
                }
                open.push((row.k, start, end));
            }
            open.retain(|(_, _, end)| *end > watermark);
            open.len()
        })
    };
    let sql = format!("SELECT k, count(*) AS n FROM {{read}} GROUP BY session_window(ts, '{GAP_S} seconds'), k");
    check("sessions", &sql, model);
}

/// Both sides of a join are the same stream; of a left row the right ones of the next seconds are wanted.
fn check_join(kind: &str) {
    let is_outer = kind == "LEFT JOIN";
    let model = || -> Model {
        let (mut left, mut right, mut n_without_time): (Vec<i64>, Vec<i64>, usize) = Default::default();
        Box::new(move |new, watermark| {
            // Rows without a time match nothing. Those of an outer side wait for the end of the stream.
            n_without_time += new.iter().filter(|row| is_outer && row.ts.is_none()).count();
            let times = || new.iter().filter_map(|row| row.ts);
            left.extend(times());
            right.extend(times());
            // Of bounds that allow equality rows are kept a millisecond longer, as in Spark.
            left.retain(|ts| ts + RANGE_S >= watermark);
            right.retain(|ts| *ts >= watermark);
            left.len() + right.len() + n_without_time
        })
    };
    let sql = format!(
        "SELECT l.id, l.k FROM (SELECT * FROM {{read}}) AS l {kind} (SELECT id AS rid, ts AS rts, k AS rk FROM {{read}}) AS r \
         ON k = rk AND rts BETWEEN ts AND ts + INTERVAL {RANGE_S} SECONDS"
    );
    check(kind, &sql, model);
}

#[test]
fn rows_of_an_inner_join_are_remembered_while_others_can_come_for_them() {
    check_join("JOIN");
}

#[test]
fn rows_of_an_outer_join_are_remembered_while_others_can_come_for_them() {
    check_join("LEFT JOIN");
}
