//! Joins of two streams: what they are called, how long they keep rows, which cannot be kept within bounds.

use millstream_analyzer::streaming::for_output_mode;
use millstream_core::OutputMode;

use crate::harness::{TestCatalog, analyze};

fn catalog() -> TestCatalog {
    TestCatalog::default()
        .table("l", "lt TIMESTAMP, k STRING, lv INT", true)
        .table("r", "rt TIMESTAMP, k STRING, rv INT", true)
        .table("e", "et TIMESTAMP, k STRING, ev INT", true)
        .view("lw", "SELECT * FROM STREAM l WATERMARK lt DELAY OF INTERVAL 10 SECONDS")
        .view("rw", "SELECT * FROM STREAM r WATERMARK rt DELAY OF INTERVAL 10 SECONDS")
}

/// The joins of a query in append mode, from its sink down, or why it is refused.
fn joins(sql: &str) -> Result<Vec<String>, String> {
    let analyzed = analyze(&catalog(), sql).map_err(|error| format!("before the mode: {error}"))?;
    let plan = for_output_mode(&analyzed.plan, OutputMode::Append).map_err(|error| error.message().to_owned())?;
    let shown = plan.display_indent().to_string();
    Ok(shown.lines().filter_map(|line| line.trim().strip_prefix("StreamJoin: ")).map(str::to_owned).collect())
}

