//! A sink whose own commit decides a batch, and whose staged output dies with its run, as a transaction on a broker does:
//! crashed at every point, twice.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use millstream_connectors::wire;
use millstream_core::crash::CRASH;
use millstream_core::{
    BatchId, CrashPoint, CrashPoints, Delivery, Error, Options, Outcome, RecordedBatch, Result, RunEpoch, Sink, SinkContext, SystemClock,
    TaskOutput, WriterSpec,
};
use millstream_engine::{StreamingQuery, Trigger};
use millstream_state::checkpoint::{self, RecordKind};
use serde_json::{Value, json};

use crate::harness::{Harness, rows, schema};

/// What outlives the runs: what is committed, by batch, and who may commit.
#[derive(Debug, Default)]
struct Broker {
    owner: Option<RunEpoch>,
    open: Option<(BatchId, Vec<i64>)>,
    committed: Vec<(BatchId, Vec<i64>)>,
    /// The next commit is done, or not done, and its answer is lost.
    loses_answer: Option<bool>,
    asked: Vec<(Option<u64>, Option<u64>)>,
}

#[derive(Debug)]
struct TransactionSink {
    broker: Arc<Mutex<Broker>>,
    epoch: Mutex<Option<RunEpoch>>,
}

#[async_trait]
impl Sink for TransactionSink {
    fn description(&self) -> String {
        "TransactionSink".to_owned()
    }

    fn identity(&self) -> Value {
        json!("transactions")
    }

    fn delivery(&self) -> Delivery {
        Delivery::Transactional
    }

    fn decides(&self) -> bool {
        true
    }

    async fn recover(&self, decided: Option<RecordedBatch<'_>>, proposed: Option<RecordedBatch<'_>>) -> Result<Outcome> {
        let mut broker = self.broker.lock().unwrap();
        broker.asked.push((decided.map(|batch| batch.batch.0), proposed.map(|batch| batch.batch.0)));
        let last = broker.committed.last().map(|(batch, _)| *batch);
        for recorded in decided.iter().chain(&proposed) {
            assert!(recorded.prepared.is_some(), "a record tells what the sink said");
        }
        if last < decided.map(|decided| decided.batch) {
            return Err(Error::data("the broker has lost what was decided"));
        }
        Ok(if last > decided.map(|decided| decided.batch) { Outcome::Committed } else { Outcome::RunAgain })
    }

    fn writer(&self) -> WriterSpec {
        WriterSpec {
            connector: "foreach".to_owned(),
            format: "foreach".to_owned(),
            options: Options::new(),
            schema: schema(),
            partition_by: Vec::new(),
            time_zone: "UTC".to_owned(),
        }
    }

    async fn start(&self, ctx: &SinkContext, _decided: Option<BatchId>) -> Result<()> {
        let mut broker = self.broker.lock().unwrap();
        // What an older run has open is gone, and it can commit no more.
        (broker.owner, broker.open) = (Some(ctx.epoch), None);
        *self.epoch.lock().unwrap() = Some(ctx.epoch);
        Ok(())
    }

    async fn prepare(&self, batch: BatchId, outputs: Vec<TaskOutput>) -> Result<Value> {
        let mut values = Vec::new();
        for output in outputs {
            for rows in wire::rows_from_bytes(&output.payload)? {
                let column = rows.column(0).as_any().downcast_ref::<arrow::array::Int64Array>().unwrap();
                values.extend(column.values());
            }
        }
        let n = values.len();
        self.broker.lock().unwrap().open = Some((batch, values));
        Ok(json!({ "rows": n }))
    }

