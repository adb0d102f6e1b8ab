#!/usr/bin/env python3
"""A reader that knows nothing of Millstream, asked through stdin, one JSON object a line, answered likewise.

  {"do": "watch", "outputs": [OUTPUT, ...]}   reads all files of the outputs again and again, in the background
  {"do": "unwatch"}                           stops; tells how often it looked, and the first thing that was wrong
  {"do": "compare", "output": OUTPUT, "columns": [..], "oracle": SQL, "rows": ROWS, "cwd": DIR}
                                              rows of the output against a DuckDB query over the inputs: all, or with
                                              {"last_of": [KEY, COLUMN]} of each key that with the greatest value of the column,
                                              with {"last": COLUMN} those with its greatest value of all, with "changes" what is
                                              left of rows that say in _change_type whether they come or go
  {"do": "whole", "looks": [[ID, ..], ..], "oracle": SQL, "cwd": DIR}
                                              whether each look saw whole batches in order: all rows of the first
                                              input files, none of the others
  {"do": "topics", "names": [NAME, ..], "partitions": N} {"do": "forget", "prefix": PREFIX}
                                              makes topics, deletes those of a run
  {"do": "produce", "topic": NAME, "partitions": N, "file": PATH, "first": N, "how": "plain", "transaction" or "aborted"}
                                              the lines of a file, to a topic

OUTPUT is {"url": folder or s3://bucket/prefix, "format": "parquet" or "json"}, or {"url": topic, "format": "kafka"} with rows
as JSON; every row has a unique string `id`.
While it watches, these must never be seen: a file that cannot be read to its end, an id twice, an id that was
there and is gone. Of topics only committed records are read. Names are judged as DuckDB's glob does, by suffix only: hidden files count.
S3 is reached with the MILLSTREAM_TEST_S3_* variables.
"""
import functools
import json
import os
import shutil
import sys
import tempfile
import threading
import time

import duckdb
import pyarrow.fs
import pyarrow.json
import pyarrow.parquet

PAUSE_S = 0.004


@functools.cache
def s3():
    env = os.environ
    return pyarrow.fs.S3FileSystem(access_key=env["MILLSTREAM_TEST_S3_KEY"], secret_key=env["MILLSTREAM_TEST_S3_SECRET"],
                                   endpoint_override=env["MILLSTREAM_TEST_S3_ENDPOINT"].split("://")[1], scheme="http", region="us-east-1")


def open_folder(url):
    """(file system, path) of a folder."""
    if url.startswith("s3://"):
        return s3(), url.removeprefix("s3://").rstrip("/")
    return pyarrow.fs.LocalFileSystem(), url


def files_of(fs, folder, suffix):
    found = fs.get_file_info(pyarrow.fs.FileSelector(folder, allow_not_found=True, recursive=True))
    return sorted(f.path for f in found if f.type == pyarrow.fs.FileType.File and f.path.endswith("." + suffix))


def rows_of(fs, path, kind):
    """(id, all of the row as text) of each row."""
    with fs.open_input_file(path) as f:
        data = f.read()
    if kind == "parquet":
        # All columns, so that every page is read.
        rows = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data)).read().to_pylist()
        return [(row["id"], repr(row)) for row in rows]
    text = data.decode()
    if text and not text.endswith("\n"):
        raise ValueError("the last line has no end")
    return [(json.loads(line)["id"], line) for line in text.splitlines()]


