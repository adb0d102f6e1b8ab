"""Tumbling and sliding windows of event time, in every mode, and their edges."""

from scenario import e, scenario, wm

# Windows of 10 s, watermark 10 s: 5 s and 15 s open two, 30 s closes the first exactly (end == watermark at 20 s).
STEPS = [
    e((5, "a", 1), (7, "b", 2), (15, "a", 3)),
    e((16, "b", 4), (3, "a", 5)),
    e((30, "a", 6)),
    e((9.999999, "late", 7), (10, "in", 8), (31, "b", 9)),
    e((60, "c", 10)),
    {},
]
COUNT = "SELECT window.start AS s, window.end AS e, count(*) AS n, sum(v) AS v FROM {} GROUP BY window(ts, '{}')"
BY_KEY = "SELECT window, k, count(*) AS n FROM {} GROUP BY window(ts, '{}'), k"


def count(window="10 seconds", delay="10 SECONDS"):
    return COUNT.format(wm(delay), window.replace(", ", "', '"))


def by_key(window="10 seconds", delay="10 SECONDS"):
    return BY_KEY.format(wm(delay), window.replace(", ", "', '"))


CASES = [
    *[scenario(f"tumbling-{mode}", count(), STEPS, mode=mode) for mode in ("append", "update", "complete")],
    *[scenario(f"tumbling-by-key-{mode}", by_key(), STEPS, mode=mode) for mode in ("append", "update", "complete")],
    # A row is late when all its windows are final.
    *[scenario(f"sliding-{mode}", count("10 seconds, 5 seconds"), STEPS, mode=mode, late={2: 0, 6: 2}) for mode in ("append", "update")],
    scenario("sliding-complete", count("10 seconds, 5 seconds"), STEPS, mode="complete"),
    *[scenario(f"slide-not-dividing-{mode}", count("10 seconds, 3 seconds"), STEPS, mode=mode, late={2: 0, 6: 2}) for mode in ("append", "update")],
    *[scenario(f"start-offset-{mode}", count("10 seconds, 10 seconds, 3 seconds"), STEPS, mode=mode, late={6: 2}) for mode in ("append", "update")],
    scenario("sliding-start-offset", count("10 seconds, 5 seconds, 2 seconds"), STEPS),
    scenario("negative-start-offset", count("10 seconds, 10 seconds, -2 seconds"), STEPS, late={6: 2}),
    scenario("window-of-mixed-units", count("1 minute 30 seconds, 45 seconds"), STEPS + [e((300, "d", 1))]),
    scenario("dataframe-append", [
        ["table", "e"], ["with_watermark", "ts", "10 seconds"],
        ["group_by", ["window(ts, '10 seconds', '5 seconds')", "k"], "agg", "sum(v) AS v", "count(*) AS n"],
        ["select_expr", "window.start AS s", "k", "v", "n"],
    ], STEPS, late={2: 0, 6: 2}),
    # ts == watermark of an open window is kept; the window decides, not the row.
    scenario("row-older-than-watermark-in-open-window", count(), [
        e((28, "a", 1)), e((19, "old", 2), (20, "b", 3)), e((12, "old", 4)), e((40, "c", 5)),
    ]),
    scenario("end-equals-watermark", count(), [e((5, "a", 1)), e((20, "b", 1)), e((5, "late", 1), (10, "in", 1)), e((30, "c", 1))]),
    scenario("end-one-millisecond-after-watermark", count(), [
        e((5, "a", 1)), e((19.999, "b", 1)), e((9.9, "in", 1)), e((20, "c", 1)), e((9.9, "late", 1)),
    ]),
    scenario("watermark-in-whole-milliseconds", count("1 second", "0 SECONDS"), [
        e((0.5, "a", 1)), e((0.9999995, "b", 1)), e((0.999999, "c", 1)), e((1.000999, "d", 1)), e((0.2, "late", 1), (1.0001, "in", 1)),
        e((2.0000004, "e", 1)), e((1.999999, "late", 1)),
    ]),
    scenario("window-of-milliseconds", count("10 milliseconds, 5 milliseconds", "20 MILLISECONDS"), late={4: 0}, steps=[
        e((0.001, "a", 1), (0.0049999, "b", 1)), e((0.0301, "c", 1)), e((0.0099, "late", 1), (0.012, "d", 1)), e((1, "x", 1)),
    ]),
    scenario("window-of-microseconds", count("3 microseconds", "0 SECONDS"), [
        e((0.000001, "a", 1), (0.000003, "b", 1), (0.000004, "c", 1)), e((0.002, "d", 1)), e((1, "e", 1)),
    ]),
    scenario("before-the-epoch-update", count(), mode="update", late={0: 3}, steps=[
        e(("1969-12-31 23:59:55", "a", 1), ("1969-12-31 23:59:50", "b", 2), ("1969-12-31 23:59:49.999999", "c", 3)),
        e(("1970-01-01 00:00:00", "d", 4), ("1969-12-31 23:59:59.999999", "e", 5)),
    ]),
    scenario("before-the-epoch-append", count(), steps=[
        e(("1969-12-31 23:59:55", "a", 1), ("1969-12-31 23:59:40", "b", 2)),
        e(("1970-01-01 00:00:03", "c", 3), ("1970-01-01 00:00:07", "d", 4)),
        e(("1970-01-01 00:00:30", "e", 5)),
        e(("1970-01-01 00:01:30", "f", 6)),
    ]),
    scenario("before-the-epoch-sliding", count("10 seconds, 4 seconds"), mode="update", steps=[
        e(("1970-01-01 00:00:01", "c", 3)), e(("1969-12-31 23:59:58", "a", 1), ("1970-01-01 00:00:01", "d", 3)),
    ]),
    scenario("before-the-epoch-no-watermark", "SELECT window, count(*) AS n FROM STREAM e GROUP BY window(ts, '10 seconds', '4 seconds')",
             mode="update", steps=[
        e(("1969-12-31 23:59:58", "a", 1), ("1969-12-31 23:59:50", "b", 2)), e(("1969-12-31 23:59:58.000001", "a", 1)),
    ]),
    scenario("null-times-append", count(), [e((5, "a", 1), (None, "n", 2)), e((None, "n", 3)), e((60, "b", 4), (None, "n", 5)), e((120, "c", 1))]),
    scenario("null-times-complete", by_key(), [e((5, "a", 1), (None, "n", 2)), e((None, "n", 3))], mode="complete"),
    scenario("null-times-only", count(), [e((None, "a", 1), (None, "n", 2)), e((None, "n", 3)), e((5, "b", 1)), e((60, "b", 1))]),
    scenario("null-keys", by_key(), [e((5, None, 1), (6, "a", 2)), e((7, None, None)), e((60, None, 4))]),
    scenario("several-keys", f"SELECT window, k, v % 2 AS odd, count(*) AS n FROM {wm()} GROUP BY window(ts, '10 seconds'), k, v % 2",
             [e((5, "a", 1), (6, "a", 2), (7, "a", 3), (8, "b", None)), e((9, "a", 4)), e((60, "a", 5))]),
    scenario("disorder-in-a-batch", count(), [
        e((95, "a", 1), (5, "b", 2), (45, "c", 3), (15, "d", 4)), e((4, "late", 5), (85, "e", 6), (84, "f", 7)), e((200, "g", 8), (86, "h", 9)),
    ]),
    scenario("late-rows-are-counted", count(), [e((100, "a", 1)), e((1, "x", 1), (2, "x", 1), (11, "x", 1), (95, "b", 1)), e((3, "x", 1))],
             late={2: 3}),
    scenario("late-rows-by-key", by_key(), [e((100, "a", 1)), e((1, "x", 1), (2, "x", 1), (3, "y", 1), (95, "b", 1)), e((3, None, 1))],
             late={2: 3}),
    scenario("late-rows-sliding", count("10 seconds, 5 seconds"), [
        e((100, "a", 1)), e((84, "half", 1), (86, "half", 1), (80, "late", 1), (79, "late", 1)), e((200, "b", 1)),
    ]),
    scenario("late-rows-complete-mode", count(), [e((100, "a", 1)), e((1, "x", 1), (2, "x", 1)), e((300, "b", 1)), e((50, "y", 1))], mode="complete"),
    scenario("late-rows-complete-next-batch", count(), [e((100, "a", 1)), e((101, "b", 1)), e((1, "x", 2), (2, "x", 3), (95, "c", 4))], mode="complete"),
    scenario("late-rows-update-mode", count(), [e((100, "a", 1)), e((1, "x", 1), (91, "b", 1)), e((300, "c", 1)), e((91, "y", 1))], mode="update"),
    scenario("empty-first-batch", count(), [e(), e((5, "a", 1)), e((60, "b", 1))]),
    scenario("empty-batches-between", count(), [e((5, "a", 1)), e(), e((60, "b", 1)), e(), {}, e((120, "c", 1))]),
    scenario("filter-below", f"SELECT window, count(*) AS n FROM {wm()} WHERE v > 100 GROUP BY window(ts, '10 seconds')",
             [e((5, "a", 1)), e((60, "b", 1)), e((5, "late", 101), (70, "c", 102)), e((200, "d", 1))]),
    scenario("watermark-zero-delay", count(delay="0 SECONDS"), [e((5, "a", 1)), e((10, "b", 1)), e((9, "late", 1), (10, "in", 1)), e((20, "c", 1))]),
    scenario("watermark-of-days", count("1 day", "2 DAYS"), [
        e((5, "a", 1)), e(("2026-01-03 00:00:00", "b", 1)), e(("2026-01-04 00:00:00", "c", 1)), e((5, "late", 1), ("2026-01-02 00:00:00", "in", 1)),
        e(("2026-01-09 12:00:00", "d", 1)),
    ]),
    scenario("watermark-never-goes-back", count(), [e((100, "a", 1)), e((50, "late", 1)), e((95, "b", 1)), e((101, "c", 1)), {}]),
    scenario("watermark-equal-no-extra-batch", count(), [e((100, "a", 1)), e((100, "b", 1)), e((99, "c", 1)), e((100.0005, "d", 1))]),
    scenario("several-windows-close-at-once", count(), [e((5, "a", 1), (15, "b", 1), (25, "c", 1), (35, "d", 1)), e((500, "e", 1)), e((900, "f", 1))]),
    scenario("window-renamed-and-filtered",
             f"SELECT w.end AS till, n FROM (SELECT window AS w, count(*) AS n FROM {wm()} GROUP BY window(ts, '10 seconds')) WHERE n > 1", STEPS),
    scenario("having-append", f"SELECT window, k, sum(v) AS v FROM {wm()} GROUP BY window(ts, '10 seconds'), k HAVING sum(v) > 3", STEPS),
    scenario("event-time-as-plain-key-append", f"SELECT ts, count(*) AS n FROM {wm()} GROUP BY ts", [
        e((5, "a", 1), (5, "b", 1), (6, "c", 1)), e((15, "x", 1)), e((5, "late", 1), (6, "in", 1)), e((16, "y", 1)), e((40, "z", 1)),
    ]),
    scenario("event-time-as-plain-key-update", f"SELECT ts, count(*) AS n FROM {wm()} GROUP BY ts", mode="update", steps=[
        e((5, "a", 1), (5, "b", 1), (6, "c", 1)), e((15, "x", 1)), e((5, "late", 1), (6, "in", 1)), e((40, "z", 1)), e((30, "late", 1)),
    ]),
    scenario("watermark-not-in-key-update", f"SELECT k, count(*) AS n FROM {wm()} GROUP BY k", mode="update", steps=[
        e((5, "a", 1)), e((100, "b", 1)), e((1, "a", 1)), {},
    ]),
    scenario("window-without-watermark-update", "SELECT window, count(*) AS n FROM STREAM e GROUP BY window(ts, '10 seconds')", STEPS, mode="update"),
    scenario("window-without-watermark-complete", "SELECT window, count(*) AS n FROM STREAM e GROUP BY window(ts, '10 seconds')", STEPS, mode="complete"),
]
