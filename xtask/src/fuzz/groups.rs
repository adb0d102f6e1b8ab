//! Random aggregations: windows, groups, grouping sets, sessions, and aggregations of what they give.

use super::data::DUCK;
use super::query::Parts;
use super::words::{Shape, Window, filter, names, watermarked};
use crate::kill::rng::Rng;

/// Windows of event time and other keys.
pub(super) fn windows(rng: &mut Rng) -> Parts {
    let (window, shape, from) = (Window::draw(rng), Shape::draw(rng), watermarked(rng));
    let mut keys = vec![("unix_micros(window.start)", "w", "w_start")];
    keys.extend(shape.keys.iter().map(|key| (*key, *key, *key)));
    let (ours, duck, columns) = shape.select(&keys);
    let by = |window: &str| [vec![window.to_owned()], shape.keys.iter().map(ToString::to_string).collect()].concat().join(", ");
    let Shape { filter, having, .. } = &shape;
    Parts {
        select: format!("SELECT {ours} FROM {from}{filter} GROUP BY {}{having}", by(&window.ours("ts"))),
        oracle: format!("select {duck} from {}{filter} group by {}{having}", window.duck("ts_us", DUCK), by("w")),
        columns,
    }
}

/// Grouping sets that all hold the window.
pub(super) fn window_sets(rng: &mut Rng) -> Parts {
    let (window, shape, from) = (Window::draw(rng), Shape::draw(rng), watermarked(rng));
    let keys = [("unix_micros(window.start)", "w", "w_start"), ("k", "k", "k"), ("g", "g", "g"), ("grouping(k)", "grouping(k)", "of_k")];
    let (ours, duck, columns) = shape.select(&keys);
    let sets = |window: &str| {
        let all = [format!("({window}, k, g)"), format!("({window}, k)"), format!("({window}, g)"), format!("({window})")];
        all.join(", ")
    };
    let Shape { filter, .. } = &shape;
    Parts {
        select: format!("SELECT {ours} FROM {from}{filter} GROUP BY GROUPING SETS ({})", sets(&window.ours("ts"))),
        oracle: format!("select {duck} from {}{filter} group by grouping sets ({})", window.duck("ts_us", DUCK), sets("w")),
        columns,
    }
}

/// Groups without time; without keys one group of all.
pub(super) fn groups(rng: &mut Rng) -> Parts {
    let shape = Shape::draw(rng);
    let keys: Vec<(&str, &str, &str)> = shape.keys.iter().map(|key| (*key, *key, *key)).collect();
    let (ours, duck, columns) = shape.select(&keys);
    let by = if shape.keys.is_empty() { String::new() } else { format!(" GROUP BY {}", shape.keys.join(", ")) };
    let Shape { filter, having, .. } = &shape;
    Parts {
        select: format!("SELECT {ours} FROM STREAM src{filter}{by}{having}"),
        oracle: format!("select {duck} from {DUCK}{filter}{by}{having}"),
        columns,
    }
}

/// Rollups, cubes and sets of groups without time.
pub(super) fn sets(rng: &mut Rng) -> Parts {
    let shape = Shape::draw(rng);
    let (ours, duck, columns) =
        shape.select(&[("k", "k", "k"), ("g", "g", "g"), ("grouping(k)", "grouping(k)", "of_k"), ("grouping(g)", "grouping(g)", "of_g")]);
    let by = *rng.pick(&["ROLLUP (k, g)", "CUBE (k, g)", "GROUPING SETS ((k), (g))", "GROUPING SETS ((k, g), ())"]).unwrap_or(&"");
    let Shape { filter, .. } = &shape;
    Parts {
        select: format!("SELECT {ours} FROM STREAM src{filter} GROUP BY {by}"),
        // The total of no rows is none, as in Spark.
        oracle: format!("select {duck} from {DUCK}{filter} group by {by} having count(*) > 0"),
        columns,
    }
}