class Watch:
    """Polls until told to stop, or until something is wrong."""

    def __init__(self, outputs):
        self.outputs, self.stopped, self.polls, self.wrong = outputs, threading.Event(), 0, None
        self.seen = [{} for _ in outputs]  # per output: file -> its rows, read once; of a topic: id -> nothing
        self.topics = {}  # by output: its reader
        self.reordered = 0
        self.thread = threading.Thread(target=self.loop, daemon=True)
        self.thread.start()

    def loop(self):
        try:
            while not self.stopped.wait(PAUSE_S) and self.wrong is None:
                for output, seen in zip(self.outputs, self.seen):
                    self.look(output, seen)
                self.polls += 1
        except Exception as e:  # the campaign must hear of it, whatever it is
            self.wrong = self.wrong or f"the watcher failed: {e!r}"

    def look_at_topic(self, output, seen):
        import kafka_topics
        topic = output["url"]
        if topic not in self.topics:
            self.topics[topic] = kafka_topics.Committed(topic)
        self.note(topic, kafka_topics.ids(self.topics[topic].poll(PAUSE_S)), seen)

    def note(self, topic, ids, seen):
        twice = [i for n, i in enumerate(ids) if i in seen or i in ids[:n]]
        if twice:
            self.wrong = self.wrong or f"id twice in topic {topic}: {twice[:3]}"
        seen.update((i, []) for i in ids)

    def look(self, output, seen):
        if output["format"] == "kafka":
            return self.look_at_topic(output, seen)
        fs, folder = open_folder(output["url"])
        try:
            there = files_of(fs, folder, output["format"])
        except FileNotFoundError:
            return  # a folder came or went between the look for it and its listing; the next look tells
        gone = set(seen) - set(there)
        if gone:
            self.wrong = f"visible files vanished: {sorted(gone)}"
        for path in there:
            if path in seen:
                continue
            try:
                rows = rows_of(fs, path, output["format"])
            except Exception as e:
                self.wrong = f"torn file {path}: {e!r}"
                return
            ids = [i for i, _ in rows]
            known = {i: p for p, rows_there in seen.items() for i, _ in rows_there}
            twice = [i for i in ids if i in known]
            if twice or len(set(ids)) != len(ids):
                self.wrong = f"duplicate id in {path}: {twice[:3] or 'within the file'}, also in {[known[i] for i in twice[:3]]}"
                return
            seen[path] = rows

    def stop(self):
        self.stopped.set()
        self.thread.join()
        if self.wrong is None:
            try:  # a last look at the end, over everything again
                fresh = [{} for _ in self.outputs]
                for output, seen, before in zip(self.outputs, fresh, self.seen):
                    if output["format"] == "kafka":
                        import kafka_topics
                        self.note(output["url"], kafka_topics.ids(kafka_topics.committed(output["url"])), seen)
                        if set(before) - set(seen):
                            self.wrong = self.wrong or f"records that were visible are gone: {sorted(set(before) - set(seen))[:3]}"
                        continue
                    self.look(output, seen)
                    for path, rows in before.items():
                        again = seen.get(path, [])
                        if sorted(again) != sorted(rows):
                            differ = sorted(set(again) ^ set(rows))[:4]
                            self.wrong = self.wrong or f"a visible file changed: {path}, in {differ}"
                        # A life with another parallelism that writes a batch again may give its rows in another order.
                        self.reordered += again != rows
                self.seen = fresh
            except Exception as e:
                self.wrong = f"the watcher failed: {e!r}"
        for topic in self.topics.values():
            topic.close()
        return {"polls": self.polls, "files": sum(map(len, self.seen)), "reordered": self.reordered,
                "ids": [[i for f in sorted(s) for i, _ in s[f]] for s in self.seen], "wrong": self.wrong}


