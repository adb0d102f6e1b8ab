//! What is kept of rows and merged gives what all rows at once give: partial sums of a plan, and groups that live longer
//! than a batch.

use std::collections::BTreeSet;

use arrow::array::{BooleanArray, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, Schema, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};

use super::*;

const N_ROWS: usize = 24;
/// Where batches begin; one is empty.
const CUTS: [usize; 5] = [0, 5, 12, 12, N_ROWS];
/// The group of each row: they come one after the other, and the last has nothing but nulls.
const GROUPS: [usize; N_ROWS] = [0, 1, 0, 1, 1, 2, 0, 2, 2, 0, 0, 2, 1, 2, 1, 0, 2, 1, 0, 0, 1, 3, 3, 3];
const N_GROUPS: usize = 4;

/// A call of an aggregate on columns of [`N_ROWS`] rows.
struct Call {
    function: Arc<AggregateUDF>,
    columns: Vec<ArrayRef>,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    fields: Vec<FieldRef>,
    is_distinct: bool,
}

impl Call {
    fn new(function: Arc<AggregateUDF>, columns: Vec<ArrayRef>, literals: Vec<ScalarValue>, is_distinct: bool) -> Self {
        let mut exprs: Vec<Arc<dyn PhysicalExpr>> = Vec::new();
        let mut fields: Vec<FieldRef> = Vec::new();
        for (idx, column) in columns.iter().enumerate() {
            exprs.push(Arc::new(Column::new(&format!("c{idx}"), idx)));
            fields.push(Arc::new(Field::new(format!("c{idx}"), column.data_type().clone(), true)));
        }
        let mut columns = columns;
        for literal in literals {
            fields.push(Arc::new(Field::new("literal", literal.data_type(), false)));
            columns.push(literal.to_array_of_size(N_ROWS).unwrap());
            exprs.push(Arc::new(Literal::new(literal)));
        }
        Self { function, columns, exprs, fields, is_distinct }
    }

    fn title(&self) -> String {
        let types: Vec<_> = self.fields.iter().map(|field| field.data_type().to_string()).collect();
        format!("{}({}{})", self.function.name(), if self.is_distinct { "DISTINCT " } else { "" }, types.join(", "))
    }

    fn with_args<T>(&self, make: impl FnOnce(AccumulatorArgs) -> T) -> T {
        let schema = Schema::new(self.fields.clone());
        make(AccumulatorArgs {
            return_field: self.function.return_field(&self.fields).unwrap(),
            schema: &schema,
            ignore_nulls: false,
            order_bys: &[],
            is_reversed: false,
            name: "a",
            is_distinct: self.is_distinct,
            exprs: &self.exprs,
            expr_fields: &self.fields,
        })
    }

    fn one(&self) -> Box<dyn Accumulator> {
        self.with_args(|args| self.function.accumulator(args)).unwrap()
    }

    /// For many groups, if there is an accumulator of its own for them.
    fn many(&self) -> Option<Box<dyn GroupsAccumulator>> {
        let is_supported = self.with_args(|args| self.function.groups_accumulator_supported(args));
        is_supported.then(|| self.with_args(|args| self.function.create_groups_accumulator(args)).unwrap())
    }

    fn state_types(&self) -> Vec<DataType> {
        let args = StateFieldsArgs {
            name: "a",
            input_fields: &self.fields,
            return_field: self.function.return_field(&self.fields).unwrap(),
            ordering_fields: &[],
            is_distinct: self.is_distinct,
        };
        self.function.state_fields(args).unwrap().iter().map(|field| field.data_type().clone()).collect()
    }

    /// The arguments of a batch, with the groups of its rows.
    fn batch(&self, nth: usize) -> (Vec<ArrayRef>, &'static [usize]) {
        let (from, to) = (CUTS[nth], CUTS[nth + 1]);
        (self.columns.iter().map(|column| column.slice(from, to - from)).collect(), &GROUPS[from..to])
    }
}

fn n_batches() -> usize {
    CUTS.len() - 1
}

