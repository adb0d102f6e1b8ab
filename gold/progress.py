"""Gold of progress: real progress, status and listener events -> spark-4.3.0/progress/*.json.

These are templates: field names, order and shapes count. Ids, times, rates and the
scratch folder differ from run to run; the folder is written as `/data`.
"""

import json
import threading
import time

from goldlib import OUT
from pyspark.sql.functions import expr


def keep_json(event_class):
    inner = event_class.fromJObject.__func__

    def from_jvm(cls, jevent):
        event = inner(cls, jevent)
        event.raw = jevent.json()
        return event

    event_class.fromJObject = classmethod(from_jvm)


def listener_class():
    from pyspark.sql.streaming import StreamingQueryListener, listener

    # PySpark's events keep fields only; the JVM's own JSON is what Connect sends.
    for name in ("QueryStartedEvent", "QueryProgressEvent", "QueryIdleEvent", "QueryTerminatedEvent"):
        keep_json(getattr(listener, name))

    class Recorder(StreamingQueryListener):
        def __init__(self):
            self.events, self.idle, self.ended = [], threading.Event(), threading.Event()

        def onQueryStarted(self, event):
            self.events.append(("started", json.loads(event.raw)))

        def onQueryProgress(self, event):
            self.events.append(("progress", json.loads(event.raw)))

        def onQueryIdle(self, event):
            self.events.append(("idle", json.loads(event.raw)))
            self.idle.set()

        def onQueryTerminated(self, event):
            self.events.append(("terminated", json.loads(event.raw)))
            self.ended.set()

    return Recorder


def generate(spark):
    folder = OUT / "progress"
    folder.mkdir(parents=True, exist_ok=True)
    scratch = spark.scratch / "progress"

    def write(name, value):
        text = json.dumps(value, indent=2, ensure_ascii=False).replace(str(scratch), "/data")
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        print(f"progress/{name}.json")

    def of(query):
        jquery = query._jsq
        return [json.loads(p.json()) for p in jquery.recentProgress()]

    def status(query):
        return json.loads(query._jsq.status().json())

    recorder = listener_class()()
    spark.streams.addListener(recorder)

    # files -> parquet, available now, two batches
    (scratch / "in").mkdir(parents=True)
    for number in range(3):
        lines = [json.dumps({"id": number * 10 + i, "name": f"n{i}"}) for i in range(5)]
        (scratch / f"in/f{number}.json").write_text("\n".join(lines) + "\n")
    source = spark.readStream.schema("id INT, name STRING").option("maxFilesPerTrigger", "2").json(str(scratch / "in"))
    query = (
        source.where("id % 2 = 0").writeStream.format("parquet").queryName("files_to_parquet")
        .option("checkpointLocation", str(scratch / "cp1")).trigger(availableNow=True).start(str(scratch / "out"))
    )
    query.awaitTermination()
    write("file-to-parquet-available-now", of(query))
    write("status-terminated", status(query))

    # rate -> console, default trigger
    query = spark.readStream.format("rate").option("rowsPerSecond", "10").load().writeStream.format("console") \
        .option("checkpointLocation", str(scratch / "cp2")).start()
    while len(query.recentProgress) < 3:
        time.sleep(0.2)
    running = status(query)
    query.stop()
    write("rate-to-console", of(query)[:3])
    write("status-running", running)

    # rate-micro-batch -> noop with a watermark, aggregation and observed metrics
    frame = spark.readStream.format("rate-micro-batch").option("rowsPerBatch", "10").option("advanceMillisPerBatch", "10000").load()
    frame = frame.observe("seen", expr("count(*) AS n"), expr("max(value) AS top"))
    query = frame.withWatermark("timestamp", "5 seconds").groupBy("value").count().writeStream.format("noop").outputMode("update") \
        .queryName("counts").option("checkpointLocation", str(scratch / "cp3")).start()
    while len(query.recentProgress) < 3:
        time.sleep(0.2)
    query.stop()
    write("rate-micro-batch-aggregate", of(query)[:3])

    # memory table that becomes idle: the idle event
    recorder.idle.clear()
    query = spark.readStream.schema("id INT").json(str(scratch / "in")).writeStream.format("memory").queryName("mem") \
        .option("checkpointLocation", str(scratch / "cp4")).start()
    query.processAllAvailable()
    write("file-to-memory", of(query))
    write("status-waiting", status(query))
    recorder.idle.wait(20)
    query.stop()

    # foreachBatch, socketless: a query that fails
    def boom(batch, batch_id):
        raise ValueError(f"boom in batch {batch_id}")

    recorder.ended.clear()
    query = spark.readStream.schema("id INT").json(str(scratch / "in")).writeStream.foreachBatch(boom) \
        .option("checkpointLocation", str(scratch / "cp5")).start()
    try:
        query.awaitTermination()
    except Exception:
        pass
    failed = status(query)
    failed["message"] = failed["message"].split("Traceback")[0]
    write("status-failed", failed)
    recorder.ended.wait(10)
    time.sleep(1)

    # the checkpoint of the first query, as text
    def tree(root):
        return {str(p.relative_to(root)): p.read_text(errors="replace").split("\n") for p in sorted(root.rglob("*")) if p.is_file() and not p.name.endswith(".crc") and p.suffix != ".parquet"}

    write("checkpoint-file-to-parquet", tree(scratch / "cp1"))
    write("sink-metadata-file-to-parquet", tree(scratch / "out"))

    first = {}
    for kind, event in recorder.events:
        first.setdefault(kind, event)
        if kind == "terminated" and event.get("exception"):
            event["exception"] = event["exception"].split("Traceback")[0]
            first.setdefault("terminated-by-error", event)
    for kind, event in first.items():
        write(f"event-{kind}", event)
    spark.streams.removeListener(recorder)
