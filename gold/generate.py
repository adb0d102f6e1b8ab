"""Writes the gold files from real Spark. See README.md for how to run it.

    python gold/generate.py [expressions|queries|functions|dataframe|show|ddl|readers|writers|progress ...]
"""

import importlib
import sys

from goldlib import session, stop

PARTS = ["expressions", "queries", "functions", "dataframe", "show", "ddl", "readers", "writers", "progress"]


def main():
    parts = sys.argv[1:] or PARTS
    if unknown := [part for part in parts if part not in PARTS]:
        sys.exit(f"unknown part {unknown[0]}, known: {', '.join(PARTS)}")
    spark = session()
    try:
        for part in parts:
            importlib.import_module(part).generate(spark)
    finally:
        stop(spark)


if __name__ == "__main__":
    main()
