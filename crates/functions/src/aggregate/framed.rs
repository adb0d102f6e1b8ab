//! DataFusion's aggregates that cannot take rows out again, made fit for sliding window frames.
//!
//! `first_value`, `bool_and` and their like are good for groups and for frames that only grow; over a frame that
//! leaves rows behind DataFusion refuses them. [`in_frames`] wraps such a function: in a sliding frame it is
//! computed anew for each row, everywhere else it is what it was.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate as df;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};

use super::sliding::Sliding;

/// What DataFusion cannot slide.
pub(super) fn all() -> Vec<Arc<AggregateUDF>> {
    [
        df::bool_and_or::bool_and_udaf(),
        df::bool_and_or::bool_or_udaf(),
        df::bit_and_or_xor::bit_and_udaf(),
        df::bit_and_or_xor::bit_or_udaf(),
        df::first_last::first_value_udaf(),
        df::first_last::last_value_udaf(),
        df::string_agg::string_agg_udaf(),
    ]
    .into_iter()
    .map(|inner| Arc::new(AggregateUDF::from(Framed::new(inner))))
    .collect()
}

/// The function to use over a window in place of `function`: itself, unless it cannot slide.
pub fn in_frames(function: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
    let is_it = |framed: &Arc<AggregateUDF>| framed.inner().downcast_ref::<Framed>().is_some_and(|framed| framed.inner == function);
    all().into_iter().find(is_it).unwrap_or(function)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Framed {
    inner: Arc<AggregateUDF>,
    name: String,
}

impl Framed {
    fn new(inner: Arc<AggregateUDF>) -> Self {
        let name = format!("framed_{}", inner.name());
        Self { inner, name }
    }
}

impl AggregateUDFImpl for Framed {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field(&self, arg_fields: &[FieldRef]) -> Result<FieldRef> {
        self.inner.return_field(arg_fields)
    }

    fn is_nullable(&self) -> bool {
        self.inner.is_nullable()
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.inner.default_value(data_type)
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.inner.supports_null_handling_clause()
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.inner.accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let inner = Arc::clone(&self.inner);
        let args = OwnedArgs::new(&args);
        Ok(Box::new(Sliding::new(move || inner.accumulator(args.borrowed()))))
    }
}

/// [`AccumulatorArgs`], kept for every frame's own accumulator.
struct OwnedArgs {
    return_field: FieldRef,
    schema: Schema,
    ignore_nulls: bool,
    order_bys: Vec<PhysicalSortExpr>,
    is_reversed: bool,
    name: String,
    is_distinct: bool,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    expr_fields: Vec<FieldRef>,
}

impl OwnedArgs {
    fn new(args: &AccumulatorArgs<'_>) -> Self {
        Self {
            return_field: Arc::clone(&args.return_field),
            schema: args.schema.clone(),
            ignore_nulls: args.ignore_nulls,
            order_bys: args.order_bys.to_vec(),
            is_reversed: args.is_reversed,
            name: args.name.to_owned(),
            is_distinct: args.is_distinct,
            exprs: args.exprs.to_vec(),
            expr_fields: args.expr_fields.to_vec(),
        }
    }

    fn borrowed(&self) -> AccumulatorArgs<'_> {
        AccumulatorArgs {
            return_field: Arc::clone(&self.return_field),
            schema: &self.schema,
            ignore_nulls: self.ignore_nulls,
            order_bys: &self.order_bys,
            is_reversed: self.is_reversed,
            name: &self.name,
            is_distinct: self.is_distinct,
            exprs: &self.exprs,
            expr_fields: &self.expr_fields,
        }
    }
}
