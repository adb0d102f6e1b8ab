//! What every source must do, checked through the traits alone.
//!
//! A harness offers the source under test over data that grows in steps; [`check_source`] plans, reads, restarts and
//! projects it in every way the engine does. Ranges pass through JSON as they do in a checkpoint.

use arrow::array::RecordBatch;
use async_trait::async_trait;
use millstream_core::{Admission, BatchId, ConnectorRegistry, ReaderSpec, Result, Source, SourceRange, SourceStart, SplitChunk};

use crate::rows::{row_texts, sorted_row_texts};

/// A source under test.
#[async_trait]
pub trait SourceHarness: Send + Sync {
    /// The source, made anew over the same data (as after a restart).
    async fn source(&self) -> Result<Box<dyn Source>>;

    /// Makes more data available: at least one row.
    async fn add_data(&self, step: usize) -> Result<()>;

    /// Where its readers are made.
    fn registry(&self) -> &ConnectorRegistry;

    /// How many steps of data to add.
    fn n_steps(&self) -> usize {
        4
    }
}

/// Runs the whole suite.
pub async fn check_source(harness: &dyn SourceHarness) -> Result<()> {
    a_start_that_no_batch_followed_is_taken_up_again(harness).await?;
    let history = live_through(harness).await?;
    restarts_from_every_batch_continue_with_the_same_rows(harness, &history).await?;
    a_fixed_end_takes_nothing_newer(harness, &history).await
}

/// The first position is recorded; a run that ends before its first batch leaves nothing else.
async fn a_start_that_no_batch_followed_is_taken_up_again(harness: &dyn SourceHarness) -> Result<()> {
    let mut source = harness.source().await?;
    let first = source.start(SourceStart::Fresh).await?;
    source.stop().await?;
    let mut source = harness.source().await?;
    let again = source.start(SourceStart::At(first.clone())).await?;
    assert_eq!(again, first, "a restart before the first batch begins where the first start did");
    source.stop().await
}

/// What a first run saw.
struct History {
    ranges: Vec<(BatchId, SourceRange)>,
    /// The rows of each range, sorted.
    rows: Vec<Vec<String>>,
    /// The snapshot taken after each range was decided.
    snapshots: Vec<Option<bytes::Bytes>>,
}

async fn live_through(harness: &dyn SourceHarness) -> Result<History> {
    let mut source = harness.source().await?;
    let mut position = source.start(SourceStart::Fresh).await?;
    let mut history = History { ranges: Vec::new(), rows: Vec::new(), snapshots: Vec::new() };
    for step in 0..harness.n_steps() {
        harness.add_data(step).await?;
        let mut n_planned = 0;
        while let Some(first_answer) = source.plan(&position, &Admission::default()).await? {
            // Until it is decided a range may be planned again, and begins at the same place.
            let range = source.plan(&position, &Admission::default()).await?.unwrap_or(first_answer);
            assert_eq!(range.start, position, "a range begins where the last one ended");
            assert_ne!(range.end, position, "a range makes progress");
            let range = through_json(&range);
            let rows = read_checked(harness, source.as_mut(), &range).await?;
            let batch = BatchId(history.ranges.len() as u64);
            source.decided(batch, &range).await?;
            source.commit(batch, &range).await?;
            position = range.end.clone();
            history.ranges.push((batch, range));
            history.rows.push(rows);
            history.snapshots.push(source.snapshot()?);
            n_planned += 1;
            if n_planned >= 3 && is_endless(harness, source.as_mut(), &position).await? {
                break;
            }
        }
        assert!(n_planned > 0, "added data (step {step}) is planned");
    }
    source.stop().await?;
    Ok(history)
}

/// Generators such as rate-micro-batch always have more.
async fn is_endless(_harness: &dyn SourceHarness, source: &mut dyn Source, position: &millstream_core::Position) -> Result<bool> {
    let Some(one) = source.plan(position, &Admission::default()).await? else { return Ok(false) };
    let Some(two) = source.plan(&one.end, &Admission::default()).await? else { return Ok(false) };
    Ok(source.plan(&two.end, &Admission::default()).await?.is_some())
}

async fn restarts_from_every_batch_continue_with_the_same_rows(harness: &dyn SourceHarness, history: &History) -> Result<()> {
    for n_decided in 1..=history.ranges.len() {
        let done: Vec<_> = history.ranges.iter().take(n_decided).cloned().collect();
        // Without a snapshot, and with the snapshot of every earlier batch.
        let mut starts = vec![SourceStart::Resume { snapshot: None, ranges: done.clone() }];
        for (batch_idx, snapshot) in history.snapshots.iter().take(n_decided).enumerate() {
            if snapshot.is_some() {
                // The last range is always given, so that the source knows where it ends.
                let from = (batch_idx + 1).min(n_decided - 1);
                starts.push(SourceStart::Resume { snapshot: snapshot.clone(), ranges: done.iter().skip(from).cloned().collect() });
            }
        }
        for start in starts {
            let mut source = harness.source().await?;
            let position = source.start(start).await?;
            let last = done.last().map(|(_, range)| range.end.clone());
            assert_eq!(Some(&position), last.as_ref(), "a restart continues where the last range ends");
            // The last batch may have to be read again (intent without decision).
            if let (Some((_, range)), Some(rows)) = (done.last(), history.rows.get(n_decided - 1)) {
                assert_eq!(&read_checked(harness, source.as_mut(), range).await?, rows, "a replay reads the same rows");
            }
            check_rest(harness, source.as_mut(), position, history, n_decided).await?;
            source.stop().await?;
        }
    }
    Ok(())
}

