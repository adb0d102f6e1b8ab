#!/usr/bin/env python3
"""Compares two folders of Parquet files by content, as multisets of rows.

  compare.py LEFT RIGHT      equal, all columns, whatever the order of rows or columns
  compare.py LEFT --rows N   only the number of rows

Timestamps are compared as microseconds: engines store the same instant in
different Parquet types. Prints one line of JSON; exit code 1 when they differ.
DuckDB does the work, so neither engine judges itself.
"""
import argparse
import json
import sys

import duckdb


def view(db, name, folder):
    pattern = folder.replace("'", "''") + "/**/*.parquet"
    db.execute(f"create view {name}_files as select * from read_parquet('{pattern}', hive_partitioning=true, union_by_name=true)")
    columns = {}
    for column, kind in sorted(db.execute(f"select column_name, column_type from (describe {name}_files)").fetchall()):
        quoted = '"' + column.replace('"', '""') + '"'
        columns[column] = f"epoch_us({quoted}) as {quoted}" if kind.startswith("TIMESTAMP") else quoted
    db.execute(f"create view {name} as select {', '.join(columns.values())} from {name}_files")
    return list(columns)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("left")
    p.add_argument("right", nargs="?")
    p.add_argument("--rows", type=int)
    a = p.parse_args()
    db = duckdb.connect()
    db.execute("set timezone = 'UTC'")
    left = view(db, "l", a.left)
    out = {"rows": db.execute("select count(*) from l").fetchone()[0], "columns": len(left)}
    if a.right is None:
        out["equal"] = out["rows"] == a.rows
    else:
        right = view(db, "r", a.right)
        out["rows_right"] = db.execute("select count(*) from r").fetchone()[0]
        if left != right:
            out.update(equal=False, columns_left=left, columns_right=right)
        else:
            for side, query in (("only_left", "from l except all from r"), ("only_right", "from r except all from l")):
                out[side] = db.execute(f"select count(*) from ({query})").fetchone()[0]
                if out[side]:
                    out[side + "_first"] = str(db.execute(f"{query} limit 1").fetchone())
            out["equal"] = not out["only_left"] and not out["only_right"]
    print(json.dumps(out))
    sys.exit(0 if out["equal"] else 1)


if __name__ == "__main__":
    main()
