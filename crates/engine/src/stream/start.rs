//! The start of a query: compare the job with its checkpoint, plan once, open the sources, hand over to the loop.
//!
//! Everything that can be refused is refused here, before a row is read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use datafusion::catalog::TableProvider;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use millstream_analyzer::streaming::ColumnOrigins;
use millstream_core::{Admission, BatchId, CrashPoint, Error, Position, Result, RunEpoch, RunId, Sink, SourceStart};
use millstream_state::Location;
use millstream_state::checkpoint::{self, Checkpoint, Record, RecordKind, Recovered, RecoveredSource};
use millstream_state::store::OperatorState;
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::definition::{CheckpointLife, QueryDefinition, Settings};
use super::job::{ColumnRule, JobDescription};
use super::lasting_tables::{check_unchanged, lasting_tables, refuse_refresh};
use super::listener::{ListenerBus, QueryEvent};
use super::micro_batch::{MicroBatchLoop, QueryRun, Reached, StaticLeaf, StreamLeaf, Unfinished};
use super::pace::Pace;
use super::plan_facts::PlanFacts;
use super::progress::iso_timestamp;
use super::query::{QueryEnd, QueryShared, StreamingQuery};
use super::run_state::{RunState, operators_of};
use super::start_sinks::{deciding_sink, start_sinks};
use super::state_change::{Before, StateComparison, StateFate, compare};
use super::watermark_tracker::{TrackedNode, WatermarkPolicy, WatermarkTracker};
use crate::batch::END_OF_TIME_MS;
use crate::engine::Engine;
use crate::physical::finished_beside_stream::finished_name;
use crate::physical::future_guard::keep_positions_of_future_rows;
use crate::physical::source_table::{as_source_table, source_tables};
use crate::physical::stateful::keep_late_rows;
use crate::physical::watermark::watermark_execs;
use crate::physical::{LATE_ROWS_SINK, SideTable, SinkExec, SourceTable, read_streams_to_their_end};
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

async fn start(engine: Arc<Engine>, mut definition: QueryDefinition, listeners: ListenerBus) -> Result<StreamingQuery> {
    let (plan, logical) = physical_plan(&engine, &definition, &definition.settings).await?;
    let tables = source_tables(&logical)?;
    let sinks = sinks_of(&definition, &tables)?;
    deciding_sink(&sinks)?;
    let job = describe(&logical, &sinks)?;
    if job.sources.is_empty() {
        return Err(Error::invalid("the query reads no stream").hint("read it with read_stream, or write it with write"));
    }
    let facts = PlanFacts::of(&plan)?;
    let run_id = RunId(engine.ids.new_uuid());
    let origins = ColumnOrigins::of(&logical)?;
    let (mut checkpoint, recovered, operators) = take_over(&engine, &mut definition, &job, (&plan, &origins), run_id).await?;
    let recovered = start_sinks(&sinks, &mut checkpoint, recovered).await?;
    let decided = recovered.last_prepared.as_ref().and_then(|record| record.batch);
    let state = RunState::recover(&operators, &checkpoint, &recovered, engine.config.parallelism, &engine.state_memory()).await?;
    let now = engine.clock.monotonic();
    let live = tables.iter().map(as_source_table).collect::<Result<Vec<_>>>()?.into_iter().filter(|table| table.is_streaming());
    let stream_names: BTreeSet<String> = live.map(|table| table.name().to_owned()).collect();
    let (mut streams, mut statics) = (Vec::new(), Vec::new());
    let of_sinks = || sinks.values().filter_map(|sink| sink.batch_duration_target()).min();
    let pace = definition.target_batch_duration.or_else(of_sinks).map(Pace::new);
    let lasting = lasting_tables(&plan);
    for provider in tables {
        let table = as_source_table(&provider)?;
        if table.is_streaming() {
            streams.push(open_stream(table, &definition.checkpoint, &recovered, pace.clone()).await?);
        } else {
            let name = finished_name(table.name(), &stream_names);
            let must_stay = lasting.contains(&name);
            if must_stay && table.refresh_interval().is_some() {
                return Err(refuse_refresh(&name));
            }
            let leaf = StaticLeaf::resolve(name, Arc::clone(&provider), now).await?;
            if must_stay {
                check_unchanged(&leaf.name, leaf.range.as_ref(), recovered.last_prepared.as_ref())?;
            }
            statics.push(leaf);
        }
    }
    let tracker = tracker_of(&plan, &definition, &streams, &recovered, now)?;
    if tracker.is_flushed() {
        refuse_new_input(&mut streams).await?;
    }
    let begun = streams.iter().filter(|leaf| !recovered.sources.contains_key(&leaf.name));
    let first_positions = begun.map(|leaf| (leaf.name.clone(), leaf.position.clone())).collect();
    record_first_positions(&engine, &mut checkpoint, first_positions).await?;
    let clock = Arc::clone(&engine.clock);
    let (name, stop_timeout) = (definition.name.clone(), definition.stop_timeout);
    let shared = Arc::new(QueryShared::new(recovered.query_id, run_id, name, stop_timeout, clock, listeners));
    if let Ok(mut text) = shared.plan_text.lock() {
        *text = displayable(plan.as_ref()).indent(false).to_string();
    }
    let next_batch = decided.map_or(BatchId(0), BatchId::next);
    announce(&shared, &definition, next_batch);

    let Recovered { committed, epoch, uncommitted: roll_forward, last_intent: replay, .. } = recovered;
    let reached = Reached { next_batch, committed, committed_recorded: committed };
    let run = QueryRun { engine, shared: Arc::clone(&shared), definition, epoch, checkpoint, plan, facts, state, streams, statics, sinks };
    // At the level of errors, so that every line of a log tells whose it is.
    let span = tracing::error_span!("query", id = %shared.id, run = %shared.run_id, name = shared.name);
    let running = tokio::spawn(MicroBatchLoop::new(run, reached, tracker).run(Unfinished { roll_forward, replay }).instrument(span));
    tokio::spawn(end_after_panic(running, Arc::clone(&shared)));
    Ok(StreamingQuery { shared })
}

