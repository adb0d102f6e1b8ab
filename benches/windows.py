#!/usr/bin/env python3
"""Compares a table of counts per key and window with what DuckDB counts in the input.

  windows.py JOB DATA OUT     OUT: a folder of Parquet files, or a file of JSON lines; JOB: ysb-json, ysb-parquet, hashtags, hashtags-1s,
                             window-length-x1, window-length-x100

A stream leaves out the windows that its watermark has not passed: rows after the last window that it gave may be
missing, no others. Prints one line of JSON; exit code 1 when they differ.
"""
import argparse
import glob
import json
import os
import sys

import duckdb

LENGTH_S = {"ysb-json": 10, "ysb-parquet": 10, "hashtags": 600, "hashtags-1s": 600,
            "window-length-x1": 5, "window-length-x100": 500}
SLIDE_S = {"ysb-json": 10, "ysb-parquet": 10, "hashtags": 10, "hashtags-1s": 1, "window-length-x1": 5, "window-length-x100": 5}


def counted(job, data):
    """Key, slide and count of the input."""
    slide_ms = SLIDE_S[job] * 1000
    if job.startswith("ysb"):
        columns = ", ".join(f"{name}: 'VARCHAR'" for name in ("ad_id", "event_type", "event_time"))
        rows = {"ysb-json": f"read_json('{data}/events/*.json', format='newline_delimited', columns={{{columns}}})",
                "ysb-parquet": f"read_parquet('{data}/events/*.parquet')"}[job]
        campaigns = f"read_csv('{data}/campaigns/*.csv', header=false, names=['ad_id', 'key'])"
        return (f"select key, event_time::bigint // {slide_ms} as slide, count(*) as n from {rows} join {campaigns} using (ad_id) "
                "where event_type = 'view' group by all")
    if job.startswith("window-length"):
        rows = f"read_parquet('{data}/*.parquet')"
    else:
        rows = f"read_json('{data}/*.json', format='newline_delimited', columns={{ts: 'BIGINT', tag: 'VARCHAR'}})"
    return f"select tag as key, ts // {slide_ms} as slide, count(*) as n from {rows} group by all"


def results(out):
    if out.endswith(".json"):
        return f"read_json('{out}', format='newline_delimited', columns={{campaign_id: 'VARCHAR', window_start: 'TIMESTAMPTZ', n: 'BIGINT'}})"
    # Flink's files have no ending.
    named = lambda file: file.endswith(".parquet") or os.path.basename(file).startswith("part-")
    return f"read_parquet({[file for file in glob.glob(f'{out}/**/*', recursive=True) if named(file)]})"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("job", choices=list(LENGTH_S))
    p.add_argument("data")
    p.add_argument("out")
    a = p.parse_args()
    slide_ms, n_slides = SLIDE_S[a.job] * 1000, LENGTH_S[a.job] // SLIDE_S[a.job]
    db = duckdb.connect()
    db.execute("set timezone = 'UTC'")
    db.execute(f"create table want as with slides as ({counted(a.job, a.data)}) select key, (slide - i) * {slide_ms} as w, "
               f"sum(n)::bigint as n from slides, range({n_slides}) r(i) group by all")
    db.execute(f"create table got as select columns(* exclude (window_start, n)) as key, epoch_ms(window_start) as w, n "
               f"from {results(a.out)}")
    last = db.execute("select max(w) from got").fetchone()[0]
    one = lambda query: db.execute(query).fetchone()[0]
    out = {
        "rows": one("select count(*) from got"),
        "wrong": one("select count(*) from (from got except all from want)"),
        "missing": one(f"select count(*) from (select * from want where w <= {last or 0} except all from got)"),
        "not_closed": one(f"select count(*) from want where w > {last or 0}"),
    }
    out["equal"] = out["rows"] > 0 and not out["wrong"] and not out["missing"]
    print(json.dumps(out))
    sys.exit(0 if out["equal"] else 1)


if __name__ == "__main__":
    main()
