//! `DISTINCT` in front of an aggregate's argument: the different values are kept, and fed to the aggregate at the end, in the
//! order in which they came: sums of doubles and lists come out the same in each run.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;
use datafusion::logical_expr::utils::format_state_name;
use indexmap::IndexSet;

use super::arguments::column_at;
use crate::error::internal;

/// The state of a distinct aggregate: the values.
pub(super) fn state_fields(name: &str, data_type: &DataType) -> Vec<FieldRef> {
    let values = DataType::List(Arc::new(Field::new_list_field(data_type.clone(), true)));
    vec![Arc::new(Field::new(format_state_name(name, "distinct"), values, true))]
}

/// Collects different values for another accumulator.
#[derive(Debug)]
pub(super) struct DistinctAccumulator {
    data_type: DataType,
    values: IndexSet<ScalarValue>,
    inner: Box<dyn Accumulator>,
}

impl DistinctAccumulator {
    pub(super) fn new(data_type: &DataType, inner: Box<dyn Accumulator>) -> Result<Self> {
        Ok(Self { data_type: data_type.clone(), values: IndexSet::new(), inner })
    }

    fn array(&self) -> Result<ArrayRef> {
        if self.values.is_empty() {
            return Ok(arrow::array::new_empty_array(&self.data_type));
        }
        ScalarValue::iter_to_array(self.values.iter().cloned())
    }
}

impl Accumulator for DistinctAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let array = column_at(values, 0)?;
        for row in 0..array.len() {
            if array.is_valid(row) {
                self.values.insert(ScalarValue::try_from_array(array, row)?);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let array = self.array()?;
        self.inner.update_batch(&[array])?;
        self.inner.evaluate()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![SingleRowListArrayBuilder::new(self.array()?).build_list_scalar()])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = states.first().and_then(|lists| lists.as_list_opt::<i32>());
        for list in lists.ok_or_else(|| internal("a distinct state is a list"))?.iter().flatten() {
            self.update_batch(&[list])?;
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.inner.size() + self.values.len() * (size_of::<ScalarValue>() + 16)
    }
}