/// A query whose task panics has failed: who waits for its end must hear of it.
async fn end_after_panic(running: JoinHandle<()>, shared: Arc<QueryShared>) {
    let Err(ended) = running.await else { return };
    if let Ok(panic) = ended.try_into_panic() {
        let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        shared.finish(QueryEnd::Failed(Error::internal(format!("the query panicked: {said}"))));
    }
}

/// The main sink, the table of late rows and the dead-letter tables of the sources, by name.
pub(super) fn sinks_of(definition: &QueryDefinition, tables: &[Arc<dyn TableProvider>]) -> Result<BTreeMap<String, Arc<dyn Sink>>> {
    let mut sinks = BTreeMap::from([(MAIN_SINK.to_owned(), Arc::clone(&definition.sink))]);
    sinks.extend(definition.late_rows.as_ref().map(|sink| (LATE_ROWS_SINK.to_owned(), Arc::clone(sink))));
    for table in tables {
        sinks.extend(as_source_table(table)?.dead_letter_sinks().iter().cloned());
    }
    Ok(sinks)
}

/// Opens the checkpoint, refuses a job that cannot go on from it, and begins a run: gives what the run finds.
async fn take_over(
    engine: &Engine,
    definition: &mut QueryDefinition,
    job: &JobDescription,
    (plan, origins): (&Arc<dyn ExecutionPlan>, &ColumnOrigins),
    run_id: RunId,
) -> Result<(Checkpoint, Recovered, BTreeMap<String, OperatorState>)> {
    let (mut checkpoint, found) = Checkpoint::open(definition.checkpoint.clone(), engine.ids.as_ref(), engine.clock.as_ref()).await?;
    let mut operators = operators_of(plan, origins, &found.state.operators, definition.key_groups)?;
    if let Some(last_start) = &found.last_start {
        let before = Before {
            operators: &found.state.operators,
            // Without a lock an older run may decide a first batch until this one has begun.
            has_batches: found.last_prepared.is_some() || found.last_intent.is_some() || definition.checkpoint.as_local().is_none(),
            epoch: found.epoch,
            new_source_columns: BTreeSet::new(),
        };
        let comparison = compared(job, last_start, before, &operators, &definition.allow_state_drop)?;
        for change in comparison.changes.iter().filter(|change| change.fate != StateFate::Kept && change.fate != StateFate::Refused) {
            tracing::warn!(checkpoint = %definition.checkpoint, operator = change.operator, fate = %change.fate, why = change.reasons.join(", "), "the query's state changes");
        }
        operators = comparison.into_operators()?;
    }
    if let Some(last_start) = &found.last_start {
        keep_watermark_policy(&mut definition.settings, &last_start.settings);
    }
    for torn in &found.torn {
        tracing::info!(checkpoint = %definition.checkpoint, torn, "a record that a crash tore was cut off");
    }
    // The run's first record tells who runs, and what; on a shared store it fences older runs, so only what the
    // checkpoint says behind it counts.
    let description = serde_json::to_value(job).map_err(|error| Error::internal(error.to_string()))?;
    let mut start = Record::start(run_id, engine.clock.now_proc_us(), description);
    start.settings = definition.settings.clone();
    start.operators.clone_from(&operators);
    let recovered = checkpoint.start(start, found).await?;
    engine.crash_points.reach(CrashPoint::AfterStart)?;
    Ok((checkpoint, recovered, operators))
}