#[test]
fn the_condition_says_how_long_each_side_is_kept() {
    // (sql, the operator and its kind, how much longer than their time left and right rows are kept)
    let cases: &[(&str, &str, [Option<&str>; 2])] = &[
        ("SELECT * FROM lw JOIN rw ON lw.k = rw.k", "join-k inner join", [None, None]),
        (
            "SELECT * FROM lw LEFT JOIN rw ON lw.k = rw.k AND rt <= lt + INTERVAL 10 SECONDS",
            "join-k left outer join",
            [Some("+10001"), None],
        ),
        (
            "SELECT * FROM lw FULL JOIN rw ON lw.k = rw.k AND rt BETWEEN lt - INTERVAL 5 SECONDS AND lt + INTERVAL 10 SECONDS",
            "join-k full outer join",
            [Some("+10001"), Some("+5001")],
        ),
        // A WHERE over an inner join says it as well, wherever the filter stands.
        ("SELECT * FROM lw, rw WHERE lw.k = rw.k AND rt < lt + INTERVAL 10 SECONDS", "join-k inner join", [Some("+10000"), None]),
        (
            "SELECT * FROM (SELECT lt, rt, lv FROM lw JOIN rw USING (k)) WHERE rt < lt + INTERVAL 10 SECONDS",
            "join-k inner join",
            [Some("+10000"), None],
        ),
        // Without its unmatched rows an outer join is none.
        ("SELECT * FROM lw LEFT JOIN rw ON lw.k = rw.k WHERE rv > 1", "join-k inner join", [None, None]),
        // An event time or a window of it among the keys.
        ("SELECT * FROM lw LEFT SEMI JOIN rw ON lw.k = rw.k AND lt = rt", "join-k-lt left semi join", [Some("+0"), Some("+0")]),
        (
            "SELECT * FROM (SELECT window(lt, '5 seconds') AS w, lv FROM lw) LEFT ANTI JOIN (SELECT window(rt, '5 seconds') AS w FROM rw) USING (w)",
            "join-w left anti join",
            [Some("+0"), Some("+0")],
        ),
        // A key of one side's expression is called by its columns; what it may raise does not stop it from being a key.
        ("SELECT * FROM lw JOIN rw ON upper(concat(lw.k, lv)) = rw.k AND lv = CAST(rw.k AS INT)", "join-k_lv-lv inner join", [None, None]),
        // Without a watermark of its own the time of the outer side will do.
        (
            "SELECT * FROM STREAM l LEFT JOIN rw ON l.k = rw.k AND rt <= lt + INTERVAL 10 SECONDS",
            "join-k left outer join",
            [Some("+10001"), None],
        ),
        ("SELECT * FROM STREAM l JOIN rw ON l.k = rw.k AND rt <= lt + INTERVAL 10 SECONDS", "join-k inner join", [None, None]),
    ];
    for (sql, name, [left, right]) in cases {
        let found = joins(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let [join] = found.as_slice() else { panic!("{sql}: {found:?}") };
        assert!(join.starts_with(&format!("{name}, keys=[")), "{sql}: {join}");
        for (side, want) in [("left", left), ("right", right)] {
            let got = join.split(&format!("{side} until ")).nth(1).and_then(|text| text.split(' ').nth(1));
            assert_eq!(got, *want, "{sql}: {side} of {join}");
        }
    }
}

#[test]
fn joins_over_joins_and_of_a_stream_with_itself_are_named_from_the_sources_up() {
    let names = |sql: &str| joins(sql).unwrap().iter().map(|join| join.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>();
    let three = "SELECT lv, rv, ev FROM STREAM l JOIN STREAM r ON l.k = r.k JOIN STREAM e ON r.k = e.k";
    assert_eq!(names(three), ["join-k-2", "join-k"]);
    assert_eq!(names("SELECT a.lv, b.lv FROM STREAM l a, STREAM l b WHERE a.k = b.k AND a.lv < b.lv"), ["join-k"]);
    assert_eq!(names("SELECT * FROM STREAM l NATURAL JOIN STREAM r"), ["join-k"]);
}

#[test]
fn null_safe_keys_are_keys() {
    let [join] = joins("SELECT lv, rv FROM STREAM l JOIN STREAM r ON l.k <=> r.k AND lv = rv").unwrap().try_into().unwrap();
    assert!(join.contains(" <=> ") && join.contains(" = ") && !join.contains("filter="), "{join}");
}

#[test]
fn what_cannot_end_is_refused_with_what_is_missing() {
    let watermark_or_range = |kind: &str, own: &str, other: &str| {
        format!(
            "a {kind} of two streams without a watermark in the join keys, or a watermark on the {other} side and a range condition that bounds the time of the {own} side"
        )
    };
    let no_equality = "a inner join of two streams without an equality of both sides' columns";
    let cases = [
        ("SELECT * FROM lw LEFT JOIN rw ON lw.k = rw.k", watermark_or_range("left outer join", "left", "right")),
        ("SELECT * FROM lw LEFT JOIN STREAM r ON lw.k = r.k AND rt <= lt", watermark_or_range("left outer join", "left", "right")),
        ("SELECT * FROM lw LEFT JOIN rw ON lw.k = rw.k AND rt >= lt", watermark_or_range("left outer join", "left", "right")),
        ("SELECT * FROM lw LEFT JOIN rw ON lw.k = rw.k AND (rt <= lt OR rv > 1)", watermark_or_range("left outer join", "left", "right")),
        ("SELECT * FROM lw RIGHT JOIN rw ON lw.k = rw.k AND rt <= lt", watermark_or_range("right outer join", "right", "left")),
        ("SELECT * FROM lw FULL JOIN rw ON lw.k = rw.k AND rt <= lt", watermark_or_range("full outer join", "right", "left")),
        ("SELECT * FROM lw LEFT SEMI JOIN rw ON lw.k = rw.k", watermark_or_range("left semi join", "left", "right")),
        ("SELECT * FROM lw LEFT ANTI JOIN rw ON lw.k = rw.k", watermark_or_range("left anti join", "left", "right")),
        ("SELECT * FROM lw JOIN rw ON lt < rt", no_equality.to_owned()),
        ("SELECT * FROM lw, rw", no_equality.to_owned()),
    ];
    for (sql, want) in cases {
        assert_eq!(joins(sql), Err(want), "{sql}");
    }
}

#[test]
fn outside_append_mode_unmatched_rows_come_at_once_and_rows_that_may_go_need_a_sink_that_takes_deletes() {
    let fitted = |sql: &str, mode: OutputMode| {
        let analyzed = analyze(&catalog(), sql).unwrap();
        for_output_mode(&analyzed.plan, mode).map(|_| ()).map_err(|error| error.message().to_owned())
    };
    let of_keys = "(SELECT k, count(*) AS n FROM STREAM l GROUP BY k) JOIN (SELECT k, sum(rv) AS s FROM STREAM r GROUP BY k) USING (k)";
    let (update, complete) = (OutputMode::Update, OutputMode::Complete);
    let (deleted, without_key) = ("whose rows may be deleted", "has no key to tell them by");
    let cases = [
        // A left row is there with or without a right one, but which row it was says nobody; in the other kinds rows go without others
        // in their place.
        ("SELECT lv, rv FROM STREAM l LEFT JOIN STREAM r ON l.k = r.k".to_owned(), update, Some(without_key)),
        ("SELECT lv, rv FROM STREAM l RIGHT JOIN STREAM r ON l.k = r.k".to_owned(), update, Some(without_key)),
        ("SELECT lv FROM STREAM l LEFT SEMI JOIN STREAM r ON l.k = r.k".to_owned(), update, None),
        ("SELECT lv, rv FROM STREAM l FULL JOIN STREAM r ON l.k = r.k".to_owned(), update, Some(deleted)),
        ("SELECT lv FROM STREAM l LEFT ANTI JOIN STREAM r ON l.k = r.k".to_owned(), update, Some(deleted)),
        ("SELECT l.k, count(*) AS n FROM STREAM l LEFT JOIN STREAM r ON l.k = r.k GROUP BY l.k".to_owned(), update, None),
        ("SELECT rv, count(*) AS n FROM STREAM l LEFT JOIN STREAM r ON l.k = r.k GROUP BY rv".to_owned(), update, Some(deleted)),
        ("SELECT rv, count(*) AS n FROM STREAM l LEFT JOIN STREAM r ON l.k = r.k GROUP BY rv".to_owned(), complete, None),
        // An update of a group finds the same partners by its keys, but not by what is counted.
        (format!("SELECT k, n, s FROM {of_keys}"), update, None),
        ("SELECT n, rv FROM (SELECT count(*) AS n FROM STREAM l GROUP BY k) JOIN STREAM r ON n = rv".to_owned(), update, Some(deleted)),
        // In complete mode both sides are given whole, if both are aggregated.
        (format!("SELECT k, n, s FROM {of_keys}"), complete, None),
        (
            "SELECT n, rv FROM (SELECT count(*) AS n FROM STREAM l GROUP BY k) JOIN STREAM r ON n = rv".to_owned(),
            complete,
            Some("complete mode for a join of what is aggregated with rows that are not"),
        ),
    ];
    for (sql, mode, refused) in cases {
        match (fitted(&sql, mode), refused) {
            (Ok(()), None) => {}
            (Err(error), Some(want)) if error.contains(want) => {}
            (got, want) => panic!("{mode}: {sql}: {got:?}, not {want:?}"),
        }
    }
}
