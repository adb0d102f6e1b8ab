//! Under the default trigger new data of a source that tells of it wakes the loop, not the next look. The clock stands still
//! here, so a loop that slept until its next look would sleep for ever.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::logical_expr::LogicalPlanBuilder;
use millstream_core::{Clock, Options};
use millstream_engine::{StreamingQuery, Trigger};
use millstream_testkit::ManualClock;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::harness::{Harness, rows};

fn standing_still() -> Harness {
    Harness::with_clock(Arc::new(ManualClock::new(1_700_000_000_000)) as Arc<dyn Clock>)
}

async fn until(mut is_so: impl FnMut() -> bool) {
    let looks = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looks).await.expect("the loop was not woken");
}

async fn is_idle(query: &StreamingQuery) {
    until(|| query.status().message == "Waiting for data to arrive").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_memory_stream_wake_every_query_that_reads_it() {
    let t = standing_still();
    let stream = t.stream("numbers");
    let mut queries = Vec::new();
    for name in ["a", "b"] {
        let plan = t.plan(&stream, None).await;
        let mut definition = t.definition(plan, t.sink("memory", name).await, Trigger::AsSoonAsPossible);
        definition.checkpoint = definition.checkpoint.join(name);
        queries.push(t.start(definition).await);
    }
    for n in 0..5 {
        for query in &queries {
            is_idle(query).await;
        }
        stream.add(rows([n])).unwrap();
        for name in ["a", "b"] {
            until(|| t.table(name).contains(&n)).await;
        }
    }
    for query in queries {
        query.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_tells_wakes_a_query_that_also_reads_one_that_must_be_asked() {
    let t = standing_still();
    let stream = t.stream("numbers");
    let told = t.plan(&stream, None).await;
    let asked = t.scan("rate", "rate", Options::new()).await.project([datafusion::logical_expr::col("value").alias("v")]).unwrap();
    let plan = LogicalPlanBuilder::from(told).union(asked.build().unwrap()).unwrap().build().unwrap();
    let query = t.start(t.definition(plan, t.sink("memory", "out").await, Trigger::AsSoonAsPossible)).await;
    is_idle(&query).await;
    stream.add(rows([7])).unwrap();
    until(|| t.table("out") == [7]).await;
    query.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_a_socket_wake_the_query() {
    let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("value", DataType::Utf8, true)]));
    for has_log in ["false", "true"] {
        let t = standing_still();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let options = [("host", "127.0.0.1"), ("port", port.as_str()), ("writeAheadLog", has_log)];
        let plan = t.scan("lines", "socket", options.into_iter().collect()).await.build().unwrap();
        let sink = t.sink_of("memory", "out", Arc::clone(&schema)).await;
        let (query, client) = tokio::join!(t.start(t.definition(plan, sink, Trigger::AsSoonAsPossible)), listener.accept());
        let mut client = client.unwrap().0;
        for n in 1..=5 {
            is_idle(&query).await;
            client.write_all(format!("line {n}\n").as_bytes()).await.unwrap();
            let lines = || t.in_process.memory.table("out").map_or(0, |(_, rows)| rows.iter().map(|rows| rows.num_rows()).sum());
            until(|| lines() == n).await;
        }
        let (_, rows) = t.in_process.memory.table("out").unwrap();
        assert_eq!(rows.last().unwrap().column(0).as_string::<i32>().value(0), "line 5");
        query.stop().await;
    }
}