/// Sets of several windows: a row is in every combination of its windows, and a set is final by those that it has.
pub(super) fn sets_of_windows(rng: &mut Rng) -> Parts {
    let (first, shape, from) = (Window::draw(rng), Shape::draw(rng), watermarked(rng));
    let mut second = Window::draw(rng);
    while (second.size, second.slide, second.start) == (first.size, first.slide, first.start) {
        second = Window::draw(rng);
    }
    let (ours_first, ours_second) = (first.ours("ts"), second.ours("ts"));
    let starts = [&ours_first, &ours_second].map(|window| format!("unix_micros({window}.start)"));
    let [of_first, of_second] = starts.each_ref().map(String::as_str);
    let (ours, duck, columns) =
        shape.select(&[(of_first, "w1", "w_first"), (of_second, "w", "w_second"), ("k", "k", "k"), ("grouping(k)", "grouping(k)", "of_k")]);
    let sets =
        rng.pick(&["({1}, {2}, k), ({1}, k), ({2})", "({1}, {2}), ({2}, k), ()", "({1}, k), ({2}, k)", "({1}, {2}, k), ({1}, {2}), (k)"]);
    let by = |first: &str, second: &str| sets.unwrap_or(&"").replace("{1}", first).replace("{2}", second);
    let Shape { filter, .. } = &shape;
    let expanded = second.duck("ts_us", &format!("(select * rename (w as w1) from {})", first.duck("ts_us", DUCK)));
    Parts {
        select: format!("SELECT {ours} FROM {from}{filter} GROUP BY GROUPING SETS ({})", by(&ours_first, &ours_second)),
        oracle: format!("select {duck} from {expanded}{filter} group by grouping sets ({}) having count(*) > 0", by("w1", "w")),
        columns,
    }
}

/// Sets with and without the session: those with it have sessions of their own.
pub(super) fn sets_of_sessions(rng: &mut Rng) -> Parts {
    let (shape, from, gap) = (Shape::draw(rng), watermarked(rng), *rng.pick(&[1, 3, 5, 20]).unwrap_or(&1));
    let sets = *rng
        .pick(&[
            &[(true, "k"), (true, "")][..],
            &[(true, "k, g"), (true, "g"), (false, "k")],
            &[(true, "k"), (false, "")],
            &[(true, ""), (false, "k")],
        ])
        .unwrap_or(&&[][..]);
    let gap_us = gap * 1_000_000;
    let session = format!("session_window(ts, '{gap} seconds')");
    let (ours, _, columns) = shape.select(&[
        ("unix_micros(session_window.start)", "", "starts"),
        ("unix_micros(session_window.end)", "", "ends"),
        ("k", "", "k"),
        ("g", "", "g"),
    ]);
    let has = |key: &str| sets.iter().any(|(_, keys)| keys.split(", ").any(|known| known == key));
    let ours = if has("g") { ours } else { ours.replacen("g AS g", "CAST(NULL AS INT) AS g", 1) };
    let text_of = |(has_session, keys): &(bool, &str)| {
        let keys = keys.split(", ").filter(|key| !key.is_empty()).map(str::to_owned);
        let keys: Vec<String> = has_session.then(|| session.clone()).into_iter().chain(keys).collect();
        format!("({})", keys.join(", "))
    };
    let filter = &shape.filter;
    let duck_filter = if filter.is_empty() { String::new() } else { format!(" and ({})", filter.replacen(" WHERE ", "", 1)) };
    let oracle_of = |(has_session, keys): &(bool, &str)| {
        let and_keys = if keys.is_empty() { String::new() } else { format!(", {keys}") };
        let key = |name: &'static str, null: &'static str| if keys.split(", ").any(|known| known == name) { name } else { null };
        let bounds = if *has_session { ("min(ts_us)", "max(ts_us) + gap_us") } else { ("cast(null as bigint)", "cast(null as bigint)") };
        let keys = [
            ("", bounds.0, "starts"),
            ("", bounds.1, "ends"),
            ("", key("k", "cast(null as varchar)"), "k"),
            ("", key("g", "cast(null as integer)"), "g"),
        ];
        let (_, duck, _) = shape.select(&keys);
        let over = format!("over (partition by 1{and_keys} order by ts_us)");
        let begins =
            if *has_session { format!("case when ts_us - lag(ts_us) {over} <= {gap_us} then 0 else 1 end") } else { "0".to_owned() };
        format!(
            "select {duck} from (select *, {gap_us} as gap_us, sum(begins) {over} as session_no from \
             (select *, {begins} as begins from {DUCK} where ts_us is not null{duck_filter})) group by session_no, gap_us{and_keys}"
        )
    };
    Parts {
        select: format!(
            "SELECT {ours} FROM {from}{filter} GROUP BY GROUPING SETS ({})",
            sets.iter().map(text_of).collect::<Vec<_>>().join(", ")
        ),
        oracle: sets.iter().map(oracle_of).collect::<Vec<_>>().join(" union all "),
        columns,
    }
}

/// Windows of a time without watermark, also before 1970.
pub(super) fn windows_without_watermark(rng: &mut Rng) -> Parts {
    let (window, shape) = (Window::draw(rng), Shape::draw(rng));
    let (ours, duck, columns) = shape.select(&[("unix_micros(window.start)", "w", "w_start"), ("g", "g", "g")]);
    let Shape { filter, having, .. } = &shape;
    Parts {
        select: format!("SELECT {ours} FROM STREAM src{filter} GROUP BY {}, g{having}", window.ours("other")),
        oracle: format!("select {duck} from {}{filter} group by w, g{having}", window.duck("other_us", DUCK)),
        columns,
    }
}

