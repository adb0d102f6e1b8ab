"""LIMIT in append mode; sort, limit and top-k of an aggregation in complete mode."""

from scenario import e, scenario, wm

STEPS = [e((1, "a", 1), (2, "b", 2), (3, "c", 3)), e((4, "a", 4)), {}, e((5, "b", 5), (6, "b", 6), (7, "d", 7)), e((8, "e", 8))]
TOP = "SELECT k, count(*) AS n, sum(v) AS s FROM STREAM e GROUP BY k"

CASES = [
    scenario("append-across-batches", "SELECT k, v FROM STREAM e LIMIT 5", STEPS),
    scenario("append-in-first-batch", "SELECT k, v FROM STREAM e LIMIT 3", STEPS),
    scenario("append-of-many", "SELECT k, v FROM STREAM e LIMIT 100", STEPS),
    scenario("append-zero", "SELECT k, v FROM STREAM e LIMIT 0", STEPS),
    scenario("append-after-filter", "SELECT k, v FROM STREAM e WHERE v % 2 = 0 LIMIT 3", STEPS),
    scenario("append-dataframe", [["table", "e"], ["limit", 4], ["select", "k"]], STEPS),
    scenario("append-of-distinct", [["table", "e"], ["drop_duplicates", "k"], ["limit", 4], ["select", "k"]], STEPS),
    scenario("filter-after-limit", [["table", "e"], ["limit", 4], ["filter", "v > 2"]], STEPS),
    scenario("two-limits", [["table", "e"], ["limit", 6], ["filter", "v > 1"], ["limit", 3]], STEPS),
    scenario("complete-sort", TOP + " ORDER BY n DESC, k", STEPS, mode="complete", ordered=True),
    scenario("complete-sort-nulls", TOP + " ORDER BY k DESC NULLS FIRST", STEPS + [e((9, None, 1))], mode="complete", ordered=True),
    scenario("complete-sort-limit", TOP + " ORDER BY s DESC, k LIMIT 2", STEPS, mode="complete", ordered=True),
    scenario("complete-limit-alone", TOP + " LIMIT 10", STEPS, mode="complete"),
    scenario("complete-sort-of-window", f"SELECT window.start AS w, count(*) AS n FROM {wm()} GROUP BY window(ts, '2 seconds') ORDER BY n DESC, w LIMIT 2", STEPS,
             mode="complete", ordered=True),
    scenario("complete-sort-dataframe", [["table", "e"], ["group_by", ["k"], "count"], ["order_by", "count DESC", "k"], ["limit", 2]], STEPS,
             mode="complete", ordered=True),
    scenario("complete-offset", TOP + " ORDER BY k LIMIT 2 OFFSET 1", STEPS, mode="complete", names="offset"),
]
