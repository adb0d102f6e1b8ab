"""Gold of readers: cases/reader_cases.py over readers/files -> spark-4.3.0/readers/cases.jsonl."""

import sys

from goldlib import HERE, OUT, collect, conf_set, error_of, write_lines

FILES = OUT / "readers/files"


def cases():
    sys.path.insert(0, str(HERE / "cases"))
    from reader_cases import CASES

    numbers = {}
    for section, fmt, path, schema, options, extra in CASES:
        numbers[section] = numbers.get(section, 0) + 1
        case = {"id": f"{section}-{numbers[section]:03}", "format": fmt, "path": path}
        yield {**case, "schema": schema, "options": options, "ordered": True, **extra}


def run(spark, case):
    with conf_set(spark, case.get("conf")):
        try:
            reader = spark.read.format(case["format"])
            for key, value in case["options"].items():
                reader = reader.option(key, str(FILES / value) if key == "basePath" else value)
            if case["schema"] is not None:
                reader = reader.schema(case["schema"])
            frame = reader.load(str(FILES / case["path"]))
            if "select" in case:
                frame = frame.selectExpr(*case["select"])
            schema, rows = collect(frame)
        except Exception as problem:
            return {**case, "error": error_of(problem)}
    return {**case, "result_schema": schema, "rows": rows}


def generate(spark):
    write_lines(OUT / "readers/cases.jsonl", [run(spark, case) for case in cases()])
