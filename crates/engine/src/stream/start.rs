//! The start of a query: compare the job with its checkpoint, plan once, open the sources, hand over to the loop.
//!
//! Everything that can be refused is refused here, before a row is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use millstream_core::{BatchId, CrashPoint, Error, Result, RunId, Sink, SinkContext, SourceStart};
use millstream_state::Location;
use millstream_state::checkpoint::{self, Checkpoint, Record, Recovered};
use tracing::Instrument;

use super::definition::{CheckpointLife, QueryDefinition, Settings};
use super::job::JobDescription;
use super::listener::{ListenerBus, QueryEvent};
use super::micro_batch::{MicroBatchLoop, QueryRun, Reached, StaticLeaf, StreamLeaf, Unfinished};
use super::progress::iso_timestamp;
use super::query::{QueryShared, StreamingQuery};
use crate::engine::Engine;
use crate::physical::SinkExec;
use crate::physical::source_table::{as_source_table, source_tables};
use crate::runner::MAIN_SINK;

/// Starts a query and gives its handle.
pub async fn start_query(engine: Arc<Engine>, definition: QueryDefinition, listeners: ListenerBus) -> Result<StreamingQuery> {
    let (checkpoint, life) = (definition.checkpoint.clone(), definition.checkpoint_life);
    let started = start(engine, definition, listeners).await;
    if started.is_err() && life != CheckpointLife::Kept {
        // Nothing has run, so nothing is in it.
        remove_checkpoint(&checkpoint).await;
    }
    started
}

/// Removes a temporary checkpoint, as far as it goes.
pub(super) async fn remove_checkpoint(location: &Location) {
    if let Err(error) = checkpoint::remove(location).await {
        tracing::warn!(%error, "a temporary checkpoint could not be removed");
    }
}

