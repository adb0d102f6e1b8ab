"""Several stateful operators in one query: append mode, but for an inner join below an aggregation, which may update."""

from scenario import SIDES, e, file, scenario, wm

STEPS = [
    e((1, "a", 1), (4, "b", 2), (6, "a", 3)), e((12, "a", 4), (3, "c", 5)), e((30, "b", 6)), e((45, "a", 7), (9, "late", 8)), e((200, "z", 9)), e((400, "z", 9)), {},
]
INNER = f"SELECT window(ts, '5 seconds') AS w, k, count(*) AS n FROM {wm()} GROUP BY window(ts, '5 seconds'), k"
SIDE_STEPS = [
    {"l": file((1, "a", 1), (4, "b", 2)), "r": file((2, "a", 10), (6, "b", 20))},
    {"l": file((12, "a", 3)), "r": file((13, "a", 30), (3, "b", 40))},
    {"l": file((60, "c", 4)), "r": file((60, "c", 50))},
    {"l": file((120, "c", 4)), "r": file((120, "x", 50))},
    {"l": file((300, "d", 5)), "r": file((300, "d", 60))},
    {"l": file((600, "d", 5)), "r": file((600, "d", 60))},
    {},
]
L = "STREAM l WATERMARK lt DELAY OF INTERVAL 10 SECONDS AS l"
R = "STREAM r WATERMARK rt DELAY OF INTERVAL 10 SECONDS AS r"
RANGE = "lk = rk AND rt >= lt - INTERVAL 5 SECONDS AND rt <= lt + INTERVAL 5 SECONDS"


def sides(id, program, steps=SIDE_STEPS, **more):
    return scenario(id, program, steps, sources=SIDES, restart_as_live=True, **more)


