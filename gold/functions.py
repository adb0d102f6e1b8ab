"""Gold of the documented examples of Spark's functions -> spark-4.3.0/functions.jsonl.

The queries are the examples of DESCRIBE FUNCTION EXTENDED, as the installed Spark gives them; what differs between
two runs (clock, chance, session) is left out.
"""

import re

from goldlib import OUT, collect, error_of, write_lines

UNSTABLE = {
    "current_catalog", "current_database", "current_date", "current_path", "current_schema", "current_time", "current_timestamp", "current_timezone",
    "current_user", "curdate", "input_file_block_length", "input_file_block_start", "input_file_name", "localtimestamp", "monotonically_increasing_id", "now", "rand",
    "randn", "random", "randstr", "session_user", "shuffle", "spark_partition_id", "uniform", "user", "uuid", "version", "sample",
}

# Types and modules that a plain Spark 4.3.0 does not have switched on.
OFF = ("UNSUPPORTED_TIME_TYPE", "AVRO_NOT_LOADED", "PROTOBUF_", "FEATURE_NOT_ENABLED")


def answer(spark, sql):
    try:
        schema, rows = collect(spark.sql(sql))
        return {"schema": schema, "rows": rows}
    except Exception as problem:
        return {"error": error_of(problem)[0]}


def generate(spark):
    names = sorted(row[0] for row in spark.sql("SHOW SYSTEM FUNCTIONS").collect())
    records = []
    for name in names:
        if name in UNSTABLE or not re.fullmatch(r"\w+", name) and name not in "!%&*+-/<=>^|~":
            continue
        try:
            text = "\n".join(row[0] for row in spark.sql(f"DESCRIBE FUNCTION EXTENDED `{name}`").collect())
        except Exception:
            continue
        examples = re.findall(r"^\s*> (SELECT .*?);\s*$", text, flags=re.MULTILINE | re.DOTALL)
        for number, sql in enumerate(examples, 1):
            if "\n" in sql or re.search(r"\b(current_|now\(|rand|uuid|localtimestamp|curdate|unix_timestamp\(\))", sql):
                continue
            first, second = answer(spark, sql), answer(spark, sql)
            if first == second and "unencoded" not in str(first) and not first.get("error", "").startswith(OFF):
                records.append({"id": f"{name}-{number}", "sql": sql, "ordered": False, **first})
    write_lines(OUT / "functions.jsonl", records)
