//! What the other tests stand on: the broker does what it is asked, and a witness sees it.

use millstream_testkit::kafka::{Broker, TestKafka, TestRecord, broker_jars};

use super::kafka;

#[tokio::test]
async fn a_witness_sees_what_was_committed_and_only_that() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("witness", 2).await.unwrap();
    let record = TestRecord::new("one").key("k").partition(1).at_ms(5000).header("h", Some(b"x")).header("empty", None);
    assert_eq!(kafka.produce(&topic, &[record]).await.unwrap(), [(1, 0)]);
    let transactions = kafka.transactions(&kafka.unique("tx")).unwrap();
    for (value, commits) in [("two", true), ("aborted", false), ("three", true)] {
        transactions.begin().unwrap();
        transactions.send(&topic, &[TestRecord::new(value).partition(0)]).await.unwrap();
        if commits { transactions.commit().unwrap() } else { transactions.abort().unwrap() }
    }
    let read = kafka.consume_committed(&topic).unwrap();
    let texts: Vec<_> = read.iter().map(|record| (record.partition, record.offset, record.text())).collect();
    assert_eq!(texts, [(0, 0, "two".to_owned()), (0, 4, "three".to_owned()), (1, 0, "one".to_owned())]);
    let last = read.last().unwrap();
    assert_eq!((last.key.as_deref(), last.timestamp_ms), (Some(b"k".as_slice()), Some(5000)));
    assert_eq!(last.headers, [("h".to_owned(), Some(b"x".to_vec())), ("empty".to_owned(), None)]);
    assert_eq!(kafka.consume_uncommitted(&topic).unwrap().len(), 4);
}

#[tokio::test]
async fn topics_grow_lose_records_and_vanish() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("grow", 1).await.unwrap();
    kafka.produce_values(&topic, 0, ["a", "b", "c"]).await.unwrap();
    kafka.delete_records(&topic, 0, 2).await.unwrap();
    kafka.grow_topic(&topic, 3).await.unwrap();
    kafka.produce_values(&topic, 2, ["d"]).await.unwrap();
    let texts: Vec<_> = kafka.consume_committed(&topic).unwrap().iter().map(|record| record.text()).collect();
    assert_eq!(texts, ["c", "d"]);
    kafka.delete_topic(&topic).await.unwrap();
    assert_eq!(kafka.n_partitions(&topic).unwrap(), 0);
}

#[tokio::test]
async fn a_broker_of_ones_own_comes_back_with_what_it_had() {
    let Some(jars) = broker_jars() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&jars, &folder.path().join("broker")).unwrap();
    let kafka = TestKafka::at(&broker.bootstrap_servers()).unwrap();
    let topic = kafka.create_topic("kept", 1).await.unwrap();
    kafka.produce_values(&topic, 0, ["a", "b"]).await.unwrap();
    broker.kill();
    broker.start_again().unwrap();
    assert_eq!(kafka.consume_committed(&topic).unwrap().len(), 2);
    broker.stop().unwrap();
    assert!(std::net::TcpStream::connect(broker.bootstrap_servers()).is_err());
}
