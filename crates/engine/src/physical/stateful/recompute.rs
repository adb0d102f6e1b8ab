//! Aggregates changes whose partial sums cannot be subtracted (`max`, `collect_list`, distinct aggregates, sums of doubles,
//! functions of users): of each group it keeps the rows, equal ones once with their number, and computes groups that a batch
//! touches anew.
//!
//! ```text
//!   RecomputeAggregateExec
//!     KeyExchangeExec       rows to the task that keeps their group (more than one task)
//!       AggregateExec       DataFusion's, partial: equal rows of the batch become one, with how often it was added
//!     AggregateExec         over no rows: never runs, says what is computed
//! ```
//! A batch costs what its groups hold, not what it brings. Nothing is subtracted, so sums of doubles do not drift.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat_batches, interleave, take};
use arrow::datatypes::{Field, Fields, Int64Type, Schema, SchemaRef};
use arrow::row::{Row, RowConverter, Rows, SortField};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::EmitTo;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::aggregates::group_values::new_group_values;
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, PhysicalExpr, PlanProperties};
use futures::StreamExt;
use millstream_analyzer::streaming::Gives;
use millstream_core::{Error, OutputMode, Result};
use millstream_state::store::{KeyedMultiTable, KeyedTable, StoreDescription, StoreKind, StoreRows, ValuesOf};
use serde_json::{Value, json};

use super::StatefulOperator;
use super::aggregate::{AggregateSpec, groups_accumulator};
use super::changed::{changes_of_groups, given_schema, never_added};
use super::described::{counted_rows, each_by_itself};
use super::exchange::keeps_only_row;
use super::tables::{MAIN_STORE, filtered, store_keys, store_schema};
use crate::batch::StateOperatorReport;
use crate::error::from_datafusion;
use crate::physical::event_time::{event_time_among, event_times_us, expiry_ms};
use crate::physical::operator::{Operator, OperatorExec, OperatorRows, OperatorRun, OperatorTask, rows_of_run, unordered_as};

/// Aggregates changes by computing groups anew. See the module's documentation.
pub type RecomputeAggregateExec = OperatorExec<RecomputeAggregate, 2>;

/// The store of the groups' rows.
const INPUTS_STORE: &str = "inputs";

/// The column that says how often a row is there.
const COUNT: &str = "count";

/// Rows that are computed at a time.
const CHUNK_ROWS: usize = 8192;

/// What the operator is beside its input.
#[derive(Debug, Clone)]
pub struct RecomputeAggregate {
    spec: AggregateSpec,
    shape: Shape,
}

/// The columns of the input: keys, what aggregates use and how often the row was added, in any order but the last.
#[derive(Debug, Clone)]
struct Shape {
    keys: Vec<usize>,
    inputs: Vec<usize>,
    key_fields: Fields,
    /// The columns that aggregates use, as they know them.
    input_schema: SchemaRef,
    calls: Arc<[Call]>,
    /// What a group gives: keys, then the value of each aggregate.
    output: SchemaRef,
}

#[derive(Debug)]
struct Call {
    aggregate: Arc<AggregateFunctionExpr>,
    filter: Option<Arc<dyn PhysicalExpr>>,
}

/// Ends the names of the columns that aggregates use, among the keys of the partial aggregation, which may be the same ones.
pub(super) const INPUT_SUFFIX: &str = "'in";

/// See [`INPUT_SUFFIX`].
pub(super) fn input_name(column: &str) -> String {
    format!("{column}{INPUT_SUFFIX}")
}

impl RecomputeAggregateExec {
    /// Over `input`, whose rows are distinct per batch and task, and `what`, an aggregation over no rows.
    pub fn try_new(input: Arc<dyn ExecutionPlan>, what: Arc<dyn ExecutionPlan>, spec: AggregateSpec) -> Result<Self> {
        let shape = Shape::of(&input, &what)?;
        Ok(Self::over(RecomputeAggregate { spec, shape }, [input, what]))
    }

    /// What makes it again.
    pub fn spec(&self) -> &AggregateSpec {
        &self.operator.spec
    }
}

