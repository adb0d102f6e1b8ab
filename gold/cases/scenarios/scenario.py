"""What the scenario families share: times, rows and the two usual sources.

A scenario is a dict:

id          unique in its family
sources     name -> DDL of flat columns; the program sees a view of that name, a stream of JSON files
tables      name -> SQL of a finished view (optional)
program     SQL text, or the steps of a DataFrame program as in cases/dataframe_cases.py; also `with_watermark` (column, delay),
            `drop_duplicates_within_watermark` (columns) and `flat_map_groups_with_state` (keys, function of
            gold/scenarios.py, timeout)
mode        append, update or complete
conf        settings (optional)
steps       a list; each step maps sources to the rows of one new file (in the order of the columns). A source without
            a new file is left out; an empty list is an empty file
ordered     the order of rows within a batch counts (optional)
beyond      why Millstream answers what Spark refuses, or answers otherwise (optional)
instead     with `beyond`: a program to which Spark gives the rows that `program` must have (optional)
names       for what both refuse: a word that the refusal must contain (optional)
restart_as_live  after restarts Millstream must do what Spark's one query did, not what Spark did after restarts: it forgets
            the watermarks of several sources (optional)
late        batch id -> rows dropped as late, where Spark counts groups and not rows (optional)
"""

from datetime import datetime, timedelta

BASE = datetime(2026, 1, 1)

EVENTS = {"e": "ts TIMESTAMP, k STRING, v INT"}
SIDES = {"l": "lt TIMESTAMP, lk STRING, lv INT", "r": "rt TIMESTAMP, rk STRING, rv INT"}


def at(seconds):
    """Seconds after midnight of 2026-01-01, as text; None stays None, text stays."""
    if seconds is None or isinstance(seconds, str):
        return seconds
    return str(BASE + timedelta(microseconds=round(seconds * 1_000_000)))


def row(seconds, *rest):
    return [at(seconds), *rest]


def file(*rows):
    """Rows whose first field is a time."""
    return [row(*fields) for fields in rows]


def e(*rows):
    """A step in which only the usual source has a file."""
    return {"e": file(*rows)}


def scenario(id, program, steps, mode="append", sources=None, **more):
    return {"id": id, "sources": sources or EVENTS, "program": program, "mode": mode, **more, "steps": steps}


def wm(delay="10 SECONDS", name="e", column="ts"):
    """`FROM` item: the stream with its watermark."""
    return f"STREAM {name} WATERMARK {column} DELAY OF INTERVAL {delay} AS {name}"
