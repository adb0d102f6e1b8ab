#!/usr/bin/env python3
"""Compares what jobs over the events wrote with what DuckDB finds in the input.

  answers.py JOB DATA OUT [OUT ...]     JOB: dedup, join, recovery

  dedup, recovery   each key once, and each row one of the input; which of the rows of a key came first depends on
                    how an engine splits a file, so any of them will do
  join              the same pairs, as a multiset

Prints one line of JSON per OUT; exit code 1 when one differs.
"""
import argparse
import json
import sys

import duckdb

EVENTS = ("(select user_id, ad_id, event_type, event_time::bigint as ts from read_json('{data}/*.json', format='newline_delimited', "
          "columns={{user_id: 'VARCHAR', ad_id: 'VARCHAR', event_type: 'VARCHAR', event_time: 'VARCHAR'}}))")
IDS = "(select id, ts from read_json('{data}/*.json', format='newline_delimited', columns={{id: 'VARCHAR', ts: 'BIGINT'}}))"


def firsts(db, keys, rows):
    """Differences of a deduplication by `keys`."""
    one = lambda query: db.execute(query).fetchone()[0]
    return {
        "twice": one(f"select count(*) - count(distinct ({keys})) from got"),
        "missing": one(f"select count(*) from (select distinct {keys} from {rows} except select {keys} from got)"),
        "wrong": one(f"select count(*) from (select {keys}, ts from got except select {keys}, ts from {rows})"),
    }


def pairs(db, rows):
    db.execute(f"create or replace table e as from {rows} where event_type <> 'purchase'")
    db.execute("create or replace view want as select v.user_id as v_user, v.ad_id as v_ad, v.ts as v_ts, c.ts as c_ts "
               "from e v join e c using (user_id, ad_id) "
               "where v.event_type = 'view' and c.event_type = 'click' and c.ts between v.ts and v.ts + 10000")
    one = lambda query: db.execute(query).fetchone()[0]
    return {"missing": one("select count(*) from (from want except all from got)"),
            "wrong": one("select count(*) from (from got except all from want)")}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("job", choices=["dedup", "join", "recovery"])
    p.add_argument("data")
    p.add_argument("out", nargs="+")
    a = p.parse_args()
    db = duckdb.connect()
    db.execute("set timezone = 'UTC'")
    is_equal = True
    for out in a.out:
        columns = "v_user, v_ad, epoch_ms(v_ts) as v_ts, epoch_ms(c_ts) as c_ts" if a.job == "join" else "* replace (epoch_ms(ts) as ts)"
        db.execute(f"create or replace view got as select {columns} from read_parquet('{out}/**/*.parquet')")
        if a.job == "join":
            found = pairs(db, EVENTS.format(data=a.data))
        elif a.job == "dedup":
            found = firsts(db, "user_id, ad_id", EVENTS.format(data=a.data))
        else:
            found = firsts(db, "id", IDS.format(data=a.data))
        n_rows = db.execute("select count(*) from got").fetchone()[0]
        found = {"rows": n_rows, **found, "equal": n_rows > 0 and not any(found.values())}
        is_equal &= found["equal"]
        print(json.dumps(found))
    sys.exit(0 if is_equal else 1)


if __name__ == "__main__":
    main()
