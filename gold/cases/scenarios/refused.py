"""What Spark refuses. `beyond`: Millstream answers it on purpose (with `instead`, a program that Spark accepts and that has
the same rows); the others are refused by both, and `names` is what the refusal must speak of."""

from scenario import SIDES, e, file, scenario, wm

STEPS = [e((1, "a", 1), (2, "b", 2), (3, "a", 1)), e((14, "a", 4)), e((60, "b", 5)), {}]
L = "STREAM l WATERMARK lt DELAY OF INTERVAL 10 SECONDS AS l"
R = "STREAM r WATERMARK rt DELAY OF INTERVAL 10 SECONDS AS r"
RANGE = "lk = rk AND rt >= lt AND rt <= lt + INTERVAL 5 SECONDS"
SIDE_STEPS = [{"l": file((1, "a", 1), (2, "b", 2)), "r": file((3, "a", 10))}, {"l": file((60, "c", 3)), "r": file((60, "x", 20))},
              {"l": file((120, "d", 3)), "r": file((120, "x", 20))}, {}]
WINDOW = f"SELECT window AS w, k, count(*) AS n FROM {wm()} GROUP BY window(ts, '5 seconds'), k"
SESSION = f"SELECT session_window.start AS s, k, count(*) AS n FROM {wm()} GROUP BY session_window(ts, '5 seconds'), k"
TABLES = {"names": "SELECT * FROM VALUES ('a', 'Anna') AS names(nk, name)"}


def refused(id, program, names, mode="append", **more):
    steps = SIDE_STEPS if more.get("sources") is SIDES else STEPS
    return scenario(id, program, steps, mode=mode, names=names, **more)


def beyond(id, program, why, mode="append", **more):
    steps = SIDE_STEPS if more.get("sources") else STEPS
    if "instead" in more:
        more["restart_as_live"] = True
    return scenario(id, program, steps, mode=mode, beyond=why, **more)


