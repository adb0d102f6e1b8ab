"""Joins of two streams: kinds, time ranges, window equality, nulls, and when state expires.

Spark forgets the sources' own watermarks at a restart: ours must do after restarts what its one query does.
"""

from scenario import SIDES, file, scenario

WM_L = "STREAM l WATERMARK lt DELAY OF INTERVAL 10 SECONDS AS l"
WM_R = "STREAM r WATERMARK rt DELAY OF INTERVAL 20 SECONDS AS r"
# The right row comes within 5 s before to 10 s after the left row.
RANGE = "lk = rk AND rt >= lt - INTERVAL 5 SECONDS AND rt <= lt + INTERVAL 10 SECONDS"
COLUMNS = "lt, lk, lv, rt, rk, rv"


def s(left=None, right=None):
    """A step: the rows of both sides; None is no file."""
    return {name: file(*rows) for name, rows in (("l", left), ("r", right)) if rows is not None}


# Rows without a key are never the newest of their file: where Spark infers IS NOT NULL, it filters below the watermark.
STEPS = [
    s([(10, "a", 1), (12, "b", 2), (11, None, 3)], [(11, "a", 10), (30, "b", 20)]),
    s([(20, "c", 4)], [(22, None, 30), (26, "c", 40), (12, "a", 50)]),
    s([(100, "d", 5)], []),
    s([], [(100, "d", 60), (95, "d", 70), (94.999, "d", 80)]),
    s([(200, "e", 6)], [(210, "e", 90)]),
    s([(300, "x", 7)], [(300, "y", 100)]),
    s(),
]


def join(kind, on=RANGE, columns=COLUMNS, left=WM_L, right=WM_R):
    return f"SELECT {columns} FROM {left} {kind} JOIN {right} ON {on}"


KINDS = ["inner", "left", "right", "full"]
# Without the times themselves: a window beside its time is refused (MULTIPLE_EVENT_TIME_COLUMNS).
WINDOWS = ("(SELECT window(lt, '10 seconds') AS lw, lk, lv FROM STREAM l WATERMARK lt DELAY OF INTERVAL 10 SECONDS AS l)",
           "(SELECT window(rt, '10 seconds') AS rw, rk, rv FROM STREAM r WATERMARK rt DELAY OF INTERVAL 20 SECONDS AS r)")
BY_WINDOW = [
    s([(5, "a", 1), (7, "b", 2)], [(6, "a", 10), (12, "b", 20)]),
    s([(11, "b", 3), (9, "a", 4)], [(9.999999, "a", 30)]),
    s([(60, "c", 5)], [(60, "d", 40)]),
    s([(61, "d", 6), (35, "late", 7), (45, "in", 8)], [(69, "c", 50), (35, "late", 60), (45, "in", 70)]),
    s([(200, "z", 7)], [(200, "y", 80)]),
    s(),
]
SEEN = [s([(1, "a", 1), (2, None, 2)], [(3, "b", 10)]), s([(4, "b", 3)], [(1, "a", 20), (5, "a", 30), (6, None, 40)]), s([(90, "b", 5)]), s(None, [(91, "b", 50)])]
NULL_KEYS = [s([(10, None, 1), (11, "a", 2)], [(10, None, 10), (11, "b", 20)]), s([(12, None, 3), (13, "x", 4)], [(9, None, 30), (13, "y", 40)]),
             s([(200, "z", 1)], [(200, "z", 2)]), s()]

