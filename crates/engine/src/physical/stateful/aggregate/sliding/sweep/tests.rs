//! What a sweep gives is what the rows of each window give, computed anew: whatever comes behind the sweep, wherever it jumps, and
//! whether aggregates are taken out again, kept in two stacks, or both.
//!
//! A case that fails is made small and told with its seed; `PROPTEST_RNG_SEED=N` draws others, `PROPTEST_CASES=N` more.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{AsArray, Decimal128Array, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Fields, Float64Type, Schema, TimeUnit};
use arrow::util::display::array_value_to_string;
use datafusion::functions_aggregate::{count::count_udaf, min_max::max_udaf, min_max::min_udaf};
use datafusion::logical_expr::{AggregateUDF, EmitTo};
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{col, lit};
use millstream_state::store::StoreSchema;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

use super::super::super::merge::groups_accumulator;
use super::*;

/// Cases, unless the environment says how many.
const CASES: u32 = 120;
const SEED: u64 = 1;
const N_KEYS: u32 = 4;

/// The columns of rows.
#[derive(Debug, Clone, Copy)]
struct Row {
    v: Option<i64>,
    /// Some of these overflow what a sum may be.
    big: Option<i64>,
    price: Option<i128>,
    /// Some of these, too.
    big_price: Option<i128>,
    weight: f64,
}

#[derive(Debug, Clone)]
enum Step {
    /// Rows of a batch: key, by how many microseconds they are behind the end of the window or before it, columns.
    Rows(Vec<(u32, i64, Row)>),
    /// Goes on so many slides; negative: back.
    Move(i64),
    /// Takes the values of what was found.
    Fetch,
    /// Slices whose windows have ended so long after the present one are forgotten.
    Forget(i64),
}

#[derive(Debug, Clone)]
struct Case {
    windows: TimeWindows,
    steps: Vec<Step>,
    /// As in update mode: a new sweep after each batch, over the keys that it has touched.
    over_touched: bool,
}

fn row() -> impl Strategy<Value = Row> {
    let big = prop_oneof![Just(i64::MAX), Just(i64::MIN), -9..9_i64];
    let limit = 10_i128.pow(38) - 1;
    let big_price = prop_oneof![Just(limit), Just(-limit), -99..99_i128];
    let maybe = prop::option::weighted::<BoxedStrategy<i64>>;
    let columns =
        (maybe(0.8, (-50..50_i64).boxed()), maybe(0.8, big.boxed()), prop::option::of(-9999..9999_i128), prop::option::of(big_price));
    (columns, 1..1_000_000_u32, 0..9_i32).prop_map(|((v, big, price, big_price), weight, scale)| {
        let weight = f64::from(weight) / 7.0 * 10_f64.powi(scale);
        Row { v, big, price, big_price, weight }
    })
}

fn cases() -> impl Strategy<Value = Case> {
    let windows = prop_oneof![Just((10, 5, 0)), Just((10, 3, 0)), Just((10, 7, 2)), Just((30, 1, 0)), Just((9, 4, -1)), Just((8, 8, 0)),];
    let step = prop_oneof![
        4 => vec((0..N_KEYS, -60..60_i64, row()), 1..12).prop_map(Step::Rows),
        8 => (1..4_i64).prop_map(Step::Move),
        1 => (-15..30_i64).prop_map(Step::Move),
        2 => Just(Step::Fetch),
        2 => prop_oneof![3 => Just(0), 1 => 0..40_i64].prop_map(Step::Forget),
    ];
    (windows, vec(step, 1..60), prop::bool::weighted(0.3)).prop_map(|((length, slide, offset), steps, over_touched)| Case {
        windows: TimeWindows::new(length, slide, offset).unwrap(),
        steps,
        over_touched,
    })
}

fn row_schema() -> Arc<Schema> {
    let column = |name: &str, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        column("v", DataType::Int64),
        column("big", DataType::Int64),
        column("price", DataType::Decimal128(10, 2)),
        column("big_price", DataType::Decimal128(38, 0)),
        column("weight", DataType::Float64),
    ]))
}

