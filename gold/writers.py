"""Gold of writers: the bytes that Spark's writers make -> spark-4.3.0/writers/cases.jsonl."""

import gzip
import re
import sys

from goldlib import HERE, OUT, conf_set, error_of, write_lines


def files_of(folder):
    """Every data file as directory, name after Spark's job id, and content."""
    found = []
    for path in sorted(folder.rglob("part-*")):
        suffix = re.sub(r"^part-\d+-[0-9a-f-]{36}[.-]c\d+|^part-\d+-[0-9a-f-]{36}", "", path.name)
        entry = {"dir": "" if path.parent == folder else str(path.parent.relative_to(folder)), "suffix": suffix}
        data = path.read_bytes()
        if suffix.endswith(".parquet"):
            pass
        else:
            data = gzip.decompress(data) if suffix.endswith(".gz") else data
            try:
                entry["text"] = data.decode("utf-8")
            except UnicodeDecodeError:
                entry["hex"] = data.hex()
        found.append(entry)
    return sorted(found, key=lambda e: (e["dir"], e.get("text", "")))


def run(spark, case, folder):
    with conf_set(spark, case.get("conf")):
        try:
            writer = spark.sql(case["sql"]).coalesce(1).write.format(case["format"]).options(**case["options"])
            if "partitionBy" in case:
                writer = writer.partitionBy(*case["partitionBy"])
            writer.save(str(folder))
        except Exception as problem:
            return {**case, "error": error_of(problem)}
    return {**case, "files": files_of(folder), "success_file": (folder / "_SUCCESS").exists()}


def generate(spark):
    sys.path.insert(0, str(HERE / "cases"))
    from writer_cases import CASES

    records, numbers = [], {}
    for fmt, sql, options, extra in CASES:
        numbers[fmt] = numbers.get(fmt, 0) + 1
        case = {"id": f"{fmt}-writer-{numbers[fmt]:03}", "format": fmt, "sql": sql, "options": options, **extra}
        records.append(run(spark, case, spark.scratch / case["id"]))
    write_lines(OUT / "writers/cases.jsonl", records)
