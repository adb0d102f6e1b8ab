//! The sinks at the start of a run. One that decides is asked first what became of the batch that the last run proposed to
//! it, because the others, the sources and the state go on from there.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_core::{Error, Outcome, RecordedBatch, Result, Sink, SinkContext};
use millstream_state::checkpoint::{Checkpoint, Record, RecordKind, Recovered};

type Sinks = BTreeMap<String, Arc<dyn Sink>>;

/// The one sink whose commit decides batches.
pub(super) fn deciding_sink(sinks: &Sinks) -> Result<Option<(&str, &Arc<dyn Sink>)>> {
    let mut deciding = sinks.iter().filter(|(_, sink)| sink.decides());
    let first = deciding.next();
    match (first, deciding.next()) {
        (Some((_, one)), Some((_, other))) => Err(Error::unsupported(format!(
            "{} and {} each decide by themselves what is committed, and one query cannot have both",
            one.description(),
            other.description()
        ))
        .hint("let one of them deliver at least once")),
        _ => Ok(first.map(|(name, sink)| (name.as_str(), sink))),
    }
}

/// Starts the sinks; gives what the checkpoint says when the proposed batch is decided or known to be lost.
pub(super) async fn start_sinks(sinks: &Sinks, checkpoint: &mut Checkpoint, mut recovered: Recovered) -> Result<Recovered> {
    let ctx = SinkContext { query_id: recovered.query_id, epoch: recovered.epoch };
    let deciding = deciding_sink(sinks)?;
    let decided = |recovered: &Recovered| recovered.last_prepared.as_ref().and_then(|record| record.batch);
    let proposed = recovered.last_intent.as_ref().filter(|record| record.kind == RecordKind::Proposed);
    if let Some((name, sink)) = deciding {
        let (before, after) = (recorded(recovered.last_prepared.as_ref(), name), recorded(proposed, name));
        // What it does next shuts out other runs: a run that has slept since its first record must not do it to its successor.
        checkpoint.ensure_newest().await?;
        let asked = async {
            sink.start(&ctx, decided(&recovered)).await?;
            sink.recover(before, after).await
        };
        let outcome = match asked.await {
            Ok(outcome) => outcome,
            Err(error) => {
                // If it was taken over meanwhile, that is why the sink is not as the checkpoint says.
                checkpoint.ensure_newest().await?;
                return Err(error.context(format!("sink '{name}'")));
            }
        };
        if let (Some(batch), Outcome::Committed) = (after.map(|proposed| proposed.batch), outcome) {
            tracing::info!(%batch, "the last run's proposed batch is committed in its sink");
            recovered = checkpoint.decide_proposed().await?;
        }
    } else if let Some(batch) = proposed.and_then(|record| record.batch) {
        return Err(Error::invalid(format!(
            "batch {batch} was proposed to a sink that decides what is committed, and this query has none"
        ))
        .hint("start the query with the sink's options as they were, so that the batch can be finished; then change them"));
    }
    for (_, sink) in sinks.iter().filter(|(name, _)| deciding.is_none_or(|(decides, _)| decides != name.as_str())) {
        sink.start(&ctx, decided(&recovered)).await?;
    }
    Ok(recovered)
}

fn recorded<'a>(record: Option<&'a Record>, sink: &str) -> Option<RecordedBatch<'a>> {
    let record = record?;
    Some(RecordedBatch { batch: record.batch?, prepared: record.sinks.get(sink) })
}
