"""Aggregations without windows, functions, HAVING, distinct, grouping sets, global aggregates."""

from scenario import e, scenario, wm

STEPS = [e((1, "a", 1), (2, "b", 2), (3, "a", 3)), e((4, "b", None), (5, None, 5)), {}, e((6, "c", 6), (7, None, None), (8, "a", -1))]


def by_key(aggregates, rest=""):
    return f"SELECT k, {aggregates} FROM STREAM e GROUP BY k{rest}"


def window_of(aggregates):
    return f"SELECT window.start AS s, {aggregates} FROM {wm()} GROUP BY window(ts, '10 seconds')"


VALUES = [e((1, "a", 1), (2, "b", 2), (3, "a", 3)), e((4, "b", None), (5, "a", 5)), e((60, "c", 6))]

LATE = [e((1, "a", 1), (12, "b", 2), (38, "a", 3)), e((2, "late", 100), (27, "a", 7), (13, "b", 50)), e((60, "c", 6)), e((90, "c", 6))]

CASES = [
    scenario("count-update", by_key("count(*) AS n, count(v) AS nv"), STEPS, mode="update"),
    scenario("count-complete", by_key("count(*) AS n, count(v) AS nv"), STEPS, mode="complete"),
    scenario("sum-avg-min-max-update", by_key("sum(v) AS s, avg(v) AS a, min(v) AS lo, max(v) AS hi"), STEPS, mode="update"),
    scenario("sum-avg-min-max-complete", by_key("sum(v) AS s, avg(v) AS a, min(v) AS lo, max(v) AS hi"), STEPS, mode="complete"),
    scenario("sum-of-decimals", by_key("sum(CAST(v AS DECIMAL(10,2))) AS s, avg(CAST(v AS DECIMAL(10,2))) AS a"), STEPS, mode="update"),
    scenario("sum-of-doubles", by_key("sum(v / 4.0D) AS s, avg(v / 4.0D) AS a"), STEPS, mode="update"),
    scenario("min-max-of-text-and-time", by_key("min(ts) AS t, max(ts) AS u, min(k) AS lo, max(CAST(v AS STRING)) AS hi"), STEPS, mode="update"),
    scenario("first-last", by_key("first(v) AS f, last(v) AS l, first(v, true) AS fi, last(v, true) AS li"), STEPS, mode="update"),
    scenario("collect-list", by_key("sort_array(collect_list(v)) AS l, sort_array(collect_set(v % 2)) AS s"), STEPS, mode="update"),
    scenario("stddev-variance", by_key("stddev(v) AS s, stddev_pop(v) AS p, var_samp(v) AS v, var_pop(v) AS vp"), STEPS, mode="complete"),
    scenario("skewness-kurtosis-corr", by_key("skewness(v) AS s, kurtosis(v) AS k4, corr(v, v * 2) AS c"), STEPS, mode="complete"),
    scenario("approx-count-distinct", by_key("approx_count_distinct(v) AS n"), STEPS, mode="update"),
    scenario("bool-and-or", by_key("bool_and(v > 0) AS every_one, bool_or(v > 4) AS some"), STEPS, mode="update"),
    scenario("max-by-min-by", by_key("max_by(ts, v) AS hi, min_by(ts, v) AS lo"), STEPS, mode="update"),
    scenario("count-if-any-value", by_key("count_if(v > 1) AS n, any_value(k) AS any_k"), STEPS, mode="update"),
    scenario("bit-aggregates", by_key("bit_and(v) AS a, bit_or(v) AS o, bit_xor(v) AS x"), STEPS, mode="update"),
    scenario("percentile", by_key("percentile(v, 0.5) AS p, median(v) AS m"), STEPS, mode="update"),
    scenario("aggregate-filter", by_key("count(*) FILTER (WHERE v > 1) AS n, sum(v) FILTER (WHERE v < 0) AS s"), STEPS, mode="update"),
    scenario("expression-over-aggregates", by_key("sum(v) / count(*) + 1 AS x, upper(k) AS u"), STEPS, mode="update"),
    scenario("having-update", by_key("sum(v) AS s", " HAVING sum(v) > 2"), STEPS, mode="update"),
    scenario("having-complete", by_key("sum(v) AS s", " HAVING count(*) > 1"), STEPS, mode="complete"),
    scenario("several-keys", "SELECT k, v % 2 AS odd, count(*) AS n FROM STREAM e GROUP BY k, v % 2", STEPS, mode="update"),
    scenario("key-expression", "SELECT length(k) AS n_k, count(*) AS n FROM STREAM e GROUP BY length(k)", STEPS, mode="complete"),
    scenario("struct-key", "SELECT s.k, s.v, count(*) AS n FROM (SELECT struct(k, v) AS s FROM STREAM e) GROUP BY s", STEPS, mode="update"),
    scenario("negative-zero-and-nan-keys",
             "SELECT d, count(*) AS n FROM (SELECT CAST(k AS DOUBLE) AS d FROM STREAM e) GROUP BY d", mode="update",
             steps=[e((1, "0.0", 1), (2, "-0.0", 1)), e((3, "NaN", 1)), e((4, "NaN", 1), (5, "-0.0", 1))]),
    scenario("no-aggregate-function", "SELECT k FROM STREAM e GROUP BY k", STEPS, mode="update"),
    scenario("global-update", "SELECT count(*) AS n, sum(v) AS s FROM STREAM e", STEPS, mode="update"),
    scenario("global-complete", "SELECT count(*) AS n, sum(v) AS s, max(k) AS k FROM STREAM e", STEPS, mode="complete"),
    scenario("global-empty-first-update", "SELECT count(*) AS n, sum(v) AS s FROM STREAM e", [e(), e((1, "a", 1)), e()], mode="update"),
    scenario("global-empty-first-complete", "SELECT count(*) AS n, sum(v) AS s FROM STREAM e", [e(), e(), e((1, "a", 1)), e()], mode="complete"),
    scenario("global-nothing-first", "SELECT count(*) AS n FROM STREAM e", [{}, e((1, "a", 1)), {}], mode="complete"),
    scenario("global-all-filtered", "SELECT count(*) AS n FROM STREAM e WHERE v > 100", [e((1, "a", 1)), e((1, "a", 101))], mode="update"),
    # The empty set alone is no key; one of several is.
    *[scenario(f"{name}-empty-first-{mode}", f"SELECT count(*) AS n, sum(v) AS s, grouping_id() AS g FROM STREAM e GROUP BY {text}",
               [e(), e((1, "a", 1)), e()], mode=mode)
      for name, text in (("empty-set", "GROUPING SETS (())"), ("empty-sets", "GROUPING SETS ((), ())")) for mode in ("update", "complete")],
    scenario("keyed-empty-first", by_key("count(*) AS n"), [e(), e((1, "a", 1)), e()], mode="complete"),
    scenario("distinct-update", "SELECT DISTINCT k FROM STREAM e", STEPS, mode="update"),
    scenario("distinct-complete", "SELECT DISTINCT k, v % 2 AS odd FROM STREAM e", STEPS, mode="complete"),
    scenario("distinct-with-event-time-append", f"SELECT DISTINCT ts, k FROM {wm()}", [
        e((5, "a", 1), (5, "a", 2), (6, "b", 1)), e((5, "a", 3), (15, "c", 1)), e((5, "a", 4), (6, "b", 4)), e((40, "d", 1)),
    ]),
    scenario("group-by-all-columns-order", "SELECT count(*) AS n, k FROM STREAM e GROUP BY ALL", STEPS, mode="update"),
    *[scenario(f"{name}-{mode}", f"SELECT k, v, count(*) AS n, sum(v) AS s, grouping_id() AS g FROM STREAM e GROUP BY {text}", STEPS, mode=mode)
      for name, text in (("rollup", "ROLLUP (k, v)"), ("cube", "CUBE (k, v)"), ("grouping-sets", "GROUPING SETS ((k), (v), ())"))
      for mode in ("update", "complete")],
    scenario("rollup-of-window-append", f"SELECT window.start AS s, k, count(*) AS n FROM {wm()} GROUP BY window(ts, '10 seconds'), ROLLUP (k)", VALUES),
    scenario("window-many-functions-append", window_of("count(*) AS n, sum(v) AS s, avg(v) AS a, min(v) AS lo, max(k) AS hi, stddev(v) AS d"), VALUES),
    scenario("window-many-functions-update", window_of("count(*) AS n, sum(v) AS s, avg(v) AS a, min(v) AS lo, max(k) AS hi, stddev(v) AS d"), VALUES,
             mode="update"),
    scenario("window-collect-append", window_of("sort_array(collect_list(v)) AS l, approx_count_distinct(k) AS n, first(v) AS f, last(v) AS la"), VALUES),
    scenario("window-collect-sliding", f"SELECT window.start AS s, sort_array(collect_list(v)) AS l FROM {wm()} GROUP BY window(ts, '10 seconds', '5 seconds')", VALUES),
    scenario("dataframe-group-count", [["table", "e"], ["group_by", ["k"], "count"]], STEPS, mode="complete"),
    scenario("dataframe-group-functions", [["table", "e"], ["group_by", ["k"], "sum", "v"]], STEPS, mode="update"),
    scenario("dataframe-distinct", [["table", "e"], ["select", "k"], ["distinct"]], STEPS, mode="append"),
    # A set without the window has no event time: none of its rows is late, and its groups are never final.
    *[scenario(f"{name}-with-late-rows-{mode}", f"SELECT window.start AS s, k, count(*) AS n, sum(v) AS v, grouping_id() AS g FROM {wm()} GROUP BY {text}",
               LATE, mode=mode, **({"late": {2: 2}} if mode != "complete" else {}))
      for name, text in (("rollup-over-window", "ROLLUP (window(ts, '10 seconds'), k)"),
                         ("sets-over-sliding-window", "GROUPING SETS ((window(ts, '10 seconds', '5 seconds'), k), (k), ())"))
      for mode in ("update", "append", "complete")],
    *[scenario(f"union-distinct-{mode}", "SELECT k, v FROM STREAM e UNION SELECT k, v + 1 FROM STREAM e", STEPS, mode=mode) for mode in ("update", "complete")],
    scenario("union-distinct-with-event-time-append", f"SELECT ts, k FROM {wm()} UNION SELECT ts, upper(k) FROM {wm()}", [
        e((5, "a", 1), (5, "a", 2), (6, "B", 1)), e((5, "A", 3), (15, "c", 1)), e((40, "d", 1)),
    ]),
    scenario("overflow-of-a-sum", "SELECT k, sum(v) AS s FROM STREAM e GROUP BY k", sources={"e": "ts TIMESTAMP, k STRING, v BIGINT"}, mode="update",
             steps=[e((1, "a", 9223372036854775807)), e((2, "b", 1)), e((3, "a", 1))]),
]