fn columns(rows: &[Row]) -> BTreeMap<&'static str, ArrayRef> {
    let decimals = |values: Decimal128Array, precision, scale| values.with_precision_and_scale(precision, scale).unwrap();
    let price = decimals(rows.iter().map(|row| row.price).collect(), 10, 2);
    let big_price = decimals(rows.iter().map(|row| row.big_price).collect(), 38, 0);
    BTreeMap::from([
        ("1", Arc::new(Int64Array::from_value(1, rows.len())) as ArrayRef),
        ("v", Arc::new(rows.iter().map(|row| row.v).collect::<Int64Array>())),
        ("big", Arc::new(rows.iter().map(|row| row.big).collect::<Int64Array>())),
        ("price", Arc::new(price)),
        ("big_price", Arc::new(big_price)),
        ("weight", Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.weight)))),
    ])
}

type Call = (&'static str, &'static str);

const WITH_INVERSE: &[Call] = &[
    ("count", "1"),
    ("count", "v"),
    ("spark_sum", "v"),
    ("spark_avg", "v"),
    ("spark_try_sum", "big"),
    ("spark_avg", "big"),
    ("spark_sum", "price"),
    ("spark_avg", "price"),
    ("spark_try_sum", "big_price"),
    ("spark_try_avg", "big_price"),
];
const WITHOUT: &[Call] = &[("min", "v"), ("max", "price"), ("spark_sum", "weight"), ("spark_avg", "weight")];
const MIXED: &[Call] =
    &[("max", "v"), ("spark_sum", "price"), ("spark_sum", "weight"), ("count", "v"), ("min", "big_price"), ("spark_try_sum", "big")];

fn aggregate(idx: usize, (name, argument): Call) -> Arc<AggregateFunctionExpr> {
    let ours = millstream_functions::aggregate::all_aggregate();
    let function: Arc<AggregateUDF> = match name {
        "count" => count_udaf(),
        "min" => min_udaf(),
        "max" => max_udaf(),
        _ => ours.into_iter().find(|function| function.name() == name).unwrap(),
    };
    let schema = row_schema();
    let argument = if argument == "1" { lit(1_i64) } else { col(argument, &schema).unwrap() };
    Arc::new(AggregateExprBuilder::new(function, vec![argument]).schema(schema).alias(format!("a{idx}")).build().unwrap())
}

/// Rows as they came, the table of their states, and a sweep over it.
struct Stream {
    case: Case,
    calls: &'static [Call],
    aggregates: Aggregates,
    /// By slice and key.
    rows: BTreeMap<(i64, u32), Vec<Row>>,
    table: KeyedTable,
    slices: Slices,
    sweep: Sweep,
    swept: Option<Vec<bool>>,
    start: i64,
    /// Slices that start before are forgotten.
    floor: i64,
    /// The windows that start before have ended by then; the next that is asked for has not.
    next_start: Option<i64>,
    found: Found,
    n_checked: usize,
}

impl Stream {
    fn new(case: Case, calls: &'static [Call]) -> Self {
        let aggregates: Aggregates = calls.iter().enumerate().map(|(idx, call)| aggregate(idx, *call)).collect();
        let start_type = DataType::Timestamp(TimeUnit::Microsecond, None);
        let key = Fields::from(vec![Field::new("k", DataType::Utf8, true)]);
        let keys = Fields::from(vec![Field::new("k", DataType::Utf8, true), Field::new("slice", start_type.clone(), false)]);
        let states: Vec<FieldRef> = aggregates.iter().flat_map(|aggregate| aggregate.state_fields().unwrap()).collect();
        let table = KeyedTable::new(StoreSchema::new(keys, states).unwrap()).unwrap();
        let slices = Slices::of(&table, case.windows, key, start_type).unwrap();
        let sweep = Sweep::new(case.windows, &aggregates).unwrap();
        let (rows, start) = (BTreeMap::new(), case.windows.offset_us());
        let (floor, found) = (i64::MIN, Found::default());
        Self { case, calls, aggregates, rows, table, slices, sweep, swept: None, start, floor, next_start: None, found, n_checked: 0 }
    }

    fn run(mut self) -> usize {
        for step in std::mem::take(&mut self.case.steps) {
            match step {
                Step::Rows(rows) => {
                    self.fetch();
                    self.take_rows(&rows);
                }
                Step::Move(slides) => self.move_by(slides),
                Step::Fetch => self.fetch(),
                Step::Forget(later) => {
                    self.fetch();
                    if self.swept.is_none() {
                        self.forget(self.case.windows.end(self.start) + later);
                    }
                }
            }
        }
        self.fetch();
        self.n_checked
    }

    fn keys_of(&self, groups: &[(i64, u32)]) -> Vec<ArrayRef> {
        let names: StringArray = groups.iter().map(|(_, key)| name(*key)).collect();
        vec![Arc::new(names), Arc::new(TimestampMicrosecondArray::from_iter_values(groups.iter().map(|(slice, _)| *slice)))]
    }

