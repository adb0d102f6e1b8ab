//! What may stand above and below a function with state, and what its rows are there.

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::TimestampMicrosecondType;
use millstream::{DataFrame, GroupState, GroupStateTimeout, GroupsWithState, Result, ScalarValue, parse_schema};

use super::bench::{Bench, totals_of};

/// Gives a row for each row, `shift_ms` later.
fn shifted(events: &DataFrame, shift_ms: i64) -> DataFrame {
    let output = parse_schema("at TIMESTAMP, n BIGINT").unwrap();
    let spec = GroupsWithState::new("shifted", Arc::clone(&output), parse_schema("n BIGINT").unwrap()).event_time("at");
    let function = move |_: &[ScalarValue], rows: &[RecordBatch], state: &mut GroupState| -> Result<Vec<RecordBatch>> {
        let mut given = Vec::new();
        for rows in rows {
            let before = state.value::<i64>("n")?.unwrap_or(0);
            let times = rows["ts"].as_primitive::<TimestampMicrosecondType>();
            let later: TimestampMicrosecondArray = times.unary(|us| us + shift_ms * 1000);
            let numbers: Int64Array = (before + 1..).take(rows.num_rows()).map(Some).collect();
            state.update([(before + rows.num_rows() as i64).into()])?;
            given.push(RecordBatch::try_new(Arc::clone(&output), vec![Arc::new(later.with_timezone("UTC")), Arc::new(numbers)])?);
        }
        Ok(given)
    };
    events.group_by(["k"]).flat_map_groups_with_state(spec, function)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregation_goes_on_with_the_event_time_of_a_functions_rows() {
    for parallelisms in [[1, 1, 1], [2, 3, 1]] {
        let bench = Bench::new();
        for (rows, parallelism) in
            [vec![(Some("a"), 5, 1), (Some("a"), 8, 1), (Some("b"), 12, 1)], vec![(Some("a"), 40, 1)], vec![(Some("b"), 90, 1)]]
                .into_iter()
                .zip(parallelisms)
        {
            bench.feed(&rows);
            let session = bench.session(parallelism);
            shifted(&bench.events(&session).await, 60_000).create_or_replace_temp_view("shifted");
            let sql =
                "SELECT window(at, '10 seconds').start AS w, count(*) AS c, max(n) AS n FROM shifted GROUP BY window(at, '10 seconds')";
            bench.run(&session.sql(sql).await.unwrap()).await.unwrap();
        }
        // The watermark of the input counts: 80 s in the end.
        assert_eq!(bench.out().await, [["2026-01-01 00:01:00", "2", "2"], ["2026-01-01 00:01:10", "1", "1"]]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_would_be_late_above_is_refused_where_it_is_given() {
    let bench = Bench::new();
    bench.feed(&[(Some("a"), 100, 1)]);
    // The watermark of a batch is what the ones before have seen, and late is what the batch before was behind.
    bench.feed(&[(Some("a"), 101, 1)]);
    bench.feed(&[(Some("a"), 102, 1)]);
    let session = bench.session(1);
    let frame = shifted(&bench.events(&session).await, -50_000);
    let error = bench.run(&frame).await.unwrap_err();
    assert_eq!(error.error_class(), Some("EMITTING_ROWS_OLDER_THAN_WATERMARK_NOT_ALLOWED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_counts_what_deduplication_and_aggregation_below_let_through() {
    let bench = Bench::new();
    bench.feed(&[(Some("a"), 5, 1), (Some("a"), 5, 1), (Some("b"), 6, 1)]);
    bench.feed(&[(Some("a"), 50, 1), (Some("a"), 5, 1)]);
    let session = bench.session(2);
    let distinct = bench.events(&session).await.drop_duplicates(["k", "ts"]);
    bench.run(&totals_of(&distinct, GroupStateTimeout::None)).await.unwrap();
    let rows: Vec<String> = bench.out().await.iter().map(|row| row.join(" ")).collect();
    assert_eq!(rows, ["a 1 1 rows", "a 2 2 rows", "b 1 1 rows"]);

    let bench = Bench::new();
    bench.feed(&[(Some("a"), 5, 1), (Some("a"), 6, 2), (Some("b"), 15, 4)]);
    bench.feed(&[(Some("a"), 16, 8), (Some("c"), 100, 16)]);
    bench.events(&session).await.create_or_replace_temp_view("e");
    let sql = "SELECT k, sum(v) AS v FROM e GROUP BY window(ts, '10 seconds'), k";
    let frame = session.sql(sql).await.unwrap();
    bench.events(&session).await.create_or_replace_temp_view("e");
    bench.run(&totals_of(&frame, GroupStateTimeout::None)).await.unwrap();
    let rows: Vec<String> = bench.out().await.iter().map(|row| row.join(" ")).collect();
    // The windows of a are final in different batches, or in one: a call has all rows of a group.
    assert_eq!(rows, ["a 2 11 rows", "b 1 4 rows"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_task_has_all_rows_of_a_union() {
    let bench = Bench::new();
    bench.feed(&[(Some("a"), 5, 1), (Some("b"), 6, 2)]);
    let session = bench.session(1);
    let events = bench.events(&session).await;
    let both = events.union(&events.filter_expr("v = 1").unwrap());
    bench.run(&totals_of(&both, GroupStateTimeout::None)).await.unwrap();
    let rows: Vec<String> = bench.out().await.iter().map(|row| row.join(" ")).collect();
    assert_eq!(rows, ["a 2 2 rows", "b 1 2 rows"]);
}
