"""A stream joined with a finished table, alone and below an aggregation."""

from scenario import e, scenario, wm

TABLES = {"names": "SELECT * FROM VALUES ('a', 'Anna'), ('b', 'Bob'), ('b', 'Berta'), (CAST(NULL AS STRING), 'nobody') AS names(nk, name)"}
# The row without a key is not the newest: where Spark infers IS NOT NULL, it filters below the watermark.
STEPS = [e((5, "a", 1), (7, "x", 2), (6, None, 3)), e((8, "b", 4)), {}, e((60, "a", 5)), e((120, "b", 6))]


def of(program, id, mode="append", steps=None):
    return scenario(id, program, steps or STEPS, mode=mode, tables=TABLES)


CASES = [
    of("SELECT k, v, name FROM STREAM e JOIN names ON k = nk", "inner"),
    of("SELECT k, v, name FROM STREAM e LEFT JOIN names ON k = nk", "left"),
    of("SELECT k, v FROM STREAM e LEFT SEMI JOIN names ON k = nk", "semi"),
    of("SELECT k, v FROM STREAM e LEFT ANTI JOIN names ON k = nk", "anti"),
    of("SELECT k, v, name FROM names RIGHT JOIN STREAM e ON k = nk", "static-left-right-outer"),
    of("SELECT k, v, name FROM STREAM e LEFT JOIN names ON k <=> nk AND v > 1", "left-null-safe"),
    of("SELECT name, count(*) AS n, sum(v) AS s FROM STREAM e JOIN names ON k = nk GROUP BY name", "then-aggregate-update", "update"),
    of("SELECT name, count(*) AS n FROM STREAM e LEFT JOIN names ON k = nk GROUP BY name", "then-aggregate-complete", "complete"),
    of(f"SELECT window.start AS s, name, count(*) AS n FROM {wm()} JOIN names ON k = nk GROUP BY window(ts, '10 seconds'), name", "then-window-append"),
    of([["sql", f"SELECT window.start AS s, window, k, count(*) AS n FROM {wm()} GROUP BY window(ts, '10 seconds'), k"],
        ["join", [["table", "names"]], "k = nk", "left"], ["select", "s", "name", "n"]], "after-window-append"),
    of([["sql", "SELECT k, count(*) AS n FROM STREAM e GROUP BY k"], ["join", [["table", "names"]], "k = nk", "inner"], ["select", "name", "n"]],
       "after-aggregate-update", "update"),
    of("SELECT k, v, name FROM STREAM e CROSS JOIN names WHERE v = 1", "cross"),
]