/// Sessions of event time, some apart for each window.
pub(super) fn sessions(rng: &mut Rng) -> Parts {
    let (shape, from, gap) = (Shape::draw(rng), watermarked(rng), *rng.pick(&[1, 3, 5, 20]).unwrap_or(&1));
    let beside = if rng.one_in(4) { Some(Window::draw(rng)) } else { None };
    let mut keys = vec![
        ("unix_micros(session_window.start)", "min(ts_us)", "starts"),
        ("unix_micros(session_window.end)", "max(ts_us) + gap_us", "ends"),
    ];
    keys.extend(beside.iter().map(|_| ("unix_micros(window.start)", "w", "w_start")));
    keys.extend(shape.keys.iter().map(|key| (*key, *key, *key)));
    let (ours, duck, columns) = shape.select(&keys);
    let Shape { filter, having, keys, .. } = &shape;
    let and_keys = |window: Option<String>| {
        window.iter().map(String::as_str).chain(keys.iter().copied()).map(|key| format!(", {key}")).collect::<String>()
    };
    let our_keys = and_keys(beside.as_ref().map(|window| window.ours("ts")));
    let and_keys = and_keys(beside.as_ref().map(|_| "w".to_owned()));
    let rows = beside.as_ref().map_or(DUCK.to_owned(), |window| window.duck("ts_us", DUCK));
    let gap_us = gap * 1_000_000;
    let over = format!("over (partition by 1{and_keys} order by ts_us)");
    let duck_filter = if filter.is_empty() { String::new() } else { format!(" and ({})", filter.replacen(" WHERE ", "", 1)) };
    Parts {
        select: format!("SELECT {ours} FROM {from}{filter} GROUP BY session_window(ts, '{gap} seconds'){our_keys}{having}"),
        oracle: format!(
            "select {duck} from (select *, {gap_us} as gap_us, sum(begins) {over} as session_no from \
             (select *, case when ts_us - lag(ts_us) {over} <= {gap_us} then 0 else 1 end as begins from {rows} where ts_us is not null{duck_filter})) \
             group by session_no, gap_us{and_keys}{having}"
        ),
        columns,
    }
}

/// An aggregation of what an aggregation gave.
pub(super) fn chain(rng: &mut Rng) -> Parts {
    let (inner, from) = (Window::draw(rng), watermarked(rng));
    let outer = Window { size: inner.slide.max(5) * rng.range(1, 7), slide: 0, start: 0 };
    let outer = Window { slide: outer.size, ..outer };
    let (filter, key) = (if rng.one_in(3) { " WHERE g > 0" } else { "" }, rng.one_in(2));
    let (comma_k, names) =
        if key { (", k", vec!["w_start", "k", "groups", "n", "v", "most"]) } else { ("", vec!["w_start", "groups", "n", "v", "most"]) };
    let having = if rng.one_in(4) { " HAVING count(*) > 1" } else { "" };
    Parts {
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

/// Groups of groups, which rows leave when a group below changes.
pub(super) fn chain_of_groups(rng: &mut Rng) -> Parts {
    let filter = filter(rng);
    // Some can be subtracted, others are computed anew.
    let (ours, duck) = *rng
        .pick(&[
            ("count(*) AS groups, sum(v) AS v, avg(n) AS mean", "count(*) as groups, cast(sum(v) as bigint) as v, avg(n) as mean"),
            ("count(*) AS groups, max(v) AS v, sum(x) AS mean", "count(*) as groups, max(v) as v, sum(x) as mean"),
            ("count(v) AS groups, min(k) AS v, count(DISTINCT k) AS mean", "count(v) as groups, min(k) as v, count(distinct k) as mean"),
        ])
        .unwrap_or(&("", ""));
    let having = *rng.pick(&["", "", " HAVING count(*) > 1", " HAVING sum(v) > 0"]).unwrap_or(&"");
    let key = *rng.pick(&["n", "g", "most"]).unwrap_or(&"n");
    let inner = "count(*) AS n, max(g) AS most, sum(v) AS v, sum(x) AS x";
    Parts {
        select: format!(
            "SELECT {key} AS key, {ours} FROM (SELECT k, g, {inner} FROM STREAM src{filter} GROUP BY k, g{having}) AS i GROUP BY {key}"
        ),
        oracle: format!(
            "select {key} as key, {duck} from (select k, g, {inner} from {DUCK}{filter} group by k, g{having}) as i group by {key}"
        ),
        columns: names(["key", "groups", "v", "mean"]),
    }
}
