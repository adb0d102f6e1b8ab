"""Asks Spark's own parser about every text of parser.txt.

    python crates/sql/gold/parser.py        (needs pyspark 4.3.0 and Java 17)

Each line of parser.txt is `kind|text`: e expression, p statement, t data type, s column list. A
backslash-n in a text stands for a line break. Writes spark-4.3.0/parser.jsonl: for each text
whether Spark takes it and, for expressions, the form in which Spark prints it; for statements the
plan's nodes. The Rust test `it/gold.rs` compares.
"""
import json
import os
import re

from pyspark.sql import SparkSession

here = os.path.dirname(os.path.abspath(__file__))
session = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
session.sparkContext.setLogLevel("OFF")
parser = session._jsparkSession.sessionState().sqlParser()


def nodes(plan):
    """The names of the plan's nodes, top down. A pipe's marks are left out: they say how it was written."""
    found = []
    for line in plan.toString().split("\n"):
        match = re.match(r"^([ :+-]*)'?([A-Za-z]+)( Inner| Cross| LeftOuter| RightOuter| FullOuter| LeftSemi| LeftAnti)?", line)
        if match and match.group(2) != "PipeOperator" and not line[: len(match.group(1))].rstrip().endswith(":"):
            found.append(match.group(2) + (match.group(3) or ""))
    return found


def ask(kind, text):
    answer = {"kind": kind, "text": text}
    try:
        if kind == "e":
            answer["ok"] = parser.parseExpression(text).sql()
        elif kind == "p":
            answer["ok"] = nodes(parser.parsePlan(text))
        elif kind == "t":
            answer["ok"] = parser.parseDataType(text).sql()
        else:
            answer["ok"] = parser.parseTableSchema(text).toDDL()
    except Exception as error:  # the kind of exception does not matter, only that Spark refuses
        first = [line for line in str(error).split("\n") if line.strip()][0]
        answer["refused"] = re.sub(r"\s*SQLSTATE.*", "", first)
    return answer


version = session.version
with open(os.path.join(here, "parser.txt")) as texts, open(os.path.join(here, f"spark-{version}", "parser.jsonl"), "w") as out:
    for line in texts:
        line = line.rstrip("\n")
        if not line or line.startswith("#"):
            continue
        kind, text = line.split("|", 1)
        out.write(json.dumps(ask(kind, text.replace("\\n", "\n") if "\\n" in text and kind == "p" else text), ensure_ascii=False) + "\n")