    async fn commit(&self, batch: BatchId, prepared: &Value) -> Result<()> {
        let mut broker = self.broker.lock().unwrap();
        if broker.owner != *self.epoch.lock().unwrap() {
            return Err(Error::fenced("a newer run owns the transactions"));
        }
        if broker.committed.last().is_some_and(|(last, _)| *last >= batch) {
            return Ok(());
        }
        let loses_answer = broker.loses_answer.take();
        if loses_answer != Some(false) {
            let (open, values) = broker.open.take().ok_or_else(|| Error::internal("the transaction cannot be resumed"))?;
            assert_eq!((open, json!({ "rows": values.len() })), (batch, prepared.clone()));
            broker.committed.push((batch, values));
        }
        loses_answer.map_or(Ok(()), |_| Err(Error::unavailable("no answer")))
    }
}

/// Crashes once at the armed point.
#[derive(Debug, Default)]
struct Armed(Mutex<Option<(CrashPoint, u32)>>);

impl CrashPoints for Armed {
    fn reach(&self, point: CrashPoint) -> Result<()> {
        let mut armed = self.0.lock().unwrap();
        match &mut *armed {
            Some((at, left)) if *at == point && *left > 1 => *left -= 1,
            Some((at, _)) if *at == point => {
                *armed = None;
                return Err(Error::internal("crash").code(CRASH));
            }
            _ => {}
        }
        Ok(())
    }
}

struct Setup {
    t: Harness,
    armed: Arc<Armed>,
    broker: Arc<Mutex<Broker>>,
    stream: millstream_connectors::MemoryStream,
    n_added: i64,
}

impl Setup {
    fn new() -> Self {
        let armed = Arc::new(Armed::default());
        let t = Harness::with_crash_points(Arc::new(SystemClock::default()), Arc::clone(&armed) as Arc<dyn CrashPoints>);
        let stream = t.stream("s");
        Self { t, armed, broker: Arc::default(), stream, n_added: 0 }
    }

    fn sink(&self) -> Arc<dyn Sink> {
        Arc::new(TransactionSink { broker: Arc::clone(&self.broker), epoch: Mutex::default() })
    }

    async fn start(&self) -> Result<StreamingQuery> {
        let plan = self.t.plan(&self.stream, None).await;
        self.t.manager.start(self.t.definition(plan, self.sink(), Trigger::AsSoonAsPossible)).await
    }

    /// Adds rows three times, each time waiting for them; ends early if the query does.
    async fn add_and_process(&mut self, query: &StreamingQuery) -> Result<()> {
        for _ in 0..3 {
            self.stream.add(rows([self.n_added, self.n_added + 1])).unwrap();
            self.n_added += 2;
            query.process_all_available().await?;
        }
        Ok(())
    }

    /// One life: to a crash where the point lies on its way, else to a clean end.
    async fn live(&mut self) {
        if let Ok(query) = self.start().await {
            drop(self.add_and_process(&query).await);
            query.stop().await;
        }
    }

    fn committed(&self) -> Vec<i64> {
        let broker = self.broker.lock().unwrap();
        let batches: Vec<_> = broker.committed.iter().map(|(batch, _)| batch.0).collect();
        assert!(batches.iter().copied().eq(0..batches.len() as u64), "each batch once, in order: {batches:?}");
        let mut values: Vec<i64> = broker.committed.iter().flat_map(|(_, values)| values.clone()).collect();
        values.sort_unstable();
        values
    }

