"""Gold of show() and printSchema(): the text that a terminal sees -> spark-4.3.0/show.jsonl."""

from goldlib import OUT, error_of, write_lines
from queries import statements

CASES = [
    ("SELECT * FROM people", 20, 20, False),
    ("SELECT * FROM people", 2, 20, False),
    ("SELECT * FROM people", 20, 0, False),
    ("SELECT * FROM people", 2, 20, True),
    ("SELECT * FROM events", 20, 20, False),
    ("SELECT * FROM events", 20, 0, False),
    ("SELECT * FROM events", 20, 3, False),
    ("SELECT * FROM events", 1, 20, True),
    ("SELECT * FROM batches", 20, 0, False),
    ("SELECT * FROM people WHERE false", 20, 20, False),
    ("SELECT * FROM people WHERE false", 20, 20, True),
    ("SELECT 1 AS a", 1, 20, False),
    ("SELECT 'line\\nbreak\\ttab' AS s, '全角文字' AS wide, 'ü' AS narrow", 20, 20, False),
    ("SELECT X'0102FF' AS b, 1.50 AS m, 1e10 AS d, double('NaN') AS n, float('0.1') AS f, true AS t, NULL AS v", 20, 20, False),
    ("SELECT DATE'2020-01-02' AS d, TIMESTAMP'2020-01-02 03:04:05.120' AS ts, TIMESTAMP_NTZ'2020-01-02 00:00:00' AS ntz, INTERVAL 1 DAY AS i, INTERVAL 1 MONTH AS m", 20, 0, False),
    ("SELECT 'a rather long text of more than twenty characters' AS s, 12345678901234567890123 AS n", 20, 20, False),
    ("SELECT array(1, NULL, 3) AS a, map('k', NULL, 'l', 'x') AS m, named_struct('a', 1, 'b', 'x', 'c', NULL) AS s, array(named_struct('x', array('y'))) AS n", 20, 0, False),
    ("SELECT v AS `a long column name here`, v FROM nums", 3, 20, False),
    ("SELECT id FROM range(25)", 20, 20, False),
]


def generate(spark):
    for statement in statements((OUT / "tables.sql").read_text(encoding="utf-8")):
        spark.sql(statement.replace("CREATE TEMPORARY", "CREATE OR REPLACE TEMPORARY", 1))
    records = []
    for number, (sql, n_rows, truncate, vertical) in enumerate(CASES, 1):
        case = {"id": f"show-{number:03}", "sql": sql, "n_rows": n_rows, "truncate": truncate, "vertical": vertical}
        try:
            jdf = spark.sql(sql)._jdf
            case["show"] = jdf.showString(n_rows, truncate, vertical)
            case["print_schema"] = jdf.schema().treeString()
        except Exception as problem:
            case["error"] = error_of(problem)[0]
        records.append(case)
    write_lines(OUT / "show.jsonl", records)
