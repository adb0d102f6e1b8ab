//! What a join is made of again elsewhere, and how far event times lag above joins. (What it gives is tested on SQL, in the
//! gold scenarios and in `millstream/tests/it/stream_joins.rs`.)

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::logical_expr::Operator as Comparison;
use datafusion::physical_expr::expressions::{binary, col};
use datafusion::physical_plan::displayable;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::prelude::SessionContext;
use datafusion_proto::bytes::{physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec};
use millstream_core::ConnectorRegistry;

use super::*;
use crate::batch::{BatchWatermarks, END_OF_TIME_MS};
use crate::physical::PlanCodec;
use crate::physical::stateful::watermark_lag_ms;

fn side(name: &str) -> Arc<dyn ExecutionPlan> {
    let column = |column: &str, data_type| Field::new(format!("{name}{column}"), data_type, true);
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(EmptyExec::new(Arc::new(Schema::new(vec![column("t", time), column("k", DataType::Utf8), column("v", DataType::Int32)]))))
}

fn spec(kind: JoinType, left: &str, offsets: [i64; 2]) -> JoinSpec {
    let [left_ms, right_ms] = offsets;
    let expires = |column: String, offset_ms| SideSpec { expires_by: Some((column, offset_ms)), can_match: None };
    JoinSpec {
        operator: "join-k".to_owned(),
        kind,
        keys: vec![KeySpec { left: format!("{left}k"), right: "rk".to_owned(), is_null_safe: true }],
        sides: [expires(format!("{left}t"), left_ms), expires("rt".to_owned(), right_ms)],
        gives: Gives::Rows,
        filter: None,
        meaning: vec!["left outer join".to_owned()],
    }
}

#[test]
fn a_join_can_be_sent_elsewhere() {
    let (left, right) = (side("l"), side("r"));
    let pairs = pair_schema(&left.schema(), &right.schema());
    let filter = binary(col("lv", &pairs).unwrap(), Comparison::Lt, col("rv", &pairs).unwrap(), &pairs).unwrap();
    let spec = JoinSpec { filter: Some(filter), ..spec(JoinType::Left, "l", [10_001, 5_001]) };
    let plan: Arc<dyn ExecutionPlan> = Arc::new(StreamJoinExec::try_new(left, right, spec).unwrap());
    let codec = PlanCodec::new(Arc::new(ConnectorRegistry::default()));
    let bytes = physical_plan_to_bytes_with_extension_codec(Arc::clone(&plan), &codec).unwrap();
    let copy = physical_plan_from_bytes_with_extension_codec(&bytes, &SessionContext::new().task_ctx(), &codec).unwrap();
    let text = |plan: &dyn ExecutionPlan| displayable(plan).indent(false).to_string();
    assert_eq!(text(copy.as_ref()), text(plan.as_ref()));
    let want = "StreamJoinExec: join-k Left, keys=[lk <=> rk], filter=[lv@2 < rv@5], left until lt +10001 ms, right until rt +5001 ms";
    assert!(text(plan.as_ref()).starts_with(want), "{}", text(plan.as_ref()));
    let copy = copy.downcast_ref::<StreamJoinExec>().unwrap();
    assert_eq!(copy.detail(), json!(["left outer join"]));
    assert_eq!(copy.stores().unwrap(), plan.downcast_ref::<StreamJoinExec>().unwrap().stores().unwrap());
}

#[test]
fn above_joins_event_times_lag_by_the_longest_way_down() {
    let join = |left: Arc<dyn ExecutionPlan>, name: &str, offsets| -> Arc<dyn ExecutionPlan> {
        Arc::new(StreamJoinExec::try_new(left, side("r"), spec(JoinType::Inner, name, offsets)).unwrap())
    };
    let lower = join(side("l"), "l", [10_001, 5_001]);
    assert_eq!(watermark_lag_ms(&[Arc::clone(&lower)]), 10_001);
    let eager = join(side("l"), "l", [-5_000, -1]);
    assert_eq!(watermark_lag_ms(&[eager]), 0, "what comes out is never ahead of the watermark");
    let beside = join(side("l"), "l", [0, 20_000]);
    assert_eq!(watermark_lag_ms(&[UnionExec::try_new(vec![Arc::clone(&lower), beside]).unwrap()]), 20_000);
    let upper = join(lower, "l", [1_000, 2_000]);
    assert_eq!(watermark_lag_ms(&[upper]), 12_001);
}

#[test]
fn a_lagging_watermark_stays_behind_the_epoch_and_a_flush_is_final_everywhere() {
    let behind = |late_ms, current_ms| {
        let BatchWatermarks { late_ms, current_ms } = BatchWatermarks { late_ms, current_ms }.lagging(10_000);
        (late_ms, current_ms)
    };
    assert_eq!(behind(5_000, 25_000), (0, 15_000));
    assert_eq!(behind(25_000, END_OF_TIME_MS), (15_000, END_OF_TIME_MS));
    let none = BatchWatermarks::NONE;
    assert_eq!(none.lagging(10_000), none);
}
