//! Over finished data there is one batch; and what groups start from, there and on streams.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use millstream::{DataFrame, GroupState, GroupStateTimeout, GroupsWithState, ScalarValue, Session, col, lit, parse_schema};
use millstream_engine::physical::PlanCodec;

use super::bench::{Bench, output, row, sorted, spec, totals};

fn events(session: &Session) -> DataFrame {
    let keys: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), Some("a"), None, Some("b")]));
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4]));
    let schema = parse_schema("k STRING, v BIGINT").unwrap();
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![keys, numbers]).unwrap();
    session.create_dataframe(schema, vec![batch.slice(0, 3), batch.slice(3, 1)]).unwrap()
}

fn state(session: &Session, keys: &[&str]) -> DataFrame {
    let n = keys.len();
    let keys: ArrayRef = Arc::new(StringArray::from(keys.to_vec()));
    let numbers = |number: i64| Arc::new(Int64Array::from(vec![number; n])) as ArrayRef;
    let schema = parse_schema("total BIGINT, K STRING, n BIGINT").unwrap();
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![numbers(1000), keys, numbers(100)]).unwrap();
    session.create_dataframe(schema, vec![batch]).unwrap()
}

fn joined(rows: Vec<Vec<String>>) -> Vec<String> {
    rows.iter().map(|row| row.join(" ")).collect()
}