impl StatefulOperator for RecomputeAggregateExec {
    fn operator_id(&self) -> &str {
        &self.operator.spec.operator
    }

    fn kind(&self) -> &'static str {
        "recompute_aggregate"
    }

    fn uses_event_time(&self) -> bool {
        self.operator.spec.mode != OutputMode::Complete
    }

    fn detail(&self) -> Value {
        let RecomputeAggregate { spec, shape } = &self.operator;
        let n_keys = spec.meaning.len().saturating_sub(shape.calls.len());
        json!(spec.meaning.get(..n_keys))
    }

    fn values_of(&self) -> Result<BTreeMap<String, Vec<ValuesOf>>> {
        let RecomputeAggregate { spec, shape } = &self.operator;
        let calls = spec.meaning.len().saturating_sub(shape.calls.len());
        let mut values = each_by_itself(&shape.stored_values());
        for (values, call) in values.iter_mut().zip(spec.meaning.iter().skip(calls)) {
            values.of.clone_from(call);
        }
        let rows = counted_rows(&shape.stored_inputs(), COUNT);
        Ok([(MAIN_STORE.to_owned(), values), (INPUTS_STORE.to_owned(), rows)].into())
    }

    fn stores(&self) -> Result<Vec<StoreDescription>> {
        let shape = &self.operator.shape;
        let groups = store_schema(shape.key_fields.clone(), shape.stored_values())?;
        let rows = store_schema(shape.key_fields.clone(), shape.stored_inputs())?;
        Ok(vec![
            StoreDescription { name: MAIN_STORE.to_owned(), kind: StoreKind::Single, schema: groups },
            StoreDescription { name: INPUTS_STORE.to_owned(), kind: StoreKind::Multi, schema: rows },
        ])
    }
}

fn nullable(field: &Arc<Field>) -> Arc<Field> {
    Arc::new(field.as_ref().clone().with_nullable(true))
}

impl Shape {
    /// What a group's row has beside its keys.
    fn stored_values(&self) -> Fields {
        self.output.fields().iter().skip(self.keys.len()).map(nullable).collect()
    }

    /// What is kept of the rows of a group.
    fn stored_inputs(&self) -> Fields {
        let count = [Arc::new(Field::new(COUNT, arrow::datatypes::DataType::Int64, false))];
        count.into_iter().chain(self.input_schema.fields().iter().map(nullable)).collect()
    }

    fn of(input: &Arc<dyn ExecutionPlan>, what: &Arc<dyn ExecutionPlan>) -> Result<Self> {
        let what = what.downcast_ref::<AggregateExec>().ok_or_else(|| Error::internal(format!("aggregates that are {}", what.name())))?;
        let schema = input.schema();
        let input_schema = what.input_schema();
        let inputs =
            input_schema.fields().iter().map(|field| Ok(schema.index_of(&input_name(field.name()))?)).collect::<Result<Vec<_>>>()?;
        let n_grouped = schema.fields().len().saturating_sub(1);
        let keys: Vec<usize> = (0..n_grouped).filter(|idx| !inputs.contains(idx)).collect();
        let key_fields: Fields = keys.iter().filter_map(|idx| schema.fields().get(*idx).cloned()).collect();
        let calls = what.aggr_expr().iter().zip(what.filter_expr());
        let calls: Arc<[Call]> =
            calls.map(|(aggregate, filter)| Call { aggregate: Arc::clone(aggregate), filter: filter.clone() }).collect();
        let values = calls.iter().map(|call| call.aggregate.field());
        let output = Arc::new(Schema::new(key_fields.iter().cloned().chain(values).collect::<Vec<_>>()));
        Ok(Self { keys, inputs, key_fields, input_schema, calls, output })
    }
}

impl fmt::Display for RecomputeAggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls = self.shape.calls.iter().map(|call| call.aggregate.human_display().unwrap_or(call.aggregate.name()));
        write!(f, "{}, mode={}, aggregates=[{}]", self.spec.operator, self.spec.mode, calls.collect::<Vec<_>>().join(", "))?;
        if self.spec.gives == Gives::Changes { f.write_str(", gives changes") } else { Ok(()) }
    }
}

