//! Object stores: the same suites on `memory://`, and on S3 when the environment names a server.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use futures::TryStreamExt;
use millstream_core::sink::WriteAttempt;
use millstream_core::{
    Admission, BatchId, ConnectorRegistry, Options, QueryId, Result, RunEpoch, Sink, SinkContext, Source, SourceStart, TaskId,
};
use millstream_state::Location;
use millstream_testkit::ManualClock;
use millstream_testkit::rows::row_texts;
use millstream_testkit::sink_contract::{SinkHarness, check_sink};
use millstream_testkit::source_contract::{SourceHarness, check_source};
use object_store::{ObjectStore, ObjectStoreExt};
use uuid::Uuid;

use super::{read_all, rows};
use crate::harness::{id_name_rows, id_name_schema, registry, sink, sink_request, source, source_request};

struct Store {
    registry: ConnectorRegistry,
    clock: Arc<ManualClock>,
    url: String,
    options: Vec<(&'static str, String)>,
}

impl Store {
    fn memory(name: &str) -> Self {
        Self { registry: registry().0, clock: Arc::new(ManualClock::new(0)), url: format!("memory://{name}/a/b"), options: Vec::new() }
    }

    /// A fresh prefix of the bucket that the environment names.
    fn s3(name: &str) -> Option<Self> {
        let var = |name: &str| std::env::var(format!("MILLSTREAM_TEST_S3_{name}")).ok();
        let options = vec![
            ("aws_endpoint", var("ENDPOINT")?),
            ("aws_access_key_id", var("KEY")?),
            ("aws_secret_access_key", var("SECRET")?),
            ("aws_region", "us-east-1".to_owned()),
        ];
        let unique = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
        let url = format!("s3://{}/connectors-{unique}/{name}", var("BUCKET")?);
        Some(Self { registry: registry().0, clock: Arc::new(ManualClock::new(0)), url, options })
    }

    fn options<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let own = self.options.iter().map(|(name, value)| (*name, value.as_str()));
        own.chain([("path", self.url.as_str())]).chain(more.iter().copied()).collect()
    }
}

#[async_trait]
impl SinkHarness for Store {
    async fn sink(&self) -> Result<Arc<dyn Sink>> {
        sink(&self.registry, sink_request("parquet", &self.options(&[]), id_name_schema())).await
    }

    fn registry(&self) -> &ConnectorRegistry {
        &self.registry
    }

    fn rows(&self, first: usize, n: usize) -> Result<RecordBatch> {
        Ok(id_name_rows(first, n))
    }

    async fn visible(&self) -> Result<Vec<RecordBatch>> {
        let (_, chunks) = match read_all("parquet", &self.options(&[]), Some(id_name_schema())).await {
            Err(error) if error.error_class() == Some("PATH_NOT_FOUND") => return Ok(Vec::new()),
            other => other?,
        };
        Ok(rows(&chunks))
    }
}

#[async_trait]
impl SourceHarness for Store {
    async fn source(&self) -> Result<Box<dyn Source>> {
        let mut request = source_request("json", &self.options(&[("maxFilesPerTrigger", "2")]), Some(id_name_schema()));
        request.clock = self.clock.clone();
        source(&self.registry, request).await
    }

    async fn add_data(&self, step: usize) -> Result<()> {
        // Stores are not asked again at once when there was nothing new.
        self.clock.advance(Duration::from_secs(1));
        let options: Options = self.options(&[]).into_iter().collect();
        let Location::Object { store, prefix, .. } = Location::parse(&self.url, &options)? else { panic!("not a store") };
        for idx in 0..3 {
            let text: String = (0..20).map(|row| format!("{{\"id\":{},\"name\":\"n\"}}\n", step * 1000 + idx * 100 + row)).collect();
            store.put(&prefix.clone().join(format!("f{step}-{idx}.json")), text.into()).await.unwrap();
        }
        Ok(())
    }

    fn registry(&self) -> &ConnectorRegistry {
        &self.registry
    }

    fn n_steps(&self) -> usize {
        2
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_keep_the_contract_of_sinks() {
    check_sink(&Store::memory("sink-contract")).await.unwrap();
    if let Some(s3) = Store::s3("sink") {
        check_sink(&s3).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_keep_the_contract_of_sources() {
    check_source(&Store::memory("source-contract")).await.unwrap();
    if let Some(s3) = Store::s3("source") {
        check_source(&s3).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overwrite_on_a_store_replaces_what_is_there() {
    for store in [Some(Store::memory("overwrite")), Store::s3("overwrite")].into_iter().flatten() {
        for first in [0, 10] {
            let options = store.options(&[("mode", "overwrite")]);
            let sink = sink(&store.registry, sink_request("parquet", &options, id_name_schema())).await.unwrap();
            let ctx = SinkContext { query_id: QueryId(Uuid::from_u128(first as u128 + 1)), epoch: RunEpoch(1) };
            sink.start(&ctx, None).await.unwrap();
            let attempt = WriteAttempt { query_id: ctx.query_id, epoch: ctx.epoch, batch_id: BatchId(0), attempt: 0, task_id: TaskId(0) };
            let mut writer = store.registry.writer(&sink.writer()).unwrap().open(attempt).await.unwrap();
            writer.write(id_name_rows(first, 2)).await.unwrap();
            let prepared = sink.prepare(BatchId(0), vec![writer.finish().await.unwrap()]).await.unwrap();
            sink.commit(BatchId(0), &prepared).await.unwrap();
            let expected = row_texts(&[id_name_rows(first, 2)]).unwrap();
            assert_eq!(row_texts(&store.visible().await.unwrap()).unwrap(), expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_were_read_are_archived_on_a_store() {
    for store in [Some(Store::memory("archive")), Store::s3("archive")].into_iter().flatten() {
        let archive = format!("{}-read", store.url);
        let options = store.options(&[("cleanSource", "archive"), ("sourceArchiveDir", &archive)]);
        let mut source = source(&store.registry, source_request("json", &options, Some(id_name_schema()))).await.unwrap();
        store.add_data(0).await.unwrap();
        let start = source.start(SourceStart::Fresh).await.unwrap();
        let range = source.plan(&start, &Admission::default()).await.unwrap().unwrap();
        source.decided(BatchId(0), &range).await.unwrap();
        source.commit(BatchId(0), &range).await.unwrap();
        let own: Options = store.options(&[]).into_iter().collect();
        let names = async |url: &str| -> Vec<String> {
            let Location::Object { store, prefix, .. } = Location::parse(url, &own).unwrap() else { panic!("not a store") };
            let mut names: Vec<String> = store.list(Some(&prefix)).map_ok(|meta| meta.location.to_string()).try_collect().await.unwrap();
            names.sort();
            names
        };
        assert_eq!(names(&store.url).await, Vec::<String>::new());
        let archived = names(&archive).await;
        assert_eq!(archived.len(), 3, "{archived:?}");
        // The whole path is kept below the archive.
        let Location::Object { prefix, .. } = Location::parse(&store.url, &own).unwrap() else { panic!("not a store") };
        assert!(archived.iter().all(|name| name.contains(prefix.as_ref()) && name.contains("-read/")), "{archived:?}");
        // Told again after a crash.
        source.commit(BatchId(0), &range).await.unwrap();
        assert_eq!(names(&archive).await, archived);
    }
}
