"""A user's function with state per group (flat_map_groups_with_state): timeouts by event time, and none.

The function is `running_count` of gold/scenarios.py: it counts the rows of its key, and, with timeouts, says goodbye.
"""

from scenario import e, scenario

STEPS = [
    e((5, "a", 1), (6, "b", 2), (7, "a", 3)), e((8, "a", 4)), {}, e((30, "c", 5)), e((31, "a", 6), (15, "late", 7)), e((100, "d", 8)), {}, e(),
]


WATERMARK = [["with_watermark", "ts", "10 seconds"]]


def of(id, timeout, mode="append", steps=STEPS, before=WATERMARK, after=(), **more):
    program = [["table", "e"], *before, ["flat_map_groups_with_state", ["k"], "running_count", timeout], *after]
    return scenario(id, program, steps, mode=mode, **more)


CASES = [
    of("event-time-timeout-append", "EventTimeTimeout"),
    of("event-time-timeout-update", "EventTimeTimeout", "update"),
    of("no-timeout-update", "NoTimeout", "update"),
    of("no-timeout-without-watermark", "NoTimeout", before=[]),
    of("null-keys", "EventTimeTimeout", steps=[e((5, None, 1)), e((6, None, 2)), e((60, "b", 3)), {}]),
    # The deadline is 10 s after the newest row: it has passed when the watermark is beyond it, not when it is there.
    of("timeout-edge", "EventTimeTimeout", steps=[e((5, "a", 1)), e((25, "b", 2)), e((25.001, "c", 3)), e((26, "a", 4)), {}]),
    of("then-project", "EventTimeTimeout", after=[["filter", "what = 'gone'"], ["select_expr", "upper(k) AS k", "n * 10 AS n"]]),
    of("event-time-timeout-without-watermark", "EventTimeTimeout", before=[], names="watermark"),
]
