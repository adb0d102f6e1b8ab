#!/usr/bin/env python3
"""Compares what the job `keys` gave in each batch with what DuckDB says.

  keys.py DATA LOG     LOG: the lines of the console sink in format json; what else the program said is passed over

A file is a batch. Each batch must give every key of its file once, with the number and the sum of its rows so far,
and nothing else. Prints one line of JSON; exit code 1 when they differ.
"""
import argparse
import json
import sys

import duckdb


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("data")
    p.add_argument("log")
    a = p.parse_args()
    db = duckdb.connect()
    db.execute(
        "create table want as with counted as (select regexp_extract(filename, 'part-(\\d+)', 1)::bigint as batch, key, count(*) as n, "
        f"sum(v) as total from read_json('{a.data}/*.json', format='newline_delimited', filename=true, "
        "columns={key: 'VARCHAR', v: 'BIGINT'}) group by all) "
        "select batch, key, sum(n) over so_far as n, sum(total) over so_far as total from counted "
        "window so_far as (partition by key order by batch)")
    db.execute(
        "create table got as select batchId as batch, row.key as key, row.n as n, row.total as total "
        f"from read_json('{a.log}', format='newline_delimited', ignore_errors=true, "
        "columns={batchId: 'BIGINT', row: 'STRUCT(key VARCHAR, n BIGINT, total BIGINT)'}) where row is not null")
    one = lambda query: db.execute(query).fetchone()[0]
    out = {
        "rows": one("select count(*) from got"),
        "keys": one("select count(distinct key) from got"),
        "wrong": one("select count(*) from (from got except all from want)"),
        "missing": one("select count(*) from (from want except all from got)"),
    }
    out["equal"] = out["rows"] > 0 and not out["wrong"] and not out["missing"]
    print(json.dumps(out))
    sys.exit(0 if out["equal"] else 1)


if __name__ == "__main__":
    main()
