//! What a log line of a batch is inside of: spans of the query, the batch and its phases.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex};

use millstream_core::QueryId;
use millstream_engine::Trigger;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

use crate::harness::{Harness, rows};

/// A span's query, where it is (such as `query > batch > phase`), and its fields.
type Seen = (String, String, BTreeMap<String, String>);

/// Every span that was made at a level, in order.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<Seen>>>);

#[derive(Default)]
struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

/// The query that a span belongs to.
struct OfQuery(String);

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        let span = ctx.span(id).unwrap();
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if span.name() == "query" {
            span.extensions_mut().replace(OfQuery(fields.0["id"].clone()));
        }
        let scope: Vec<_> = span.scope().from_root().collect();
        let query = scope.iter().find_map(|span| span.extensions().get::<OfQuery>().map(|of| of.0.clone()));
        if let Some(query) = query {
            let path = scope.iter().map(|span| span.name()).collect::<Vec<_>>().join(" > ");
            self.0.lock().unwrap().push((query, path, fields.0));
        }
    }
}

impl Spans {
    fn of(&self, query: QueryId, path: &str) -> Vec<BTreeMap<String, String>> {
        let of_query = query.to_string();
        let seen = self.0.lock().unwrap();
        seen.iter().filter(|(query, at, _)| *query == of_query && at == path).map(|(_, _, fields)| fields.clone()).collect()
    }

    fn count(&self, query: QueryId) -> usize {
        let of_query = query.to_string();
        self.0.lock().unwrap().iter().filter(|(query, _, _)| *query == of_query).count()
    }
}

/// What the levels of a log see.
struct Levels {
    debug: Spans,
    info: Spans,
    warn: Spans,
    off: Spans,
}

static LEVELS: LazyLock<Levels> = LazyLock::new(|| {
    let levels = Levels { debug: Spans::default(), info: Spans::default(), warn: Spans::default(), off: Spans::default() };
    let registry = Registry::default()
        .with(levels.debug.clone().with_filter(LevelFilter::DEBUG))
        .with(levels.info.clone().with_filter(LevelFilter::INFO))
        .with(levels.warn.clone().with_filter(LevelFilter::WARN))
        .with(levels.off.clone().with_filter(LevelFilter::OFF));
    tracing::subscriber::set_global_default(registry).unwrap();
    levels
});

/// Begins to listen. Every test does, before its first span: `tracing` decides for a whole process which spans are made.
pub fn listen() {
    LazyLock::force(&LEVELS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_and_its_phases_have_spans_at_their_levels() {
    let t = Harness::new();
    let stream = t.stream("numbers");
    stream.add(rows([1])).unwrap();
    let plan = t.plan(&stream, None).await;
    let mut definition = t.definition(plan, t.sink("console", "out").await, Trigger::AvailableNow);
    definition.name = Some("numbers".to_owned());
    let query = t.start(definition).await;
    query.await_termination(None).await.unwrap();

    let of = |path: &str| LEVELS.debug.of(query.id(), path);
    let fields = |pairs: &[(&str, &str)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let (id, run) = (query.id().to_string(), query.run_id().to_string());
    assert_eq!(of("query"), [fields(&[("id", &id), ("run", &run), ("name", "numbers")])]);
    assert_eq!(of("query > batch"), [fields(&[("id", "0")])]);
    let phases: Vec<_> = of("query > batch > phase").iter().map(|fields| fields["name"].clone()).collect();
    let want = ["walCommit", "getBatch", "queryPlanning", "addBatch", "commitOffsets", "walCommit", "commit"];
    assert_eq!(phases, want, "the console needs an intent, hence two records");
    // One look finds the row, the next one nothing.
    assert_eq!(of("query > phase"), vec![fields(&[("name", "latestOffset")]); 2]);
    assert_eq!(of("query > batch > phase > task"), [fields(&[("id", "0")]), fields(&[("id", "1")])]);

    assert_eq!((LEVELS.info.count(query.id()), LEVELS.info.of(query.id(), "query > batch").len()), (2, 1));
    assert_eq!((LEVELS.warn.count(query.id()), LEVELS.warn.of(query.id(), "query").len()), (1, 1));
    assert_eq!(LEVELS.off.count(query.id()), 0);
}
