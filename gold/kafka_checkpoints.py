"""Checkpoints of Spark queries over Kafka, for `startingOffsetsFromSparkCheckpoint`: spark-4.3.0/kafka-checkpoints.

  cargo xtask with kafka -- python gold/kafka_checkpoints.py JARS OUT

JARS: a folder with spark-sql-kafka-0-10_2.13, spark-token-provider-kafka-0-10_2.13, kafka-clients and commons-pool2. The newest
connector that the registries have is 4.2.0-preview5; it runs with Spark 4.3.0, whose own classes write these logs. Needs
pyspark==4.3.0 and confluent-kafka, and an empty broker.

  one           two batches committed, a third begun: its offsets are written, its output failed
  two           one batch of two sources
  named         the same with spark.sql.streaming.offsetLog.formatVersion=2, where each line says which source it is of
  uncommitted   a first batch begun, none committed
"""
import glob
import os
import shutil
import sys
import tempfile

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from pyspark.sql import SparkSession

jars, out = sys.argv[1:]
servers = os.environ["MILLSTREAM_TEST_KAFKA"]
admin = AdminClient({"bootstrap.servers": servers})
for made in admin.create_topics([NewTopic("spark-orders", 2, 1), NewTopic("spark-returns", 1, 1)]).values():
    made.result()
producer = Producer({"bootstrap.servers": servers})
needed = [path for path in glob.glob(os.path.join(jars, "*.jar")) if "spark" in path or "kafka" in path or "pool2" in path]
spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").config("spark.jars", ",".join(needed)).getOrCreate()
spark.sparkContext.setLogLevel("OFF")


def put(topic, partition, n):
    for i in range(n):
        producer.produce(topic, f"{topic}-{partition}-{i}".encode(), partition=partition)
    producer.flush()


def read(topics):
    reader = spark.readStream.format("kafka").option("kafka.bootstrap.servers", servers)
    return reader.option("subscribe", topics).option("startingOffsets", "earliest").load()


def run(frame, name, fails=False):
    def write(batch, _):
        batch.count()
        if fails:
            raise RuntimeError("the output fails")

    checkpoint = os.path.join(work, name)
    query = frame.writeStream.foreachBatch(write).option("checkpointLocation", checkpoint).trigger(availableNow=True).start()
    try:
        query.awaitTermination()
    except Exception:
        assert fails


def keep():
    """Without checksums and ids, which nobody reads."""
    for name in os.listdir(work):
        shutil.rmtree(os.path.join(out, name), ignore_errors=True)
        shutil.copytree(os.path.join(work, name), os.path.join(out, name), ignore=shutil.ignore_patterns(".*", "metadata"))


work = tempfile.mkdtemp()
both = "spark-orders,spark-returns"
put("spark-orders", 0, 3)
put("spark-orders", 1, 2)
put("spark-returns", 0, 1)
run(read(both), "uncommitted", fails=True)
run(read(both), "one")
spark.conf.set("spark.sql.streaming.offsetLog.formatVersion", "2")
run(read("spark-orders").union(read("spark-returns")), "named")
spark.conf.set("spark.sql.streaming.offsetLog.formatVersion", "1")
put("spark-orders", 0, 2)
put("spark-returns", 0, 4)
run(read(both), "one")
run(read("spark-orders").union(read("spark-returns")), "two")
put("spark-orders", 1, 5)
run(read(both), "one", fails=True)
keep()
spark.stop()