fn totals_from(events: &DataFrame, spec: GroupsWithState) -> DataFrame {
    events.group_by(["k"]).flat_map_groups_with_state(spec, |key: &[ScalarValue], rows: &[RecordBatch], state: &mut GroupState| {
        Ok(vec![totals(key, rows, state, GroupStateTimeout::None)?])
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn finished_data_is_one_batch_without_timeouts() {
    for parallelism in [1, 3] {
        let session = Bench::new().session(parallelism);
        let function = |key: &[ScalarValue], rows: &[RecordBatch], state: &mut GroupState| {
            assert!(!state.exists() && !state.has_timed_out());
            state.set_timeout_timestamp(1)?;
            let n_rows = rows.iter().map(RecordBatch::num_rows).sum::<usize>();
            Ok(vec![row(key, n_rows as i64, state.current_watermark_ms().unwrap_or(0), "once")?])
        };
        let grouped = events(&session).group_by(["k"]);
        let frame = grouped.flat_map_groups_with_state(spec(GroupStateTimeout::EventTime), function);
        assert_eq!(joined(sorted(frame).await), ["NULL 1 0 once", "a 1 0 once", "b 2 0 once"]);
    }
    // In the order of the first rows.
    let session = Bench::new().session(1);
    let rows = totals_from(&events(&session), spec(GroupStateTimeout::None)).text_rows().await.unwrap();
    assert_eq!(joined(rows), ["b 2 5 rows", "a 1 2 rows", "NULL 1 3 rows"]);
    // Spark's answer where there is a watermark and no stream.
    let with_time = events(&session).with_column("ts", lit("2026-01-01 00:00:00").cast("timestamp").unwrap());
    let grouped = with_time.with_watermark("ts", "1 second").unwrap().group_by(Vec::<&str>::new());
    let frame = grouped.map_groups_with_state(spec(GroupStateTimeout::None), |key, rows, state| {
        row(key, rows.iter().map(|rows| rows.num_rows() as i64).sum(), state.current_watermark_ms()?, "all")
    });
    assert_eq!(joined(sorted(frame).await), ["NULL 4 -1 all"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_may_be_computed_and_all_columns_are_seen() {
    let session = Bench::new().session(2);
    let grouped = events(&session).group_by([(col("v") % lit(2_i64)).alias("odd"), col("v").gt(lit(3_i64))]);
    let function = |key: &[ScalarValue], rows: &[RecordBatch], _: &mut GroupState| {
        let names: Vec<String> = rows[0].schema().fields().iter().map(|field| field.name().clone()).collect();
        row(&[format!("{key:?}").into()], rows[0].num_rows() as i64, 0, &names.join(","))
    };
    let frame = grouped.map_groups_with_state(spec(GroupStateTimeout::None), function);
    let expected = ["[Int64(0), Boolean(false)] 1 0 k,v", "[Int64(0), Boolean(true)] 1 0 k,v", "[Int64(1), Boolean(false)] 2 0 k,v"];
    assert_eq!(joined(sorted(frame).await), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_start_from_an_initial_state_and_keys_without_rows_are_called_too() {
    for parallelism in [1, 3] {
        let session = Bench::new().session(parallelism);
        let from = spec(GroupStateTimeout::None).initial_state(state(&session, &["b", "z"]));
        let expected = ["NULL 1 3 rows", "a 1 2 rows", "b 102 1005 rows", "z 100 1000 rows"];
        assert_eq!(joined(sorted(totals_from(&events(&session), from)).await), expected);

        // Of a stream with the first batch, and never again.
        let bench = Bench::new();
        for (second, parallelism) in [(1, parallelism), (2, 2)] {
            bench.feed(&[(Some("b"), second, 1), (Some("c"), second, 2)]);
            let session = bench.session(parallelism);
            let from = spec(GroupStateTimeout::None).initial_state(state(&session, &["b", "z"]));
            bench.run(&totals_from(&bench.events(&session).await, from)).await.unwrap();
        }
        let expected = ["b 101 1001 rows", "b 102 1002 rows", "c 1 2 rows", "c 2 4 rows", "z 100 1000 rows"];
        assert_eq!(joined(bench.out().await), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_initial_state_that_does_not_fit_is_refused() {
    let session = Bench::new().session(2);
    let refused = async |initial: DataFrame| {
        let frame = totals_from(&events(&session), spec(GroupStateTimeout::None).initial_state(initial));
        frame.collect().await.unwrap_err().to_string()
    };
    let twice = refused(state(&session, &["b", "b"])).await;
    assert!(twice.contains("the initial state of the function 'totals'") && twice.contains("the same key"), "{twice}");
    let missing = refused(state(&session, &["b"]).drop(["n"])).await;
    assert!(missing.contains("must have one column 'n', and has the columns total, K"), "{missing}");
    let of_another_type = refused(state(&session, &["b"]).with_column("n", lit("x"))).await;
    assert!(of_another_type.contains("is STRING, not BIGINT"), "{of_another_type}");
    let bench = Bench::new();
    bench.feed(&[(Some("a"), 1, 1)]);
    let stream = bench.events(&session).await.select_expr(["k", "v AS n", "v AS total"]).unwrap();
    assert!(refused(stream).await.contains("a stream as initial state"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_function_gives_must_be_what_it_declares() {
    let session = Bench::new().session(1);
    let grouped = events(&session).group_by(["k"]);
    let narrow =
        grouped.flat_map_groups_with_state(spec(GroupStateTimeout::None), |key, _, _| Ok(vec![row(key, 1, 1, "x")?.project(&[0, 1])?]));
    let error = narrow.collect().await.unwrap_err().to_string();
    assert!(error.contains("it gave rows of (k Utf8, n Int64), and declares (k Utf8, n Int64, total Int64, why Utf8)"), "{error}");
    let none = grouped.map_groups_with_state(spec(GroupStateTimeout::None), |_, _, _| Ok(RecordBatch::new_empty(output())));
    let error = none.collect().await.unwrap_err().to_string();
    assert!(error.contains("it gave 0 rows for a group, not one"), "{error}");
    let odd = Arc::new(arrow::datatypes::Schema::new(vec![arrow::datatypes::Field::new("n", arrow::datatypes::DataType::UInt32, true)]));
    let declared = GroupsWithState::new("odd", Arc::clone(&odd), odd);
    let error = grouped.flat_map_groups_with_state(declared, |_, _, _| Ok(vec![])).collect().await.unwrap_err();
    assert!(error.to_string().contains("output column 'n' of 'odd' as UInt32"), "{error}");
    assert_eq!(error.hint_text(), Some("declare it as Int64"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_with_a_function_stays_in_its_process() {
    use datafusion_proto::bytes::physical_plan_to_bytes_with_extension_codec;
    let session = Bench::new().session(2);
    for frame in [
        totals_from(&events(&session), spec(GroupStateTimeout::None)),
        totals_from(&events(&session), spec(GroupStateTimeout::None).initial_state(state(&session, &["b"]))),
    ] {
        let plan = frame.physical_plan().await.unwrap();
        let codec = PlanCodec::new(Arc::clone(session.engine().registry()));
        let error = physical_plan_to_bytes_with_extension_codec(plan, &codec).unwrap_err().to_string();
        assert!(error.contains("the function 'totals' of flatMapGroupsWithState in another process"), "{error}");
    }
}
