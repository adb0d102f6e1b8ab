//! That it can be sent elsewhere. (Where it stands, and that windows come out right, is tested with whole queries.)

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::physical_plan::displayable;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::prelude::SessionContext;
use datafusion_proto::bytes::{physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec};
use millstream_core::ConnectorRegistry;

use super::*;
use crate::physical::PlanCodec;

#[test]
fn it_can_be_sent_elsewhere() {
    let rows = Arc::new(EmptyExec::new(Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]))));
    let plan: Arc<dyn ExecutionPlan> = Arc::new(SmallChunksExec::new(rows, 7));
    let codec = PlanCodec::new(Arc::new(ConnectorRegistry::default()));
    let bytes = physical_plan_to_bytes_with_extension_codec(Arc::clone(&plan), &codec).unwrap();
    let copy = physical_plan_from_bytes_with_extension_codec(&bytes, &SessionContext::new().task_ctx(), &codec).unwrap();
    assert_eq!(copy.downcast_ref::<SmallChunksExec>().map(SmallChunksExec::rows_max), Some(7));
    assert_eq!(displayable(copy.as_ref()).indent(false).to_string(), displayable(plan.as_ref()).indent(false).to_string());
}
