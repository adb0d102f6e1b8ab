//! Where it stands, and what becomes of rows that nobody asks for. (Joins and limits over streams are tested with whole queries.)

use arrow::array::Int64Array;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::physical_plan::displayable;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::SessionContext;
use datafusion_proto::bytes::{physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec};
use futures::stream;
use millstream_core::{BatchId, ConnectorRegistry, QueryId, RunEpoch, SystemClock};

use super::*;
use crate::batch::{BatchFacts, BatchWatermarks};
use crate::physical::PlanCodec;

fn scope() -> Arc<BatchScope> {
    let facts = BatchFacts {
        query_id: QueryId(uuid::Uuid::nil()),
        epoch: RunEpoch(1),
        batch_id: BatchId(0),
        attempt: 0,
        clock_us: 0,
        watermarks: BatchWatermarks::EPOCH,
    };
    Arc::new(BatchScope::new(facts, Arc::default(), Arc::new(SystemClock::default())))
}

/// Rows 0, 1 and 2, one at a time.
fn wanted(scope: &Arc<BatchScope>) -> WantedRows {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    let chunk = |n| RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![n])) as _)]).unwrap();
    let rows = stream::iter((0..3).map(move |n| Ok(chunk(n))));
    WantedRows { rows: Some(Box::pin(RecordBatchStreamAdapter::new(schema, rows))), scope: Arc::clone(scope) }
}

#[tokio::test]
async fn rows_that_nobody_asked_for_go_back_to_the_batch() {
    let scope = scope();
    for n_read in 0..5 {
        let mut rows = wanted(&scope);
        for _ in 0..n_read {
            rows.next().await;
        }
        drop(rows);
        let unread = scope.take_unread();
        // The end is seen when it has been asked for.
        assert_eq!(unread.len(), usize::from(n_read < 4), "{n_read} read");
        for rows in unread {
            assert_eq!(rows.count().await, 3 - n_read);
        }
    }
}

#[tokio::test]
async fn a_run_that_is_over_keeps_no_rows() {
    let scope = scope();
    drop(wanted(&scope));
    let late = wanted(&scope);
    scope.close();
    drop(late);
    assert!(scope.take_unread().is_empty());
    assert_eq!(Arc::strong_count(&scope), 1, "they would keep the batch, and the batch them");
}

#[test]
fn it_can_be_sent_elsewhere_and_finished_data_need_none() {
    let rows = Arc::new(EmptyExec::new(Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]))));
    let limit: Arc<dyn ExecutionPlan> = Arc::new(GlobalLimitExec::new(Arc::clone(&rows) as _, 0, Some(3)));
    let text = |plan: &Arc<dyn ExecutionPlan>| displayable(plan.as_ref()).indent(false).to_string();
    let whole = read_streams_to_their_end(Arc::clone(&limit)).unwrap();
    assert_eq!(text(&whole), text(&limit));
    let plan: Arc<dyn ExecutionPlan> = Arc::new(ReadToEndExec::new(rows));
    let codec = PlanCodec::new(Arc::new(ConnectorRegistry::default()));
    let bytes = physical_plan_to_bytes_with_extension_codec(Arc::clone(&plan), &codec).unwrap();
    let copy = physical_plan_from_bytes_with_extension_codec(&bytes, &SessionContext::new().task_ctx(), &codec).unwrap();
    assert!(copy.is::<ReadToEndExec>());
    assert_eq!(text(&copy), text(&plan));
}