impl Operator<2> for RecomputeAggregate {
    const NAME: &'static str = "RecomputeAggregateExec";

    fn properties(&self, [input, _]: &[Arc<dyn ExecutionPlan>; 2]) -> Arc<PlanProperties> {
        unordered_as(given_schema(self.spec.gives, &self.shape.output), input)
    }

    fn execute(&self, [input, _]: &[Arc<dyn ExecutionPlan>; 2], task: OperatorTask) -> Result<OperatorRows> {
        let keeps_group_of_all = self.shape.keys.is_empty() && keeps_only_row(&task, input.output_partitioning().partition_count())?;
        Ok(rows_of_run(Run {
            input: Some(task.rows_of(input)?),
            input_schema: input.schema(),
            of: self.clone(),
            keeps_group_of_all,
            given: Vec::new().into_iter(),
            task,
        }))
    }
}

/// One partition in one batch.
struct Run {
    of: RecomputeAggregate,
    /// The group of an aggregation without keys is of this task, and is there without rows, too.
    keeps_group_of_all: bool,
    input: Option<SendableRecordBatchStream>,
    input_schema: SchemaRef,
    given: std::vec::IntoIter<RecordBatch>,
    task: OperatorTask,
}

impl OperatorRun for Run {
    async fn next_rows(&mut self) -> Result<Option<RecordBatch>> {
        if let Some(mut input) = self.input.take() {
            let mut batches = Vec::new();
            while let Some(batch) = input.next().await {
                batches.push(batch.map_err(from_datafusion)?);
            }
            let batch = concat_batches(&self.input_schema, &batches)?;
            self.given = self.finish(&batch)?.into_iter();
        }
        Ok(self.given.next())
    }

    async fn abort(&mut self) {}
}

impl Run {
    fn finish(&self, batch: &RecordBatch) -> Result<Vec<RecordBatch>> {
        let RecomputeAggregate { spec: AggregateSpec { operator, mode, gives, event_time, .. }, shape } = &self.of;
        let scope = &self.task.scope;
        let began = scope.clock.monotonic();
        let mut groups = scope.state.table(operator, MAIN_STORE, self.task.partition)?;
        let mut inputs = scope.state.multi_table(operator, INPUTS_STORE, self.task.partition)?;
        let touched = Touched::of(shape, batch, self.keeps_group_of_all)?;
        let event_time_key = event_time_among(&shape.key_fields, event_time.as_deref())?.and_then(|at| touched.keys.get(at));
        let expiry = event_time_key.map(|times| Ok::<_, Error>(expiry_ms(&event_times_us(times)?, 0))).transpose()?;
        let rows = GroupRows::apply(&touched, expiry.as_ref(), &mut inputs, operator)?;
        let have_rows = rows.have_rows();
        let values = rows.aggregate(shape)?;
        let after = StoreRows { n_rows: touched.n_groups, keys: store_keys(touched.keys, touched.n_groups), expiry, values };
        let changes = match gives {
            Gives::Changes => {
                let there = |group: usize| shape.keys.is_empty() || have_rows.value(group);
                Some(changes_of_groups(&mut groups, &after, there, |groups| output_rows(shape, groups))?)
            }
            Gives::Rows => None,
        };
        if shape.keys.is_empty() {
            upsert(&mut groups, &after)?;
        } else {
            groups.remove(&filtered(&after, &arrow::compute::not(&have_rows)?)?.keys)?;
            upsert(&mut groups, &filtered(&after, &have_rows)?)?;
        }
        let mut report = StateOperatorReport { n_partitions: 1, n_stores: 2, ..StateOperatorReport::of(operator, "stateStoreSave") };
        report.n_rows_updated = after.n_rows as u64;
        report.updates_ms = scope.millis_since(began);
        if *mode == OutputMode::Update && event_time.is_some() {
            let began = scope.clock.monotonic();
            report.n_rows_removed = groups.discard_expired(self.task.watermarks.current_ms)? as u64;
            inputs.discard_expired(self.task.watermarks.current_ms)?;
            report.removals_ms = scope.millis_since(began);
        }
        report.n_rows_total = groups.n_rows() as u64;
        let out = match (changes, mode) {
            (Some(changes), _) => vec![changes],
            (None, OutputMode::Complete) => groups.scan().map(|rows| output_rows(shape, rows?)).collect::<Result<Vec<_>>>()?,
            (None, _) => vec![output_rows(shape, after)?],
        };
        drop((groups, inputs));
        scope.report_state(report);
        Ok(out)
    }
}

