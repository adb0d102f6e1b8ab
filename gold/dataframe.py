"""Gold of DataFrame programs: cases/dataframe_cases.py -> spark-4.3.0/dataframe.jsonl."""

import sys

from goldlib import HERE, OUT, collect, error_of, write_lines
from pyspark.sql.functions import expr
from queries import statements


def build(spark, steps):
    frame = None
    for method, *args in steps:
        frame = step(spark, frame, method, args)
    return frame


def sort_key(text):
    """`age DESC NULLS LAST` as a Column; expr() takes no direction."""
    for words, method in {
        " DESC NULLS LAST": "desc_nulls_last", " ASC NULLS LAST": "asc_nulls_last", " DESC": "desc", " ASC": "asc",
    }.items():
        if text.endswith(words):
            return getattr(expr(text.removesuffix(words)), method)()
    return expr(text)


def step(spark, frame, method, args):
    match method:
        case "table":
            return spark.table(args[0])
        case "sql":
            return spark.sql(args[0])
        case "select":
            return frame.select(*args)
        case "select_expr":
            return frame.selectExpr(*args)
        case "filter" | "where":
            return frame.filter(args[0])
        case "with_column":
            return frame.withColumn(args[0], expr(args[1]))
        case "with_columns":
            return frame.withColumns({name: expr(text) for name, text in args[0].items()})
        case "with_column_renamed":
            return frame.withColumnRenamed(*args)
        case "with_columns_renamed":
            return frame.withColumnsRenamed(args[0])
        case "union" | "intersect":
            return getattr(frame, method)(build(spark, args[0]))
        case "except":
            return frame.subtract(build(spark, args[0]))
        case "union_by_name":
            return frame.unionByName(build(spark, args[0]), allowMissingColumns=args[1])
        case "join":
            other, on, how = build(spark, args[0]), args[1], args[2]
            return frame.join(other, expr(on) if isinstance(on, str) else on, how)
        case "group_by":
            keys, what, *columns = args
            grouped = frame.groupBy(*[expr(key) for key in keys])
            if what == "agg":
                return grouped.agg(*[expr(column) for column in columns])
            return getattr(grouped, what)(*columns)
        case "order_by":
            return frame.orderBy(*[sort_key(text) for text in args])
        case "drop_duplicates":
            return frame.dropDuplicates(list(args))
        case "dropna":
            how, thresh, subset = (args + [None] * 3)[:3]
            return frame.dropna(how or "any", thresh, subset)
        case "to_df":
            return frame.toDF(*args)
        case "with_watermark":
            return frame.withWatermark(*args)
        case "drop_duplicates_within_watermark":
            return frame.dropDuplicatesWithinWatermark(list(args) or None)
        case _:
            return getattr(frame, method)(*args)


def generate(spark):
    sys.path.insert(0, str(HERE / "cases"))
    from dataframe_cases import CASES

    for statement in statements((OUT / "tables.sql").read_text(encoding="utf-8")):
        spark.sql(statement.replace("CREATE TEMPORARY", "CREATE OR REPLACE TEMPORARY", 1))
    records = []
    for number, steps in enumerate(CASES, 1):
        case = {"id": f"dataframe-{number:03}", "steps": steps, "ordered": any(s[0] == "order_by" for s in steps)}
        try:
            case["schema"], case["rows"] = collect(build(spark, steps))
        except Exception as problem:
            case["error"] = error_of(problem)[0]
        records.append(case)
    write_lines(OUT / "dataframe.jsonl", records)
