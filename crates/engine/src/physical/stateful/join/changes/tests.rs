//! Random changes on both sides: what a join gives, folded, is after each batch the join of what its inputs are, folded; and
//! nothing is taken out that is not there.

use std::collections::BTreeMap;

use arrow::datatypes::{Field, Int8Type, Schema, TimeUnit};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::Operator as Comparison;
use datafusion::physical_expr::expressions::{binary, col};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use futures::TryStreamExt;
use millstream_analyzer::streaming::{Gives, change_field};
use millstream_core::{BatchId, QueryId, RunEpoch};
use millstream_state::store::{KEY_GROUPS, KeyedTable, StoreId, StoreSpec};
use millstream_testkit::Rng;

use arrow::array::{Array, TimestampMicrosecondArray};
use arrow::datatypes::DataType;

use super::super::{KeySpec, SideSpec, StreamJoinExec, pair_schema};
use super::*;
use crate::batch::{BatchFacts, BatchScope, BatchWatermarks};
use crate::physical::stateful::{QueryState, StatefulOperator};

/// A key, a value, a time in seconds.
type Row = (Option<i64>, i64, i64);

/// A row of the result: left and right, each all null where it is missing.
type Joined = (Option<Row>, Option<Row>);

/// Rows of the result with how often they are there.
type Folded = BTreeMap<Joined, i64>;

struct Case {
    kind: JoinType,
    is_null_safe: bool,
    has_filter: bool,
    asks_left: bool,
    /// Of the sides, whether rows are taken out.
    are_changes: [bool; 2],
    /// Both sides expire by their times, so much later.
    offset_ms: Option<i64>,
}

impl Case {
    fn spec(&self) -> JoinSpec {
        let (left, right) = (schema("l", false), schema("r", false));
        let pairs = pair_schema(&left, &right);
        let filter = || binary(col("lv", &pairs).unwrap(), Comparison::Lt, col("rv", &pairs).unwrap(), &pairs).unwrap();
        let side = |name: &str| SideSpec {
            expires_by: self.offset_ms.map(|offset_ms| (format!("{name}t"), offset_ms)),
            can_match: (name == "l" && self.asks_left).then(|| "lc".to_owned()),
        };
        JoinSpec {
            operator: "join-k".to_owned(),
            kind: self.kind,
            keys: vec![KeySpec { left: "lk".to_owned(), right: "rk".to_owned(), is_null_safe: self.is_null_safe }],
            sides: [side("l"), side("r")],
            gives: Gives::Changes,
            filter: self.has_filter.then(filter),
            meaning: vec![],
        }
    }

    fn matches(&self, (lk, lv, _): &Row, (rk, rv, _): &Row) -> bool {
        (lk.is_some() || self.is_null_safe) && lk == rk && (!self.has_filter || lv < rv) && (!self.asks_left || can_match(*lv))
    }

    fn expected(&self, [left, right]: &[Vec<Row>; 2]) -> Folded {
        let mut rows = Folded::new();
        let mut add = |l: Option<&Row>, r: Option<&Row>| *rows.entry((l.copied(), r.copied())).or_default() += 1;
        let [keeps_left, keeps_right] = self.spec().preserves();
        for l in left {
            let of_left: Vec<&Row> = right.iter().filter(|r| self.matches(l, r)).collect();
            match self.kind {
                JoinType::LeftSemi if !of_left.is_empty() => add(Some(l), None),
                JoinType::LeftSemi | JoinType::LeftAnti => {}
                _ => of_left.iter().for_each(|r| add(Some(l), Some(r))),
            }
            if keeps_left && of_left.is_empty() {
                add(Some(l), None);
            }
        }
        for r in right.iter().filter(|r| keeps_right && !left.iter().any(|l| self.matches(l, r))) {
            add(None, Some(r));
        }
        rows
    }
}

fn can_match(value: i64) -> bool {
    value % 3 != 0
}

fn schema(side: &str, with_change: bool) -> Schema {
    let field = |column: &str, data_type| Field::new(format!("{side}{column}"), data_type, true);
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let mut fields = vec![field("k", DataType::Int64), field("v", DataType::Int64), field("t", time), field("c", DataType::Boolean)];
    fields.extend(with_change.then(change_field));
    Schema::new(fields)
}

fn input(side: &str, is_change: bool, rows: &[(Row, i8)]) -> Arc<dyn ExecutionPlan> {
    let schema = Arc::new(schema(side, is_change));
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|((k, ..), _)| *k).collect::<Int64Array>()),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|((_, v, _), _)| *v))),
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|((.., t), _)| t * 1_000_000))),
        Arc::new(rows.iter().map(|((_, v, _), _)| Some(can_match(*v))).collect::<BooleanArray>()),
    ];
    if is_change {
        columns.push(Arc::new(Int8Array::from_iter_values(rows.iter().map(|(_, kind)| *kind))));
    }
    let rows = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
    // In two pieces, as sources and exchanges give them.
    let half = rows.num_rows() / 2;
    let pieces = vec![rows.slice(0, half), rows.slice(half, rows.num_rows() - half)];
    MemorySourceConfig::try_new_exec(&[pieces], schema, None).unwrap()
}

struct Running {
    case: Case,
    state: Arc<QueryState>,
    given: Folded,
}