/// Whole numbers with ties and nulls; the last three rows are null.
fn numbers(data_type: &DataType) -> ArrayRef {
    let value = |row: usize| (row % 6 != 4 && row < 21).then_some(((row * 7) % 5) as i64 - 2);
    let numbers: Int64Array = (0..N_ROWS).map(value).collect();
    match data_type {
        DataType::Utf8 => Arc::new(numbers.iter().map(|value| value.map(|value| format!("s{value}"))).collect::<StringArray>()),
        DataType::Boolean => Arc::new(numbers.iter().map(|value| value.map(|value| value > -2)).collect::<BooleanArray>()),
        DataType::Interval(_) => {
            let months = arrow::compute::cast(&numbers, &DataType::Int32).unwrap();
            arrow::compute::cast(&months, data_type).unwrap()
        }
        _ => arrow::compute::cast(&numbers, data_type).unwrap(),
    }
}

/// Doubles with a NaN and a negative zero.
fn odd_doubles() -> ArrayRef {
    let numbers = numbers(&DataType::Float64);
    let numbers = numbers.as_any().downcast_ref::<Float64Array>().unwrap();
    let odd = |(row, value): (usize, Option<f64>)| match row {
        2 => Some(f64::NAN),
        7 => Some(-0.0),
        _ => value,
    };
    Arc::new(numbers.iter().enumerate().map(odd).collect::<Float64Array>())
}

fn calls() -> Vec<Call> {
    let decimal = DataType::Decimal128(10, 2);
    let days = DataType::Duration(TimeUnit::Microsecond);
    let months = DataType::Interval(IntervalUnit::YearMonth);
    let mut calls = Vec::new();
    let mut add = |name: &str, columns: Vec<ArrayRef>, literals: Vec<ScalarValue>| {
        let function = aggregate(name).or_else(|| all_aggregate().into_iter().find(|function| function.name() == name)).unwrap();
        calls.push(Call::new(Arc::clone(&function), columns.clone(), literals.clone(), false));
        // DataFusion's own and those of two columns know no DISTINCT.
        if columns.len() == 1 && name != "max" && name != "min" && aggregate(name).is_some() {
            calls.push(Call::new(function, columns, literals, true));
        }
    };
    let half = ScalarValue::from(0.5);
    for name in ["sum", "try_sum", "avg", "try_avg"] {
        for data_type in [&DataType::Int64, &DataType::Float64, &decimal, &days, &months] {
            add(name, vec![numbers(data_type)], vec![]);
        }
    }
    for data_type in [&DataType::Float64, &days, &months] {
        add("percentile", vec![numbers(data_type)], vec![half.clone()]);
        add("median", vec![numbers(data_type)], vec![]);
    }
    for data_type in [&DataType::Int64, &DataType::Utf8, &decimal] {
        add("percentile_approx", vec![numbers(data_type)], vec![half.clone(), ScalarValue::from(100_i64)]);
    }
    for name in ["mode", "mode_largest"] {
        add(name, vec![numbers(&DataType::Utf8)], vec![]);
        add(name, vec![odd_doubles()], vec![]);
    }
    for name in ["max", "min"] {
        add(name, vec![odd_doubles()], vec![]);
        for data_type in [&DataType::Float32, &DataType::Int64, &DataType::Utf8, &decimal] {
            add(name, vec![numbers(data_type)], vec![]);
        }
    }
    for name in ["max_by", "min_by"] {
        // The value tells the rows apart, so that the last of equals is seen.
        let rows: ArrayRef = Arc::new(Int64Array::from_iter_values(0..N_ROWS as i64));
        add(name, vec![rows, odd_doubles()], vec![]);
        add(name, vec![numbers(&DataType::Utf8), numbers(&DataType::Utf8)], vec![]);
    }
    for moment in Moment::ALL {
        let columns = if moment.is_pair() { 2 } else { 1 };
        let squares: ArrayRef = Arc::new(Float64Array::from_iter_values((0..N_ROWS).map(|row| (row * row % 11) as f64)));
        add(moment.name(), [numbers(&DataType::Float64), squares].into_iter().take(columns).collect(), vec![]);
    }
    for name in ["framed_bool_and", "framed_bool_or"] {
        add(name, vec![numbers(&DataType::Boolean)], vec![]);
    }
    for name in ["framed_bit_and", "framed_bit_or", "framed_first_value"] {
        add(name, vec![numbers(&DataType::Int64)], vec![]);
    }
    add("framed_last_value", vec![Arc::new(Int64Array::from_iter_values(0..N_ROWS as i64))], vec![]);
    add("framed_string_agg", vec![numbers(&DataType::Utf8)], vec![ScalarValue::from("-")]);
    let list = all_aggregate().into_iter().find(|function| function.name() == "spark_list").unwrap();
    for data_type in [&DataType::Int64, &DataType::Utf8] {
        for is_distinct in [false, true] {
            calls.push(Call::new(Arc::clone(&list), vec![numbers(data_type)], vec![], is_distinct));
        }
    }
    calls
}