    async fn check_whole(&mut self, why: &str) {
        *self.armed.0.lock().unwrap() = None;
        self.live().await;
        assert_eq!(self.committed(), (0..self.n_added).collect::<Vec<_>>(), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_crashes_at_any_two_points_every_row_is_committed_once() {
    for first in CrashPoint::ALL {
        for second in CrashPoint::ALL {
            let mut s = Setup::new();
            for (point, n) in [(first, 2), (second, 1)] {
                *s.armed.0.lock().unwrap() = Some((point, n));
                s.live().await;
            }
            s.check_whole(&format!("{first}, then {second}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_without_an_answer_is_asked_for_at_the_next_start() {
    for was_done in [true, false] {
        let mut s = Setup::new();
        let query = s.start().await.unwrap();
        s.stream.add(rows([0, 1])).unwrap();
        query.process_all_available().await.unwrap();
        s.broker.lock().unwrap().loses_answer = Some(was_done);
        s.stream.add(rows([2, 3])).unwrap();
        let error = query.process_all_available().await.unwrap_err();
        assert!(error.to_string().contains("no answer"), "{error}");
        query.stop().await;
        // What comes later does not slip into a batch that runs again.
        s.stream.add(rows([4, 5])).unwrap();
        s.n_added = 6;
        s.check_whole(&format!("done: {was_done}")).await;
        let broker = s.broker.lock().unwrap();
        assert_eq!(broker.committed[1].1, [2, 3], "done: {was_done}");
        assert_eq!(broker.asked, [(None, None), (Some(0), Some(1))]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_lost_what_was_decided_stops_the_start() {
    let mut s = Setup::new();
    s.live().await;
    s.broker.lock().unwrap().committed.pop();
    let error = s.start().await.unwrap_err();
    assert!(error.to_string().contains("lost what was decided"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_proposed_before_the_sink_commits_it_and_prepared_after() {
    let mut s = Setup::new();
    *s.armed.0.lock().unwrap() = Some((CrashPoint::AfterProposed, 1));
    s.live().await;
    let kinds = |records: &[checkpoint::Record]| records.iter().map(|record| record.kind).collect::<Vec<_>>();
    let records = checkpoint::show(&s.t.checkpoint()).await.unwrap().records;
    assert_eq!(kinds(&records), [RecordKind::Start, RecordKind::Positions, RecordKind::Proposed]);
    assert!(s.committed().is_empty());
    *s.armed.0.lock().unwrap() = Some((CrashPoint::AfterDecision, 1));
    s.live().await;
    assert_eq!(s.committed(), [0, 1], "it ran again with what it read before");
    let records = checkpoint::show(&s.t.checkpoint()).await.unwrap().records;
    let both = [RecordKind::Start, RecordKind::Positions, RecordKind::Proposed, RecordKind::Start, RecordKind::Proposed];
    assert_eq!(kinds(&records), both);
    s.check_whole("after both").await;
    let records = checkpoint::show(&s.t.checkpoint()).await.unwrap().records;
    let decided = kinds(&records).windows(2).any(|two| two == [RecordKind::Start, RecordKind::Prepared]);
    assert!(decided, "written down by the next run, before anything else: {:?}", kinds(&records));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sinks_that_decide_and_a_proposal_without_one_are_refused() {
    let mut s = Setup::new();
    let plan = s.t.plan(&s.stream, None).await;
    let mut definition = s.t.definition(plan.clone(), s.sink(), Trigger::AvailableNow);
    definition.late_rows = Some(s.sink());
    let error = s.t.manager.start(definition).await.unwrap_err();
    assert!(error.to_string().contains("each decide by themselves"), "{error}");
    *s.armed.0.lock().unwrap() = Some((CrashPoint::AfterProposed, 1));
    s.live().await;
    let another = AtLeastOnce(s.sink());
    let error = s.t.manager.start(s.t.definition(plan, Arc::new(another), Trigger::AvailableNow)).await.unwrap_err();
    assert!(error.to_string().contains("batch 0 was proposed"), "{error}");
}

/// The same sink, told to deliver at least once.
#[derive(Debug)]
struct AtLeastOnce(Arc<dyn Sink>);

#[async_trait]
impl Sink for AtLeastOnce {
    fn description(&self) -> String {
        self.0.description()
    }

    fn identity(&self) -> Value {
        self.0.identity()
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    fn writer(&self) -> WriterSpec {
        self.0.writer()
    }

    async fn start(&self, ctx: &SinkContext, decided: Option<BatchId>) -> Result<()> {
        self.0.start(ctx, decided).await
    }

    async fn prepare(&self, batch: BatchId, outputs: Vec<TaskOutput>) -> Result<Value> {
        self.0.prepare(batch, outputs).await
    }

    async fn commit(&self, batch: BatchId, prepared: &Value) -> Result<()> {
        self.0.commit(batch, prepared).await
    }
}
