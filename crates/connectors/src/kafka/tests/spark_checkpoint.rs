//! Streams that begin where a query of Spark's has got to, by checkpoints that Spark 4.3.0 wrote.

use std::path::{Path, PathBuf};

use millstream_core::ErrorKind;

use super::{Reading, kafka};
use crate::kafka::cluster::Partitions;
use crate::kafka::spark_checkpoint::committed_offsets;

fn gold(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../gold/spark-4.3.0/kafka-checkpoints").join(name)
}

fn partitions(topics: &[(&str, &[i32])]) -> Partitions {
    topics.iter().map(|(topic, numbers)| ((*topic).to_owned(), numbers.to_vec())).collect()
}

async fn read(dir: &Path, topics: &[(&str, &[i32])]) -> millstream_core::Result<Vec<(String, i32, i64)>> {
    let offsets = committed_offsets(dir.to_str().unwrap(), &partitions(topics)).await?;
    Ok(offsets.iter().map(|(topic, partition, offset)| (topic.to_owned(), partition, offset)).collect())
}

const BOTH: &[(&str, &[i32])] = &[("spark-orders", &[0, 1]), ("spark-returns", &[0])];

fn at(offsets: [i64; 3]) -> Vec<(String, i32, i64)> {
    let [first, second, returns] = offsets;
    vec![("spark-orders".to_owned(), 0, first), ("spark-orders".to_owned(), 1, second), ("spark-returns".to_owned(), 0, returns)]
}

#[tokio::test]
async fn the_last_committed_batch_says_where_each_partition_is() {
    // A third batch was begun there: its offsets do not count.
    assert_eq!(read(&gold("one"), BOTH).await.unwrap(), at([5, 2, 5]));
    assert_eq!(read(&gold("two"), BOTH).await.unwrap(), at([5, 2, 5]));
    assert_eq!(read(&gold("named"), BOTH).await.unwrap(), at([3, 2, 1]));
    assert_eq!(read(&gold("uncommitted"), BOTH).await.unwrap(), at([0, 0, 0]));
    // Of several topics those that are read here; what Spark does not know is new.
    let more: &[(&str, &[i32])] = &[("others", &[0]), ("spark-returns", &[0, 1])];
    assert_eq!(read(&gold("one"), more).await.unwrap(), [("spark-returns".to_owned(), 0, 5)]);
}

#[tokio::test]
async fn what_does_not_say_where_to_begin_is_an_error() {
    let message = async |dir: &Path, topics: &[(&str, &[i32])]| {
        let error = read(dir, topics).await.unwrap_err();
        (error.kind(), error.to_string())
    };
    let (kind, text) = message(&gold("one"), &[("others", &[0])]).await;
    assert_eq!(kind, ErrorKind::Invalid);
    assert!(text.contains("startingOffsetsFromSparkCheckpoint") && text.contains("it reads spark-orders, spark-returns"), "{text}");
    let (_, text) = message(&gold("one"), &[("spark-orders", &[0])]).await;
    assert!(text.contains("at 2 of spark-orders-1"), "{text}");
    let (_, text) = message(&gold("nothing"), BOTH).await;
    assert!(text.contains("not the checkpoint of a Spark query that reads Kafka"), "{text}");

    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("commits/10", "v1\n{}");
    write("commits/.10.crc", "crc");
    let (_, text) = message(dir.path(), BOTH).await;
    assert!(text.contains("offsets/10"), "{text}");
    write("offsets/10", "v1\n{}\n{\"spark-orders\":{\"0\":7}}\n-\n{\"logOffset\":3}\n{\"spark-orders\":{\"0\":7,\"1\":9}}");
    assert_eq!(read(dir.path(), BOTH).await.unwrap(), at([7, 9, 0])[..2]);
    write("offsets/10", "v1\n{}\n{\"spark-orders\":{\"0\":7}}\n{\"spark-orders\":{\"0\":8}}");
    let (_, text) = message(dir.path(), BOTH).await;
    assert!(text.contains("at 7 and 8 of spark-orders-0") && text.contains("startingOffsets"), "{text}");
    write("offsets/10", "v9\n{}\n");
    let (kind, text) = message(dir.path(), BOTH).await;
    assert!(kind == ErrorKind::Unsupported && text.contains("'v9'"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_where_spark_stopped() {
    let Some(kafka) = kafka() else { return };
    let (orders, new) = (kafka.create_topic("orders", 2).await.unwrap(), kafka.create_topic("new", 1).await.unwrap());
    let values = |partition: i32, n: usize| (0..n).map(move |at| format!("{partition}.{at}"));
    kafka.produce_values(&orders, 0, values(0, 6)).await.unwrap();
    kafka.produce_values(&orders, 1, values(1, 4)).await.unwrap();
    kafka.produce_values(&new, 0, ["first"]).await.unwrap();
    // As Spark wrote it, but for the name of the topic.
    let dir = tempfile::tempdir().unwrap();
    for name in ["offsets/1", "commits/1"] {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = std::fs::read_to_string(gold("one").join(name)).unwrap().replace("spark-orders", &orders);
        std::fs::write(path, text).unwrap();
    }
    let topics = format!("{orders},{new}");
    let options = [("subscribe", topics.as_str()), ("startingOffsetsFromSparkCheckpoint", dir.path().to_str().unwrap())];
    let mut reading = Reading::stream(&kafka, &options);
    let mut texts = reading.next_texts().await;
    texts.sort();
    let mut expected = [format!("{orders}-0@5=0.5"), format!("{orders}-1@2=1.2"), format!("{orders}-1@3=1.3"), format!("{new}-0@0=first")];
    expected.sort();
    assert_eq!(texts, expected);
    let error = Reading::batch(&kafka, &options).plan().await.unwrap_err();
    assert!(error.message().contains("this is a batch"), "{error}");
}
