"""Asks Spark's own parser about every text of parser.txt.

    python crates/sql/gold/parser.py        (needs pyspark 4.3.0 and Java 17)

Each line of parser.txt is `kind|text`: e expression, p statement, t data type, s column list, i interval string. A
backslash-n in a text stands for a line break. Writes spark-4.3.0/parser.jsonl: for each text
whether Spark takes it and, for expressions, the form in which Spark prints it; for statements the
plan's nodes. Then does the same with 1,500 mutations of the texts (seeded; words left out, put in,
swapped), which nobody would think of: spark-4.3.0/mutated.jsonl. The Rust test `it/gold.rs` compares.
"""
import json
import os
import random
import re

from py4j.java_gateway import get_field
from pyspark.sql import SparkSession

here = os.path.dirname(os.path.abspath(__file__))
session = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
session.sparkContext.setLogLevel("OFF")
parser = session._jsparkSession.sessionState().sqlParser()
intervals = session.sparkContext._jvm.org.apache.spark.sql.catalyst.util.IntervalUtils
to_utf8 = session.sparkContext._jvm.org.apache.spark.unsafe.types.UTF8String.fromString


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
        elif kind == "i":
            interval = intervals.stringToInterval(to_utf8(text))
            answer["ok"] = [get_field(interval, part) for part in ("months", "days", "microseconds")]
        elif kind == "t":
            answer["ok"] = parser.parseDataType(text).sql()
        else:
            answer["ok"] = parser.parseTableSchema(text).toDDL()
    except Exception as error:  # the kind of exception does not matter, only that Spark refuses
        first = [line for line in str(error).split("\n") if line.strip()][0]
        answer["refused"] = re.sub(r"\s*SQLSTATE.*", "", first)
    return answer


def read_texts():
    with open(os.path.join(here, "parser.txt")) as lines:
        for line in lines:
            line = line.rstrip("\n")
            if line and not line.startswith("#"):
                kind, text = line.split("|", 1)
                yield kind, text.replace("\\n", "\n") if kind == "p" else text


def mutations(texts, n):
    chance = random.Random(7)
    token = re.compile(r"'(?:[^'\\]|\\.)*'|`[^`]*`|\w+|<=>|\|\||::|->|=>|>=|<=|<>|!=|\S")
    cut = [(kind, token.findall(text)) for kind, text in texts if kind in "ep"]
    words = [word for _, tokens in cut for word in tokens]
    while n > 0:
        kind, tokens = chance.choice(cut)
        tokens = list(tokens)
        for _ in range(chance.choice([1, 1, 2])):
            if not tokens:
                break
            at = chance.randrange(len(tokens))
            what = chance.randrange(4)
            if what == 0:
                del tokens[at]
            elif what == 1:
                tokens.insert(at, chance.choice(words))
            elif what == 2:
                other = chance.randrange(len(tokens))
                tokens[at], tokens[other] = tokens[other], tokens[at]
            else:
                tokens[at] = chance.choice(words)
        text = " ".join(tokens).replace(" . ", ".")
        if text:
            n -= 1
            yield kind, text


def write(name, texts):
    with open(os.path.join(here, f"spark-{session.version}", name), "w") as out:
        for kind, text in texts:
            out.write(json.dumps(ask(kind, text), ensure_ascii=False) + "\n")


texts = list(read_texts())
write("parser.jsonl", texts)
write("mutated.jsonl", mutations(texts, 1500))
