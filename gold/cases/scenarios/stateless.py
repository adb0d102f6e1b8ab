"""Without state: batch ids, empty files, no no-data batches, a watermark that nobody uses."""

from scenario import SIDES, e, file, scenario, wm

STEPS = [e((5, "a", 1), (6, "b", 2)), e((7, "c", None)), {}, e(), e((8, None, 4), (None, "d", 5))]

CASES = [
    scenario("project", "SELECT k, v * 2 AS w, ts FROM STREAM e", STEPS),
    scenario("filter", "SELECT * FROM STREAM e WHERE v > 1 OR k IS NULL", STEPS),
    scenario("nothing-first", "SELECT k FROM STREAM e", [{}, e((1, "a", 1)), {}]),
    scenario("empty-file-first", "SELECT k FROM STREAM e", [e(), e((1, "a", 1))]),
    scenario("update-mode", "SELECT k, v FROM STREAM e", STEPS, mode="update"),
    scenario("explode", "SELECT k, explode(sequence(1, v)) AS n FROM STREAM e WHERE v IS NOT NULL", STEPS),
    scenario("union-of-two", "SELECT lk AS k, lv AS v FROM STREAM l UNION ALL SELECT rk, rv FROM STREAM r", sources=SIDES, steps=[
        {"l": file((1, "a", 1)), "r": file((1, "b", 2))}, {"r": file((2, "c", 3))}, {"l": file((3, "d", 4))},
    ]),
    scenario("union-with-itself", "SELECT k FROM STREAM e UNION ALL SELECT upper(k) FROM STREAM e", STEPS),
    scenario("watermark-unused", f"SELECT k, v FROM {wm()}", [e((5, "a", 1)), e((100, "b", 2)), e((1, "late", 3)), {}]),
    scenario("watermark-dataframe", [["table", "e"], ["with_watermark", "ts", "10 seconds"], ["filter", "v > 0"], ["select", "k"]],
             [e((5, "a", 1), (6, "b", -1)), e((100, "c", 2))]),
    scenario("watermark-of-expression",
             "SELECT k, t FROM STREAM e WATERMARK ts + INTERVAL 1 SECOND AS t DELAY OF INTERVAL 5 SECONDS AS x",
             [e((5, "a", 1)), e((100, "c", 2)), e((101, "d", 2))]),
]
