"""drop_duplicates with and without event time, within the watermark, and what expires when."""

from scenario import e, row, scenario, wm


def df(*steps, delay="10 seconds"):
    return [["table", "e"], ["with_watermark", "ts", delay], *steps]


REPEATS = [e((1, "a", 1), (2, "a", 2), (3, "b", 3)), e((4, "a", 4), (5, "c", 5)), {}, e((100, "b", 6), (101, None, 7)), e((102, None, 8), (1, "a", 9))]
IN_KEYS = [
    e((5, "a", 1), (5, "a", 2), (6, "a", 3)),
    e((5, "a", 4), (15, "b", 5)),
    # The watermark is 5 s: ts 5 is late (ts <= watermark), ts 6 is not.
    e((5, "a", 6), (6, "a", 7), (5.001, "a", 8)),
    e((16, "c", 9)),
    e((6, "a", 10), (6.5, "a", 11)),
    e((100, "d", 12)),
    {},
]

CASES = [
    *[scenario(f"by-key-{mode}", [["table", "e"], ["drop_duplicates", "k"], ["select", "k"]], REPEATS, mode=mode) for mode in ("append", "update")],
    scenario("by-two-keys", [["table", "e"], ["drop_duplicates", "k", "v"]], [
        e((1, "a", 1), (2, "a", 2)), e((3, "a", 1), (4, "a", None)), e((5, "a", None), (6, None, None)), e((7, None, None)),
    ]),
    scenario("whole-rows", [["table", "e"], ["distinct"]], [e((1, "a", 1), (1, "a", 1)), e((1, "a", 1), (2, "a", 1)), e((2, "a", 1), (None, "a", 1)), e((None, "a", 1))]),
    scenario("whole-rows-with-watermark", df(["distinct"]), [e((1, "a", 1), (1, "a", 1)), e((1, "a", 1), (20, "a", 1)), e((1, "a", 1), (11, "x", 1)), e((50, "x", 1))]),
    scenario("keeps-the-first-row", [["table", "e"], ["drop_duplicates", "k"]], [e((1, "a", 1)), e((2, "a", 2), (3, "b", 3)), e((4, "b", 4))]),
    scenario("watermark-not-in-key", df(["drop_duplicates", "k"], ["select", "k", "v"]), [
        e((5, "a", 1)), e((100, "b", 2)), e((101, "a", 3), (5, "late", 4)), {},
    ]),
    *[scenario(f"event-time-in-key-{mode}", df(["drop_duplicates", "k", "ts"]), IN_KEYS, mode=mode) for mode in ("append", "update")],
    scenario("event-time-only", df(["drop_duplicates", "ts"]), [e((5, "a", 1)), e((5, "b", 1), (6, "b", 1)), e((30, "c", 1)), e((30, "d", 1), (20, "late", 1), (20.001, "in", 1))]),
    scenario("null-event-time", df(["drop_duplicates", "k", "ts"]), [e((None, "a", 1), (5, "b", 1)), e((None, "a", 2), (60, "c", 1)), e((None, "a", 3), (61, "c", 1))]),
    scenario("window-in-key", [["sql", f"SELECT window(ts, '10 seconds') AS w, k FROM {wm()}"], ["drop_duplicates", "w", "k"]], [
        e((5, "a", 1), (6, "a", 1)), e((7, "a", 1), (21, "a", 1)), e((9, "late", 1), (11, "in", 1)), e((60, "b", 1)), {},
    ]),
    scenario("empty-and-nothing", df(["drop_duplicates", "k", "ts"]), [{}, e(), e((5, "a", 1)), e(), e((60, "b", 1)), {}]),
    scenario("late-rows", df(["drop_duplicates", "k", "ts"]), [e((100, "a", 1)), e((1, "x", 1), (1, "x", 1), (90, "y", 1), (90.001, "z", 1))]),
    scenario("within-basic", df(["drop_duplicates_within_watermark", "k"]), [
        e((5, "a", 1), (6, "a", 2)), e((7, "a", 3)), e((14, "b", 4)), e((16, "a", 5)), e((30, "c", 6)), e((31, "a", 7), (31, "b", 8)), {},
    ]),
    # The first "a" is at 5 s and expires at 15 s: gone when the watermark is 15 s, not one millisecond before.
    scenario("within-expiry-one-before", df(["drop_duplicates_within_watermark", "k"]), [e((5, "a", 1)), e((24.999, "b", 1)), e((25, "a", 2))]),
    scenario("within-expiry-exact", df(["drop_duplicates_within_watermark", "k"]), [e((5, "a", 1)), e((25, "b", 1)), e((25, "a", 2)), e((26, "a", 3))]),
    scenario("within-duplicates-do-not-extend", df(["drop_duplicates_within_watermark", "k"]), [
        e((5, "a", 1)), e((14, "a", 2)), e((24, "a", 3)), e((25, "b", 4)), e((26, "a", 5)),
    ]),
    scenario("within-out-of-order", df(["drop_duplicates_within_watermark", "k"]), [
        e((20, "a", 1)), e((12, "a", 2), (11, "b", 3)), e((15, "b", 4), (10, "late", 5)), e((31, "c", 6)), e((32, "b", 7), (32, "a", 8)),
    ]),
    scenario("within-expiry-of-the-earlier-in-one-batch", df(["drop_duplicates_within_watermark", "k"]), [
        e((9, "a", 1), (5, "a", 2)), e((25, "x", 1)), e((26, "a", 3)), e((29.5, "y", 1)), e((30, "a", 4)),
    ]),
    scenario("within-null-key", df(["drop_duplicates_within_watermark", "k"]), [e((5, "a", 1)), e((30, "b", 2)), e((31, None, 3)), e((32, None, 4))]),
    scenario("within-null-time", df(["drop_duplicates_within_watermark", "k"]), [e((5, "a", 1)), e((30, "b", 2)), e((None, "c", 3)), e((32, "c", 4))]),
    scenario("within-microseconds", df(["drop_duplicates_within_watermark", "k"], delay="1 second"), [
        e((0.9999995, "a", 1)), e((2.9999994, "b", 1)), e((2.9999994, "a", 2)), e((3.001, "c", 1)), e((3.002, "a", 3)),
    ]),
    scenario("within-zero-delay", df(["drop_duplicates_within_watermark", "k"], delay="0 seconds"), [
        e((5, "a", 1), (5, "a", 2)), e((5, "a", 3), (5.001, "a", 4)), e((6, "a", 5)),
    ]),
    scenario("within-all-columns", df(["drop_duplicates_within_watermark"]), [e((5, "a", 1), (5, "a", 1)), e((5, "a", 1), (6, "a", 1)), e((60, "b", 1)), e((60, "b", 1))]),
    scenario("within-two-keys-update", df(["drop_duplicates_within_watermark", "k", "v"]), mode="update", steps=[
        e((5, "a", 1), (6, "a", 2)), e((7, "a", 1), (8, None, 1)), e((9, None, 1), (60, "b", 1)), e((61, "a", 1)),
    ]),
    scenario("before-the-epoch", df(["drop_duplicates", "k", "ts"]), [
        {"e": [row("1969-12-31 23:59:50", "a", 1), row("1970-01-01 00:00:00", "b", 1), row("1970-01-01 00:00:00.000001", "c", 1)]}, e((1, "d", 1)),
    ]),
    scenario("then-project", df(["drop_duplicates", "k", "ts"], ["filter", "v > 1"], ["select_expr", "k", "v * 10 AS w"]), IN_KEYS),
]