fn upsert(table: &mut KeyedTable, rows: &StoreRows) -> Result<()> {
    match rows.n_rows {
        0 => Ok(()),
        _ => table.upsert(&rows.keys, rows.expiry.as_ref(), &rows.values),
    }
}

fn output_rows(shape: &Shape, rows: StoreRows) -> Result<RecordBatch> {
    let StoreRows { n_rows, keys, values, .. } = rows;
    let columns = keys.into_iter().take(shape.keys.len()).chain(values).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(&shape.output), columns, &options)?)
}

/// The groups and rows of a batch.
struct Touched {
    n_groups: usize,
    keys: Vec<ArrayRef>,
    /// Of each row of the batch.
    groups_of_rows: Vec<usize>,
    inputs: Vec<ArrayRef>,
    nets: Int64Array,
    bytes: InputBytes,
}

impl Touched {
    fn of(shape: &Shape, batch: &RecordBatch, keeps_group_of_all: bool) -> Result<Self> {
        let nets = batch.columns().last().and_then(|nets| nets.as_primitive_opt::<Int64Type>());
        let nets = nets.ok_or_else(|| Error::internal("rows without how often they were added"))?;
        // What comes and goes within a batch's task was never there.
        let is_change: arrow::array::BooleanArray = nets.iter().map(|net| Some(net.unwrap_or(0) != 0)).collect();
        let batch = arrow::compute::filter_record_batch(batch, &is_change)?;
        let nets = batch
            .columns()
            .last()
            .and_then(|nets| nets.as_primitive_opt::<Int64Type>())
            .cloned()
            .unwrap_or_else(|| Int64Array::new_null(0));
        let columns = |wanted: &[usize]| wanted.iter().filter_map(|idx| batch.columns().get(*idx).cloned()).collect::<Vec<_>>();
        let (keys, inputs) = (columns(&shape.keys), columns(&shape.inputs));
        let mut groups_of_rows = vec![0; batch.num_rows()];
        let (n_groups, keys) = if keys.is_empty() {
            (usize::from(keeps_group_of_all || batch.num_rows() > 0), keys)
        } else {
            let schema = Arc::new(Schema::new(shape.key_fields.clone()));
            let mut groups = new_group_values(schema, &GroupOrdering::None).map_err(from_datafusion)?;
            groups.intern(&keys, &mut groups_of_rows).map_err(from_datafusion)?;
            (groups.len(), groups.emit(EmitTo::All).map_err(from_datafusion)?)
        };
        let bytes = InputBytes::new(&shape.input_schema)?;
        Ok(Self { n_groups, keys, groups_of_rows, inputs, nets, bytes })
    }
}

/// Makes rows comparable.
struct InputBytes(Option<RowConverter>);

impl InputBytes {
    fn new(schema: &Schema) -> Result<Self> {
        let fields: Vec<SortField> = schema.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
        Ok(Self(if fields.is_empty() { None } else { Some(RowConverter::new(fields)?) }))
    }

    fn of(&self, columns: &[ArrayRef]) -> Result<Option<Rows>> {
        self.0.as_ref().map(|converter| Ok(converter.convert_columns(columns)?)).transpose()
    }
}

/// The rows of the touched groups after the batch: where each is, and how often it is there.
struct GroupRows {
    /// Columns of the state's rows and of the batch's.
    known: Vec<ArrayRef>,
    new: Vec<ArrayRef>,
    /// Group, of the batch, row, how often; ordered by group, then by age.
    rows: Vec<(usize, bool, usize, i64)>,
    n_groups: usize,
}

