//! The sink on a real broker: what a reader of committed records sees.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use async_trait::async_trait;
use millstream_core::connector::SinkRequest;
use millstream_core::sink::WriteAttempt;
use millstream_core::{
    BatchId, ConnectorRegistry, Delivery, ErrorKind, Outcome, QueryId, RecordedBatch, Result, RunEpoch, Sink, SinkContext, SystemClock,
    TaskId, TaskOutput,
};
use millstream_testkit::kafka::{Broker, ConsumedRecord, TestKafka, TestRecord, broker_jars};
use millstream_testkit::sink_contract::{SinkHarness, check_sink};
use serde_json::{Value, json};
use uuid::Uuid;

use super::kafka;
use crate::harness::{registry, sink_request};

pub(super) fn schema(fields: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(fields.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect::<Vec<_>>()))
}

pub(super) fn values_schema() -> SchemaRef {
    schema(&[("value", DataType::Utf8)])
}

pub(super) fn values(texts: impl IntoIterator<Item = impl Into<String>>) -> RecordBatch {
    let texts: StringArray = texts.into_iter().map(|text| Some(text.into())).collect();
    RecordBatch::try_new(values_schema(), vec![Arc::new(texts)]).unwrap()
}

/// A sink of one query, on one broker.
pub(super) struct Writing {
    broker: TestKafka,
    registry: ConnectorRegistry,
    pub(super) request: SinkRequest,
    pub(super) query: QueryId,
    epoch: u64,
}

impl Writing {
    pub(super) fn new(kafka: &TestKafka, schema: SchemaRef, more: &[(&str, &str)]) -> Self {
        let mut request = sink_request("kafka", more, schema);
        request.options.set("kafka.bootstrap.servers", kafka.bootstrap_servers());
        request.clock = Arc::new(SystemClock::default());
        let broker = TestKafka::at(kafka.bootstrap_servers()).unwrap();
        Self { broker, registry: registry().0, request, query: QueryId(Uuid::from_u128(unique(kafka))), epoch: 0 }
    }

    fn ctx(&self) -> SinkContext {
        SinkContext { query_id: self.query, epoch: RunEpoch(self.epoch) }
    }

    async fn made(&self) -> Result<Arc<dyn Sink>> {
        self.registry.for_format("kafka")?.sink(self.request.clone()).await
    }

    pub(super) async fn started(&mut self) -> Result<Arc<dyn Sink>> {
        self.epoch += 1;
        let sink = self.made().await?;
        sink.start(&self.ctx(), None).await?;
        Ok(sink)
    }

    /// Started as a query does that knows of nothing.
    pub(super) async fn fresh(&mut self) -> Arc<dyn Sink> {
        let sink = self.started().await.unwrap();
        if sink.decides() {
            sink.recover(None, None).await.unwrap();
        }
        sink
    }

    pub(super) async fn write(&self, sink: &Arc<dyn Sink>, batch: u64, rows: RecordBatch) -> Result<Vec<TaskOutput>> {
        let ctx = self.ctx();
        let attempt = WriteAttempt { query_id: ctx.query_id, epoch: ctx.epoch, batch_id: BatchId(batch), attempt: 0, task_id: TaskId(0) };
        let mut writer = self.registry.writer(&sink.writer())?.open(attempt).await?;
        writer.write(rows).await?;
        Ok(vec![writer.finish().await?])
    }

    /// A batch, whole, and seen by readers of committed records; gives what its record holds.
    pub(super) async fn batch(&self, sink: &Arc<dyn Sink>, batch: u64, rows: RecordBatch) -> Result<Value> {
        let outputs = self.write(sink, batch, rows).await?;
        let prepared = sink.prepare(BatchId(batch), outputs).await?;
        sink.commit(BatchId(batch), &prepared).await?;
        if let Some(topic) = self.request.options.get("topic") {
            self.broker.wait_until_stable(topic).await?;
        }
        Ok(prepared)
    }
}