impl Running {
    fn new(case: Case) -> Self {
        let inputs = [("l", case.are_changes[0]), ("r", case.are_changes[1])].map(|(side, is_change)| input(side, is_change, &[]));
        let [left, right] = inputs;
        let stores = StreamJoinExec::try_new(left, right, case.spec()).unwrap().stores().unwrap();
        let spec = |store: millstream_state::store::StoreDescription| StoreSpec {
            id: StoreId { operator: "join-k".to_owned(), store: store.name },
            kind: store.kind,
            schema: store.schema,
            history: Default::default(),
        };
        let specs: Vec<StoreSpec> = stores.into_iter().map(spec).collect();
        let table = |spec: &StoreSpec| vec![KeyedTable::new(KeyedMultiTable::row_schema(&spec.schema).unwrap()).unwrap()];
        let tables = specs.iter().map(|spec| (spec.id.clone(), table(spec))).collect();
        Self { case, state: Arc::new(QueryState::new(&specs, KEY_GROUPS, tables).unwrap()), given: Folded::new() }
    }

    /// Runs a batch and folds what it gives.
    async fn batch(&mut self, [left, right]: [&[(Row, i8)]; 2], watermark_ms: i64) {
        let [of_left, of_right] = self.case.are_changes;
        let plan = StreamJoinExec::try_new(input("l", of_left, left), input("r", of_right, right), self.case.spec()).unwrap();
        let facts = BatchFacts {
            query_id: QueryId(uuid::Uuid::nil()),
            epoch: RunEpoch(1),
            batch_id: BatchId(0),
            attempt: 0,
            clock_us: 0,
            watermarks: BatchWatermarks { late_ms: 0, current_ms: watermark_ms },
        };
        let clock = Arc::new(millstream_core::SystemClock::default());
        let config = SessionConfig::new().with_extension(Arc::new(BatchScope::new(facts, Arc::clone(&self.state), clock)));
        let ctx = Arc::new(TaskContext::default().with_session_config(config));
        let rows: Vec<RecordBatch> = plan.execute(0, ctx).unwrap().try_collect().await.unwrap();
        for rows in rows {
            let kinds = rows.column(rows.num_columns() - 1).as_primitive::<Int8Type>().clone();
            for row in 0..rows.num_rows() {
                let left = side_of(&rows, 0, row);
                let right = if rows.num_columns() > 5 { side_of(&rows, 4, row) } else { None };
                let n = self.given.entry((left, right)).or_default();
                *n += i64::from(kinds.value(row));
                assert!(*n >= 0, "a row was taken out that was not there: {left:?} {right:?}");
            }
        }
        self.given.retain(|_, n| *n > 0);
    }
}

/// The row of a side whose first column is `at`.
fn side_of(rows: &RecordBatch, at: usize, row: usize) -> Option<Row> {
    let number = |column: usize| {
        let column = rows.column(at + column).as_primitive::<Int64Type>();
        column.is_valid(row).then(|| column.value(row))
    };
    let time = rows.column(at + 2).as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
    Some((number(0), number(1)?, time.value(row) / 1_000_000))
}

#[tokio::test]
async fn the_changes_of_a_join_are_those_of_the_joined_result() {
    let kinds = [JoinType::Inner, JoinType::Left, JoinType::Right, JoinType::Full, JoinType::LeftSemi, JoinType::LeftAnti];
    for seed in 0..120_u64 {
        let kind = kinds[usize::try_from(seed % 6).unwrap()];
        let is = |bit: u64| ((seed / 6) >> bit) & 1 == 1;
        let case = Case {
            kind,
            is_null_safe: is(0),
            has_filter: is(1),
            asks_left: is(2) && kind != JoinType::Right && kind != JoinType::Inner && kind != JoinType::LeftSemi,
            are_changes: [!is(3), !is(4)],
            offset_ms: None,
        };
        let mut rng = Rng::new(seed);
        let mut running = Running::new(case);
        let mut live: [Vec<Row>; 2] = [vec![], vec![]];
        for batch in 0..8 {
            let mut changes: [Vec<(Row, i8)>; 2] = [vec![], vec![]];
            for (side, changes) in changes.iter_mut().enumerate() {
                for _ in 0..rng.below(7) {
                    let live = &mut live[side];
                    if running.case.are_changes[side] && !live.is_empty() && rng.one_in(3) {
                        changes.push((live.swap_remove(rng.index(live.len())), RETRACT));
                    } else {
                        let key = i64::try_from(rng.below(4)).unwrap();
                        let row = ((key > 0).then_some(key), i64::try_from(rng.below(5)).unwrap(), 0);
                        live.push(row);
                        changes.push((row, INSERT));
                    }
                }
            }
            let [left, right] = &changes;
            running.batch([left, right], 0).await;
            assert_eq!(running.given, running.case.expected(&live), "seed {seed}, batch {batch}, {kind}");
        }
    }
}

#[tokio::test]
async fn a_row_that_was_forgotten_takes_nothing_back() {
    let case = Case {
        kind: JoinType::Left,
        is_null_safe: false,
        has_filter: false,
        asks_left: false,
        are_changes: [true, true],
        offset_ms: Some(0),
    };
    let mut running = Running::new(case);
    let (old, new, right) = ((Some(1), 1, 10), (Some(1), 2, 30), (Some(1), 5, 30));
    running.batch([&[(old, INSERT), (new, INSERT)], &[(right, INSERT)]], 0).await;
    let joined = Folded::from([((Some(old), Some(right)), 1), ((Some(new), Some(right)), 1)]);
    assert_eq!(running.given, joined);
    running.batch([&[], &[]], 20_000).await;
    running.batch([&[(old, RETRACT)], &[]], 20_000).await;
    assert_eq!(running.given, joined, "the row of 10 s is final");
    running.batch([&[], &[(right, RETRACT)]], 20_000).await;
    let now = Folded::from([((Some(old), Some(right)), 1), ((Some(new), None), 1)]);
    assert_eq!(running.given, now, "pairs of a forgotten row are final, too");
}