/// What a changed query would do with the state of a checkpoint, without a start and without its lock, and what else of it keeps it
/// from going on.
pub async fn compare_with_checkpoint(engine: &Arc<Engine>, definition: &QueryDefinition, checkpoint: &Location) -> Result<StateComparison> {
    let (plan, logical) = physical_plan(engine, definition, &definition.settings).await?;
    let job = describe(&logical, &sinks_of(definition, &source_tables(&logical)?)?)?;
    let records = checkpoint::show(checkpoint).await?.records;
    let Some(last_start) = records.iter().rev().find(|record| record.kind == RecordKind::Start) else {
        return Err(Error::invalid(format!("checkpoint '{checkpoint}' has no run to compare with")));
    };
    let before = Before {
        operators: &last_start.operators,
        has_batches: records.iter().any(|record| record.batch.is_some()),
        epoch: RunEpoch(last_start.epoch.0 + 1),
        new_source_columns: BTreeSet::new(),
    };
    let operators = operators_of(&plan, &ColumnOrigins::of(&logical)?, &last_start.operators, definition.key_groups)?;
    let last_prepared = records.iter().rev().find(|record| record.kind == RecordKind::Prepared);
    let watermarks = last_prepared.and_then(|record| record.watermarks.as_ref());
    let mut comparison = compared(&job, last_start, before, &operators, &definition.allow_state_drop)?;
    comparison.is_closed_by_flush = watermarks.is_some_and(|watermarks| watermarks.current_ms == END_OF_TIME_MS);
    Ok(comparison)
}

/// Says what becomes of the state, and whether the job reads or writes something else.
fn compared(
    job: &JobDescription,
    last_start: &Record,
    before: Before<'_>,
    now: &BTreeMap<String, OperatorState>,
    may_drop: &[String],
) -> Result<StateComparison> {
    let Some(described) = last_start.job.clone() else { return compare(before, now, may_drop) };
    let described: JobDescription = serde_json::from_value(described)
        .map_err(|error| Error::internal("the checkpoint's description of its job cannot be read").caused_by(error))?;
    let comparison = compare(Before { new_source_columns: job.new_source_columns(&described), ..before }, now, may_drop)?;
    let rule = match (now.is_empty() && before.operators.is_empty(), may_drop) {
        (true, _) => ColumnRule::Same,
        (false, []) => ColumnRule::MayGrow,
        (false, [_, ..]) => ColumnRule::MayChange,
    };
    let Err(refused) = job.check_change(&described, rule) else { return Ok(comparison) };
    let would_do = rule == ColumnRule::MayGrow && job.check_change(&described, ColumnRule::MayChange).is_ok();
    if !would_do {
        return Ok(comparison.refused_for(&refused));
    }
    let names: Vec<&str> = comparison.changes.iter().map(|change| change.operator.as_str()).collect();
    let hint = format!(
        "undo the change; or have other columns from here on, and let the operator begin afresh where it cannot go on (allowStateDrop '{}'); \
         or start with a new checkpointLocation (the input is then read from its beginning)",
        names.join(",")
    );
    Ok(comparison.refused_for(&refused.hint(hint)))
}

/// A query keeps the policy of its first start, as in Spark: under another one its watermark could not go on from where it is.
fn keep_watermark_policy(settings: &mut Settings, before: &Settings) {
    let Some(kept) = before.get(WatermarkPolicy::SETTING) else { return };
    let now = settings.insert(WatermarkPolicy::SETTING.to_owned(), kept.clone());
    if now.as_ref().is_some_and(|now| !now.eq_ignore_ascii_case(kept)) {
        tracing::warn!(setting = WatermarkPolicy::SETTING, kept, now, "the checkpoint's value is used");
    }
}

/// Event time as the last decided batch left it.
fn tracker_of(
    plan: &Arc<dyn ExecutionPlan>,
    definition: &QueryDefinition,
    streams: &[StreamLeaf],
    recovered: &Recovered,
    now: Duration,
) -> Result<WatermarkTracker> {
    let policy = definition.settings.get(WatermarkPolicy::SETTING).map_or(Ok(WatermarkPolicy::default()), |text| text.parse())?;
    let nodes = watermark_execs(plan).into_iter().map(|node| TrackedNode {
        name: node.spec().name.clone(),
        delay_ms: node.spec().delay_us / 1000,
        sources: node.sources().into_iter().map(str::to_owned).collect(),
    });
    let idle_timeouts = streams.iter().map(|leaf| (leaf.name.clone(), leaf.idle_timeout)).collect();
    let recorded = recovered.last_prepared.as_ref().and_then(|record| record.watermarks.as_ref());
    Ok(WatermarkTracker::new(policy, nodes.collect(), idle_timeouts, recorded, now))
}

