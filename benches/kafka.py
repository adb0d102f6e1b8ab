#!/usr/bin/env python3
"""Fills topics for the benchmarks and reads them, by a client that is not ours.

  kafka.py make  BOOTSTRAP TOPIC PARTITIONS           an empty topic
  kafka.py load  BOOTSTRAP TOPIC PARTITIONS FOLDER    the topic, and each line of FOLDER/*.json as a value, from partition to partition in turn
  kafka.py dump  BOOTSTRAP TOPIC OUT                  the values of all committed records, as lines of the file OUT
  kafka.py equal BOOTSTRAP TOPIC FOLDER               whether the committed records are the lines of FOLDER/*.json, in whatever order
  kafka.py trickle BOOTSTRAP PREFIX TOPICS SECONDS    a record a second to each of the two partitions of each of so many topics
"""
import glob
import json
import os
import sys
import time
import zlib

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic


def make(bootstrap, partitions, topics):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for made in admin.create_topics([NewTopic(topic, partitions, 1) for topic in topics]).values():
        made.result()


class Filler:
    """A producer that waits while its queue is full, and says at the end whether all was delivered."""

    def __init__(self, bootstrap, linger_ms):
        self.failed, self.sent = [], 0
        self.producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": linger_ms, "batch.size": 262144, "acks": 1,
                                  "queue.buffering.max.messages": 1_000_000, "queue.buffering.max.kbytes": 500_000})

    def send(self, topic, value, partition):
        while True:
            try:
                self.producer.produce(topic, value, partition=partition, on_delivery=lambda e, _: e and self.failed.append(e))
                break
            except BufferError:
                self.producer.poll(0.1)
        self.sent += 1
        if self.sent % 10_000 == 0:
            self.producer.poll(0)

    def close(self):
        self.producer.flush()
        if self.failed:
            sys.exit(f"{len(self.failed)} of {self.sent} records were not delivered: {self.failed[0]}")
        return self.sent


def lines(folder):
    for path in sorted(glob.glob(os.path.join(folder, "*.json"))):
        with open(path, "rb") as file:
            for line in file:
                yield line.rstrip(b"\n")


def load(bootstrap, topic, partitions, folder):
    n = int(partitions)
    make(bootstrap, n, [topic])
    filler = Filler(bootstrap, 20)
    for i, line in enumerate(lines(folder)):
        filler.send(topic, line, i % n)
    print(filler.close())


def committed(bootstrap, topic):
    """The values of all committed records that are there now."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "benchmark", "enable.auto.commit": False,
                         "isolation.level": "read_committed", "auto.offset.reset": "earliest", "enable.partition.eof": True})
    partitions = consumer.list_topics(topic).topics[topic].partitions
    consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
    ended = set()
    while len(ended) < len(partitions):
        for record in consumer.consume(10_000, 0.2):
            if record.error():
                ended.add(record.partition())
            else:
                yield record.value()
    consumer.close()


def dump(bootstrap, topic, out):
    n = 0
    with open(out, "wb") as file:
        for value in committed(bootstrap, topic):
            file.write(value + b"\n")
            n += 1
    print(n)


def equal(bootstrap, topic, folder):
    def summed(values):
        n = total = 0
        for value in values:
            n += 1
            total += zlib.crc32(value) ** 3
        return n, total

    want, got = summed(lines(folder)), summed(committed(bootstrap, topic))
    print(json.dumps({"records": got[0], "wanted": want[0], "equal": want == got}))
    sys.exit(0 if want == got else 1)


def trickle(bootstrap, prefix, topics, seconds):
    names = [f"{prefix}{i}" for i in range(int(topics))]
    make(bootstrap, 2, names)
    print("ready", flush=True)
    filler = Filler(bootstrap, 5)
    start = time.monotonic()
    for second in range(int(seconds)):
        for i, name in enumerate(names):
            # Spread over the second, as customers are.
            due = start + second + i / len(names)
            time.sleep(max(0.0, due - time.monotonic()))
            for partition in (0, 1):
                filler.send(name, b'{"n":1}', partition)
        filler.producer.poll(0)
    print(filler.close())


def main():
    do, *args = sys.argv[1:]
    if do == "make":
        bootstrap, topic, partitions = args
        make(bootstrap, int(partitions), [topic])
    else:
        {"load": load, "dump": dump, "equal": equal, "trickle": trickle}[do](*args)


if __name__ == "__main__":
    main()