/// Equal, but for the last digits of doubles, which depend on what was merged with what.
fn assert_same(got: &ScalarValue, want: &ScalarValue, place: &str) {
    if let (ScalarValue::Float64(Some(got)), ScalarValue::Float64(Some(want))) = (got, want) {
        let is_near = (got - want).abs() <= 1e-12 * want.abs().max(1.0);
        assert!(is_near || (got.is_nan() && want.is_nan()), "{place}: {got} and not {want}");
        return;
    }
    assert_eq!(got, want, "{place}");
}

fn columns_of(state: &[ScalarValue]) -> Vec<ArrayRef> {
    state.iter().map(|part| part.to_array().unwrap()).collect()
}

fn types_of(columns: &[ArrayRef]) -> Vec<DataType> {
    columns.iter().map(|column| column.data_type().clone()).collect()
}

#[test]
fn every_aggregate_is_here() {
    let here: BTreeSet<String> = calls().iter().map(|call| call.function.name().to_owned()).collect();
    let all: BTreeSet<String> = all_aggregate().iter().map(|function| function.name().to_owned()).collect();
    assert_eq!(here, all);
}

#[test]
fn merged_states_of_one_group_are_the_state_of_all_rows() {
    for call in calls() {
        let title = call.title();
        let mut whole = call.one();
        whole.update_batch(&call.columns).unwrap();
        let want = whole.evaluate().unwrap();
        assert!(!want.is_null(), "{title}: tells nothing");

        // Partial sums, merged at once.
        let mut parts: Vec<Vec<ArrayRef>> = Vec::new();
        for nth in 0..n_batches() {
            let mut part = call.one();
            part.update_batch(&call.batch(nth).0).unwrap();
            let state = columns_of(&part.state().unwrap());
            assert_eq!(types_of(&state), call.state_types(), "{title}");
            parts.push(state);
        }
        let mut merged = call.one();
        let state: Vec<ArrayRef> = (0..call.state_types().len())
            .map(|idx| arrow::compute::concat(&parts.iter().map(|part| part[idx].as_ref()).collect::<Vec<_>>()).unwrap())
            .collect();
        merged.merge_batch(&state).unwrap();
        assert_same(&merged.evaluate().unwrap(), &want, &format!("{title}, merged at once"));

        // A state that goes from batch to batch.
        let mut state = columns_of(&call.one().state().unwrap());
        for nth in 0..n_batches() {
            let mut batch = call.one();
            batch.merge_batch(&state).unwrap();
            batch.update_batch(&call.batch(nth).0).unwrap();
            state = columns_of(&batch.state().unwrap());
        }
        let mut last = call.one();
        last.merge_batch(&state).unwrap();
        assert_same(&last.evaluate().unwrap(), &want, &format!("{title}, from batch to batch"));
    }
}

/// The results of groups 0, 1, ..., each from an accumulator of its own.
fn one_by_one(call: &Call, filter: Option<&BooleanArray>) -> Vec<ScalarValue> {
    let result = |group: usize| {
        let mut alone = call.one();
        let is_in = |row: usize| GROUPS[row] == group && filter.is_none_or(|filter| filter.value(row));
        let of_group: BooleanArray = (0..N_ROWS).map(|row| Some(is_in(row))).collect();
        let columns: Vec<ArrayRef> = call.columns.iter().map(|column| arrow::compute::filter(column, &of_group).unwrap()).collect();
        alone.update_batch(&columns).unwrap();
        alone.evaluate().unwrap()
    };
    (0..N_GROUPS).map(result).collect()
}

fn assert_all_same(got: &ArrayRef, want: &[ScalarValue], place: &str) {
    assert_eq!(got.len(), want.len(), "{place}");
    for (group, want) in want.iter().enumerate() {
        assert_same(&ScalarValue::try_from_array(got, group).unwrap(), want, &format!("{place}, group {group}"));
    }
}