    fn take_rows(&mut self, rows: &[(u32, i64, Row)]) {
        let end = self.case.windows.end(self.start);
        let mut touched = BTreeSet::new();
        for (key, behind, row) in rows {
            let slice = self.case.windows.slice(end - behind).start_us;
            if slice >= self.floor {
                self.rows.entry((slice, *key)).or_default().push(*row);
                touched.insert((slice, *key));
            }
        }
        if touched.is_empty() {
            return;
        }
        let groups: Vec<(i64, u32)> = touched.into_iter().collect();
        let keys = self.keys_of(&groups);
        let is_new: Vec<bool> = self.table.lookup(&keys).unwrap().iter().map(Option::is_none).collect();
        let states = states(&self.aggregates, &groups.iter().map(|group| self.rows[group].as_slice()).collect::<Vec<_>>());
        self.table.upsert(&keys, None, &states).unwrap();
        let entries = self.slices.add(&keys, &is_new).unwrap();
        let mut changed = vec![false; self.slices.keys.n_keys()];
        if self.case.over_touched {
            entries.iter().for_each(|(key, _)| changed[*key as usize] = true);
            self.sweep = Sweep::new(self.case.windows, &self.aggregates).unwrap();
            self.swept = Some(changed);
        } else {
            entries.iter().filter(|(_, slice)| self.sweep.holds(*slice)).for_each(|(key, _)| changed[*key as usize] = true);
            self.sweep.repair(&self.slices, &mut self.table, &changed).unwrap();
        }
    }

    fn move_by(&mut self, slides: i64) {
        self.start += slides * self.case.windows.slide_us();
        self.start = self.start.max(self.next_start.take().unwrap_or(i64::MIN));
        if !self.found.keys.is_empty() && !self.sweep.keeps_found(&self.slices, self.start) {
            self.fetch();
        }
        self.sweep.move_to(&self.slices, &mut self.table, self.start, self.swept.as_deref()).unwrap();
        self.sweep.find(&mut self.found, |_| true).unwrap();
    }

    fn forget(&mut self, until: i64) {
        let gone: Vec<i64> = self.slices.expired(until).collect();
        self.sweep.forget(&self.slices, &mut self.table, &gone).unwrap();
        for slice in gone {
            self.slices.remove(slice);
            self.floor = slice + 1;
        }
        self.next_start = self.next_start.max(Some(self.case.windows.earliest_start(until)));
        let stay = self.rows.split_off(&(self.floor, 0));
        let gone: Vec<(i64, u32)> = std::mem::replace(&mut self.rows, stay).into_keys().collect();
        let keys = self.keys_of(&gone);
        self.table.remove(&keys).unwrap();
    }

    /// Compares what was found since the last time with the rows of its windows.
    fn fetch(&mut self) {
        let found = std::mem::take(&mut self.found);
        if found.keys.is_empty() {
            return;
        }
        let values = self.sweep.fetch(&found).unwrap();
        let keys = self.slices.keys.columns(&found.keys).unwrap().remove(0);
        let mut given = BTreeMap::new();
        for (at, window) in found.windows.iter().enumerate() {
            let key = array_value_to_string(&keys, at).unwrap();
            given.insert((*window, key), values.iter().map(|column| column.slice(at, 1)).collect::<Vec<_>>());
        }
        assert!(given.len() <= found.windows.len());
        let windows: BTreeSet<i64> = found.windows.iter().copied().collect();
        self.n_checked += given.len();
        for window in windows {
            let mut want: BTreeMap<u32, Vec<Row>> = BTreeMap::new();
            for ((_, key), rows) in self.rows.range((window, 0)..(self.case.windows.end(window), 0)) {
                want.entry(*key).or_default().extend(rows);
            }
            if let Some(swept) = &self.swept {
                want.retain(|key, _| {
                    let name = name(*key).unwrap_or_default();
                    let numbers: Vec<u32> = (0..self.slices.keys.n_keys() as u32).collect();
                    let names = self.slices.keys.columns(&numbers).unwrap().remove(0);
                    let number = numbers.iter().find(|number| array_value_to_string(&names, **number as usize).unwrap() == name);
                    swept.get(*number.unwrap() as usize).copied().unwrap_or(false)
                });
            }
            let n_given = given.range((window, String::new())..(window + 1, String::new())).count();
            assert_eq!(n_given, want.len(), "keys of the window at {window}");
            let values = values_of(&self.aggregates, &want.values().map(Vec::as_slice).collect::<Vec<_>>());
            for (at, key) in want.keys().enumerate() {
                let name = name(*key).unwrap_or_default();
                let given = &given[&(window, name.clone())];
                for ((call, given), want) in self.calls.iter().zip(given).zip(&values) {
                    assert_same(given, &want.slice(at, 1), &format!("{call:?} of {name:?} in the window at {window}"));
                }
            }
        }
    }
}