def compare(ask):
    """Rows of the output against the oracle, as multisets, through DuckDB."""
    # First: the folder of the last run, where we still are, may be gone.
    os.chdir(ask["cwd"])
    fs, folder = open_folder(ask["output"]["url"])
    kind, copy = ask["output"]["format"], None
    if kind == "kafka":
        import kafka_topics
        values = kafka_topics.committed(folder)
        kind, copy = "json", tempfile.mkdtemp(prefix="millstream-kill-")
        if values:
            with open(os.path.join(copy, "records.json"), "wb") as f:
                f.write(b"".join(value + b"\n" for value in values))
        folder = copy
    elif not isinstance(fs, pyarrow.fs.LocalFileSystem):
        copy = tempfile.mkdtemp(prefix="millstream-kill-")
        for path in files_of(fs, folder, kind):
            to = os.path.join(copy, os.path.relpath(path, folder))
            os.makedirs(os.path.dirname(to), exist_ok=True)
            with fs.open_input_file(path) as f, open(to, "wb") as g:
                g.write(f.read())
        folder = copy
    db = duckdb.connect()
    db.execute("set timezone = 'UTC'")
    columns = ask["columns"]  # [[name, SQL over the files], ...]
    select = ", ".join(f"{sql} as {name}" for name, sql in columns)
    glob = f"{folder}/**/*.{kind}"
    # A table of a query that was changed has files with fewer columns.
    read = (f"read_parquet('{glob}', union_by_name=true, hive_partitioning=true, hive_types_autocast=false)" if kind == "parquet"
            else f"read_json('{glob}', format='newline_delimited', columns={ask['json_columns']})")
    rows, wrong = ask["rows"], []
    there = bool(files_of(pyarrow.fs.LocalFileSystem(), folder, kind))
    if rows == "changes":
        names = ", ".join(name for name, _ in columns)
        sign = "case when _change_type in ('insert', 'update_postimage') then 1 when _change_type in ('delete', 'update_preimage') then -1 end"
        if there:
            db.execute(f"create table folded as select {names}, sum({sign}) as n_left, bool_or({sign} is null) as is_unknown "
                       f"from {read} group by all")
            for what, condition in (("taken out and never given", "n_left < 0"), ("with an unknown change", "is_unknown")):
                n, = db.execute(f"select count(*) from folded where {condition}").fetchone()
                if n:
                    wrong.append(f"{n} rows {what}")
        read = "(select * from folded, range(greatest(n_left, 0)::bigint))"
    elif rows and "last_of" in rows:
        key, by = rows["last_of"]
        read = f"(select * from {read} qualify row_number() over (partition by {key} order by {by} desc) = 1)"
    elif rows:
        read = f"(select * from {read} qualify {rows['last']} = max({rows['last']}) over ())"
    if there:
        db.execute(f"create table got as select {select} from {read}")
    else:
        db.execute(f"create table got as select * from ({ask['oracle']}) limit 0")
    db.execute(f"create table want as select {', '.join(name for name, _ in columns)} from ({ask['oracle']})")
    counts = [db.execute(f"select count(*) from {t}").fetchall()[0][0] for t in ("got", "want")]
    for side, query in (("extra", "from got except all from want"), ("missing", "from want except all from got")):
        rows = db.execute(query).fetchall()
        if rows:
            wrong.append(f"{len(rows)} {side}, such as {sorted(map(str, rows))[:3]}")
    if copy:
        shutil.rmtree(copy)
    return {"rows": counts[0], "rows_wanted": counts[1], "wrong": "; ".join(wrong) or None}


def whole(ask):
    """A batch is one input file, and an id starts with its file's number."""
    os.chdir(ask["cwd"])
    wanted = {}
    for (i,) in duckdb.connect().execute(f"set timezone = 'UTC'; select id from ({ask['oracle']}) order by id").fetchall():
        wanted.setdefault(i.split("-")[0], []).append(i)
    for n, look in enumerate(ask["looks"]):
        there = {}
        for i in sorted(look):
            there.setdefault(i.split("-")[0], []).append(i)
        first = list(wanted)[:len(there)]
        for name in sorted(set(first) | set(there)):
            if there.get(name) != wanted.get(name) or name not in first:
                return {"wrong": f"look {n} saw {len(there.get(name, []))} of {len(wanted.get(name, []))} rows of {name}, and files {sorted(there)}"}
    return {"wrong": None}


def of_topics(ask):
    import kafka_topics
    if ask["do"] == "topics":
        return kafka_topics.make(ask["names"], ask["partitions"]) or {}
    if ask["do"] == "forget":
        return kafka_topics.forget(ask["prefix"]) or {}
    return {"records": kafka_topics.produce(ask["topic"], ask["partitions"], ask["file"], ask["first"], ask["how"])}


def main():
    watch = None
    for line in sys.stdin:
        ask = json.loads(line)
        try:
            if ask["do"] == "watch":
                watch, answer = Watch(ask["outputs"]), {}
            elif ask["do"] == "unwatch":
                answer = watch.stop()
            elif ask["do"] == "whole":
                answer = whole(ask)
            elif ask["do"] in ("topics", "forget", "produce"):
                answer = of_topics(ask)
            else:
                answer = compare(ask)
        except Exception as e:
            answer = {"wrong": f"{ask['do']} failed: {e!r}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
