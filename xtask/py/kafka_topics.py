"""Kafka as a client of another make sees it: topics made, fed and read by confluent-kafka.

The broker's address is in MILLSTREAM_TEST_KAFKA. It may be killed and come back while we read: that is no finding.
"""
import functools
import json
import os

import confluent_kafka
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

# How long a broker may take to answer, or to come back.
PATIENCE_S = 60
# A producer that has not sent its records by then is given up, and a new one begins.
PRODUCERS_MAX = 3


def config(**more):
    # It logs each lost connection; a broker that is killed on purpose makes many.
    return {"bootstrap.servers": os.environ["MILLSTREAM_TEST_KAFKA"], "log_level": 0, **more}


@functools.cache
def admin():
    return AdminClient(config())


@functools.cache
def producer(is_transactional):
    if not is_transactional:
        return Producer(config(**{"enable.idempotence": True}))
    made = Producer(config(**{"transactional.id": f"feeder-{os.getpid()}"}))
    made.init_transactions(PATIENCE_S)
    return made


def make(names, n_partitions):
    for future in admin().create_topics([NewTopic(name, n_partitions, 1) for name in names]).values():
        future.result(PATIENCE_S)


def forget(prefix):
    """Deletes the topics of a run: a broker with thousands of them takes long to come back."""
    names = [name for name in admin().list_topics(timeout=PATIENCE_S).topics if name.startswith(prefix)]
    for future in admin().delete_topics(names).values() if names else []:
        future.result(PATIENCE_S)


def produce(topic, n_partitions, path, first, how):
    """The lines of a file, turn by turn to each partition, beginning with record `first`: plainly, in a transaction, or in
    one behind another that was aborted. Gives how many there were."""
    with open(path) as f:
        lines = f.read().splitlines()
    for is_aborted in {"plain": [False], "transaction": [False], "aborted": [True, False]}[how]:
        texts = ['{"id": "aborted"}' if is_aborted else line for line in lines]
        for n_producers in range(1, PRODUCERS_MAX + 1):
            try:
                send(topic, n_partitions, texts, first, how != "plain", is_aborted)
                break
            except (RuntimeError, KafkaException):
                producer.cache_clear()
                # What a transaction has left open the next producer of its id aborts; of plain records some may be there.
                if how == "plain" or n_producers == PRODUCERS_MAX:
                    raise
    return len(lines)


def send(topic, n_partitions, texts, first, is_transactional, is_aborted):
    to, failed = producer(is_transactional), []
    if is_transactional:
        to.begin_transaction()
    for n, text in enumerate(texts):
        to.produce(topic, text.encode(), partition=(first + n) % n_partitions, on_delivery=lambda e, _: failed.append(e) if e else None)
        to.poll(0)
    left = to.flush(PATIENCE_S)
    if failed or left:
        raise RuntimeError(f"{len(failed)} records failed, {left} were not sent: {failed[:1]}")
    if is_aborted:
        to.abort_transaction(PATIENCE_S)
    elif is_transactional:
        to.commit_transaction(PATIENCE_S)


class Committed:
    """The committed records of a topic, as they come."""

    def __init__(self, topic):
        self.topic, self.values = topic, []
        self.consumer = Consumer(config(**{"group.id": "witness", "isolation.level": "read_committed", "enable.auto.commit": False,
                                           "enable.partition.eof": True, "auto.offset.reset": "error"}))
        partitions = self.consumer.list_topics(topic, PATIENCE_S).topics[topic].partitions
        self.consumer.assign([TopicPartition(topic, p, confluent_kafka.OFFSET_BEGINNING) for p in partitions])
        self.ended, self.n_partitions = set(), len(partitions)

    def poll(self, timeout_s):
        """New values; of tombstones none."""
        new = []
        for message in self.consumer.consume(500, timeout_s):
            error = message.error()
            if error is None:
                self.ended.discard(message.partition())
                new += [message.value()] if message.value() is not None else []
            elif error.code() == KafkaError._PARTITION_EOF:
                self.ended.add(message.partition())
            elif not error.retriable() and error.code() not in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
                raise RuntimeError(f"topic {self.topic} cannot be read: {error}")
        self.values += new
        return new

    def to_end(self):
        """Reads on until every partition has been read to its end."""
        for _ in range(PATIENCE_S * 10):
            if len(self.ended) == self.n_partitions:
                return self.values
            self.poll(0.1)
        raise RuntimeError(f"topic {self.topic} does not come to its end in {self.n_partitions - len(self.ended)} partitions")

    def close(self):
        self.consumer.close()


def committed(topic):
    reader = Committed(topic)
    try:
        return reader.to_end()
    finally:
        reader.close()


def ids(values):
    return [json.loads(value)["id"] for value in values]