CASES = [
    scenario("inner-unbounded", join("INNER", "lk = rk", left="STREAM l", right="STREAM r"), SEEN, sources=SIDES),
    scenario("inner-unbounded-update-mode", join("INNER", "lk = rk", left="STREAM l", right="STREAM r"), SEEN, sources=SIDES, mode="update"),
    scenario("inner-null-safe", join("INNER", "lk <=> rk", left="STREAM l", right="STREAM r"), SEEN, sources=SIDES),
    scenario("inner-null-safe-and-equal", join("INNER", "lk <=> rk AND lv * 10 = rv", left="STREAM l", right="STREAM r"), SEEN, sources=SIDES),
    scenario("inner-key-expression", join("INNER", "upper(lk) = upper(rk) AND lv < rv", left="STREAM l", right="STREAM r"), SEEN, sources=SIDES),
    scenario("inner-keys-of-other-types", join("INNER", "lv = rk", left="STREAM l", right="STREAM r"), sources=SIDES, steps=[
        s([(1, "a", 1)], [(1, "1", 10)]), s([(2, "b", 2)], [(2, "2", 20), (2, "01", 30)]),
    ]),
    scenario("inner-using", [["table", "l"], ["select_expr", "lk AS k", "lv"], ["join", [["table", "r"], ["select_expr", "rk AS k", "rv"]], ["k"], "inner"]],
             SEEN, sources=SIDES),
    scenario("inner-watermarks-no-range", join("INNER", "lk = rk"), STEPS, sources=SIDES),
    *[scenario(f"{kind}-range", join(kind.upper()), STEPS, sources=SIDES) for kind in KINDS],
    scenario("semi-range", join("LEFT SEMI", columns="lt, lk, lv"), STEPS, sources=SIDES),
    scenario("inner-range-update-mode", join("INNER"), STEPS, sources=SIDES, mode="update"),
    *[scenario(f"{kind}-window", join(kind.upper(), "lw = rw AND lk = rk", "lw.start AS s, lk, lv, rw.start AS t, rk, rv", *WINDOWS), BY_WINDOW, sources=SIDES)
      for kind in KINDS],
    scenario("semi-window", join("LEFT SEMI", "lw = rw AND lk = rk", "lw.start AS s, lk, lv", *WINDOWS), BY_WINDOW, sources=SIDES),
    *[scenario(f"{kind}-event-time-equality", join(kind.upper(), "lt = rt AND lk = rk"), sources=SIDES, steps=[
        s([(5, "a", 1), (6, "b", 2)], [(5, "a", 10), (7, "b", 20)]), s([(7, "b", 3)], [(6, "b", 30)]),
        s([(60, "x", 4)], [(60, "y", 40)]), s([(40, "in", 5), (39, "late?", 6), (51, "in", 7)], [(45, "in", 8)]), s([(200, "z", 1)], [(200, "z", 2)]), s(),
    ]) for kind in ("inner", "left", "full")],
    scenario("left-null-safe-range", join("LEFT", RANGE.replace("lk = rk", "lk <=> rk")), STEPS, sources=SIDES),
    scenario("full-null-safe-range", join("FULL", RANGE.replace("lk = rk", "lk <=> rk")), STEPS, sources=SIDES),
    scenario("full-null-keys", join("FULL"), NULL_KEYS, sources=SIDES, instead=join("FULL", RANGE.replace("lk = rk", "coalesce(lk, 'left') = coalesce(rk, 'right')")),
             beyond="Spark matches null keys in a full outer join of streams, against SQL and its own batch join"),
    *[scenario(f"{kind}-null-keys", join(kind.upper()), NULL_KEYS, sources=SIDES) for kind in ("left", "right")],
    # The left row at 10 s waits for right rows up to 20 s: its outer row comes when the watermark passes that, not before.
    scenario("left-expiry-edge", join("LEFT"), sources=SIDES, steps=[
        s([(10, "a", 1)], [(10, "x", 10)]), s([(29.999, "b", 2)], [(39.999, "x", 20)]), s([(30, "c", 3)], [(40, "x", 30)]),
        s([(30.001, "d", 4)], [(40.001, "x", 40)]), s([(30.002, "e", 4)], [(40.002, "x", 40)]), s([(200, "z", 1)], [(200, "z", 2)]),
    ]),
    scenario("right-expiry-edge", join("RIGHT"), sources=SIDES, steps=[
        s([(10, "x", 1)], [(10, "a", 10)]), s([(24.999, "x", 2)], [(34.999, "b", 20)]), s([(25, "x", 3)], [(35, "c", 30)]),
        s([(25.001, "x", 4)], [(35.001, "d", 40)]), s([(25.002, "x", 4)], [(35.002, "e", 40)]), s([(200, "z", 1)], [(200, "z", 2)]),
    ]),
    scenario("left-strict-bounds", join("LEFT", "lk = rk AND rt > lt AND rt < lt + INTERVAL 10 SECONDS"), sources=SIDES, steps=[
        s([(10, "a", 1), (10, "b", 2)], [(10, "a", 10), (10.000001, "b", 20)]), s([(10.5, "a", 3)], [(20, "a", 30), (20.4, "a", 40)]),
        s([(30, "c", 3)], [(40, "x", 30)]), s([(30.001, "d", 4)], [(40.001, "x", 40)]), s([(200, "z", 1)], [(200, "z", 2)]),
    ]),
    scenario("left-one-sided-range", join("LEFT", "lk = rk AND rt <= lt + INTERVAL 10 SECONDS"), STEPS, sources=SIDES),
    scenario("left-interval-of-columns", join("LEFT", "lk = rk AND rt BETWEEN lt AND lt + INTERVAL 1 MINUTE AND rv > lv"), STEPS, sources=SIDES),
    *[scenario(f"{kind}-condition-on-one-side", join(kind.upper(), RANGE + " AND lv > 1 AND rv <> 50"), STEPS, sources=SIDES,
               instead=join(kind.upper(), RANGE + " AND lv IN (2, 3, 4, 5, 6, 7) AND rv <> 50"),
               beyond="Spark takes lv > 1 for a bound of the left rows' time, keeps them for ever and never gives the unmatched ones")
      for kind in ("left", "full")],
    scenario("inner-late-rows", join("INNER"), sources=SIDES, steps=[
        s([(100, "a", 1)], [(110, "a", 10)]), s([(1, "late", 2), (90, "late", 3), (90.001, "in", 4)], [(2, "late", 20), (90, "x", 30), (95, "a", 40)]),
        s([(101, "b", 5)], [(111, "b", 50)]),
    ]),
    scenario("inner-one-watermark", join("INNER", RANGE, left=WM_L, right="STREAM r"), STEPS, sources=SIDES),
    scenario("left-watermark-on-both-window-on-one", join("LEFT", "lk = rk AND rt >= lt AND rt <= lt + INTERVAL 10 SECONDS"), STEPS, sources=SIDES),
    scenario("inner-matches-in-one-batch", join("INNER", "lk = rk", left="STREAM l", right="STREAM r"), sources=SIDES, steps=[
        s([(1, "a", 1), (2, "a", 2)], [(1, "a", 10), (2, "a", 20), (3, "a", 30)]), s([(3, "a", 3)], [(4, "a", 40)]),
    ]),
    scenario("inner-duplicate-rows", join("INNER", "lk = rk", "lk, lv, rv", "STREAM l", "STREAM r"), sources=SIDES, steps=[
        s([(1, "a", 1), (1, "a", 1)]), s(None, [(1, "a", 10), (1, "a", 10)]), s([(1, "a", 1)]),
    ]),
    scenario("self-join", "SELECT a.k, a.v AS av, b.v AS bv FROM STREAM e AS a JOIN STREAM e AS b ON a.k = b.k AND a.v < b.v", [
        {"e": file((1, "x", 1), (2, "x", 2))}, {"e": file((3, "x", 3), (4, "y", 4))}, {"e": file((5, "y", 5))},
    ]),
    scenario("left-nothing-on-the-right", join("LEFT"), sources=SIDES, steps=[s([(10, "a", 1)], []), s([(100, "b", 2)], []), s(None, [(200, "z", 1)]), s([(300, "c", 3)])]),
    scenario("left-null-times", join("LEFT"), sources=SIDES, steps=[s([(None, "a", 1), (5, "a", 2)], [(None, "a", 10)]), s([(100, "z", 1)], [(100, "z", 2)]), s([(200, "y", 1)], [(200, "y", 2)])]),
    scenario("full-null-times", join("FULL"), sources=SIDES, steps=[s([(None, "a", 1), (5, "a", 2)], [(None, "a", 10)]), s([(100, "z", 1)], [(100, "z", 2)]), s([(200, "y", 1)], [(200, "y", 2)])]),
    scenario("three-streams", "SELECT l.lk, lv, rv, v FROM STREAM l JOIN STREAM r ON lk = rk JOIN STREAM e ON lk = e.k",
             sources={**SIDES, "e": "ts TIMESTAMP, k STRING, v INT"}, steps=[
        {"l": file((1, "a", 1)), "r": file((1, "a", 10), (1, "b", 20))}, {"e": file((1, "a", 100), (1, "b", 200))}, {"l": file((2, "b", 2)), "e": file((2, "a", 300))},
    ]),
    scenario("dataframe-left", [
        ["table", "l"], ["with_watermark", "lt", "10 seconds"], ["join", [["table", "r"], ["with_watermark", "rt", "20 seconds"]], RANGE, "left_outer"],
        ["select", "lk", "lv", "rv"],
    ], STEPS, sources=SIDES),
]
CASES = [{**case, "restart_as_live": True} for case in CASES]