#[test]
fn merged_states_of_many_groups_are_the_states_of_all_rows() {
    let mut n_calls = 0;
    for call in calls() {
        let Some(mut whole) = call.many() else { continue };
        n_calls += 1;
        let title = call.title();
        let want = one_by_one(&call, None);
        whole.update_batch(&call.columns, &GROUPS, None, N_GROUPS).unwrap();
        assert_all_same(&whole.evaluate(EmitTo::All).unwrap(), &want, &title);

        // The states of all groups go from batch to batch; in between the groups lie the other way round.
        let reversed: Vec<usize> = (0..N_GROUPS).rev().collect();
        let mut state = call.many().unwrap();
        for nth in 0..n_batches() {
            let (columns, groups) = call.batch(nth);
            let groups: Vec<usize> = groups.iter().map(|group| if nth % 2 == 0 { *group } else { reversed[*group] }).collect();
            state.update_batch(&columns, &groups, None, N_GROUPS).unwrap();
            let kept = state.state(EmitTo::All).unwrap();
            assert_eq!(types_of(&kept), call.state_types(), "{title}");
            state = call.many().unwrap();
            state.merge_batch(&kept, &reversed, N_GROUPS).unwrap();
        }
        assert_eq!(n_batches() % 2, 0, "the groups lie as at first");
        assert_all_same(&state.evaluate(EmitTo::All).unwrap(), &want, &format!("{title}, from batch to batch"));

        // The first groups go, the others move up.
        let mut some = call.many().unwrap();
        some.update_batch(&call.columns, &GROUPS, None, N_GROUPS).unwrap();
        assert_all_same(&some.evaluate(EmitTo::First(1)).unwrap(), &want[..1], &format!("{title}, the first"));
        let kept = some.state(EmitTo::First(2)).unwrap();
        let mut taken = call.many().unwrap();
        taken.merge_batch(&kept, &[0, 1], 2).unwrap();
        assert_all_same(&taken.evaluate(EmitTo::All).unwrap(), &want[1..3], &format!("{title}, the next two"));
        assert_all_same(&some.evaluate(EmitTo::All).unwrap(), &want[3..], &format!("{title}, the last"));
    }
    assert!(n_calls > 40, "only {n_calls} aggregates have accumulators for groups");
}

#[test]
fn rows_turned_into_states_are_merged_as_rows() {
    // What FILTER leaves out, as null or false, is in no state.
    let filter: BooleanArray = (0..N_ROWS).map(|row| if row % 7 == 3 { None } else { Some(row % 3 != 1) }).collect();
    let kept = arrow::compute::prep_null_mask_filter(&filter);
    for call in calls() {
        let Some(mut filtered) = call.many() else { continue };
        let title = call.title();
        for (filter, want) in [(None, one_by_one(&call, None)), (Some(&filter), one_by_one(&call, Some(&kept)))] {
            let states = filtered.convert_to_state(&call.columns, filter).unwrap();
            assert_eq!(types_of(&states), call.state_types(), "{title}");
            let mut merged = call.many().unwrap();
            merged.merge_batch(&states, &GROUPS, N_GROUPS).unwrap();
            assert_all_same(&merged.evaluate(EmitTo::All).unwrap(), &want, &format!("{title}, as states"));
        }
        filtered.update_batch(&call.columns, &GROUPS, Some(&filter), N_GROUPS).unwrap();
        assert_all_same(&filtered.evaluate(EmitTo::All).unwrap(), &one_by_one(&call, Some(&kept)), &format!("{title}, filtered"));
    }
}

/// The partial state of an aggregation without keys over an empty batch is there, and says nothing.
#[test]
fn the_state_of_no_rows_adds_nothing_to_a_group() {
    for call in calls() {
        let Some(mut groups) = call.many() else { continue };
        let nothing = columns_of(&call.one().state().unwrap());
        groups.merge_batch(&nothing, &[0], 2).unwrap();
        // The second group has rows, too.
        let mut of_rows = call.one();
        of_rows.update_batch(&call.columns).unwrap();
        groups.merge_batch(&columns_of(&of_rows.state().unwrap()), &[1], 2).unwrap();
        groups.merge_batch(&nothing, &[1], 2).unwrap();
        let got = groups.evaluate(EmitTo::All).unwrap();
        assert_all_same(&got, &[call.one().evaluate().unwrap(), of_rows.evaluate().unwrap()], &call.title());
    }
}