fn unique(kafka: &TestKafka) -> u128 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    kafka.unique("query").hash(&mut hasher);
    u128::from(hasher.finish())
}

pub(super) fn texts(records: &[ConsumedRecord]) -> Vec<String> {
    records.iter().map(ConsumedRecord::text).collect()
}

pub(super) fn recorded(batch: u64, prepared: &Value) -> Option<RecordedBatch<'_>> {
    Some(RecordedBatch { batch: BatchId(batch), prepared: Some(prepared) })
}

struct Contract {
    kafka: TestKafka,
    registry: ConnectorRegistry,
    request: SinkRequest,
    topic: String,
}

#[async_trait]
impl SinkHarness for Contract {
    async fn sink(&self) -> Result<Arc<dyn Sink>> {
        self.registry.for_format("kafka")?.sink(self.request.clone()).await
    }

    fn registry(&self) -> &ConnectorRegistry {
        &self.registry
    }

    fn rows(&self, first: usize, n: usize) -> Result<RecordBatch> {
        Ok(values((first..first + n).map(|n| format!("row {n}"))))
    }

    async fn visible(&self) -> Result<Vec<RecordBatch>> {
        Ok(vec![values(texts(&self.kafka.consume_committed(&self.topic)?))])
    }

    fn keeps_rows(&self) -> bool {
        // At least once, attempts that failed stay visible, too.
        self.request.options.get("delivery").is_none()
    }
}