/// From `position` on the source gives exactly the rows that the first run saw after `n_decided` batches.
async fn check_rest(
    harness: &dyn SourceHarness,
    source: &mut dyn Source,
    mut position: millstream_core::Position,
    history: &History,
    n_decided: usize,
) -> Result<()> {
    let mut expected: Vec<String> = history.rows.iter().skip(n_decided).flatten().cloned().collect();
    let mut got = Vec::new();
    let mut batch = n_decided as u64;
    while got.len() < expected.len() {
        let Some(range) = source.plan(&position, &Admission::default()).await? else { break };
        got.extend(read_checked(harness, source, &range).await?);
        source.decided(BatchId(batch), &range).await?;
        position = range.end;
        batch += 1;
    }
    expected.sort();
    got.sort();
    assert_eq!(got, expected, "after a restart at batch {n_decided} the rest is read, once");
    Ok(())
}

async fn a_fixed_end_takes_nothing_newer(harness: &dyn SourceHarness, history: &History) -> Result<()> {
    let mut source = harness.source().await?;
    let mut position = source.start(SourceStart::Resume { snapshot: None, ranges: history.ranges.clone() }).await?;
    harness.add_data(harness.n_steps()).await?;
    source.fix_end().await?;
    harness.add_data(harness.n_steps() + 1).await?;
    let mut n_batches = 0;
    while let Some(range) = source.plan(&position, &Admission::default()).await? {
        source.decided(BatchId(history.ranges.len() as u64 + n_batches), &range).await?;
        position = range.end;
        n_batches += 1;
        assert!(n_batches < 1000, "a fixed end is reached");
    }
    assert!(n_batches > 0, "what existed when the end was fixed is read");
    source.stop().await
}

fn through_json(range: &SourceRange) -> SourceRange {
    let back = serde_json::to_vec(range).and_then(|bytes| serde_json::from_slice(&bytes));
    match back {
        Ok(back) => {
            assert_eq!(&back, range, "a range survives its record");
            back
        }
        Err(error) => {
            assert!(error.to_string().is_empty(), "a range can be stored: {error}");
            range.clone()
        }
    }
}

/// Reads a range in several ways, checks that they agree, and gives its rows, sorted.
async fn read_checked(harness: &dyn SourceHarness, source: &mut dyn Source, range: &SourceRange) -> Result<Vec<String>> {
    let spec = source.reader();
    assert_eq!(spec.schema.fields(), source.schema().fields(), "the reader's schema is the source's");
    let whole = read_range(harness, source, &spec, range, 1).await?;
    let sorted = sorted_row_texts(&whole)?;
    let again = read_range(harness, source, &spec, range, 1).await?;
    assert_eq!(row_texts(&again)?, row_texts(&whole)?, "reading again gives the same rows in the same order");
    for n_tasks in [2, 5] {
        let split = read_range(harness, source, &spec, range, n_tasks).await?;
        assert_eq!(sorted_row_texts(&split)?, sorted, "{n_tasks} tasks read the same rows");
    }
    let small = ReaderSpec { batch_rows: 3, ..spec.clone() };
    let small = read_range(harness, source, &small, range, 1).await?;
    assert_eq!(row_texts(&small)?, row_texts(&whole)?, "the size of batches changes nothing");
    let n_columns = spec.schema.fields().len();
    let mut projections: Vec<Vec<usize>> = (0..n_columns).map(|column| vec![column]).collect();
    projections.push((0..n_columns).rev().collect());
    projections.push(Vec::new());
    for projection in projections {
        let projected = ReaderSpec { projection: Some(projection.clone()), ..spec.clone() };
        let rows = read_range(harness, source, &projected, range, 1).await?;
        let expected = whole.iter().map(|batch| batch.project(&projection)).collect::<Result<Vec<_>, _>>()?;
        assert_eq!(row_texts(&rows)?, row_texts(&expected)?, "a projection {projection:?} changes no value");
    }
    Ok(sorted)
}

/// All rows of a range; checks schema and the conservation law of every chunk.
pub async fn read_range(
    harness: &dyn SourceHarness,
    source: &mut dyn Source,
    spec: &ReaderSpec,
    range: &SourceRange,
    n_tasks: usize,
) -> Result<Vec<RecordBatch>> {
    let splits = source.splits(range, n_tasks).await?;
    let chunks = read_splits(harness.registry(), spec, &splits).await?;
    Ok(chunks.into_iter().map(|chunk| chunk.rows).collect())
}

/// All chunks of some splits, checked as in [`read_range`].
pub async fn read_splits(registry: &ConnectorRegistry, spec: &ReaderSpec, splits: &[millstream_core::Split]) -> Result<Vec<SplitChunk>> {
    use futures::TryStreamExt;
    let reader = registry.reader(spec)?;
    let mut chunks = Vec::new();
    for split in splits {
        let mut stream = reader.read(split).await?;
        while let Some(chunk) = stream.try_next().await? {
            assert_eq!(chunk.rows.schema().fields(), reader.schema().fields(), "rows have the reader's schema");
            let accounted = chunk.rows.num_rows() as u64 + chunk.n_dropped + chunk.rejected.len() as u64;
            assert_eq!(chunk.n_records, accounted, "records in = rows + dropped + rejected");
            chunks.push(chunk);
        }
    }
    Ok(chunks)
}
