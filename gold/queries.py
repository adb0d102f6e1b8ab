"""Gold of queries: cases/queries.sql over spark-4.3.0/tables.sql -> spark-4.3.0/queries.jsonl."""

import re

from goldlib import HERE, OUT, collect, conf_set, error_of, write_lines


def statements(text):
    """Statements end with `;` at the end of a line; comments are whole lines."""
    lines = [line for line in text.split("\n") if line.strip() and not line.startswith("--")]
    return [part.strip() for part in re.split(r";\n", "\n".join(lines) + "\n") if part.strip()]


def cases():
    section, number, conf, ordered = None, 0, {}, None
    for line in (HERE / "cases/queries.sql").read_text(encoding="utf-8").split("\n"):
        if line.startswith("-- section: "):
            section, number = line[len("-- section: ") :], 0
        elif line.startswith("-- conf: "):
            key, _, value = line[len("-- conf: ") :].partition("=")
            conf[key] = value
        elif line.startswith("-- ordered: "):
            ordered = line.endswith("yes")
        elif line.strip() and not line.startswith("--"):
            number += 1
            sql = line.removesuffix(";")
            if ordered is None:
                ordered = bool(re.search(r"ORDER BY [^()]*(\([^()]*\)[^()]*)*$", sql))
            case = {"id": f"{section}-{number:03}", "sql": sql, "ordered": ordered}
            if conf:
                case["conf"] = conf
            yield case
            conf, ordered = {}, None


def run(spark, case):
    with conf_set(spark, case.get("conf")):
        try:
            schema, rows = collect(spark.sql(case["sql"]))
        except Exception as problem:
            return {**case, "error": error_of(problem)[0]}
    return {**case, "schema": schema, "rows": rows}


def generate(spark):
    for statement in statements((OUT / "tables.sql").read_text(encoding="utf-8")):
        spark.sql(statement.replace("CREATE TEMPORARY", "CREATE OR REPLACE TEMPORARY", 1))
    write_lines(OUT / "queries.jsonl", [run(spark, case) for case in cases()])