async fn contract(more: &[(&str, &str)]) {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("contract", 3).await.unwrap();
    let marker_topic = kafka.unique("contract-marker");
    let mut options = vec![("topic", topic.as_str()), ("markerTopic", marker_topic.as_str())];
    options.extend(more);
    let Writing { registry, request, .. } = Writing::new(&kafka, values_schema(), &options);
    check_sink(&Contract { kafka, registry, request, topic }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_exactly_once() {
    contract(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_at_least_once() {
    contract(&[("delivery", "at-least-once")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_become_parts_of_records() {
    let Some(kafka) = kafka() else { return };
    let (a, b) = (kafka.create_topic("a", 2).await.unwrap(), kafka.create_topic("b", 2).await.unwrap());
    let header = DataType::Struct(Fields::from(vec![Field::new("key", DataType::Utf8, true), Field::new("value", DataType::Binary, true)]));
    let list = DataType::List(Arc::new(Field::new("element", header.clone(), true)));
    let fields = [
        ("topic", DataType::Utf8),
        ("partition", DataType::Int32),
        ("key", DataType::Binary),
        ("value", DataType::Utf8),
        ("headers", list),
    ];
    let schema = schema(&fields);
    let headers = {
        use arrow::array::{BinaryBuilder, ListBuilder, StringBuilder, StructBuilder};
        let DataType::Struct(inner) = header.clone() else { unreachable!() };
        let element = StructBuilder::new(inner, vec![Box::new(StringBuilder::new()), Box::new(BinaryBuilder::new())]);
        let mut list = ListBuilder::new(element).with_field(Field::new("element", header, true));
        for value in [Some(b"x".as_slice()), None] {
            list.values().field_builder::<StringBuilder>(0).unwrap().append_value("h");
            list.values().field_builder::<BinaryBuilder>(1).unwrap().append_option(value);
            list.values().append(true);
        }
        list.append(true);
        list.append_null();
        list.append(true);
        list.finish()
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![a.as_str(), &b, &a])),
        Arc::new(Int32Array::from(vec![Some(1), Some(0), Some(0)])),
        Arc::new(BinaryArray::from(vec![Some(b"k".as_slice()), None, Some(b"".as_slice())])),
        Arc::new(StringArray::from(vec![Some("one"), Some(""), None])),
        Arc::new(headers),
    ];
    let rows = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
    let mut writing = Writing::new(&kafka, schema, &[]);
    let sink = writing.fresh().await;
    writing.batch(&sink, 0, rows).await.unwrap();
    let in_a = kafka.consume_committed(&a).unwrap();
    assert_eq!(
        in_a.iter().map(|record| (record.partition, record.value.clone())).collect::<Vec<_>>(),
        [(0, None), (1, Some(b"one".to_vec()))]
    );
    assert_eq!(in_a[0].key.as_deref(), Some(b"".as_slice()));
    assert_eq!(in_a[1].key.as_deref(), Some(b"k".as_slice()));
    assert_eq!(in_a[1].headers, [("h".to_owned(), Some(b"x".to_vec())), ("h".to_owned(), None)]);
    let in_b = kafka.consume_committed(&b).unwrap();
    assert_eq!((in_b[0].partition, &in_b[0].key, in_b[0].value.as_deref()), (0, &None, Some(b"".as_slice())));
    sink.stop().await.unwrap();
}

#[tokio::test]
async fn columns_that_do_not_fit_are_refused_as_spark_does() {
    let refused = async |fields: &[(&str, DataType)], pairs: &[(&str, &str)]| {
        let mut request = sink_request("kafka", pairs, schema(fields));
        request.options.set("kafka.bootstrap.servers", "127.0.0.1:1");
        registry().0.for_format("kafka").unwrap().sink(request).await.map(|_| ()).unwrap_err().message().to_owned()
    };
    let text = || DataType::Utf8;
    let topic = ("topic", "t");
    assert_eq!(refused(&[("key", text())], &[topic]).await, "Required attribute 'value' not found");
    assert_eq!(
        refused(&[("value", text())], &[]).await,
        "topic option required when no 'topic' attribute is present. Use the topic option for setting a topic."
    );
    let of_type =
        |name: &str, found: &str, wanted: &str| format!("{name} attribute unsupported type {found}. {name} must be a(n) {wanted}");
    assert_eq!(refused(&[("value", DataType::Int64)], &[topic]).await, of_type("value", "bigint", "string or binary"));
    assert_eq!(refused(&[("value", text()), ("key", DataType::Int32)], &[topic]).await, of_type("key", "int", "string or binary"));
    assert_eq!(refused(&[("value", text()), ("topic", DataType::Binary)], &[]).await, of_type("topic", "binary", "string"));
    assert_eq!(refused(&[("value", text()), ("partition", DataType::Int64)], &[topic]).await, of_type("partition", "bigint", "int"));
    let headers = refused(&[("value", text()), ("headers", text())], &[topic]).await;
    assert_eq!(headers, of_type("headers", "string", "array<struct<key:string,value:binary>>"));
    assert!(refused(&[("value", text()), ("_change_type", text())], &[topic]).await.contains("needs the column key"));
}

#[tokio::test]
async fn options_that_would_break_it_are_refused() {
    for (option, value, message) in [
        ("kafka.acks", "1", "option 'kafka.acks' is '1'"),
        ("kafka.transactional.id", "x", "kafka option 'transactional.id' is not supported"),
        ("kafka.key.serializer", "x", "kafka option 'key.serializer' is not supported"),
        ("kafka.transaction.timeout.ms", "5", "set option 'transactionTimeout'"),
        ("transactionTimeout", "10ms", "at least 1s"),
        ("delivery", "twice", "expected exactly-once or at-least-once"),
        ("mode", "overwrite", "save mode 'overwrite' is not allowed for Kafka"),
        ("markerTopic", " ", "option 'markerTopic' is empty"),
    ] {
        let mut request = sink_request("kafka", &[("topic", "t"), (option, value)], values_schema());
        request.options.set("kafka.bootstrap.servers", "127.0.0.1:1");
        let error = registry().0.for_format("kafka").unwrap().sink(request).await.map(|_| ()).unwrap_err();
        assert!(error.message().contains(message), "{option}: {error}");
    }
    let exactly = sink_request("kafka", &[("topic", "t"), ("bootstrapServers", "h:1")], values_schema());
    let sink = registry().0.for_format("kafka").unwrap().sink(exactly).await.unwrap();
    assert_eq!((sink.delivery(), sink.decides(), sink.needs_intent()), (Delivery::Transactional, true, false));
    let at_least = sink_request("kafka", &[("topic", "t"), ("bootstrapServers", "h:1"), ("delivery", "at-least-once")], values_schema());
    let sink = registry().0.for_format("kafka").unwrap().sink(at_least).await.unwrap();
    assert_eq!((sink.delivery(), sink.decides(), sink.needs_intent()), (Delivery::AtLeastOnce, false, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_become_records_and_tombstones() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("changes", 1).await.unwrap();
    let schema = schema(&[("_change_type", DataType::Utf8), ("key", DataType::Utf8), ("value", DataType::Utf8)]);
    let rows = [("insert", "a", "1"), ("update_preimage", "a", "1"), ("update_postimage", "a", "2"), ("delete", "b", "9")];
    let column = |pick: fn(&(&'static str, &'static str, &'static str)) -> &'static str| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(pick(row))).collect::<StringArray>())
    };
    let columns = vec![column(|row| row.0), column(|row| row.1), column(|row| row.2)];
    let mut writing = Writing::new(&kafka, Arc::clone(&schema), &[("topic", &topic)]);
    let sink = writing.fresh().await;
    writing.batch(&sink, 0, RecordBatch::try_new(schema, columns).unwrap()).await.unwrap();
    let read = kafka.consume_committed(&topic).unwrap();
    let text = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| String::from_utf8(bytes.clone()).unwrap());
    let read: Vec<_> = read.iter().map(|record| (text(&record.key).unwrap(), text(&record.value))).collect();
    assert_eq!(read, [("a".to_owned(), Some("1".to_owned())), ("a".to_owned(), Some("2".to_owned())), ("b".to_owned(), None)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_say_on_request_which_batch_they_are_of() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("headers", 1).await.unwrap();
    let mut writing = Writing::new(&kafka, values_schema(), &[("topic", &topic), ("batchHeaders", "true")]);
    let sink = writing.fresh().await;
    writing.batch(&sink, 0, values(["a"])).await.unwrap();
    writing.batch(&sink, 1, values(["b", "c"])).await.unwrap();
    let found: Vec<_> = kafka.consume_committed(&topic).unwrap().into_iter().map(|record| record.headers).collect();
    let expected = |batch: &str, sequence: &str| {
        [("query", writing.query.to_string()), ("batch", batch.to_owned()), ("sequence", sequence.to_owned())]
            .map(|(name, value)| (format!("millstream.{name}"), Some(value.into_bytes())))
            .to_vec()
    };
    assert_eq!(found, [expected("0", "0"), expected("1", "0"), expected("1", "1")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_write_is_one_transaction_without_markers() {
    let Some(kafka) = kafka() else { return };
    for mode in ["append", "errorIfExists"] {
        written_once(&kafka, mode).await;
    }
}

async fn written_once(kafka: &TestKafka, mode: &str) {
    let topic = kafka.create_topic("once", 2).await.unwrap();
    let mut writing = Writing::new(kafka, values_schema(), &[("topic", &topic), ("mode", mode)]);
    writing.request.output_mode = None;
    let sink = writing.started().await.unwrap();
    assert!(!sink.decides());
    let outputs = writing.write(&sink, 0, values(["a", "b"])).await.unwrap();
    let prepared = sink.prepare(BatchId(0), outputs).await.unwrap();
    assert_eq!(kafka.consume_committed(&topic).unwrap(), []);
    sink.commit(BatchId(0), &prepared).await.unwrap();
    sink.stop().await.unwrap();
    let mut found = texts(&kafka.consume_committed(&topic).unwrap());
    found.sort();
    assert_eq!(found, ["a", "b"]);
    assert_eq!(kafka.n_partitions(&format!("millstream-marker-{}", writing.query)).unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_record_is_named_and_nothing_of_its_batch_is_visible() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("failing", 1).await.unwrap();
    let small = kafka.unique("small");
    kafka.create_topic_named(&small, 1, &[("max.message.bytes", "2000")]).await.unwrap();
    let two_topics = schema(&[("topic", DataType::Utf8), ("partition", DataType::Int32), ("value", DataType::Utf8)]);
    let big = "x".repeat(5_000);
    let huge = "x".repeat(2_000_000);
    for (target, partition, value, kind, messages) in [
        (small.as_str(), None, big.as_str(), ErrorKind::Data, ["record 1 of the batch, of 5000 bytes", small.as_str()]),
        (topic.as_str(), None, huge.as_str(), ErrorKind::Data, ["record 1 of the batch, of 2000000 bytes", topic.as_str()]),
        ("not-there", None, "v", ErrorKind::Invalid, ["record 1 of the batch", "'not-there'"]),
        (topic.as_str(), Some(7), "v", ErrorKind::Invalid, ["record 1 of the batch", topic.as_str()]),
    ] {
        let more = [("kafka.topic.metadata.propagation.max.ms", "500")];
        let mut writing = Writing::new(&kafka, Arc::clone(&two_topics), &more);
        let sink = writing.fresh().await;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![topic.as_str(), target])),
            Arc::new(Int32Array::from(vec![None, partition])),
            Arc::new(StringArray::from(vec!["good", value])),
        ];
        let rows = RecordBatch::try_new(Arc::clone(&two_topics), columns).unwrap();
        let error = writing.batch(&sink, 0, rows).await.unwrap_err();
        assert!(messages.iter().all(|message| error.to_string().contains(message)), "{error}");
        assert_eq!(error.kind(), kind, "{error}");
        sink.abandon(BatchId(0), Vec::new()).await.unwrap();
        sink.stop().await.unwrap();
        assert_eq!(texts(&kafka.consume_committed(&topic).unwrap()), Vec::<String>::new(), "{target}");
    }
}

/// The client gives up what is on its way to other partitions, and tells of that, too: the cause is what is told.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_records_the_one_that_is_too_large_is_named() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.unique("small");
    kafka.create_topic_named(&topic, 4, &[("max.message.bytes", "5000")]).await.unwrap();
    let columns = schema(&[("value", DataType::Utf8)]);
    for _ in 0..5 {
        let mut writing = Writing::new(&kafka, Arc::clone(&columns), &[("topic", topic.as_str())]);
        let sink = writing.fresh().await;
        let mut values: Vec<String> = (0..60).map(|n| format!("{n:0>40}")).collect();
        values.insert(30, "x".repeat(8_000));
        let rows = RecordBatch::try_new(Arc::clone(&columns), vec![Arc::new(StringArray::from(values))]).unwrap();
        let error = writing.batch(&sink, 0, rows).await.unwrap_err();
        assert!(error.to_string().contains("record 30 of the batch, of 8000 bytes"), "{error}");
        assert!(error.hint_text().is_some_and(|hint| hint.contains("max.message.bytes")), "{error:?}");
        sink.abandon(BatchId(0), Vec::new()).await.unwrap();
        sink.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_null_topic_is_refused() {
    let Some(kafka) = kafka() else { return };
    let schema = schema(&[("topic", DataType::Utf8), ("value", DataType::Utf8)]);
    let mut writing = Writing::new(&kafka, Arc::clone(&schema), &[]);
    let sink = writing.fresh().await;
    let columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from(vec![None::<&str>])), Arc::new(StringArray::from(vec!["v"]))];
    let error = writing.batch(&sink, 0, RecordBatch::try_new(schema, columns).unwrap()).await.unwrap_err();
    assert!(error.message().contains("null topic present in the data"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn markers_and_checkpoint_must_agree() {
    let Some(kafka) = kafka() else { return };
    let (topic, marker_topic) = (kafka.create_topic("agree", 1).await.unwrap(), kafka.unique("agree-marker"));
    let mut writing = Writing::new(&kafka, values_schema(), &[("topic", &topic), ("markerTopic", &marker_topic)]);
    let sink = writing.fresh().await;
    let zero = writing.batch(&sink, 0, values(["a"])).await.unwrap();
    let one = writing.batch(&sink, 1, values(["b"])).await.unwrap();
    assert_eq!((&one["records"], &one["marker"], &one["marker_topic"]), (&json!(1), &json!(1), &json!(marker_topic)));
    sink.stop().await.unwrap();
    let error = async |writing: &mut Writing, decided: Option<RecordedBatch<'_>>, proposed: Option<RecordedBatch<'_>>| {
        let sink = writing.started().await.unwrap();
        sink.recover(decided, proposed).await.unwrap_err().message().to_owned()
    };
    let older = error(&mut writing, recorded(0, &zero), None).await;
    assert!(older.contains("ends with the marker of batch 1") && older.contains("no batch behind 0"), "{older}");
    let emptied = error(&mut writing, None, None).await;
    assert!(emptied.contains("knows of no batch"), "{emptied}");
    let mut two = one.clone();
    two["marker"] = json!(2);
    let ahead = error(&mut writing, recorded(2, &two), None).await;
    assert!(ahead.contains("the checkpoint says that batch 2 is committed"), "{ahead}");
    // Batches written at least once leave no marker: an older one is as it should be, a later one is not.
    let unmarked = Value::Null;
    let older = error(&mut writing, recorded(0, &unmarked), None).await;
    assert!(older.contains("no batch behind 0"), "{older}");
    let sink = writing.started().await.unwrap();
    assert_eq!(sink.recover(recorded(3, &unmarked), None).await.unwrap(), Outcome::Committed);
    let sink = writing.started().await.unwrap();
    assert_eq!(sink.recover(recorded(0, &zero), recorded(1, &one)).await.unwrap(), Outcome::Committed);
    sink.stop().await.unwrap();
    kafka.delete_topic(&marker_topic).await.unwrap();
    let missing = error(&mut writing, recorded(1, &one), None).await;
    assert!(missing.contains("has no marker of this query"), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_topic_that_does_not_fit_is_refused() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("t", 1).await.unwrap();
    let (wide, expiring, shared) = (kafka.unique("wide"), kafka.unique("expiring"), kafka.unique("shared"));
    kafka.create_topic_named(&wide, 2, &[("cleanup.policy", "compact")]).await.unwrap();
    kafka.create_topic_named(&expiring, 1, &[]).await.unwrap();
    kafka.create_topic_named(&shared, 1, &[("cleanup.policy", "compact")]).await.unwrap();
    kafka.produce(&shared, &[TestRecord::new("of somebody else").key("k")]).await.unwrap();
    for (marker_topic, message) in [
        (&wide, "has 2 partitions instead of one"),
        (&expiring, "has cleanup.policy=delete instead of compact"),
        (&shared, "holds, at offset 0, what is no marker"),
    ] {
        let mut writing = Writing::new(&kafka, values_schema(), &[("topic", &topic), ("markerTopic", marker_topic)]);
        let error = match writing.started().await {
            Ok(sink) => sink.recover(None, None).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(error.message().contains(message), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_timeout_beyond_the_brokers_is_refused() {
    let Some(kafka) = kafka() else { return };
    let mut writing = Writing::new(&kafka, values_schema(), &[("topic", "t"), ("transactionTimeout", "2h")]);
    let error = writing.started().await.map(|_| ()).unwrap_err();
    assert!(
        error.message().contains("option 'transactionTimeout' is 7200s") && error.message().contains("transaction.max.timeout.ms"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_takes_too_long_stops_with_the_options_name() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("slow", 1).await.unwrap();
    let mut writing = Writing::new(&kafka, values_schema(), &[("topic", &topic), ("transactionTimeout", "1s")]);
    let sink = writing.fresh().await;
    let outputs = writing.write(&sink, 0, values(["a"])).await.unwrap();
    let prepared = sink.prepare(BatchId(0), outputs).await.unwrap();
    // The broker looks once a second.
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    let error = sink.commit(BatchId(0), &prepared).await.unwrap_err();
    assert!(error.to_string().contains("'transactionTimeout' (1s)"), "{error}");
    sink.stop().await.unwrap();
    assert_eq!(texts(&kafka.consume_committed(&topic).unwrap()), Vec::<String>::new());
    let sink = writing.started().await.unwrap();
    assert_eq!(sink.recover(None, recorded(0, &prepared)).await.unwrap(), Outcome::RunAgain);
    writing.batch(&sink, 0, values(["a"])).await.unwrap();
    assert_eq!(texts(&kafka.consume_committed(&topic).unwrap()), ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_the_last_record_are_shut_out() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("ids", 1).await.unwrap();
    let mut writing = Writing::new(&kafka, values_schema(), &[("topic", &topic)]);
    let other = kafka.unique("other-id");
    let transactions = kafka.transactions(&other).unwrap();
    transactions.begin().unwrap();
    transactions.send(&topic, &[TestRecord::new("zombie")]).await.unwrap();
    let proposed = json!({ "records": 1, "marker": 0, "producers": [other] });
    let sink = writing.started().await.unwrap();
    assert_eq!(sink.recover(None, recorded(0, &proposed)).await.unwrap(), Outcome::RunAgain);
    assert!(transactions.commit().is_err());
    writing.batch(&sink, 0, values(["a"])).await.unwrap();
    assert_eq!(texts(&kafka.consume_committed(&topic).unwrap()), ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_queue_holds_the_writer_back_and_loses_nothing() {
    let Some(kafka) = kafka() else { return };
    let topic = kafka.create_topic("queue", 1).await.unwrap();
    let mut writing = Writing::new(&kafka, values_schema(), &[("topic", &topic), ("kafka.queue.buffering.max.messages", "10")]);
    let sink = writing.fresh().await;
    let expected: Vec<String> = (0..2_000).map(|n| n.to_string()).collect();
    writing.batch(&sink, 0, values(expected.clone())).await.unwrap();
    assert_eq!(texts(&kafka.consume_committed(&topic).unwrap()), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_restarts_between_the_steps_costs_and_doubles_nothing() {
    let Some(jars) = broker_jars() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&jars, &folder.path().join("broker")).unwrap();
    let kafka = TestKafka::at(&broker.bootstrap_servers()).unwrap();
    let topic = kafka.create_topic("restarting", 1).await.unwrap();
    let more = [("topic", topic.as_str()), ("transactionTimeout", "5s")];
    let mut writing = Writing::new(&kafka, values_schema(), &more);
    let sink = writing.fresh().await;
    let zero = writing.batch(&sink, 0, values(["0"])).await.unwrap();
    // It goes before the records come, and stays away: the batch fails, and names what it could not do.
    broker.stop().unwrap();
    let error = writing.batch(&sink, 1, values(["lost"])).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Exhausted), "{error:?}");
    drop(sink);
    broker.start_again().unwrap();
    let sink = writing.started().await.unwrap();
    sink.recover(recorded(0, &zero), None).await.unwrap();
    // It goes between the records and the commit, and comes back: nobody can tell from here, the markers can.
    let outputs = writing.write(&sink, 1, values(["1"])).await.unwrap();
    let one = sink.prepare(BatchId(1), outputs).await.unwrap();
    broker.stop().unwrap();
    let commit = {
        let (sink, one) = (Arc::clone(&sink), one.clone());
        tokio::spawn(async move { sink.commit(BatchId(1), &one).await })
    };
    broker.start_again().unwrap();
    let committed = commit.await.unwrap();
    drop(sink);
    let sink = writing.started().await.unwrap();
    let outcome = sink.recover(recorded(0, &zero), recorded(1, &one)).await.unwrap();
    match outcome {
        Outcome::Committed => {}
        Outcome::RunAgain => {
            assert!(committed.is_err(), "what was said to be committed is");
            writing.batch(&sink, 1, values(["1"])).await.unwrap();
        }
    }
    assert_eq!(texts(&kafka.consume_committed(&topic).unwrap()), ["0", "1"]);
    broker.stop().unwrap();
}
