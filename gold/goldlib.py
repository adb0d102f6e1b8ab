"""What the gold generators share: one Spark session with fixed settings, and the
unambiguous JSON form of Spark's values and errors (the rules are in README.md).

Values are taken from the JVM rows, not from PySpark's collect(): PySpark converts
timestamps to the local zone of the Python process and has no month intervals.
"""

import json
import logging
import os
import shutil
import struct
import sys
import tempfile
from pathlib import Path

os.environ["TZ"] = "UTC"
# Functions run in workers that need pandas and pyarrow too.
os.environ.setdefault("PYSPARK_PYTHON", sys.executable)

from py4j.java_gateway import get_field  # noqa: E402
from pyspark.errors import PySparkException  # noqa: E402
from pyspark.sql import SparkSession  # noqa: E402

HERE = Path(__file__).resolve().parent
OUT = HERE / "spark-4.3.0"
SPARK_VERSION = "4.3.0"
DEFAULT_CONF = {"spark.sql.session.timeZone": "UTC"}


def session():
    """The one session: ANSI on (the default), zone set, everything small."""
    scratch = Path(tempfile.mkdtemp(prefix="millstream-gold-"))
    builder = SparkSession.builder.master("local[2]").appName("gold")
    for key, value in {
        "spark.ui.enabled": "false",
        "spark.driver.memory": "2g",
        "spark.driver.extraJavaOptions": "-Duser.timezone=UTC -Duser.language=en -Duser.country=US",
        "spark.sql.datetime.java8API.enabled": "true",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        "spark.ui.showConsoleProgress": "false",
        **DEFAULT_CONF,
    }.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):
        logging.getLogger(name).disabled = True
    if spark.version != SPARK_VERSION:
        sys.exit(f"gold comes from Spark {SPARK_VERSION}, this is {spark.version}")
    spark.scratch = scratch
    return spark


def stop(spark):
    scratch = spark.scratch
    spark.stop()
    shutil.rmtree(scratch, ignore_errors=True)


class conf_set:
    """Settings of one case; what was there before comes back afterwards."""

    def __init__(self, spark, conf):
        self.spark, self.conf = spark, conf or {}

    def __enter__(self):
        self.before = {k: self.spark.conf.get(k, None) for k in self.conf}
        for key, value in self.conf.items():
            self.spark.conf.set(key, value)

    def __exit__(self, *_):
        for key, value in self.before.items():
            if value is None:
                self.spark.conf.unset(key)
            else:
                self.spark.conf.set(key, value)


# ---- values -----------------------------------------------------------------------


def _fraction(text):
    head, _, fraction = text.partition(".")
    if head.count(":") == 1:
        head += ":00"
    return f"{head}.{(fraction + '000000')[:6]}"


def _number(value, is_float=False):
    """Python's shortest text that reads back as the same double; of a float, the shortest that reads back as it.

    Java 17 itself does not always print the shortest digits.
    """
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    value = float(value)
    if is_float:
        for n_digits in range(1, 10):
            short = float(f"{value:.{n_digits}g}")
            if struct.pack("f", short) == struct.pack("f", value):
                return repr(short)
    return repr(value)


def encode(value, dtype):
    """One JVM value of the given type (Spark's JSON form of the type) as JSON."""
    if value is None:
        return None
    kind = dtype if isinstance(dtype, str) else dtype["type"]
    if kind == "boolean":
        return bool(value)
    if kind in ("byte", "short", "integer", "long"):
        return str(value)
    if kind in ("float", "double"):
        return _number(value, kind == "float")
    if kind.startswith("decimal"):
        # py4j gives decimal.Decimal; "f" never writes an exponent and keeps the scale.
        return format(value, "f")
    if kind == "binary":
        return bytes(value).hex()
    if kind == "date":
        return value.toString()
    if kind == "timestamp":
        return _fraction(value.toString().rstrip("Z").replace("T", " "))
    if kind == "timestamp_ntz":
        return _fraction(value.toString().replace("T", " "))
    if kind.startswith("time("):
        return _fraction(value.toString())
    if kind == "interval":
        return [str(get_field(value, part)) for part in ("months", "days", "microseconds")]
    if kind.startswith("interval "):
        if "year" in kind or "month" in kind:
            return str(value.toTotalMonths())
        return str(value.getSeconds() * 1_000_000 + value.getNano() // 1000)
    if kind == "array":
        return [encode(value.apply(i), dtype["elementType"]) for i in range(value.size())]
    if kind == "map":
        pairs, entries = [], value.iterator()
        while entries.hasNext():
            entry = entries.next()
            pairs.append([encode(entry._1(), dtype["keyType"]), encode(entry._2(), dtype["valueType"])])
        return pairs
    if kind == "struct":
        fields = dtype["fields"]
        return [[f["name"], encode(value.get(i), f["type"])] for i, f in enumerate(fields)]
    if kind.startswith(("string", "char", "varchar")):
        return str(value)
    if kind == "void":
        return None
    return {"unencoded": str(value.toString())}


def collect(df):
    """(schema as [[name, type]], rows as lists of encoded values)."""
    jschema = df._jdf.schema()
    fields = json.loads(jschema.json())["fields"]
    names = [
        [f["name"], jschema.apply(i).dataType().catalogString()] for i, f in enumerate(fields)
    ]
    rows = [
        [encode(row.get(i), f["type"]) for i, f in enumerate(fields)] for row in df._jdf.collect()
    ]
    return names, rows


# ---- errors -----------------------------------------------------------------------


def _conditions(throwable):
    seen = []
    while throwable is not None:
        try:
            condition = throwable.getCondition()
        except Exception:
            condition = None
        if condition and condition not in seen:
            seen.append(condition)
        throwable = throwable.getCause()
    return seen


def error_of(problem):
    """Spark's error conditions, outermost first."""
    origin = getattr(problem, "_origin", None) or getattr(problem, "java_exception", None)
    found = _conditions(origin) if origin is not None else []
    if not found and isinstance(problem, PySparkException) and problem.getCondition():
        found = [problem.getCondition()]
    if not found:
        found = [origin.getClass().getSimpleName() if origin is not None else type(problem).__name__]
    return found


def message_of(problem):
    origin = getattr(problem, "_origin", None) or getattr(problem, "java_exception", None)
    text = origin.getMessage() if origin is not None else str(problem)
    return (text or "").split("\n")[0]


def write_lines(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="\n") as out:
        for record in records:
            out.write(json.dumps(record, ensure_ascii=False) + "\n")
    print(f"{path.relative_to(HERE)}: {len(records)}")
