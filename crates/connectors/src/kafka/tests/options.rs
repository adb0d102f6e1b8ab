//! Options of the source: what is refused, and with which words.

use crate::harness::options;
use crate::kafka::options::KafkaSourceOptions;

fn message(is_streaming: bool, pairs: &[(&str, &str)]) -> String {
    let mut all = vec![("kafka.bootstrap.servers", "127.0.0.1:1")];
    if !pairs.iter().any(|(name, _)| ["assign", "subscribe", "subscribePattern"].contains(name)) {
        all.push(("subscribe", "t"));
    }
    all.extend(pairs.iter().filter(|(_, value)| *value != "-"));
    if pairs.contains(&("subscribe", "-")) {
        all.retain(|(name, _)| *name != "subscribe");
    }
    KafkaSourceOptions::parse(&options(&all), is_streaming).map_or_else(|error| error.message().to_owned(), |_| "taken".to_owned())
}

#[test]
fn a_stream_takes_what_spark_takes() {
    for (pairs, expected) in [
        (vec![], "taken"),
        (vec![("subscribe", "-")], "one of the following options must be specified for Kafka source: subscribe, subscribePattern, assign"),
        (vec![("subscribe", "-"), ("topic", "own")], "taken"),
        (
            vec![("subscribe", "t"), ("subscribePattern", "t.*")],
            "only one of the following options can be specified for Kafka source: subscribe, subscribePattern, assign",
        ),
        (vec![("subscribe", " , ")], "no topics to subscribe to as specified value for option 'subscribe' is ','"),
        (vec![("subscribePattern", " ")], "pattern to subscribe is empty as specified value for option 'subscribePattern' is ''"),
        (vec![("subscribePattern", "(?=a)b")], "option 'subscribePattern' is '(?=a)b': not a regular expression that is known here"),
        (vec![("assign", "t-0")], "no topicpartitions to assign as specified value for option 'assign' is 't-0'"),
        (vec![("assign", "{\"t\":[0,1]}")], "taken"),
        (vec![("minPartitions", "0")], "option 'minPartitions' is 0: expected a positive number"),
        (vec![("maxRecordsPerPartition", "0")], "option 'maxRecordsPerPartition' is 0: expected a positive number"),
        (
            vec![("minOffsetsPerTrigger", "5"), ("maxOffsetsPerTrigger", "4")],
            "the value of minOffsetsPerTrigger (5) is higher than that of maxOffsetsPerTrigger (4)",
        ),
        (vec![("endingOffsets", "latest")], "ending offset not valid in streaming queries"),
        (vec![("endingTimestamp", "5")], "ending timestamp not valid in streaming queries"),
        (vec![("endingOffsetsByTimestamp", "{}")], "ending timestamp not valid in streaming queries"),
        (
            vec![("startingOffsets", "early")],
            "option 'startingOffsets' is 'early': expected earliest, latest or numbers of partitions by topic, such as {\"topicA\":{\"0\":23,\"1\":-1}}",
        ),
        (vec![("startingOffsets", "{\"t\":{\"0\":1,\"0\":2}}")], "option 'startingOffsets' names partition t-0 twice"),
        (vec![("startingOffsets", "{\"t\":{\"0\":1},\"t\":{\"1\":2}}")], "option 'startingOffsets' names topic 't' twice"),
        (
            vec![("startingOffsetsByTimestamp", "{\"t\":{\"0\":1,\"0\":2}}")],
            "option 'startingOffsetsByTimestamp' names partition t-0 twice",
        ),
        (vec![("assign", "{\"t\":[0,0]}")], "option 'assign' is '{\"t\":[0,0]}': a partition is named twice"),
        (vec![("assign", "{\"t\":[0],\"t\":[1]}")], "taken"),
        (vec![("kafka.group.id", "")], "option 'kafka.group.id' is empty"),
        (vec![("groupIdPrefix", " ")], "option 'groupIdPrefix' is empty"),
        (vec![("startingOffsets", "{\"t\":{\"0\":-3}}")], "option 'startingOffsets' is -3 for t-0: expected an offset, -1 or -2"),
        (vec![("startingTimestamp", "soon")], "option 'startingTimestamp' is 'soon': expected a number of ms since 1970"),
        (
            vec![("startingOffsetsByTimestampStrategy", "nearest")],
            "option 'startingOffsetsByTimestampStrategy' is 'nearest': expected error or latest",
        ),
        (vec![("startingOffset", "latest")], "unknown option 'startingOffset' of the kafka source"),
        (
            vec![("kafka.auto.offset.reset", "latest")],
            "kafka option 'auto.offset.reset' is not supported: set option 'startingOffsets' to 'earliest' or 'latest' to say where a new query begins",
        ),
        (
            vec![("kafka.key.deserializer", "x")],
            "kafka option 'key.deserializer' is not supported as keys are read as bytes: use expressions to decode them",
        ),
        (
            vec![("kafka.value.deserializer", "x")],
            "kafka option 'value.deserializer' is not supported as values are read as bytes: use expressions to decode them",
        ),
        (vec![("kafka.enable.auto.commit", "false")], "kafka option 'enable.auto.commit' is not supported"),
        (vec![("kafka.interceptor.classes", "x")], "kafka option 'interceptor.classes' is not supported"),
    ] {
        assert_eq!(message(true, &pairs), expected, "{pairs:?}");
    }
}

#[test]
fn a_batch_takes_what_spark_takes() {
    for (pairs, expected) in [
        (vec![], "taken"),
        (vec![("startingOffsets", "latest")], "starting offset can't be latest for batch queries on Kafka"),
        (vec![("startingOffsets", "{\"t\":{\"0\":-1}}")], "startingOffsets for t-0 can't be latest for batch queries on Kafka"),
        (vec![("endingOffsets", "earliest")], "ending offset can't be earliest for batch queries on Kafka"),
        (vec![("endingOffsets", "{\"t\":{\"0\":-2}}")], "ending offset for t-0 can't be earliest for batch queries on Kafka"),
        (
            vec![("startingOffsets", "{\"t\":{\"0\":5}}"), ("endingOffsets", "{\"t\":{\"0\":4}}")],
            "the starting offset 5 of t-0 is greater than its ending offset 4",
        ),
        (
            vec![("startingOffsets", "{\"t\":{\"0\":5}}"), ("endingOffsets", "{\"t\":{\"1\":6}}")],
            "partitions specified for starting offsets don't match partitions specified for ending offsets: t-0 and t-1",
        ),
        (
            vec![("endingOffsets", "last")],
            "option 'endingOffsets' is 'last': expected latest or numbers of partitions by topic, such as {\"topicA\":{\"0\":23,\"1\":-1}}",
        ),
        (vec![("maxOffsetsPerTrigger", "5")], "taken"),
    ] {
        assert_eq!(message(false, &pairs), expected, "{pairs:?}");
    }
}
