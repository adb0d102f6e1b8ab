//! Running totals of a window, by key: the states of a slice that enters are added, those of a slice that leaves are taken out.
//!
//! It is for aggregates whose states are whole numbers that are added up ([`can_subtract`](super::super::super::changed::can_subtract)):
//! counts, and the sums and counts of integers, decimals and intervals. Numbers of a fixed width are a group under
//! wrapping addition: what was added can be taken out again in any order, and nothing is left of it. So a total is the very
//! number that adding the slices of the window anew gives; it cannot drift. Sums are kept wider than their results, and
//! whether one overflows is decided when its value is asked for: a total in between cannot fail. A null of a result
//! is a count of zero among the states. Sums of doubles have no inverse here: they would keep what rounding did to them.

use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::datatypes::{ArrowNativeTypeOp, DataType, Decimal128Type, Decimal256Type, Int64Type};
use millstream_core::{Error, Result};

/// By key, the sums of the state columns over the slices of the window.
pub struct Totals {
    columns: Vec<Box<dyn Total>>,
}

/// One state column.
trait Total: Send {
    fn add(&mut self, keys: &[u32], states: &ArrayRef) -> Result<()>;

    fn subtract(&mut self, keys: &[u32], states: &ArrayRef) -> Result<()>;

    /// The totals of keys that have some.
    fn of(&self, keys: &[u32]) -> ArrayRef;

    fn is_zero(&self, key: u32) -> bool;

    fn set_zero(&mut self, key: u32);

    fn memory_bytes(&self) -> usize;
}

struct TotalOf<T: ArrowPrimitiveType> {
    data_type: DataType,
    by_key: Vec<T::Native>,
}

impl Totals {
    /// Of no slices, for state columns of these types.
    pub fn new<'a>(types: impl IntoIterator<Item = &'a DataType>) -> Result<Self> {
        let total = |data_type: &DataType| match data_type {
            DataType::Int64 => Ok(total_of::<Int64Type>(data_type)),
            DataType::Decimal128(..) => Ok(total_of::<Decimal128Type>(data_type)),
            DataType::Decimal256(..) => Ok(total_of::<Decimal256Type>(data_type)),
            other => Err(Error::internal(format!("a running total of {other}"))),
        };
        Ok(Self { columns: types.into_iter().map(total).collect::<Result<_>>()? })
    }

    /// Whether there is something to be kept.
    pub fn are_kept(&self) -> bool {
        !self.columns.is_empty()
    }

    /// A slice enters: the states of its keys, column by column.
    pub fn add(&mut self, keys: &[u32], states: &[ArrayRef]) -> Result<()> {
        self.columns.iter_mut().zip(states).try_for_each(|(total, states)| total.add(keys, states))
    }

    /// A slice leaves: its states must be those that were added.
    pub fn subtract(&mut self, keys: &[u32], states: &[ArrayRef]) -> Result<()> {
        self.columns.iter_mut().zip(states).try_for_each(|(total, states)| total.subtract(keys, states))
    }

    /// The totals of keys, as state columns.
    pub fn of(&self, keys: &[u32]) -> impl Iterator<Item = ArrayRef> {
        self.columns.iter().map(|total| total.of(keys))
    }

    /// The key has no slice in the window any more, all of them were taken out.
    pub fn check_gone(&self, key: u32) -> Result<()> {
        let is_zero = self.columns.iter().all(|total| total.is_zero(key));
        if is_zero { Ok(()) } else { Err(Error::internal("a slice left a window with other states than it entered with")) }
    }

    /// As if the key had no slice in the window.
    pub fn forget(&mut self, key: u32) {
        self.columns.iter_mut().for_each(|total| total.set_zero(key));
    }

    pub fn memory_bytes(&self) -> usize {
        self.columns.iter().map(|total| total.memory_bytes()).sum()
    }
}

fn total_of<T: ArrowPrimitiveType<Native: ArrowNativeTypeOp>>(data_type: &DataType) -> Box<dyn Total> {
    Box::new(TotalOf::<T> { data_type: data_type.clone(), by_key: Vec::new() })
}

impl<T: ArrowPrimitiveType<Native: ArrowNativeTypeOp>> TotalOf<T> {
    /// Nulls, which no state has, would count as zero: so they do where states are merged.
    fn change(&mut self, keys: &[u32], states: &ArrayRef, change: impl Fn(T::Native, T::Native) -> T::Native) -> Result<()> {
        let states = states.as_primitive_opt::<T>().ok_or_else(|| Error::internal("a state of another type than its running total"))?;
        if states.len() != keys.len() {
            return Err(Error::internal(format!("{} states for the running totals of {} keys", states.len(), keys.len())));
        }
        let n_keys = keys.iter().max().map_or(0, |key| *key as usize + 1);
        if self.by_key.len() < n_keys {
            self.by_key.resize(n_keys, T::Native::ZERO);
        }
        for (key, state) in keys.iter().zip(states) {
            if let (Some(total), Some(state)) = (self.by_key.get_mut(*key as usize), state) {
                *total = change(*total, state);
            }
        }
        Ok(())
    }

    fn get(&self, key: u32) -> T::Native {
        self.by_key.get(key as usize).copied().unwrap_or(T::Native::ZERO)
    }
}

impl<T: ArrowPrimitiveType<Native: ArrowNativeTypeOp>> Total for TotalOf<T> {
    fn add(&mut self, keys: &[u32], states: &ArrayRef) -> Result<()> {
        self.change(keys, states, ArrowNativeTypeOp::add_wrapping)
    }

    fn subtract(&mut self, keys: &[u32], states: &ArrayRef) -> Result<()> {
        self.change(keys, states, ArrowNativeTypeOp::sub_wrapping)
    }

    fn of(&self, keys: &[u32]) -> ArrayRef {
        let totals = PrimitiveArray::<T>::from_iter_values(keys.iter().map(|key| self.get(*key)));
        Arc::new(totals.with_data_type(self.data_type.clone()))
    }

    fn is_zero(&self, key: u32) -> bool {
        self.get(key).is_zero()
    }

    fn set_zero(&mut self, key: u32) {
        self.by_key.get_mut(key as usize).into_iter().for_each(|total| *total = T::Native::ZERO);
    }

    fn memory_bytes(&self) -> usize {
        self.by_key.capacity() * size_of::<T::Native>()
    }
}
