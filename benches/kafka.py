#!/usr/bin/env python3
"""Fills and reads topics for the benchmarks, by a client that is not ours.

  kafka.py load BOOTSTRAP TOPIC PARTITIONS FOLDER [COPIES]
      makes the topic and sends each line of FOLDER/*.json (COPIES times) as a value, from partition to partition in turn
  kafka.py dump BOOTSTRAP TOPIC FILE
      writes the committed values of a topic to FILE, a line each, and says how many there were
"""
import glob
import os
import sys

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic


def load(bootstrap, topic, partitions, folder, copies="1"):
    n = int(partitions)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for made in admin.create_topics([NewTopic(topic, n, 1)]).values():
        made.result()
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "batch.size": 262144, "acks": 1,
                         "queue.buffering.max.messages": 1_000_000, "queue.buffering.max.kbytes": 500_000})
    failed = []
    sent = 0
    for _ in range(int(copies)):
        for path in sorted(glob.glob(os.path.join(folder, "*.json"))):
            with open(path, "rb") as lines:
                for line in lines:
                    while True:
                        try:
                            producer.produce(topic, line.rstrip(b"\n"), partition=sent % n, on_delivery=lambda e, _: e and failed.append(e))
                            break
                        except BufferError:
                            producer.poll(0.1)
                    sent += 1
                    if sent % 10_000 == 0:
                        producer.poll(0)
    producer.flush()
    if failed:
        sys.exit(f"{len(failed)} of {sent} records were not delivered: {failed[0]}")
    print(sent)


def dump(bootstrap, topic, path):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "dump", "isolation.level": "read_committed",
                         "enable.auto.commit": False, "enable.partition.eof": True})
    partitions = list(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    ended = set()
    n = 0
    with open(path, "wb") as out:
        while len(ended) < len(partitions):
            for message in consumer.consume(10_000, timeout=1):
                error = message.error()
                if error is None:
                    ended.discard(message.partition())
                    out.write((message.value() or b"null") + b"\n")
                    n += 1
                elif error.code() == -191:  # the end of a partition
                    ended.add(message.partition())
                else:
                    sys.exit(str(error))
    consumer.close()
    print(n)


if __name__ == "__main__":
    {"load": load, "dump": dump}[sys.argv[1]](*sys.argv[2:])
