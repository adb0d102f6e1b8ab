"""Several watermarked sources: the policies, unions, and a source that is silent.

Spark forgets the sources' own watermarks at a restart: ours must do after restarts what its one query does.
"""

from scenario import SIDES, file, scenario

L = "STREAM l WATERMARK lt DELAY OF INTERVAL 10 SECONDS AS l"
R = "STREAM r WATERMARK rt DELAY OF INTERVAL 30 SECONDS AS r"
MAX = {"spark.sql.streaming.multipleWatermarkPolicy": "max"}
MIN = {"spark.sql.streaming.multipleWatermarkPolicy": "min"}
UNION = f"SELECT lt AS ts, lk AS k, lv AS v FROM {L} UNION ALL SELECT rt, rk, rv FROM {R}"
COUNT = f"SELECT window.start AS s, count(*) AS n, sum(v) AS v FROM ({UNION}) GROUP BY window(ts, '10 seconds')"
STEPS = [
    {"l": file((5, "a", 1)), "r": file((7, "b", 2))},
    {"l": file((100, "a", 3)), "r": []},
    {"r": file((60, "b", 4))},
    {"l": file((25, "x", 5), (35, "y", 6)), "r": file((20, "x", 7), (31, "y", 8))},
    {"l": file((300, "c", 9))},
    {"r": file((200, "d", 10))},
    {"l": file((301, "e", 11)), "r": file((400, "f", 12))},
    {},
]
SILENT = [{"l": file((5, "a", 1))}, {"l": file((100, "b", 2))}, {"l": file((200, "c", 3))}, {"r": file((150, "d", 4))}, {"l": file((210, "e", 5))}]


def sides(id, program, steps=STEPS, **more):
    return scenario(id, program, steps, sources=SIDES, **more)


CASES = [
    sides("union-window-min", COUNT, late={5: 2}),
    sides("union-window-min-named", COUNT, conf=MIN, late={5: 2}),
    sides("union-window-max", COUNT, conf=MAX, late={5: 4}),
    sides("union-window-update-min", COUNT, mode="update", late={5: 2}),
    sides("union-window-update-max", COUNT, mode="update", conf=MAX, late={5: 4}),
    sides("union-window-complete-max", COUNT, mode="complete", conf=MAX),
    sides("union-silent-source-min", COUNT, SILENT),
    sides("union-silent-source-max", COUNT, SILENT, conf=MAX),
    sides("union-null-times-in-one", COUNT, [
        {"l": file((5, "a", 1)), "r": file((None, "n", 2))}, {"l": file((100, "b", 3)), "r": file((None, "n", 4))}, {"r": file((100, "c", 5))}, {"l": file((101, "d", 6))},
    ]),
    sides("join-max-policy", f"SELECT lk, lv, rv FROM {L} LEFT JOIN {R} ON lk = rk AND rt >= lt AND rt <= lt + INTERVAL 10 SECONDS", conf=MAX, steps=[
        {"l": file((10, "a", 1)), "r": file((12, "a", 10))}, {"l": file((100, "b", 2)), "r": []}, {"l": [], "r": file((105, "b", 20), (65, "c", 30))},
        {"l": file((64, "c", 3), (95, "d", 4)), "r": []}, {"l": file((300, "z", 5)), "r": file((300, "z", 50))}, {},
    ]),
    sides("union-watermark-on-one", late={5: 4}, program=f"""SELECT window.start AS s, count(*) AS n FROM
        (SELECT lt AS ts FROM {L} UNION ALL SELECT rt FROM STREAM r) GROUP BY window(ts, '10 seconds')"""),
    sides("union-then-watermark", late={5: 4}, program="""SELECT window.start AS s, count(*) AS n FROM
        (SELECT lt AS ts FROM STREAM l UNION ALL SELECT rt FROM STREAM r) WATERMARK ts DELAY OF INTERVAL 10 SECONDS AS u GROUP BY window(ts, '10 seconds')"""),
    sides("union-dedup", [["sql", UNION], ["drop_duplicates", "k", "ts"]], [
        {"l": file((5, "a", 1)), "r": file((5, "a", 2), (6, "b", 3))}, {"l": file((6, "b", 4), (60, "c", 5)), "r": file((60, "d", 6))},
        {"l": file((5, "a", 7), (31, "e", 8)), "r": file((31, "e", 9), (30, "f", 10))},
    ]),
    scenario("same-stream-two-watermarks", """SELECT window.start AS s, count(*) AS n FROM (
        SELECT ts FROM STREAM e WATERMARK ts DELAY OF INTERVAL 5 SECONDS AS a UNION ALL
        SELECT ts FROM STREAM e WATERMARK ts DELAY OF INTERVAL 20 SECONDS AS b) GROUP BY window(ts, '10 seconds')""", [
        {"e": file((5, "a", 1))}, {"e": file((20, "a", 1), (4, "b", 2))}, {"e": file((31, "c", 1), (8, "b", 1))}, {"e": file((60, "c", 1))},
    ]),
    sides("join-then-window-max", f"""SELECT window.start AS s, count(*) AS n FROM {L} JOIN {R} ON lk = rk AND rt >= lt AND rt <= lt + INTERVAL 10 SECONDS
        GROUP BY window(lt, '10 seconds')""", conf=MAX, steps=[
        {"l": file((10, "a", 1)), "r": file((12, "a", 10))}, {"l": file((100, "b", 2)), "r": file((105, "b", 2))}, {"l": file((300, "z", 5)), "r": file((300, "z", 50))},
        {"l": file((600, "z", 5)), "r": file((600, "z", 50))}, {},
    ]),
]
CASES = [{**case, "restart_as_live": True} for case in CASES]