/// Behind a flush every row would be late.
async fn refuse_new_input(streams: &mut [StreamLeaf]) -> Result<()> {
    for leaf in streams {
        if leaf.source.plan(&leaf.position, &Admission::bytes(None)).await?.is_some() {
            return Err(input_behind_flush(&leaf.name));
        }
    }
    Ok(())
}

pub(super) fn input_behind_flush(source: &str) -> Error {
    Error::invalid(format!("the checkpoint was closed by a flush, behind which every row is late, and source '{source}' has new input"))
        .hint("start with a new checkpointLocation, over all input; or flush only when no more input will come")
}

/// Opens a stream where the checkpoint says it goes on.
async fn open_stream(table: &SourceTable, checkpoint: &Location, recovered: &Recovered, pace: Option<Pace>) -> Result<StreamLeaf> {
    let (name, description) = (table.name().to_owned(), table.description().to_owned());
    let mut source = table.open(Some(checkpoint::source_location(checkpoint, &name).to_string())).await?;
    let known = recovered.sources.get(&name);
    let begun_in = known.and_then(RecoveredSource::batch_before);
    let from = known.map_or(SourceStart::Fresh, RecoveredSource::start);
    let position = source.start(from).await.map_err(|error| error.context(format!("source '{name}'")))?;
    let remembers = source.snapshot()?.is_some();
    Ok(StreamLeaf { name, description, source, position, begun_in, remembers, idle_timeout: table.idle_timeout(), pace })
}

/// Sources that begin have looked where: at the end of a topic, at the clock. Another look would find another place, so what they
/// found is durable before the first batch is cut.
async fn record_first_positions(engine: &Engine, checkpoint: &mut Checkpoint, positions: Vec<(String, Position)>) -> Result<()> {
    if positions.is_empty() {
        return Ok(());
    }
    checkpoint.append(Record::positions(positions, engine.clock.now_proc_us())).await?;
    engine.crash_points.reach(CrashPoint::AfterPositions)
}

/// Tells the log and the listeners of the start.
fn announce(shared: &QueryShared, definition: &QueryDefinition, next_batch: BatchId) {
    tracing::info!(
        query = %shared.id,
        run = %shared.run_id,
        name = shared.name,
        sink = definition.sink.description(),
        delivery = %definition.sink.delivery(),
        trigger = %definition.trigger,
        %next_batch,
        "query started"
    );
    let timestamp = iso_timestamp(shared.clock.now_proc_us());
    shared.listeners.send(QueryEvent::Started { id: shared.id, run_id: shared.run_id, name: shared.name.clone(), timestamp });
}

/// The physical plan of a query under given settings, with its sink at the root, and the logical plan it came from.
pub(super) async fn physical_plan(
    engine: &Engine,
    definition: &QueryDefinition,
    settings: &Settings,
) -> Result<(Arc<dyn ExecutionPlan>, LogicalPlan)> {
    let logical = definition.plan.logical_plan(settings).await?;
    let rows = engine.guarded_plan(&logical, definition.row_errors).await?;
    let rows = match &definition.late_rows {
        Some(sink) => {
            let table = SideTable::of(LATE_ROWS_SINK, sink, &engine.registry)?;
            keep_late_rows(&rows, &table, definition.kept_late_rows, &engine.registry)?
        }
        None => rows,
    };
    let rows = keep_positions_of_future_rows(rows, &engine.registry)?;
    let rows = read_streams_to_their_end(rows)?;
    let spec = definition.sink.writer();
    let writers = engine.registry.writer(&spec)?;
    Ok((Arc::new(SinkExec::new(rows, spec, writers)), logical))
}

fn describe(logical: &LogicalPlan, sinks: &BTreeMap<String, Arc<dyn Sink>>) -> Result<JobDescription> {
    let (mut sources, mut source_columns) = (BTreeMap::new(), BTreeMap::new());
    for provider in source_tables(logical)? {
        let table = as_source_table(&provider)?;
        if table.is_streaming() {
            sources.insert(table.name().to_owned(), table.identity().clone());
            let columns = provider.schema().fields().iter().map(|field| field.name().clone()).collect();
            source_columns.insert(table.name().to_owned(), columns);
        }
    }
    let sinks = sinks.iter().map(|(name, sink)| (name.clone(), sink.identity())).collect();
    Ok(JobDescription { sources, sinks, columns: JobDescription::columns_of(logical.schema().as_arrow()), source_columns })
}
