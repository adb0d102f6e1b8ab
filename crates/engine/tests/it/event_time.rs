//! Event time against a clock that the tests move: silent sources. The rest is in `.stream` scripts of the facade.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{RecordBatch, TimestampMillisecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion_proto::bytes::{physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec};
use millstream_analyzer::EventTimeWatermarkNode;
use millstream_connectors::MemoryStream;
use millstream_core::crash::CRASH;
use millstream_core::{Clock, CrashPoint, CrashPoints, Error, NoCrash, Options, Result};
use millstream_engine::physical::late_table::{KeptLateRows, late_rows_schema};
use millstream_engine::physical::stateful::LateRowsExec;
use millstream_engine::physical::{LateTable, PlanCodec, SideTable, SourceExec};
use millstream_engine::{StreamingQuery, Trigger};
use millstream_testkit::ManualClock;

use crate::harness::Harness;

const EVENT_TIME: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("ts", EVENT_TIME, true)]))
}

fn at(event_ms: i64) -> RecordBatch {
    let column = cast(&TimestampMillisecondArray::from(vec![event_ms]), &EVENT_TIME).unwrap();
    RecordBatch::try_new(schema(), vec![column]).unwrap()
}

/// Two streams with event time; the first may be silent for 5 s.
struct TwoStreams {
    t: Harness,
    clock: Arc<ManualClock>,
    a: MemoryStream,
    b: MemoryStream,
    plan: LogicalPlan,
}

impl TwoStreams {
    async fn new(crash_points: Arc<dyn CrashPoints>) -> Self {
        let clock = Arc::new(ManualClock::new(0));
        let t = Harness::with_crash_points(Arc::clone(&clock) as Arc<dyn Clock>, crash_points);
        let stream = |name| t.in_process.memory.stream(name, schema()).unwrap();
        let (a, b) = (stream("a"), stream("b"));
        let first = watermarked(&t, &a, Options::new().with("idleTimeout", "5 seconds")).await;
        let second = watermarked(&t, &b, Options::new()).await;
        let plan = LogicalPlanBuilder::from(first).union(second).unwrap().build().unwrap();
        Self { t, clock, a, b, plan }
    }

    async fn start(&self, format: &str) -> StreamingQuery {
        self.t.start(self.t.definition(self.plan.clone(), self.t.sink(format, "out").await, Trigger::AsSoonAsPossible)).await
    }
}

async fn watermarked(t: &Harness, stream: &MemoryStream, options: Options) -> LogicalPlan {
    let scan = t.scan(stream.name(), "memory", options.with("stream", stream.name())).await.build().unwrap();
    let column = Column::new(Some(stream.name()), "ts");
    EventTimeWatermarkNode::try_new(scan, column, "ts", 0).unwrap().into_plan()
}