/// A key as rows have it; one is null.
fn name(key: u32) -> Option<String> {
    (key > 0).then(|| format!("k{key}"))
}

/// Of doubles a rounding apart is the same.
fn assert_same(given: &ArrayRef, want: &ArrayRef, place: &str) {
    if let (Some(given), Some(want)) = (given.as_primitive_opt::<Float64Type>(), want.as_primitive_opt::<Float64Type>())
        && given.is_valid(0)
        && want.is_valid(0)
    {
        let (given, want) = (given.value(0), want.value(0));
        assert!((given - want).abs() <= 1e-9 * want.abs(), "{place}: {given}, not {want}");
    } else {
        assert_eq!(given, want, "{place}");
    }
}

/// The aggregates over groups of rows: all of a group at once.
fn over_groups<T>(
    aggregates: &Aggregates,
    groups: &[&[Row]],
    mut finish: impl FnMut(&mut dyn datafusion::logical_expr::GroupsAccumulator) -> T,
) -> Vec<T> {
    let rows: Vec<Row> = groups.iter().flat_map(|rows| rows.iter().copied()).collect();
    let indices: Vec<usize> = groups.iter().enumerate().flat_map(|(group, rows)| rows.iter().map(move |_| group)).collect();
    let columns = columns(&rows);
    let one = |aggregate: &Arc<AggregateFunctionExpr>| {
        let mut accumulator = groups_accumulator(aggregate).unwrap();
        let argument = aggregate.expressions().remove(0).to_string();
        let argument = argument.split('@').next().unwrap();
        accumulator.update_batch(&[Arc::clone(&columns[argument])], &indices, None, groups.len()).unwrap();
        finish(accumulator.as_mut())
    };
    aggregates.iter().map(one).collect()
}

fn states(aggregates: &Aggregates, groups: &[&[Row]]) -> Vec<ArrayRef> {
    over_groups(aggregates, groups, |accumulator| accumulator.state(EmitTo::All).unwrap()).concat()
}

fn values_of(aggregates: &Aggregates, groups: &[&[Row]]) -> Vec<ArrayRef> {
    over_groups(aggregates, groups, |accumulator| accumulator.evaluate(EmitTo::All).unwrap())
}

fn holds(calls: &'static [Call]) {
    let config = ProptestConfig::default();
    let config = ProptestConfig {
        cases: if std::env::var_os("PROPTEST_CASES").is_some() { config.cases } else { CASES },
        rng_seed: match config.rng_seed {
            RngSeed::Random => RngSeed::Fixed(SEED),
            asked => asked,
        },
        failure_persistence: None,
        ..config
    };
    let n_checked = std::cell::Cell::new(0);
    let result = TestRunner::new(config).run(&cases(), |case| {
        n_checked.set(n_checked.get() + Stream::new(case, calls).run());
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(n_checked.get() > 1000, "{} values were compared", n_checked.get());
}

#[test]
fn what_is_taken_out_again_is_what_is_computed_anew() {
    holds(WITH_INVERSE);
}

#[test]
fn what_is_kept_in_two_stacks_is_what_is_computed_anew() {
    holds(WITHOUT);
}

#[test]
fn what_is_taken_out_again_beside_two_stacks_is_what_is_computed_anew() {
    holds(MIXED);
}

#[test]
fn aggregates_whose_states_are_whole_numbers_that_add_up_have_an_inverse() {
    for (calls, n_with) in [(WITH_INVERSE, WITH_INVERSE.len()), (WITHOUT, 0), (MIXED, 3)] {
        let aggregates: Aggregates = calls.iter().enumerate().map(|(idx, call)| aggregate(idx, *call)).collect();
        let split = Split::of(&aggregates).unwrap();
        assert_eq!((split.inverse.aggregates.len(), split.stacked.aggregates.len()), (n_with, calls.len() - n_with));
    }
}
