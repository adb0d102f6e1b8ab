//! The operator of session windows as a plan that is sent elsewhere. (What it does is in `tests/it/sessions.rs` and the
//! `.stream` scripts of the facade.)

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::common::Column;
use datafusion::execution::context::SessionContext;
use datafusion::functions::core::expr_fn::named_struct;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::logical_expr::{Aggregate, Expr, cast, col, lit};
use datafusion::physical_plan::displayable;
use datafusion_proto::bytes::{physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec};
use millstream_analyzer::streaming::StatefulAggregateNode;
use millstream_core::Options;
use millstream_engine::physical::PlanCodec;
use millstream_engine::physical::stateful::{SessionAggregateExec, stateful_operators};

use crate::harness::Harness;

#[tokio::test(flavor = "multi_thread")]
async fn sessions_can_be_sent_elsewhere() {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let schema = Arc::new(Schema::new(vec![Field::new("ts", time.clone(), false), Field::new("k", DataType::Utf8, true)]));
    let t = Harness::new();
    let stream = t.in_process.memory.stream("a", schema).unwrap();
    let end = cast(cast(col("ts"), DataType::Int64) + lit(5_000_000_i64), time);
    let session = named_struct(vec![lit("start"), col("ts"), lit("end"), end]).alias("session");
    let rows = t.scan("a", "memory", Options::new().with("stream", stream.name())).await;
    let rows = rows.project(vec![col("k"), session]).unwrap().build().unwrap();
    let keys: Vec<Expr> = rows.schema().columns().into_iter().map(Expr::Column).collect();
    let session = Column::new_unqualified("session");
    let aggregate = Aggregate::try_new(Arc::new(rows), keys, vec![count_udaf().call(vec![lit(1)]).alias("n")]).unwrap();
    let node = StatefulAggregateNode::new(aggregate, vec!["k".to_owned(), "session".to_owned()], Some(session.clone()));
    let node = node.with_meaning(vec!["5 seconds".to_owned()]).joining_sessions(Some(session));
    let plan = t.engine.plans().plan(&node.into_plan()).await.unwrap();

    let codec = PlanCodec::new(Arc::clone(t.engine.registry()));
    let bytes = physical_plan_to_bytes_with_extension_codec(Arc::clone(&plan), &codec).unwrap();
    let copy = physical_plan_from_bytes_with_extension_codec(&bytes, &SessionContext::new().task_ctx(), &codec).unwrap();
    let text = |plan| displayable(plan).indent(false).to_string();
    assert_eq!(text(copy.as_ref()), text(plan.as_ref()));
    assert!(text(plan.as_ref()).starts_with("SessionAggregateExec"), "{}", text(plan.as_ref()));
    assert_eq!(copy.schema(), plan.schema());
    let (sent, got) = (plan.downcast_ref::<SessionAggregateExec>().unwrap(), copy.downcast_ref::<SessionAggregateExec>().unwrap());
    assert_eq!(format!("{:?}", got.spec()), format!("{:?}", sent.spec()));
    assert_eq!((sent.spec().n_before, sent.spec().event_time.as_deref()), (1, Some("session")));
    let stores = |plan| stateful_operators(plan).into_iter().map(|operator| operator.stores().unwrap()).collect::<Vec<_>>();
    assert_eq!(format!("{:?}", stores(&copy)), format!("{:?}", stores(&plan)));
}
