#!/usr/bin/env python3
"""The Kafka jobs of benches/jobs for Spark Structured Streaming, local[2].

  spark_kafka_job.py JOB JARS BOOTSTRAP FROM TO     FROM, TO: topics; `data` is in the working directory, `out` and `checkpoint` come there

Spark's Kafka sink has no transactions: what it writes there is at-least-once.
"""
import glob
import os
import sys

from pyspark.sql import functions as F
from spark_job import EVENTS, session

OFFSETS_PER_TRIGGER = 500_000


def topic(spark, bootstrap, name):
    return (spark.readStream.format("kafka").option("kafka.bootstrap.servers", bootstrap).option("subscribe", name)
            .option("startingOffsets", "earliest").option("maxOffsetsPerTrigger", OFFSETS_PER_TRIGGER).load())


def ysb(spark, bootstrap, name):
    campaigns = spark.read.schema("ad_id string, campaign_id string").csv("data/campaigns")
    e = (topic(spark, bootstrap, name).select(F.from_json(F.col("value").cast("string"), EVENTS).alias("e")).select("e.*")
         .where("event_type = 'view'").selectExpr("ad_id", "timestamp_millis(cast(event_time as bigint)) as ts")
         .withWatermark("ts", "10 seconds").join(F.broadcast(campaigns), "ad_id")
         .groupBy("campaign_id", F.window("ts", "10 seconds")).count())
    return e.select("campaign_id", F.col("window.start").alias("window_start"), F.col("count").alias("n"))


def main():
    job, jars, bootstrap, source, target = sys.argv[1:]
    spark = session(job, jars=",".join(sorted(glob.glob(os.path.join(jars, "*.jar")))))
    to_kafka = {"kafka.bootstrap.servers": bootstrap, "topic": target}
    frame, mode, sink, options = {
        "kafka-read": lambda: (topic(spark, bootstrap, source).groupBy().count(), "complete", "console", {}),
        "kafka-ysb": lambda: (ysb(spark, bootstrap, source), "append", "parquet", {"path": "out"}),
        "kafka-ysb-kafka": lambda: (ysb(spark, bootstrap, source).select(F.to_json(F.struct("*")).alias("value")), "append", "kafka", to_kafka),
        "kafka-write": lambda: (spark.readStream.format("text").option("maxFilesPerTrigger", 1).load("data"), "append", "kafka", to_kafka),
    }[job]()
    writer = frame.writeStream.outputMode(mode).format(sink).options(**options).option("checkpointLocation", "checkpoint")
    writer.trigger(availableNow=True).start().awaitTermination()
    spark.stop()


if __name__ == "__main__":
    main()