async fn start(engine: Arc<Engine>, definition: QueryDefinition, listeners: ListenerBus) -> Result<StreamingQuery> {
    let (plan, logical) = physical_plan(&engine, &definition, &definition.settings).await?;
    let tables = source_tables(&logical)?;
    let mut sinks: BTreeMap<String, Arc<dyn Sink>> = BTreeMap::new();
    sinks.insert(MAIN_SINK.to_owned(), Arc::clone(&definition.sink));
    for table in &tables {
        sinks.extend(as_source_table(table)?.dead_letter_sink());
    }
    let job = describe(&logical, &sinks)?;
    if job.sources.is_empty() {
        return Err(Error::invalid("the query reads no stream").hint("read it with read_stream, or write it with write"));
    }

    let (mut checkpoint, recovered) = Checkpoint::open(definition.checkpoint.clone(), engine.ids.as_ref(), engine.clock.as_ref()).await?;
    if let Some(before) = recovered.last_start.as_ref().and_then(|start| start.job.clone()) {
        let before: JobDescription = serde_json::from_value(before)
            .map_err(|error| Error::internal("the checkpoint's description of its job cannot be read").caused_by(error))?;
        job.check_change(&before)?;
    }
    for torn in &recovered.torn {
        tracing::info!(checkpoint = %definition.checkpoint, torn, "a record that a crash tore was cut off");
    }
    // The run's first record tells who runs, and what; on a shared store it fences older runs, so only what the
    // checkpoint says behind it counts.
    let run_id = RunId(engine.ids.new_uuid());
    let description = serde_json::to_value(&job).map_err(|error| Error::internal(error.to_string()))?;
    let mut start = Record::start(run_id, engine.clock.now_proc_us(), description);
    start.settings = definition.settings.clone();
    let recovered = checkpoint.start(start, recovered).await?;
    engine.crash_points.reach(CrashPoint::AfterStart)?;

    let decided = recovered.last_prepared.as_ref().and_then(|record| record.batch);
    let ctx = SinkContext { query_id: recovered.query_id, epoch: recovered.epoch };
    for sink in sinks.values() {
        sink.start(&ctx, decided).await?;
    }

    let now = engine.clock.monotonic();
    let (mut streams, mut statics) = (Vec::new(), Vec::new());
    for provider in tables {
        let table = as_source_table(&provider)?;
        if table.is_streaming() {
            let (name, description) = (table.name().to_owned(), table.description().to_owned());
            let checkpoint_dir = checkpoint::source_location(&definition.checkpoint, &name).to_string();
            let mut source = table.open(Some(checkpoint_dir)).await?;
            let position =
                source.start(source_start(&recovered, &name)).await.map_err(|error| error.context(format!("source '{name}'")))?;
            let begun_in = recovered.sources.get(&name).and_then(|source| {
                let first_range = source.ranges.first().map(|(batch, _)| *batch);
                source.snapshot.as_ref().map(|(batch, _)| *batch).or(first_range)
            });
            let remembers = source.snapshot()?.is_some();
            streams.push(StreamLeaf { name, description, source, position, begun_in, remembers });
        } else {
            statics.push(StaticLeaf::resolve(Arc::clone(&provider), now).await?);
        }
    }

    let shared = Arc::new(QueryShared::new(
        recovered.query_id,
        run_id,
        definition.name.clone(),
        definition.stop_timeout,
        Arc::clone(&engine.clock),
        listeners,
    ));
    if let Ok(mut text) = shared.plan_text.lock() {
        *text = displayable(plan.as_ref()).indent(false).to_string();
    }
    tracing::info!(
        query = %shared.id,
        run = %shared.run_id,
        name = shared.name,
        sink = definition.sink.description(),
        delivery = %definition.sink.delivery(),
        trigger = %definition.trigger,
        next_batch = %next_batch(decided),
        "query started"
    );
    shared.listeners.send(QueryEvent::Started {
        id: shared.id,
        run_id: shared.run_id,
        name: shared.name.clone(),
        timestamp: iso_timestamp(engine.clock.now_proc_us()),
    });
    let committed = recovered.committed;
    let reached = Reached { next_batch: next_batch(decided), committed, committed_recorded: committed };
    let unfinished = Unfinished { roll_forward: recovered.uncommitted, replay: recovered.last_intent };
    let epoch = recovered.epoch;
    let run = QueryRun { engine, shared: Arc::clone(&shared), definition, epoch, checkpoint, plan, streams, statics, sinks };
    // At the level of errors, so that every line of a log tells whose it is.
    let span = tracing::error_span!("query", id = %shared.id, run = %shared.run_id, name = shared.name);
    tokio::spawn(MicroBatchLoop::new(run, reached).run(unfinished).instrument(span));
    Ok(StreamingQuery { shared })
}

/// The physical plan of a query under given settings, with its sink at the root, and the logical plan it came from.
pub(super) async fn physical_plan(
    engine: &Engine,
    definition: &QueryDefinition,
    settings: &Settings,
) -> Result<(Arc<dyn ExecutionPlan>, LogicalPlan)> {
    let logical = definition.plan.logical_plan(settings).await?;
    let rows = engine.guarded_plan(&logical, definition.row_errors).await?;
    let spec = definition.sink.writer();
    let writers = engine.registry.writer(&spec)?;
    Ok((Arc::new(SinkExec::new(rows, spec, writers)), logical))
}

fn describe(logical: &LogicalPlan, sinks: &BTreeMap<String, Arc<dyn Sink>>) -> Result<JobDescription> {
    let mut sources = BTreeMap::new();
    for provider in source_tables(logical)? {
        let table = as_source_table(&provider)?;
        if table.is_streaming() {
            sources.insert(table.name().to_owned(), table.identity().clone());
        }
    }
    let sinks = sinks.iter().map(|(name, sink)| (name.clone(), sink.identity())).collect();
    Ok(JobDescription { sources, sinks, columns: JobDescription::columns_of(logical.schema().as_arrow()) })
}

fn source_start(recovered: &Recovered, name: &str) -> SourceStart {
    match recovered.sources.get(name) {
        None => SourceStart::Fresh,
        Some(source) => {
            SourceStart::Resume { snapshot: source.snapshot.as_ref().map(|(_, bytes)| bytes.clone()), ranges: source.ranges.clone() }
        }
    }
}

fn next_batch(decided: Option<BatchId>) -> BatchId {
    decided.map_or(BatchId(0), BatchId::next)
}
