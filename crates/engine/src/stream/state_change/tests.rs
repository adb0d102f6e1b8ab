//! What becomes of an operator's state when its query changes.

use arrow::datatypes::{DataType, Field, TimeUnit};
use millstream_core::TimeWindows;
use millstream_state::store::{StoreDescription, StoreKind, StoreSchema, ValuesOf, of_slices};
use serde_json::json;

use super::*;

type Columns<'a> = &'a [(&'a str, DataType)];

fn store(keys: Columns<'_>, values: Columns<'_>) -> StoreDescription {
    let fields = |columns: Columns<'_>| columns.iter().map(|(name, ty)| Field::new(*name, ty.clone(), true)).collect::<Vec<_>>();
    StoreDescription { name: "default".into(), kind: StoreKind::Single, schema: StoreSchema::new(fields(keys), fields(values)).unwrap() }
}

/// Aggregates by `k`: what of, and the types of its columns.
fn aggregate(key: DataType, calls: &[(&str, &[DataType])]) -> OperatorState {
    let values: Vec<(&str, DataType)> = calls.iter().flat_map(|(of, types)| types.iter().map(|ty| (*of, ty.clone()))).collect();
    let mut operator = OperatorState::new("aggregate", 256, vec![store(&[("k", key)], &values)]);
    operator.detail = json!(["k"]);
    let values_of =
        calls.iter().map(|(of, types)| ValuesOf { of: (*of).into(), n_columns: types.len(), inputs: Vec::new(), from: String::new() });
    operator.values_of.insert("default".into(), values_of.collect());
    operator
}

fn compared(then: &OperatorState, now: &OperatorState, may_drop: &[&str], epoch: u64) -> (StateFate, String, OperatorState) {
    let (then, now) = ([("op".to_owned(), then.clone())].into(), [("op".to_owned(), now.clone())].into());
    let new_source_columns = ["t.z".to_owned()].into();
    let before = Before { operators: &then, has_batches: true, epoch: RunEpoch(epoch), new_source_columns };
    let may_drop: Vec<String> = may_drop.iter().map(|name| (*name).to_owned()).collect();
    let comparison = compare(before, &now, &may_drop).unwrap();
    let change = &comparison.changes[0];
    (change.fate, change.reasons.join("; "), comparison.operators["op"].clone())
}

const I32: DataType = DataType::Int32;
const I64: DataType = DataType::Int64;
const F64: DataType = DataType::Float64;

#[test]
fn what_has_not_changed_is_kept_with_its_past() {
    let mut then = aggregate(I32, &[("sum(v)", &[I64])]);
    let (fate, why, now) = compared(&then, &aggregate(I32, &[("sum(v)", &[I64])]), &[], 3);
    assert_eq!((fate, why.as_str(), now.v), (StateFate::Kept, "", 1));
    then.since = Some(RunEpoch(2));
    then.earlier.insert("default".into(), vec![EarlierLayout { before: RunEpoch(2), columns: vec![Some(0), Some(1)] }]);
    let (fate, _, now) = compared(&then, &aggregate(I32, &[("sum(v)", &[I64])]), &[], 3);
    assert_eq!((fate, now.since, &now.earlier, now.v), (StateFate::Kept, then.since, &then.earlier, 2));
}

#[test]
fn aggregates_are_found_wherever_they_stand_and_forgotten_when_they_are_gone() {
    let then = aggregate(I32, &[("avg(v)", &[I64, F64]), ("min(v)", &[I32]), ("count(1)", &[I64])]);
    let now = aggregate(I64, &[("count(1)", &[I64]), ("avg(v)", &[I64, F64])]);
    let (fate, why, now) = compared(&then, &now, &[], 4);
    assert_eq!(fate, StateFate::Migrated, "{why}");
    assert_eq!(why, "key k was int and is bigint; min(v) is gone, and what it kept is forgotten");
    assert_eq!(now.earlier["default"], [EarlierLayout { before: RunEpoch(4), columns: vec![Some(0), Some(4), Some(1), Some(2)] }]);
    // A second change goes by way of the first.
    let later = aggregate(I64, &[("avg(v)", &[I64, F64])]);
    let (fate, _, later) = compared(&now, &later, &[], 6);
    assert_eq!(fate, StateFate::Migrated);
    let layouts = &later.earlier["default"];
    assert_eq!(layouts[0], EarlierLayout { before: RunEpoch(4), columns: vec![Some(0), Some(1), Some(2)] });
    assert_eq!(layouts[1], EarlierLayout { before: RunEpoch(6), columns: vec![Some(0), Some(2), Some(3)] });
    // What was forgotten does not come back, and what was widened does not become narrow again.
    let back = aggregate(I32, &[("avg(v)", &[I64, F64]), ("min(v)", &[I32]), ("count(1)", &[I64])]);
    let (fate, why, _) = compared(&later, &back, &[], 7);
    assert_eq!(fate, StateFate::Refused);
    assert!(why.contains("key k was bigint and is int, which does not hold all of its values") && why.contains("min(v) is new"), "{why}");
}

#[test]
fn types_widen_where_every_value_stays_the_same() {
    let decimal = |digits, scale| DataType::Decimal128(digits, scale);
    let list = |item: DataType| DataType::List(Field::new("item", item, true).into());
    let f32 = || DataType::Float32;
    let change =
        |from: DataType, to: DataType| compared(&aggregate(I32, &[("min(v)", &[from])]), &aggregate(I32, &[("min(v)", &[to])]), &[], 1).0;
    for (from, to) in [(I32, I64), (f32(), F64), (decimal(5, 2), decimal(7, 3)), (list(I32), list(I64))] {
        assert_eq!(change(from.clone(), to.clone()), StateFate::Migrated, "{from} to {to}");
        assert_eq!(change(to, from), StateFate::Refused);
    }
    for (from, to) in [(I32, DataType::Utf8), (I64, F64), (decimal(5, 2), decimal(5, 3)), (DataType::Date32, I32)] {
        assert_eq!(change(from, to), StateFate::Refused);
    }
    let key = |from: DataType, to: DataType| compared(&aggregate(from, &[]), &aggregate(to, &[]), &[], 1);
    assert_eq!(key(decimal(5, 2), decimal(7, 2)).0, StateFate::Migrated);
    let (fate, why, _) = key(f32(), F64);
    assert_eq!((fate, why.as_str()), (StateFate::Refused, "key k was float and is double, in which the same number may be another value"));
}

#[test]
fn windows_that_were_structs_go_on_as_their_starts() {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let window = DataType::Struct(["start", "end"].map(|name| Field::new(name, time.clone(), true)).to_vec().into());
    let by = |key: Field, kind| {
        let from = format!("{} of ts", key.data_type());
        let schema = StoreSchema::new(vec![key], vec![Field::new("n", I64, true)]).unwrap();
        let mut operator = OperatorState::new("aggregate", 256, vec![StoreDescription { name: "default".into(), kind, schema }]);
        operator.values_of = aggregate(I32, &[("n", &[I64])]).values_of;
        operator.keys_from.insert("default".into(), vec![from]);
        operator
    };
    let structs = by(Field::new("window", window.clone(), false), StoreKind::Single);
    let starts = of_slices(Field::new("window", time.clone(), false), TimeWindows::new(10, 10, 0).unwrap()).unwrap();
    let (fate, why, operator) = compared(&structs, &by(starts.clone(), StoreKind::Single), &[], 3);
    assert_eq!((fate, operator.earlier["default"].len()), (StateFate::Migrated, 1), "{why}");
    assert!(why.starts_with("key window was struct<start:timestamp,end:timestamp> and is timestamp"), "{why}");
    // A time that is no window's start, a time that was there, and windows that overlap.
    assert_eq!(compared(&structs, &by(Field::new("window", time.clone(), false), StoreKind::Single), &[], 3).0, StateFate::Refused);
    assert_eq!(compared(&by(starts.clone(), StoreKind::Single), &structs, &[], 3).0, StateFate::Refused);
    let (fate, why, _) = compared(&structs, &by(starts, StoreKind::Sliced), &[], 3);
    assert_eq!((fate, why.as_str()), (StateFate::Refused, "store 'default' kept whole windows, and keeps slices of them"));
}

#[test]
fn what_would_give_a_wrong_row_is_refused() {
    let then = aggregate(I32, &[("sum(v)", &[I64])]);
    let refused = |change: &dyn Fn(&mut OperatorState)| {
        let mut now = then.clone();
        change(&mut now);
        let (fate, why, _) = compared(&then, &now, &[], 1);
        assert_eq!(fate, StateFate::Refused, "{why}");
        why
    };
    assert!(refused(&|now| now.kind = "deduplicate".into()).contains("kind aggregate and is of kind deduplicate"));
    assert!(refused(&|now| now.n_key_groups = 16).contains("256 key groups and has 16"));
    assert!(refused(&|now| now.detail = json!(["window(ts, 1 hour)"])).contains("it was by (k) and is by (window(ts, 1 hour))"));
    assert!(refused(&|now| now.stores.clear()).contains("store 'default', and does not any more"));
    assert!(refused(&|now| now.stores[0].kind = StoreKind::Multi).contains("another number of rows"));
    assert!(refused(&|now| *now = aggregate(I32, &[("sum(v)", &[I64]), ("max(v)", &[I32])])).contains("max(v) is new"));
    let hashed = |now: &mut OperatorState| now.values_of.get_mut("default").unwrap()[0].inputs = vec!["Int64".into()];
    let mut then = then.clone();
    then.values_of.get_mut("default").unwrap()[0].inputs = vec!["Int32".into()];
    let mut now = then.clone();
    hashed(&mut now);
    assert!(compared(&then, &now, &[], 1).1.contains("sum(v) was of (Int32) and is of (Int64)"));
}

/// A store of rows: the names of its columns, and what they are computed from.
fn rows(key_from: &str, columns: &[(&str, &str)]) -> OperatorState {
    let values: Vec<(&str, DataType)> = columns.iter().map(|(name, _)| (*name, I32)).collect();
    let mut operator = OperatorState::new("join", 256, vec![store(&[("k", I32)], &values)]);
    let value = |(of, from): &(&str, &str)| ValuesOf { of: (*of).into(), n_columns: 1, inputs: Vec::new(), from: (*from).into() };
    operator.values_of.insert("default".into(), columns.iter().map(value).collect());
    operator.keys_from.insert("default".into(), vec![key_from.into()]);
    operator
}

#[test]
fn a_column_is_what_it_is_computed_from() {
    let then = rows("t.k", &[("a", "t.v"), ("b", "t.x")]);
    let now = |columns: &[(&str, &str)]| {
        let (fate, why, now) = compared(&then, &rows("t.k", columns), &[], 2);
        (fate, why, now.earlier.get("default").map(|layouts| layouts[0].columns.clone()))
    };
    assert_eq!(now(&[("a", "t.v"), ("b", "t.x")]), (StateFate::Kept, String::new(), None));
    let swapped = Some(vec![Some(0), Some(2), Some(1)]);
    assert_eq!(now(&[("b", "t.x"), ("a", "t.v")]), (StateFate::Migrated, String::new(), swapped.clone()));
    // Two names that change places are two columns that do not; what is renamed stays what it is.
    assert_eq!(now(&[("a", "t.x"), ("b", "t.v")]), (StateFate::Migrated, String::new(), swapped));
    assert_eq!(now(&[("c", "t.v"), ("b", "t.x")]), (StateFate::Kept, String::new(), None));
    let (fate, why, columns) = now(&[("b", "t.x")]);
    assert_eq!(
        (fate, why.as_str(), columns),
        (StateFate::Migrated, "a is gone, and what it kept is forgotten", Some(vec![Some(0), Some(2)]))
    );
    let (fate, why, _) = now(&[("a", "(t.v + 1)"), ("b", "t.x")]);
    assert_eq!((fate, why.as_str()), (StateFate::Refused, "a was computed from t.v and is from (t.v + 1)"));
    let (fate, why, _) = now(&[("a", "t.v"), ("b", "t.x"), ("c", "t.y")]);
    assert!(fate == StateFate::Refused && why.starts_with("c is new"), "{why}");
    let (fate, why, columns) = now(&[("a", "t.v"), ("z", "t.z"), ("b", "t.x")]);
    assert_eq!((fate, why.as_str()), (StateFate::Migrated, "z is new in its source, and null in the rows that are kept"));
    assert_eq!(columns, Some(vec![Some(0), Some(1), None, Some(2)]));
    let (fate, why, _) = compared(&then, &rows("upper(t.k)", &[("a", "t.v"), ("b", "t.x")]), &[], 2);
    assert_eq!((fate, why.as_str()), (StateFate::Refused, "key k was t.k and is upper(t.k)"));
}

/// Older builds did not say what the columns of rows are: names of the user's tell it, names of the plan do not.
#[test]
fn a_checkpoint_of_rows_that_does_not_say_what_they_are_goes_on_by_names() {
    let old = |name: &str| {
        let mut old = rows("", &[(name, "")]);
        old.values_of.clear();
        old.keys_from.clear();
        old
    };
    assert_eq!(compared(&old("a"), &rows("t.k", &[("a", "t.v")]), &[], 2).0, StateFate::Kept);
    let (fate, why, _) = compared(&old("#3"), &rows("t.k", &[("a", "t.v")]), &[], 2);
    assert!(fate == StateFate::Refused && why.contains("the checkpoint of an older build does not say"), "{why}");
}

#[test]
fn an_operator_may_begin_afresh_if_it_cannot_go_on() {
    let (then, now) = (aggregate(I32, &[("sum(v)", &[I64])]), aggregate(I32, &[("max(v)", &[I32])]));
    let (fate, why, operator) = compared(&then, &now, &["op"], 5);
    assert_eq!((fate, operator.since, operator.v), (StateFate::Dropped, Some(RunEpoch(5)), 2), "{why}");
    // One that can is kept, so that the option does no harm when it stays.
    assert_eq!(compared(&then, &then, &["op"], 5).0, StateFate::Kept);
    let none = BTreeMap::new();
    let there: BTreeMap<String, OperatorState> = [("op".to_owned(), now)].into();
    let fates =
        |before: &BTreeMap<String, OperatorState>, now: &BTreeMap<String, OperatorState>, may_drop: &[String], has_batches: bool| {
            let comparison =
                compare(Before { operators: before, has_batches, epoch: RunEpoch(5), new_source_columns: BTreeSet::new() }, now, may_drop)
                    .unwrap();
            (comparison.changes[0].fate, comparison.into_operators())
        };
    let (fate, refused) = fates(&none, &there, &[], true);
    let error = refused.unwrap_err();
    assert_eq!(fate, StateFate::Refused);
    assert!(error.message().contains("'op': it is new, and would begin without what went by before"), "{error}");
    assert!(error.hint_text().unwrap().contains("allowStateDrop 'op'"), "{error}");
    assert!(fates(&there, &none, &[], true).1.unwrap_err().message().contains("it is gone from the query"));
    let allowed = ["op".to_owned()];
    assert_eq!(fates(&none, &there, &allowed, true).0, StateFate::New);
    assert_eq!(fates(&there, &none, &allowed, true).0, StateFate::Dropped);
    // Before the first batch there is nothing to lose.
    assert_eq!(fates(&none, &there, &[], false).0, StateFate::New);
    let before = Before { operators: &there, has_batches: true, epoch: RunEpoch(5), new_source_columns: BTreeSet::new() };
    let unknown = compare(before, &there, &["other".to_owned()]).unwrap_err();
    assert!(unknown.message().contains("'other'") && unknown.hint_text() == Some("there are 'op'"), "{unknown}");
}

/// Older builds wrote the texts of aggregates behind those of the keys, and no columns.
#[test]
fn a_checkpoint_that_does_not_say_what_columns_belong_to_goes_on_with_the_same_aggregates_only() {
    let mut then = aggregate(I32, &[("sum(v)", &[I64]), ("count(1)", &[I64])]);
    then.detail = json!(["k", "sum(v)", "count(1)"]);
    then.values_of.clear();
    then.stores = vec![store(&[("#1", I32)], &[("#2[sum]", I64), ("#3[count]", I64)])];
    let same = aggregate(I32, &[("sum(v)", &[I64]), ("count(1)", &[I64])]);
    assert_eq!(compared(&then, &same, &[], 1).0, StateFate::Kept);
    let other = aggregate(I32, &[("sum(v)", &[I64])]);
    assert_eq!(compared(&then, &other, &[], 1).0, StateFate::Refused);
    let same_types = aggregate(I32, &[("sum(w)", &[I64]), ("count(1)", &[I64])]);
    assert_eq!(compared(&then, &same_types, &[], 1).0, StateFate::Refused);
}

/// An operator with this number that adds up and takes the changes of those.
fn taking(ordinal: u32, of: &str, changes_of: &[&str]) -> OperatorState {
    let mut operator = aggregate(I32, &[(of, &[I64])]);
    operator.ordinal = Some(ordinal);
    operator.changes_of = Some(changes_of.iter().map(|name| (*name).to_owned()).collect());
    operator
}

/// Each operator with its fate, and why.
fn fates(then: &[(&str, OperatorState)], now: &[(&str, OperatorState)], may_drop: &[&str]) -> (Vec<String>, String) {
    let operators = |of: &[(&str, OperatorState)]| of.iter().map(|(name, operator)| ((*name).to_owned(), operator.clone())).collect();
    let (then, now): (BTreeMap<_, _>, BTreeMap<_, _>) = (operators(then), operators(now));
    let may_drop: Vec<String> = may_drop.iter().map(|name| (*name).to_owned()).collect();
    let before = Before { operators: &then, has_batches: true, epoch: RunEpoch(5), new_source_columns: BTreeSet::new() };
    let comparison = compare(before, &now, &may_drop).unwrap();
    for change in comparison.changes.iter().filter(|change| now.contains_key(&change.operator)) {
        let begins_afresh = matches!(change.fate, StateFate::Dropped | StateFate::New);
        assert_eq!(comparison.operators[&change.operator].since.is_some(), begins_afresh, "{change}");
    }
    let together = comparison.must_begin_afresh.iter().map(String::as_str).collect::<Vec<_>>().join(",");
    (comparison.changes.iter().map(|change| format!("{change}")).collect(), together)
}

#[test]
fn operators_that_take_changes_of_each_other_begin_afresh_together() {
    let plain = || ("plain", taking(9, "sum(v)", &[]));
    let then = [("a", taking(0, "sum(v)", &[])), ("b", taking(1, "sum(v)", &[])), ("join", taking(2, "sum(v)", &["a", "b"])), plain()];
    let now = [("a", taking(0, "max(v)", &[])), then[1].clone(), then[2].clone(), plain()];
    // Nothing begins afresh yet, so the others stay as they are, but the names of all are told.
    let (of_none, together) = fates(&then, &now, &[]);
    assert!(of_none[0].starts_with("refused   a: max(v) is new"), "{of_none:?}");
    assert_eq!(
        (&of_none[1..], together.as_str()),
        (&["kept      b", "kept      join", "kept      plain"].map(str::to_owned)[..], "a,b,join")
    );
    let (alone, together) = fates(&then, &now, &["a"]);
    assert!(alone[0].starts_with("dropped   a: max(v) is new"), "{alone:?}");
    assert_eq!(alone[1], "refused   b: it gives changes to 'join': they begin afresh together or not at all");
    assert_eq!(alone[2], "refused   join: it takes changes of 'a': they begin afresh together or not at all");
    assert_eq!((alone[3].as_str(), together.as_str()), ("kept      plain", "a,b,join"));
    let (all, _) = fates(&then, &now, &["a", "b", "join", "plain"]);
    assert!(all[..3].iter().all(|change| change.starts_with("dropped ")), "{all:?}");
    assert_eq!(all[3], "kept      plain");
    // Who may begin afresh and need not is kept.
    assert!(fates(&then, &then, &["a", "b", "join"]).0.iter().all(|change| change.starts_with("kept ")));
    // On top of operators that go on, one is new.
    let (new, together) = fates(&then[..2], &then[..3], &["join"]);
    assert!(new[0].starts_with("refused   a: it gives changes to 'join'") && new[2].starts_with("new       join"), "{new:?}");
    assert_eq!(together, "a,b,join");
    // One on top that is gone is missed by nobody.
    let (gone, together) = fates(&then[..3], &then[..2], &["join"]);
    assert_eq!(gone, ["kept      a", "kept      b", "dropped   join: it is gone from the query"]);
    assert_eq!(together, "join");
}

#[test]
fn an_operator_that_is_given_rows_by_others_than_before_does_not_go_on() {
    let upper = |of: &[&str]| ("upper", taking(2, "sum(v)", of));
    let lower = |name: &'static str| (name, taking(0, "sum(v)", &[]));
    let (fate, _) = fates(&[lower("a"), lower("b"), upper(&["a"])], &[lower("a"), lower("b"), upper(&["b"])], &[]);
    assert_eq!(fate, ["kept      a", "kept      b", "refused   upper: it took changes of 'a' and takes changes of 'b'"]);
    let (fate, together) = fates(&[lower("a"), upper(&["a"])], &[lower("a"), upper(&[])], &[]);
    assert_eq!(fate[1], "refused   upper: it took changes of 'a' and takes rows that stay");
    // It alone: nobody takes back anything any more.
    assert_eq!(together, "upper");
    let (fate, together) = fates(&[lower("a"), upper(&[])], &[lower("a"), upper(&["a"])], &["upper"]);
    assert_eq!(fate[0], "refused   a: it gives changes to 'upper': they begin afresh together or not at all");
    assert_eq!(together, "a,upper");

    // Older builds did not say: what is gone may have stood below.
    let of_older = |(name, mut operator): (&'static str, OperatorState)| {
        operator.changes_of = None;
        (name, operator)
    };
    let then = [of_older(lower("a")), of_older(upper(&[]))];
    let now = [lower("a"), upper(&["a"])];
    assert_eq!(fates(&then, &now, &[]).0, ["kept      a", "kept      upper"]);
    let (fate, together) = fates(&then, &now[1..], &["a"]);
    assert_eq!(fate[1], "refused   upper: the checkpoint is of an older build, which did not say whether it took changes of 'a'");
    assert_eq!(together, "a,upper");
    assert_eq!(fates(&then, &now[..1], &["upper"]).0[0], "kept      a");
}