CASES = [
    scenario("window-time", f"SELECT window_time(window) AS t, n FROM (SELECT window, count(*) AS n FROM {wm()} GROUP BY window(ts, '5 seconds'))", STEPS),
    scenario("window-of-window", f"SELECT window.start AS s, sum(n) AS n, count(*) AS keys FROM ({INNER}) GROUP BY window(w, '10 seconds')", STEPS),
    scenario("window-of-window-time", f"SELECT window.start AS s, sum(n) AS n FROM ({INNER}) GROUP BY window(window_time(w), '10 seconds')", STEPS),
    scenario("window-of-window-sliding", f"SELECT window.start AS s, sum(n) AS n FROM ({INNER}) GROUP BY window(w, '15 seconds', '5 seconds')", STEPS),
    scenario("window-of-session", f"""SELECT window.start AS s, count(*) AS sessions, sum(n) AS n FROM (
        SELECT session_window AS w, k, count(*) AS n FROM {wm()} GROUP BY session_window(ts, '5 seconds'), k) GROUP BY window(w, '20 seconds')""", STEPS),
    scenario("session-of-window", f"SELECT session_window.start AS s, session_window.end AS e, k, sum(n) AS n FROM ({INNER}) GROUP BY session_window(w, '5 seconds'), k", STEPS),
    scenario("three-levels", f"""SELECT window.start AS s, max(n) AS n FROM (
        SELECT window AS w2, sum(n) AS n FROM ({INNER}) GROUP BY window(w, '10 seconds')) GROUP BY window(w2, '1 minute')""", STEPS),
    scenario("same-window-again", f"SELECT w.start AS s, count(*) AS keys, max(n) AS hi FROM ({INNER}) GROUP BY w", STEPS),
    scenario("dataframe", [
        ["table", "e"], ["with_watermark", "ts", "10 seconds"], ["group_by", ["window(ts, '5 seconds')", "k"], "agg", "count(*) AS n"],
        ["group_by", ["window(window, '10 seconds')"], "agg", "sum(n) AS n"], ["select_expr", "window.end AS e", "n"],
    ], STEPS),
    scenario("dedup-then-window", [["table", "e"], ["with_watermark", "ts", "10 seconds"], ["drop_duplicates", "k", "ts"],
                                   ["group_by", ["window(ts, '5 seconds')"], "agg", "count(*) AS n"], ["select_expr", "window.start AS s", "n"]],
             [e((1, "a", 1), (1, "a", 2)), e((1, "a", 3), (2, "a", 4)), e((30, "b", 5)), e((2, "a", 6), (60, "c", 7)), e((100, "d", 8))]),
    scenario("dedup-within-then-window", [["table", "e"], ["with_watermark", "ts", "10 seconds"], ["drop_duplicates_within_watermark", "k"],
                                          ["group_by", ["window(ts, '5 seconds')"], "agg", "count(*) AS n"], ["select_expr", "window.start AS s", "n"]],
             [e((1, "a", 1), (3, "a", 2)), e((4, "a", 3), (2, "b", 4)), e((30, "b", 5)), e((31, "a", 6), (60, "c", 7)), e((100, "d", 8))]),
    scenario("window-then-dedup", [["sql", INNER], ["select_expr", "w", "n"], ["drop_duplicates", "w"]], STEPS),
    scenario("window-then-limit", f"SELECT * FROM (SELECT window.start AS s, count(*) AS n FROM {wm()} GROUP BY window(ts, '5 seconds')) LIMIT 2", [
        e((1, "a", 1)), e((30, "b", 1)), e((60, "b", 1)), e((90, "b", 1)),
    ]),
    sides("join-then-window", f"SELECT window.start AS s, count(*) AS n, sum(lv + rv) AS v FROM {L} JOIN {R} ON {RANGE} GROUP BY window(lt, '10 seconds')"),
    sides("join-then-window-of-the-right", f"SELECT window.start AS s, count(*) AS n FROM {L} JOIN {R} ON {RANGE} GROUP BY window(rt, '10 seconds')"),
    sides("left-join-then-window", f"SELECT window.start AS s, count(*) AS n, count(rv) AS m FROM {L} LEFT JOIN {R} ON {RANGE} GROUP BY window(lt, '10 seconds')"),
    sides("full-join-then-window", f"SELECT window.start AS s, count(*) AS n, count(rv) AS m FROM {L} FULL JOIN {R} ON {RANGE} GROUP BY window(lt, '10 seconds')"),
    sides("join-then-window-update", f"SELECT window.start AS s, count(*) AS n FROM {L} JOIN {R} ON {RANGE} GROUP BY window(lt, '10 seconds')", mode="update"),
    sides("join-then-aggregate-update", f"SELECT lk, count(*) AS n FROM {L} JOIN {R} ON {RANGE} GROUP BY lk", mode="update"),
    sides("join-then-dedup", [["sql", f"SELECT lt, lk, lv FROM {L} JOIN {R} ON {RANGE}"], ["drop_duplicates", "lk", "lt"]]),
    sides("join-of-windows-counts", f"""SELECT lw.start AS s, ln, rn FROM
        (SELECT window AS lw, count(*) AS ln FROM {L} GROUP BY window(lt, '10 seconds')) JOIN
        (SELECT window AS rw, count(*) AS rn FROM {R} GROUP BY window(rt, '10 seconds')) ON lw = rw"""),
    sides("left-join-of-windows-counts", f"""SELECT lw.start AS s, ln, rn FROM
        (SELECT window AS lw, count(*) AS ln FROM {L} GROUP BY window(lt, '10 seconds')) LEFT JOIN
        (SELECT window AS rw, count(*) AS rn FROM {R} GROUP BY window(rt, '10 seconds')) ON lw = rw"""),
    sides("window-join-then-window", f"""SELECT window.start AS s, count(*) AS n FROM
        (SELECT window(lt, '5 seconds') AS lw, lk FROM {L}) JOIN (SELECT window(rt, '5 seconds') AS rw, rk FROM {R}) ON lw = rw AND lk = rk
        GROUP BY window(lw, '10 seconds')"""),
]
