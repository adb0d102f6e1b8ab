"""Gold of expressions: cases/expressions/*.txt -> spark-4.3.0/expressions.jsonl.

One expression a line. `@from VALUES ...` gives the following lines a table,
`@from` ends that; `@conf key=value` sets an option for the rest of the file;
`##` starts a comment. Ids are section-number in file order: append at the end of
a file, so that the ids of the others stay.
"""

from goldlib import HERE, OUT, collect, conf_set, error_of, write_lines


def cases():
    for path in sorted((HERE / "cases/expressions").glob("*.txt")):
        conf, table, number = {}, None, 0
        for line in path.read_text(encoding="utf-8").split("\n"):
            if not line.strip() or line.startswith("##"):
                continue
            if line.startswith("@conf "):
                key, _, value = line[len("@conf ") :].partition("=")
                conf[key] = value
                continue
            if line.startswith("@from"):
                table = line[len("@from") :].strip() or None
                continue
            number += 1
            case = {"id": f"{path.stem}-{number:03}", "expr": line}
            if table:
                case["from"] = table
            if conf:
                case["conf"] = dict(conf)
            yield case


def run(spark, case):
    sql = f"SELECT {case['expr']}"
    if "from" in case:
        sql += f" FROM {case['from']}"
    with conf_set(spark, case.get("conf")):
        try:
            schema, rows = collect(spark.sql(sql))
        except Exception as problem:
            return {**case, "error": error_of(problem)[0]}
    if len(schema) != 1:
        return {**case, "schema": schema, "rows": rows}
    (name, dtype), values = schema[0], [row[0] for row in rows]
    result = {**case, "name": name, "type": dtype}
    if "from" in case or len(values) != 1:
        return {**result, "values": values}
    return {**result, "value": values[0]}


def generate(spark):
    write_lines(OUT / "expressions.jsonl", [run(spark, case) for case in cases()])
