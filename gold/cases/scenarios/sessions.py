"""Session windows: touching, bridging, dynamic gaps, expiry."""

from scenario import e, scenario, wm


def sessions(gap="'5 seconds'", what="count(*) AS n, sum(v) AS v", delay="10 SECONDS", where=""):
    return f"SELECT session_window.start AS s, session_window.end AS e, k, {what} FROM {wm(delay)} {where} GROUP BY session_window(ts, {gap}), k"


BASIC = [e((1, "a", 1), (3, "a", 2), (10, "a", 3), (2, "b", 4)), e((6, "a", 5)), e((30, "c", 6)), e((60, "a", 7)), {}]
DYNAMIC = "CASE WHEN v < 10 THEN '5 seconds' WHEN v < 20 THEN '20 seconds' ELSE '0 seconds' END"

CASES = [
    scenario("append", sessions(), BASIC),
    scenario("complete", sessions(), BASIC, mode="complete"),
    scenario("whole-struct", f"SELECT session_window, k, count(*) AS n FROM {wm()} GROUP BY session_window(ts, '5 seconds'), k", BASIC),
    # [1, 6) and [6, 11) touch: one session. 11.000001 would not.
    scenario("touching-in-one-batch", sessions(), [e((1, "a", 1), (6, "a", 2), (1, "b", 1), (6.000001, "b", 2)), e((60, "x", 1)), e((120, "y", 1))]),
    scenario("touching-across-batches", sessions(), [e((1, "a", 1), (1, "b", 1)), e((6, "a", 2), (6.000001, "b", 2)), e((60, "x", 1)), e((120, "y", 1))]),
    scenario("touching-from-before", sessions(), [e((6, "a", 1)), e((1, "a", 2)), e((60, "x", 1))]),
    scenario("bridging", sessions(), [e((1, "a", 1), (9, "a", 2)), e((5, "a", 3)), e((60, "x", 1)), e((120, "y", 1))]),
    scenario("bridging-three", sessions(), [e((1, "a", 1), (9, "a", 2), (17, "a", 3)), e((13, "a", 4), (5, "a", 5)), e((60, "x", 1))]),
    scenario("bridging-complete", sessions(), [e((1, "a", 1), (9, "a", 2)), e((5, "a", 3)), e((60, "x", 1))], mode="complete"),
    scenario("one-row-each", sessions(), [e((1, "a", 1)), e((20, "a", 2)), e((40, "a", 3)), e((60, "a", 4))]),
    scenario("same-instant", sessions(), [e((1, "a", 1), (1, "a", 2)), e((1, "a", 3)), e((30, "b", 4))]),
    scenario("disorder-in-a-batch", sessions(), [e((9, "a", 1), (1, "a", 2), (5, "a", 3), (30, "a", 4), (26, "a", 5)), e((100, "b", 6))]),
    scenario("end-equals-watermark", sessions(), [e((1, "a", 1)), e((16, "b", 1)), e((5, "a", 2)), e((40, "c", 1))]),
    scenario("end-one-millisecond-after-watermark", sessions(), [e((1, "a", 1)), e((15.999, "b", 1)), e((5, "a", 2)), e((40, "c", 1))]),
    scenario("late-row-that-would-join-an-open-session", sessions(), [
        e((30, "a", 1)), e((25, "a", 2), (14, "a", 3), (10, "a", 4), (16, "a", 5)), e((100, "b", 1)),
    ]),
    scenario("late-rows", sessions(), [e((100, "a", 1)), e((1, "a", 2), (2, "a", 3), (84.9, "b", 4), (85, "b", 5), (85.001, "c", 6)), e((200, "z", 1))]),
    scenario("late-rows-complete", sessions(), [e((100, "a", 1)), e((1, "a", 2), (2, "a", 3)), e((200, "z", 1))], mode="complete"),
    # Complete mode runs no batch without data: what is late is known one batch later.
    scenario("late-rows-complete-next-batch", sessions(), [e((100, "a", 1)), e((101, "b", 1)), e((1, "a", 2), (2, "a", 3), (95, "c", 4))], mode="complete"),
    scenario("dynamic-gap", sessions(DYNAMIC), [
        e((1, "a", 1), (5, "a", 11), (24, "a", 2), (24, "b", 2)), e((30, "a", 3), (31, "b", 12)), e((35, "b", 4), (29, "a", 5)), e((100, "z", 1)), e((200, "z", 1)),
    ]),
    # A later row with a short gap inside a long one does not shorten the session.
    scenario("dynamic-gap-short-inside-long", sessions(DYNAMIC), [e((1, "a", 11), (2, "a", 1)), e((20, "a", 2)), e((60, "z", 1))]),
    scenario("gap-zero-is-dropped", sessions(DYNAMIC), [e((1, "a", 25), (2, "a", 1)), e((3, "b", 30)), e((60, "z", 1)), e((120, "z", 21))]),
    scenario("gap-negative-is-dropped", sessions("CASE WHEN v < 0 THEN '-3 seconds' ELSE '5 seconds' END"), [e((1, "a", -1), (2, "a", 1)), e((60, "z", 1))]),
    scenario("gap-null", sessions("CASE WHEN v < 0 THEN CAST(NULL AS STRING) ELSE '5 seconds' END"), [e((1, "a", -1), (2, "a", 1)), e((60, "z", 1))]),
    scenario("null-times", sessions(), [e((1, "a", 1), (None, "a", 2)), e((None, "b", 3)), e((60, "z", 1))]),
    scenario("null-keys", sessions(), [e((1, None, 1), (2, "a", 2)), e((5, None, 3)), e((60, None, 4))]),
    scenario("empty-first", sessions(), [e(), {}, e((1, "a", 1)), e(), e((60, "b", 1))]),
    scenario("aggregates", sessions(what="avg(v) AS a, min(v) AS lo, max(ts) AS hi, sort_array(collect_list(v)) AS l, first(v) AS f, last(v) AS la, approx_count_distinct(v) AS d"),
             [e((1, "a", 1), (4, "a", 2), (2, "b", 4)), e((8, "a", 5), (3, "b", None)), e((60, "c", 6))]),
    scenario("having", sessions() + " HAVING count(*) > 1", BASIC),
    scenario("two-keys", f"SELECT session_window.end AS e, k, v, count(*) AS n FROM {wm()} GROUP BY session_window(ts, '5 seconds'), k, v",
             [e((1, "a", 1), (3, "a", 2), (3, "a", 1)), e((5, "a", 2)), e((60, "z", 1))]),
    scenario("before-the-epoch-complete", sessions(), [
        e(("1969-12-31 23:59:57", "a", 1), ("1970-01-01 00:00:01", "a", 2)), e(("1969-12-31 23:59:53", "a", 1)),
    ], mode="complete"),
    scenario("milliseconds", sessions("'5 milliseconds'", delay="10 MILLISECONDS"), [
        e((0.001, "a", 1), (0.006, "a", 2), (0.0110001, "a", 3)), e((0.0261, "b", 1)), e((0.1, "c", 1)),
    ]),
    scenario("dataframe", [
        ["table", "e"], ["with_watermark", "ts", "10 seconds"], ["group_by", ["session_window(ts, '5 seconds')", "k"], "agg", "count(*) AS n"],
    ], BASIC),
    scenario("session-without-watermark-complete", "SELECT session_window.start AS s, k, count(*) AS n FROM STREAM e GROUP BY session_window(ts, '5 seconds'), k",
             BASIC, mode="complete"),
    *[scenario(f"grouping-sets-{mode}", f"SELECT session_window.start AS s, session_window.end AS e, k, count(*) AS n, sum(v) AS v, grouping_id() AS g FROM {wm()} "
               "GROUP BY GROUPING SETS ((session_window(ts, '5 seconds'), k), (session_window(ts, '5 seconds')))",
               [e((1, "a", 1), (4, "b", 2), (8, "a", 3)), e((12, "a", 5), (30, "c", 6)), e((9, "a", 100), (26, "b", 7)), e((60, "a", 7)), e((90, "a", 8))],
               mode=mode, **({"late": {4: 1}} if mode == "append" else {}))
      for mode in ("append", "complete")],
    scenario("gap-of-minutes", sessions("'2 minutes'", delay="1 MINUTE"), [e((1, "a", 1), (100, "a", 2)), e((60, "b", 1)), e((400, "c", 1)), e((900, "d", 1))]),
]
