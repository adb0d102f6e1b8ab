//! The columns of sessions: as the partial aggregation gives them, as the state keeps them, as they go out.
//!
//! ```text
//!   partial groups  other keys | start | end | states of aggregates
//!   state           other keys | start | end | states of aggregates        (key | values)
//!   output          keys, one of them struct(start, end) | values of aggregates
//! ```

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, PrimitiveArray, RecordBatch, StructArray};
use arrow::datatypes::{DataType, Fields, TimestampMicrosecondType};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_plan::ExecutionPlan;
use millstream_core::{Error, Result};
use millstream_state::store::{StoreRows, StoreSchema};

use crate::physical::event_time::{event_times_us, expiry_ms};
use crate::physical::stateful::aggregate::merge::Evaluator;
use crate::physical::stateful::aggregate::{GroupColumns, partial_below};
use crate::physical::stateful::tables::store_schema;

/// Start and end stand before the states of aggregates.
pub const N_BOUNDS: usize = 2;

/// The columns of one operator.
#[derive(Debug, Clone)]
pub struct SessionColumns {
    groups: GroupColumns,
    /// Which of the keys that go out is the session.
    session: usize,
    /// Start and end, as the struct has them.
    bounds: Fields,
    store: StoreSchema,
}

/// Sessions as the state keeps them; expiries apart.
#[derive(Debug, Clone, Default)]
pub struct SessionRows {
    pub n_rows: usize,
    pub keys: Vec<ArrayRef>,
    pub values: Vec<ArrayRef>,
}

impl SessionColumns {
    /// Over the partial aggregation `input`, or an exchange of one. The column `session` of its input becomes the key that
    /// goes out behind `n_before` others.
    pub fn of(input: &Arc<dyn ExecutionPlan>, session: &str, n_before: usize) -> Result<Self> {
        let partial = partial_below(input)?;
        let schema = partial.schema();
        let n_others = partial.group_expr().num_group_exprs().checked_sub(N_BOUNDS);
        let n_others = n_others.ok_or_else(|| Error::internal("sessions over partial groups without bounds"))?;
        let others: Fields = schema.fields().iter().take(n_others).cloned().collect();
        let mut keys: Vec<_> = others.iter().cloned().collect();
        let field = Arc::new(partial.input_schema().field_with_name(session)?.clone());
        let DataType::Struct(bounds) = field.data_type().clone() else {
            return Err(Error::internal(format!("a session of type {}", field.data_type())));
        };
        if n_before > n_others {
            return Err(Error::internal(format!("a session behind {n_before} of {n_others} keys")));
        }
        keys.insert(n_before, field);
        let values: Fields = schema.fields().iter().skip(n_others).cloned().collect();
        Ok(Self {
            groups: GroupColumns::new(keys.into(), partial.aggr_expr().into()),
            session: n_before,
            bounds,
            store: store_schema(others, values)?,
        })
    }

    /// The keys and values that go out.
    pub fn groups(&self) -> &GroupColumns {
        &self.groups
    }

    /// What the state keeps.
    pub fn store(&self) -> &StoreSchema {
        &self.store
    }

    /// What the state keeps, the states of aggregates under the texts of these.
    pub fn named_store(&self, meaning: &[String]) -> Result<StoreSchema> {
        let (bounds, states) = self.store.values().split_at(N_BOUNDS.min(self.store.values().len()));
        let states = self.groups.named_states(meaning, states)?;
        StoreSchema::new(self.store.keys().clone(), bounds.iter().chain(&states).cloned().collect::<Fields>())
    }

    /// How many keys there are beside the session.
    pub fn n_other_keys(&self) -> usize {
        self.groups.keys.len().saturating_sub(1)
    }

    pub fn aggregates(&self) -> &[Arc<AggregateFunctionExpr>] {
        &self.groups.aggregates
    }

    /// Microseconds as a column of starts or ends.
    pub fn times(&self, times_us: impl Iterator<Item = i64>) -> ArrayRef {
        let times: PrimitiveArray<TimestampMicrosecondType> = PrimitiveArray::from_iter_values(times_us);
        match self.bounds.first() {
            Some(start) => Arc::new(times.with_data_type(start.data_type().clone())),
            None => Arc::new(times),
        }
    }

    /// When sessions become final by the key that carries the event time: by their ends, or by another key.
    pub fn expiry(&self, rows: &SessionRows, event_time: usize) -> Result<Int64Array> {
        let times = match event_time.cmp(&self.session) {
            std::cmp::Ordering::Less => rows.keys.get(event_time),
            std::cmp::Ordering::Equal => rows.values.get(1),
            std::cmp::Ordering::Greater => rows.keys.get(event_time - 1),
        };
        let times = times.ok_or_else(|| Error::internal("sessions without their event time"))?;
        Ok(expiry_ms(&event_times_us(times)?, 0))
    }

    /// Sessions as they go out.
    pub fn output(&self, evaluator: &Evaluator, rows: SessionRows) -> Result<RecordBatch> {
        let SessionRows { n_rows, keys, mut values } = rows;
        let mut keys: Vec<ArrayRef> = keys.into_iter().take(self.n_other_keys()).collect();
        let states = values.split_off(N_BOUNDS.min(values.len()));
        keys.insert(self.session.min(keys.len()), Arc::new(StructArray::try_new(self.bounds.clone(), values, None)?));
        evaluator.rows(StoreRows { n_rows, keys, expiry: None, values: states })
    }
}
