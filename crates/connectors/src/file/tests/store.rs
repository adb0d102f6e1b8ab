//! Object stores: the same suites on `memory://`, and on S3 when the environment names a server.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use millstream_core::{ConnectorRegistry, Options, Result, Sink, Source};
use millstream_state::Location;
use millstream_testkit::ManualClock;
use millstream_testkit::sink_contract::{SinkHarness, check_sink};
use millstream_testkit::source_contract::{SourceHarness, check_source};
use object_store::ObjectStoreExt;

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
