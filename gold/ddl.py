"""Gold of schema texts: cases/ddl.txt, one DDL a line (also the empty one) -> spark-4.3.0/ddl.jsonl."""

import json

from goldlib import HERE, OUT, error_of, write_lines


def generate(spark):
    table_schema = spark.sparkContext._jvm.org.apache.spark.sql.types.DataType
    records = []
    for number, ddl in enumerate((HERE / "cases/ddl.txt").read_text(encoding="utf-8").splitlines(), 1):
        case = {"id": f"ddl-{number:03}", "ddl": ddl}
        try:
            parsed = table_schema.fromDDL(ddl)
            case["type"], case["json"] = parsed.catalogString(), json.loads(parsed.json())
        except Exception as problem:
            case["error"] = error_of(problem)[0]
        records.append(case)
    write_lines(OUT / "ddl.jsonl", records)
