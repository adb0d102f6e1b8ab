"""Topics for the Kafka examples, by a client that is not Millstream's: create TOPIC.. | produce TOPIC < LINES | read TOPIC.

The broker's address is in MILLSTREAM_TEST_KAFKA.
"""
import os
import sys
import time

import confluent_kafka
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PATIENCE_S = 60
N_PARTITIONS = 2


def config(**more):
    # A broker that has just started makes it complain.
    return {"bootstrap.servers": os.environ["MILLSTREAM_TEST_KAFKA"], "log_level": 0, **more}


def create(*names):
    """Makes topics; those of an earlier run are made anew. A broker that does not make topics by itself wants them first."""
    admin = AdminClient(config())
    old = [name for name in names if name in admin.list_topics(timeout=PATIENCE_S).topics]
    for future in admin.delete_topics(old).values() if old else []:
        future.result(PATIENCE_S)
    while any(name in admin.list_topics(timeout=PATIENCE_S).topics for name in old):
        time.sleep(0.05)
    # The records of the examples are of a day long ago, which must not be too old for the broker.
    topics = [NewTopic(name, N_PARTITIONS, 1, config={"retention.ms": "-1"}) for name in names]
    for future in admin.create_topics(topics).values():
        future.result(PATIENCE_S)


def produce(topic):
    """Each line of the standard input becomes a record, turn by turn to each partition."""
    producer, failed = Producer(config(**{"enable.idempotence": True})), []
    for n, line in enumerate(sys.stdin):
        value = line.rstrip("\n").encode()
        producer.produce(topic, value, partition=n % N_PARTITIONS, on_delivery=lambda error, _: failed.append(error) if error else None)
    if producer.flush(PATIENCE_S) or failed:
        sys.exit(f"topic {topic}: records were not written: {failed[:1]}")


def read(topic):
    """Prints the committed records of a topic, ordered by key and value."""
    consumer = Consumer(config(**{"group.id": "examples", "isolation.level": "read_committed", "enable.auto.commit": False,
                                  "enable.partition.eof": True}))
    partitions = consumer.list_topics(topic, PATIENCE_S).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, confluent_kafka.OFFSET_BEGINNING) for partition in partitions])
    lines, n_ended = [], 0
    while n_ended < len(partitions):
        message = consumer.poll(PATIENCE_S)
        if message is None:
            sys.exit(f"topic {topic} does not come to its end")
        error = message.error()
        if error is None:
            lines.append(" ".join((part or b"-").decode() for part in (message.key(), message.value())))
        elif error.code() == KafkaError._PARTITION_EOF:
            n_ended += 1
        else:
            sys.exit(f"topic {topic} cannot be read: {error}")
    consumer.close()
    print("\n".join(sorted(lines)))


if __name__ == "__main__":
    command, *names = sys.argv[1:]
    {"create": create, "produce": produce, "read": read}[command](*names)
