"""No-data batches switched off, time zones, time formats."""

from scenario import SIDES, e, file, scenario, wm

OFF = {"spark.sql.streaming.noDataMicroBatches.enabled": "false"}
NEW_YORK = {"spark.sql.session.timeZone": "America/New_York"}
BERLIN = {"spark.sql.session.timeZone": "Europe/Berlin"}
STEPS = [e((5, "a", 1)), e((60, "b", 2)), {}, e((5, "late", 3), (61, "c", 4)), e((120, "d", 5))]
COUNT = f"SELECT window.start AS s, count(*) AS n FROM {wm()} GROUP BY window(ts, '10 seconds')"
DAYS = f"SELECT window.start AS s, CAST(window.start AS STRING) AS t, count(*) AS n FROM {wm()} GROUP BY window(ts, '1 day')"
DAY_STEPS = [e(("2026-03-07 23:30:00", "a", 1), ("2026-03-08 01:30:00", "b", 2), ("2026-03-08 03:30:00", "c", 3)),
             e(("2026-03-09 00:30:00", "d", 4)), e(("2026-03-12 00:30:00", "e", 5))]
JOIN = """SELECT lk, lv, rv FROM STREAM l WATERMARK lt DELAY OF INTERVAL 10 SECONDS AS l
    LEFT JOIN STREAM r WATERMARK rt DELAY OF INTERVAL 10 SECONDS AS r ON lk = rk AND rt >= lt AND rt <= lt + INTERVAL 5 SECONDS"""
TOP = [["table", "e"], ["with_watermark", "ts", "10 seconds"]]

CASES = [
    *[scenario(f"no-data-off-window-{mode}", COUNT, STEPS, mode=mode, conf=OFF) for mode in ("append", "update", "complete")],
    scenario("no-data-off-dedup", [*TOP, ["drop_duplicates", "k", "ts"]], STEPS, conf=OFF),
    scenario("no-data-off-dedup-within", [*TOP, ["drop_duplicates_within_watermark", "k"]], STEPS, conf=OFF),
    scenario("no-data-off-session", f"SELECT session_window.start AS s, k, count(*) AS n FROM {wm()} GROUP BY session_window(ts, '5 seconds'), k", STEPS, conf=OFF),
    scenario("no-data-off-join", JOIN, sources=SIDES, conf=OFF, restart_as_live=True, steps=[
        {"l": file((5, "a", 1)), "r": file((6, "a", 10))}, {"l": file((8, "b", 1)), "r": file((60, "x", 10))}, {"l": file((60, "x", 1))}, {},
        {"l": file((61, "c", 2)), "r": file((62, "y", 3))}, {"l": file((200, "d", 2)), "r": file((200, "z", 3))}, {"r": []},
    ]),
    scenario("no-data-off-chain", f"""SELECT window.start AS s, sum(n) AS n FROM (SELECT window AS w, count(*) AS n FROM {wm()} GROUP BY window(ts, '5 seconds'))
        GROUP BY window(w, '10 seconds')""", STEPS + [e((200, "e", 1)), e((300, "f", 1))], conf=OFF),
    # A month is 31 days.
    scenario("delay-of-a-month", [["table", "e"], ["with_watermark", "ts", "1 month"], ["group_by", ["window(ts, '5 seconds')"], "count"]],
             [e((5, "a", 1)), e(("2026-02-05 00:00:00", "b", 1)), e(("2026-01-04 23:59:59.999", "late", 1), ("2026-01-05 00:00:00", "in", 1))]),
    scenario("zone-new-york-window", COUNT, STEPS, conf=NEW_YORK),
    scenario("zone-new-york-days", DAYS, DAY_STEPS, conf=NEW_YORK),
    scenario("zone-berlin-days", DAYS, DAY_STEPS, conf=BERLIN),
    scenario("zone-utc-days", DAYS, DAY_STEPS),
    scenario("zone-days-as-dates", "SELECT CAST(ts AS DATE) AS d, count(*) AS n FROM STREAM e GROUP BY CAST(ts AS DATE)", DAY_STEPS, mode="update", conf=NEW_YORK),
    scenario("zone-weeks", COUNT.replace("10 seconds", "1 week"), DAY_STEPS, conf=NEW_YORK),
    scenario("offsets-in-the-text", COUNT, [e(("2026-01-01T00:00:05Z", "a", 1), ("2026-01-01T01:00:06+01:00", "b", 2)), e(("2026-01-01T00:01:00.5-00:30", "c", 3)), e((8000, "d", 4))]),
    scenario("zone-session-new-york", f"SELECT session_window, k, count(*) AS n FROM {wm()} GROUP BY session_window(ts, '90 minutes'), k",
             DAY_STEPS, conf=NEW_YORK),
]