/// The watermark of the last progress.
fn watermark(query: &StreamingQuery) -> String {
    query.last_progress().unwrap().event_time["watermark"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_source_holds_the_watermark_back_only_until_its_idle_timeout() {
    let s = TwoStreams::new(Arc::new(NoCrash)).await;
    s.a.add(at(100)).unwrap();
    s.b.add(at(900)).unwrap();
    let query = s.start("noop").await;
    query.process_all_available().await.unwrap();
    for (wait_ms, event_ms, want) in
        [(1, 1_000, "1970-01-01T00:00:00.100Z"), (4_998, 2_000, "1970-01-01T00:00:00.100Z"), (1, 900, "1970-01-01T00:00:02.000Z")]
    {
        s.clock.advance(Duration::from_millis(wait_ms));
        s.b.add(at(event_ms)).unwrap();
        query.process_all_available().await.unwrap();
        assert_eq!(watermark(&query), want);
    }
    // It comes back: what it gives is late, the watermark stays, and it holds the query back again.
    s.a.add(at(300)).unwrap();
    query.process_all_available().await.unwrap();
    s.b.add(at(9_000)).unwrap();
    query.process_all_available().await.unwrap();
    s.b.add(at(9_000)).unwrap();
    query.process_all_available().await.unwrap();
    assert_eq!(watermark(&query), "1970-01-01T00:00:02.000Z");
    query.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_of_event_time_can_be_sent_elsewhere() {
    let t = Harness::new();
    let stream = t.in_process.memory.stream("a", schema()).unwrap();
    let dead = t.dir.path().join("dead");
    let options = Options::new().with("maxFutureSkew", "1 minute").with("deadLetterPath", dead.to_string_lossy());
    let plan = t.engine.plans().plan(&watermarked(&t, &stream, options).await).await.unwrap();
    let late = SideTable::of("lateRows", &t.sink_of("noop", "late", late_rows_schema()).await, t.engine.registry()).unwrap();
    let late = LateTable::new(late, KeptLateRows::AlsoPartly, 3, &plan);
    let source = |node: Arc<dyn ExecutionPlan>| match node.downcast_ref::<SourceExec>() {
        Some(source) => Ok(Transformed::yes(Arc::new(source.with_positions(true)) as Arc<dyn ExecutionPlan>)),
        None => Ok(Transformed::no(node)),
    };
    let plan = plan.transform_up(source).unwrap().data;
    let plan: Arc<dyn ExecutionPlan> = Arc::new(LateRowsExec::new(Arc::clone(&plan), "count", "ts", None).with_table(plan, Some(late)));
    let codec = PlanCodec::new(Arc::clone(t.engine.registry()));
    let bytes = physical_plan_to_bytes_with_extension_codec(Arc::clone(&plan), &codec).unwrap();
    let copy = physical_plan_from_bytes_with_extension_codec(&bytes, &SessionContext::new().task_ctx(), &codec).unwrap();
    let text = |plan: &dyn ExecutionPlan| displayable(plan).indent(false).to_string();
    assert_eq!(text(copy.as_ref()), text(plan.as_ref()));
    let (sent, got) = (plan.downcast_ref::<LateRowsExec>().unwrap(), copy.downcast_ref::<LateRowsExec>().unwrap());
    let (sent, got) = (sent.table().unwrap(), got.table().unwrap());
    assert_eq!((got.writer_no, &got.sources, got.kept), (3, &sent.sources, KeptLateRows::AlsoPartly));
    let want = [
        "EventTimeWatermarkExec: ts@a, delay=0 ms",
        "FutureGuardExec: a, max_skew=60000 ms, dead_letters=a.deadLetters",
        ", with positions",
    ];
    let text = text(plan.as_ref());
    assert!(want.iter().all(|want| text.contains(want)), "{text}");
}

#[derive(Debug)]
struct At(CrashPoint, u64, std::sync::atomic::AtomicU64);

impl CrashPoints for At {
    fn reach(&self, point: CrashPoint) -> Result<()> {
        let n_before = if point == self.0 { self.2.fetch_add(1, std::sync::atomic::Ordering::Relaxed) } else { return Ok(()) };
        if n_before == self.1 { Err(Error::internal("crash").code(CRASH)) } else { Ok(()) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_run_again_is_judged_by_the_watermark_of_its_intent() {
    // Nothing but the intent of batch 2 says that the silence of `a` had moved the watermark.
    let s = TwoStreams::new(Arc::new(At(CrashPoint::AfterIntent, 2, 0.into()))).await;
    s.a.add(at(100)).unwrap();
    s.b.add(at(900)).unwrap();
    let query = s.start("console").await;
    query.process_all_available().await.unwrap();
    s.b.add(at(1_000)).unwrap();
    query.process_all_available().await.unwrap();
    s.clock.advance(Duration::from_secs(5));
    s.b.add(at(1_000)).unwrap();
    let error = query.process_all_available().await.unwrap_err();
    assert_eq!(error.error_class(), Some(CRASH));

    let query = s.start("console").await;
    query.process_all_available().await.unwrap();
    let batches: Vec<_> =
        query.recent_progress().iter().map(|progress| (progress.batch_id, progress.event_time["watermark"].clone())).collect();
    assert_eq!(batches.first(), Some(&(2, "1970-01-01T00:00:01.000Z".to_owned())), "{batches:?}");
    query.stop().await;
}