impl GroupRows {
    /// Applies the batch to the state's rows.
    fn apply(touched: &Touched, expiry: Option<&Int64Array>, state: &mut KeyedMultiTable, operator: &str) -> Result<Self> {
        let keys = store_keys(touched.keys.clone(), touched.n_groups);
        let mut matches = state.lookup_all(&keys)?;
        let known = state.next_pairs(&mut matches, usize::MAX).unwrap_or_default();
        let mut known_columns = state.gather(&known.slots)?;
        let counts = known_columns.remove(0);
        let counts = counts.as_primitive_opt::<Int64Type>().ok_or_else(|| Error::internal("rows without their number"))?;
        let (known_bytes, new_bytes) = (touched.bytes.of(&known_columns)?, touched.bytes.of(&touched.inputs)?);
        let mut nets: HashMap<(usize, Option<Row<'_>>), (usize, i64)> = HashMap::with_capacity(touched.groups_of_rows.len());
        for (row, group) in touched.groups_of_rows.iter().enumerate() {
            let bytes = new_bytes.as_ref().map(|rows| rows.row(row));
            nets.entry((*group, bytes)).or_insert((row, 0)).1 += touched.nets.value(row);
        }
        let mut rows = Vec::with_capacity(known.slots.len() + nets.len());
        let (mut gone, mut changed, mut changed_counts) = (Vec::new(), Vec::new(), Vec::new());
        for (row, (group, slot)) in known.probe_rows.iter().zip(&known.slots).enumerate() {
            let (group, bytes) = (*group as usize, known_bytes.as_ref().map(|rows| rows.row(row)));
            let before = counts.value(row);
            let net = nets.remove(&(group, bytes)).map_or(0, |(_, net)| net);
            let count = before.checked_add(net).filter(|count| *count >= 0).ok_or_else(|| never_added(operator))?;
            match count {
                0 => gone.push(*slot),
                count if count != before => {
                    changed.push(*slot);
                    changed_counts.push(count);
                }
                _ => {}
            }
            if count > 0 {
                rows.push((group, false, row, count));
            }
        }
        let mut added: Vec<(usize, usize, i64)> = nets.into_iter().map(|((group, _), (row, net))| (group, row, net)).collect();
        added.retain(|(.., net)| *net != 0);
        if added.iter().any(|(.., net)| *net < 0) {
            return Err(never_added(operator));
        }
        // In the order in which they came.
        added.sort_unstable_by_key(|(_, row, _)| *row);
        rows.extend(added.iter().map(|(group, row, net)| (*group, true, *row, *net)));
        rows.sort_by_key(|(group, ..)| *group);
        if !changed.is_empty() {
            state.set_value(&changed, 0, Arc::new(Int64Array::from(changed_counts)))?;
        }
        state.remove_slots(&gone)?;
        if !added.is_empty() {
            let taken = |column: &ArrayRef, rows: &UInt32Array| Ok(take(column, rows, None)?);
            let of = |idx: usize| u32::try_from(idx).map_err(|_| Error::exhausted("a batch of over 2^32 rows"));
            let of_groups = UInt32Array::from(added.iter().map(|(group, ..)| of(*group)).collect::<Result<Vec<_>>>()?);
            let of_rows = UInt32Array::from(added.iter().map(|(_, row, _)| of(*row)).collect::<Result<Vec<_>>>()?);
            let keys = keys.iter().map(|key| taken(key, &of_groups)).collect::<Result<Vec<_>>>()?;
            let expiry =
                expiry.map(|expiry| Ok::<_, Error>(take(expiry, &of_groups, None)?.as_primitive::<Int64Type>().clone())).transpose()?;
            let counts: ArrayRef = Arc::new(added.iter().map(|(.., net)| *net).collect::<Int64Array>());
            let inputs = touched.inputs.iter().map(|input| taken(input, &of_rows));
            let values = std::iter::once(Ok(counts)).chain(inputs).collect::<Result<Vec<_>>>()?;
            state.append(&keys, expiry.as_ref(), &values)?;
        }
        Ok(Self { known: known_columns, new: touched.inputs.clone(), rows, n_groups: touched.n_groups })
    }

    /// Which groups have rows.
    fn have_rows(&self) -> arrow::array::BooleanArray {
        let mut have = vec![false; self.n_groups];
        self.rows.iter().for_each(|(group, ..)| {
            if let Some(have) = have.get_mut(*group) {
                *have = true
            }
        });
        have.into()
    }

    /// The values of the aggregates by group; of a group without rows those of no rows.
    fn aggregate(&self, shape: &Shape) -> Result<Vec<ArrayRef>> {
        let mut values = shape.calls.iter().map(|call| groups_accumulator(&call.aggregate)).collect::<Result<Vec<_>>>()?;
        // Accumulators take it that every new group has a row in the call in which it comes up: those with rows are numbered.
        let mut numbers: Vec<Option<u32>> = vec![None; self.n_groups];
        let mut n_live = 0_u32;
        let mut chunk = Chunk::default();
        for (group, is_new, row, count) in &self.rows {
            let number = numbers.get_mut(*group).ok_or_else(|| Error::internal("a row of no group"))?;
            let number = match number {
                Some(number) => *number,
                none => {
                    n_live += 1;
                    *none.insert(n_live - 1)
                }
            };
            for _ in 0..*count {
                chunk.places.push((usize::from(*is_new), *row));
                chunk.groups.push(number as usize);
                if chunk.groups.len() == CHUNK_ROWS {
                    chunk.give(self, shape, &mut values, n_live as usize)?;
                }
            }
        }
        if !chunk.groups.is_empty() {
            chunk.give(self, shape, &mut values, n_live as usize)?;
        }
        let numbers: UInt32Array = numbers.into_iter().map(|number| Some(number.unwrap_or(n_live))).collect();
        let calls = values.iter_mut().zip(shape.calls.iter()).map(|(accumulator, call)| {
            let of_rows = match n_live {
                0 => arrow::array::new_empty_array(call.aggregate.field().data_type()),
                _ => accumulator.evaluate(EmitTo::All).map_err(from_datafusion)?,
            };
            let of_none = call.aggregate.create_accumulator().and_then(|mut none| none.evaluate()?.to_array_of_size(1));
            let all = arrow::compute::concat(&[&of_rows, &of_none.map_err(from_datafusion)?])?;
            Ok(take(&all, &numbers, None)?)
        });
        calls.collect()
    }
}

/// Rows on their way to the accumulators.
#[derive(Default)]
struct Chunk {
    /// Of the batch, row.
    places: Vec<(usize, usize)>,
    groups: Vec<usize>,
}

impl Chunk {
    fn give(
        &mut self,
        of: &GroupRows,
        shape: &Shape,
        accumulators: &mut [Box<dyn datafusion::logical_expr::GroupsAccumulator>],
        n_groups: usize,
    ) -> Result<()> {
        let columns = of.known.iter().zip(&of.new).map(|(known, new)| Ok(interleave(&[known.as_ref(), new.as_ref()], &self.places)?));
        let options = RecordBatchOptions::new().with_row_count(Some(self.groups.len()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&shape.input_schema), columns.collect::<Result<Vec<_>>>()?, &options)?;
        for (call, accumulator) in shape.calls.iter().zip(accumulators) {
            let value = |expr: &Arc<dyn PhysicalExpr>| {
                expr.evaluate(&rows).and_then(|value| value.into_array(rows.num_rows())).map_err(from_datafusion)
            };
            let order = call.aggregate.order_bys().iter().map(|order| Arc::clone(&order.expr));
            let args = call.aggregate.expressions().into_iter().chain(order).map(|expr| value(&expr)).collect::<Result<Vec<_>>>()?;
            let filter = call.filter.as_ref().map(value).transpose()?;
            let filter =
                filter.as_ref().map(|filter| filter.as_boolean_opt().ok_or_else(|| Error::internal("a filter that is no condition")));
            accumulator.update_batch(&args, &self.groups, filter.transpose()?, n_groups).map_err(from_datafusion)?;
        }
        self.places.clear();
        self.groups.clear();
        Ok(())
    }
}