CASES = [
    refused("project-complete", "SELECT k FROM STREAM e", "complete", mode="complete"),
    refused("aggregate-append-without-watermark", "SELECT k, count(*) AS n FROM STREAM e GROUP BY k", "watermark"),
    refused("window-append-without-watermark", "SELECT window, count(*) AS n FROM STREAM e GROUP BY window(ts, '5 seconds')", "watermark"),
    refused("aggregate-append-watermark-not-in-key", f"SELECT k, count(*) AS n FROM {wm()} GROUP BY k", "watermark"),
    refused("global-append", "SELECT count(*) AS n FROM STREAM e", "watermark"),
    refused("distinct-append", "SELECT DISTINCT k FROM STREAM e", "watermark"),
    refused("sort-append", "SELECT k FROM STREAM e ORDER BY k", "sort"),
    refused("sort-update-after-aggregate", "SELECT k, count(*) AS n FROM STREAM e GROUP BY k ORDER BY k", "sort", mode="update"),
    refused("limit-update", "SELECT k FROM STREAM e LIMIT 2", "limit", mode="update"),
    refused("offset-append", "SELECT k FROM STREAM e LIMIT 2 OFFSET 1", "offset"),
    refused("window-function", "SELECT k, row_number() OVER (PARTITION BY k ORDER BY ts) AS n FROM STREAM e", "window function"),
    refused("except-stream", "SELECT nk FROM names EXCEPT SELECT k FROM STREAM e", "EXCEPT", tables=TABLES),
    refused("intersect-streams", "SELECT lk FROM STREAM l INTERSECT SELECT rk FROM STREAM r", "INTERSECT", sources=SIDES),
    refused("union-with-finished", "SELECT k FROM STREAM e UNION ALL SELECT nk FROM names", "UNION", tables=TABLES),
    refused("union-of-finished-with-stream", [["table", "names"], ["union", [["sql", "SELECT k, k AS name FROM STREAM e"]]]], "UNION", tables=TABLES),
    refused("union-distinct-with-finished", "SELECT nk FROM names UNION SELECT k FROM STREAM e", "UNION", mode="update", tables=TABLES),
    refused("union-by-name-with-finished", [["table", "e"], ["union_by_name", [["sql", "SELECT nk AS k FROM names"]], True]], "UNION", tables=TABLES),
    refused("join-without-equality", f"SELECT lk, rk FROM {L} JOIN {R} ON lt < rt", "equal", sources=SIDES),
    refused("left-join-without-watermark", "SELECT lk, rk FROM STREAM l LEFT JOIN STREAM r ON lk = rk", "watermark", sources=SIDES),
    refused("left-join-without-range", f"SELECT lk, rk FROM {L} LEFT JOIN {R} ON lk = rk", "range", sources=SIDES),
    refused("full-join-without-watermark", "SELECT lk, rk FROM STREAM l FULL JOIN STREAM r ON lk = rk", "watermark", sources=SIDES),
    refused("semi-join-without-watermark", "SELECT lk FROM STREAM l LEFT SEMI JOIN STREAM r ON lk = rk", "watermark", sources=SIDES),
    refused("static-left-outer", "SELECT k, name FROM names LEFT JOIN STREAM e ON k = nk", "left outer join", tables=TABLES),
    refused("static-full-outer", "SELECT k, name FROM STREAM e FULL JOIN names ON k = nk", "full outer join", tables=TABLES),
    refused("static-right-outer", "SELECT k, name FROM STREAM e RIGHT JOIN names ON k = nk", "right outer join", tables=TABLES),
    refused("dedup-complete", [["table", "e"], ["drop_duplicates", "k"]], "complete", mode="complete"),
    refused("dedup-within-without-watermark", [["table", "e"], ["drop_duplicates_within_watermark", "k"]], "watermark"),
    refused("watermark-of-text", "SELECT k FROM STREAM e WATERMARK k DELAY OF INTERVAL 10 SECONDS", "timestamp"),
    refused("watermark-of-timestamp-ntz", f"SELECT window, count(*) AS n FROM {wm()} GROUP BY window(ts, '10 seconds')", "timestamp",
            sources={"e": "ts TIMESTAMP_NTZ, k STRING, v INT"}),
    refused("watermark-negative-delay", [["table", "e"], ["with_watermark", "ts", "-10 seconds"]], "delay"),
    refused("watermark-of-unknown-column", [["table", "e"], ["with_watermark", "nope", "10 seconds"]], "nope"),
    refused("window-of-months", f"SELECT count(*) AS n FROM {wm()} GROUP BY window(ts, '1 month')", "month"),
    refused("slide-longer-than-window", f"SELECT count(*) AS n FROM {wm()} GROUP BY window(ts, '5 seconds', '10 seconds')", "slide"),
    refused("window-of-a-number", "SELECT count(*) AS n FROM STREAM e GROUP BY window(v, '5 seconds')", "timestamp", mode="update"),
    refused("in-subquery-of-stream", "SELECT k FROM STREAM e WHERE k IN (SELECT k FROM STREAM e)", "subquery"),
    refused("scalar-subquery-of-stream", "SELECT k, (SELECT max(v) FROM STREAM e) AS m FROM STREAM e", "subquery"),
    beyond("distinct-aggregate-update", "SELECT k, count(DISTINCT v) AS n FROM STREAM e GROUP BY k", "a counted multiset", mode="update",
           instead="SELECT k, CAST(size(collect_set(v)) AS BIGINT) AS n FROM STREAM e GROUP BY k"),
    beyond("distinct-aggregate-window-append", f"SELECT window, count(DISTINCT k) AS n FROM {wm()} GROUP BY window(ts, '5 seconds')", "a counted multiset",
           instead=f"SELECT window, CAST(size(collect_set(k)) AS BIGINT) AS n FROM {wm()} GROUP BY window(ts, '5 seconds')"),
    beyond("session-without-key-append", f"SELECT session_window.start AS s, count(*) AS n FROM {wm()} GROUP BY session_window(ts, '5 seconds')", "no key is one key",
           instead=f"SELECT s, n FROM (SELECT session_window.start AS s, x, count(*) AS n FROM (SELECT ts, 1 AS x FROM {wm()}) GROUP BY session_window(ts, '5 seconds'), x)"),
    beyond("session-update", SESSION, "a merged session retracts its parts", mode="update"),
    beyond("chain-update", f"SELECT window.start AS s, sum(n) AS n FROM ({WINDOW}) GROUP BY window(w, '10 seconds')", "changes between operators", mode="update"),
    beyond("chain-complete", f"SELECT window.start AS s, sum(n) AS n FROM ({WINDOW}) GROUP BY window(w, '10 seconds')", "changes between operators", mode="complete"),
    beyond("aggregate-of-aggregate-update", "SELECT n, count(*) AS keys FROM (SELECT k, count(*) AS n FROM STREAM e GROUP BY k) GROUP BY n", "changes between operators",
           mode="update"),
    beyond("left-join-update", f"SELECT lk, lv, rv FROM {L} LEFT JOIN {R} ON {RANGE}", "changes", mode="update", sources=SIDES),
    beyond("left-anti-join", f"SELECT lk, lv FROM {L} LEFT ANTI JOIN {R} ON {RANGE}", "left rows whose time has passed", sources=SIDES,
           instead=f"SELECT lk, lv FROM {L} LEFT JOIN {R} ON {RANGE} WHERE rk IS NULL"),
    beyond("left-join-then-aggregate-update", f"SELECT lk, count(rk) AS n FROM {L} LEFT JOIN {R} ON {RANGE} GROUP BY lk", "changes", mode="update", sources=SIDES),
    beyond("join-then-aggregate-complete", f"SELECT lk, count(*) AS n FROM {L} JOIN {R} ON {RANGE} GROUP BY lk", "changes", mode="complete", sources=SIDES),
    beyond("dedup-then-aggregate-update", [["table", "e"], ["drop_duplicates", "k", "v"], ["group_by", ["k"], "count"]], "changes between operators", mode="update"),
    beyond("two-windows-append", f"SELECT window(ts, '5 seconds').start AS a, window(ts, '20 seconds').start AS b, k, count(*) AS n FROM {wm()} "
           "GROUP BY window(ts, '5 seconds'), window(ts, '20 seconds'), k", "final when the first window is",
           instead=f"SELECT window.start AS a, b, k, count(*) AS n FROM (SELECT ts, k, timestamp_seconds(unix_seconds(ts) DIV 20 * 20) AS b FROM {wm()}) "
           "GROUP BY window(ts, '5 seconds'), b, k"),
    beyond("session-beside-window-append", f"SELECT window(ts, '20 seconds').start AS w, session_window.start AS s, count(*) AS n FROM {wm()} "
           "GROUP BY window(ts, '20 seconds'), session_window(ts, '9 seconds')", "each window has its own sessions",
           instead="SELECT w, session_window.start AS s, count(*) AS n FROM "
           f"(SELECT ts, timestamp_seconds(unix_seconds(ts) DIV 20 * 20) AS w FROM {wm()}) GROUP BY w, session_window(ts, '9 seconds')"),
    *[beyond(f"session-beside-sliding-window-{mode}", "SELECT window(ts, '20 seconds', '10 seconds').start AS w, session_window.start AS s, session_window.end AS e, k, count(*) AS n "
             f"FROM {wm()} GROUP BY window(ts, '20 seconds', '10 seconds'), session_window(ts, '9 seconds'), k", "each window has its own sessions", mode=mode,
             instead="SELECT w, session_window.start AS s, session_window.end AS e, k, count(*) AS n FROM (SELECT ts, k, explode(array(at, at - INTERVAL 10 SECONDS)) AS w FROM "
             f"(SELECT ts, k, timestamp_seconds(unix_seconds(ts) DIV 10 * 10) AS at FROM {wm()})) GROUP BY w, session_window(ts, '9 seconds'), k")
      for mode in ("append", "complete")],
    beyond("two-windows", f"SELECT window(ts, '5 seconds').start AS a, window(ts, '7 seconds').start AS b, count(*) AS n FROM {wm()} "
           "GROUP BY window(ts, '5 seconds'), window(ts, '7 seconds')", "several windows in one query", mode="update"),
]
