#!/usr/bin/env python3
"""Fills topics for the benchmarks, by a client that is not ours.

  kafka.py BOOTSTRAP TOPIC PARTITIONS FOLDER [COPIES]
      makes the topic and sends each line of FOLDER/*.json (COPIES times) as a value, from partition to partition in turn
"""
import glob
import os
import sys

from confluent_kafka import Producer
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


if __name__ == "__main__":
    load(*sys.argv[1:])
