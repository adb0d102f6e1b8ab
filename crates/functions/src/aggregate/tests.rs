//! Sums, averages, percentiles through real plans: with and without groups, merged, distinct.

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, DurationMicrosecondArray, Float64Array, Int64Array, RecordBatch};
use datafusion::prelude::*;

use super::*;
use crate::error_class;
use crate::testing::texts;

async fn run(column: ArrayRef, name: &str, extra: Vec<Expr>, distinct: bool) -> String {
    let n_rows = column.len();
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values((0..n_rows).map(|row| row as i64 % 2)));
    let batch = RecordBatch::try_from_iter(vec![("k", keys), ("v", column)]).unwrap();
    let ctx = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2).with_batch_size(2));
    let slices = [batch.slice(0, n_rows / 2), batch.slice(n_rows / 2, n_rows - n_rows / 2)];
    let table = datafusion::datasource::MemTable::try_new(batch.schema(), slices.iter().map(|b| vec![b.clone()]).collect());
    let df = ctx.read_table(Arc::new(table.unwrap())).unwrap();
    let mut args = vec![col("v")];
    args.extend(extra);
    let expr = Expr::AggregateFunction(datafusion::logical_expr::expr::AggregateFunction::new_udf(
        aggregate(name).unwrap(),
        args,
        distinct,
        None,
        vec![],
        None,
    ));
    let mut out = Vec::new();
    for group in [vec![], vec![col("k")]] {
        let df = df.clone().aggregate(group.clone(), vec![expr.clone().alias("r")]).unwrap();
        let df = if group.is_empty() { df } else { df.sort(vec![col("k").sort(true, true)]).unwrap() };
        match df.collect().await {
            Ok(batches) => {
                for batch in batches {
                    out.extend(texts(batch.column_by_name("r").unwrap()).into_iter().map(|t| t.unwrap_or("NULL".into())));
                }
            }
            Err(error) => out.push(format!("!{}", error_class(&error).unwrap_or("?"))),
        }
    }
    out.join(" ")
}

fn longs(values: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

#[tokio::test]
async fn sums_are_checked() {
    let values = || longs(vec![Some(1), Some(2), None, Some(4), Some(5)]);
    assert_eq!(run(values(), "sum", vec![], false).await, "12 6 6");
    assert_eq!(run(longs(vec![Some(3), Some(3), Some(3)]), "sum", vec![], true).await, "3 3 3");
    assert_eq!(run(longs(vec![None, None]), "sum", vec![], false).await, "NULL NULL NULL");
    let huge = || longs(vec![Some(i64::MAX), Some(0), Some(1), Some(0)]);
    assert_eq!(run(huge(), "sum", vec![], false).await, "!ARITHMETIC_OVERFLOW !ARITHMETIC_OVERFLOW");
    assert_eq!(run(huge(), "try_sum", vec![], false).await, "NULL NULL 0");
    let days: ArrayRef = Arc::new(DurationMicrosecondArray::from(vec![86_400_000_000, 43_200_000_000]));
    assert_eq!(
        run(days, "avg", vec![], false).await,
        "INTERVAL '0 18:00:00' DAY TO SECOND INTERVAL '1 00:00:00' DAY TO SECOND INTERVAL '0 12:00:00' DAY TO SECOND"
    );
}

#[tokio::test]
async fn decimals_follow_sparks_types() {
    let decimals = |values: Vec<i128>, precision, scale| {
        Arc::new(Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap()) as ArrayRef
    };
    assert_eq!(run(decimals(vec![100, 201, 301], 10, 2), "sum", vec![], false).await, "6.02 4.01 2.01");
    assert_eq!(run(decimals(vec![100, 200, 200], 10, 2), "avg", vec![], false).await, "1.666667 1.500000 2.000000");
    let top = 10i128.pow(38) - 1;
    assert_eq!(run(decimals(vec![top, 0, top, 0], 38, 0), "sum", vec![], false).await, "!ARITHMETIC_OVERFLOW !ARITHMETIC_OVERFLOW");
    assert_eq!(run(decimals(vec![top, 0, top, 0], 38, 0), "try_sum", vec![], false).await, "NULL NULL 0");
    // Only the whole sum must fit, whatever the order of its rows.
    let returns = run(decimals(vec![top, 1, top, -top, -top, 2], 38, 0), "sum", vec![], false).await;
    assert_eq!(returns, format!("3 {top} {}", 3 - top));
    assert_eq!(run(decimals(vec![top, 0, top, 0], 38, 0), "avg", vec![], false).await, "!ARITHMETIC_OVERFLOW !ARITHMETIC_OVERFLOW");
}

#[tokio::test]
async fn percentiles_interpolate_and_ranks_do_not() {
    let values = || Arc::new(Float64Array::from(vec![1.0, 10.0, 2.0, 20.0, 3.0, 30.0])) as ArrayRef;
    assert_eq!(run(values(), "percentile", vec![lit(0.5)], false).await, "6.5 2.0 20.0");
    assert_eq!(run(values(), "median", vec![], false).await, "6.5 2.0 20.0");
    assert_eq!(run(values(), "percentile_approx", vec![lit(0.5), lit(100)], false).await, "3.0 2.0 20.0");
    assert_eq!(run(longs(vec![Some(5), Some(1), Some(5), Some(2)]), "mode", vec![], false).await, "5 5 1");
    assert_eq!(run(values(), "skewness", vec![], false).await.split(' ').nth(1), Some("0.0"));
    assert_eq!(run(longs(vec![None, None]), "mode", vec![], false).await, "NULL NULL NULL");
}

#[tokio::test]
async fn moments_agree_with_spark_to_the_last_digit() {
    let values = || Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0, 4.0])) as ArrayRef;
    assert_eq!(run(values(), "var_samp", vec![], false).await, "1.6666666666666667 2.0 2.0");
    assert_eq!(run(values(), "stddev_pop", vec![], false).await, "1.118033988749895 1.0 1.0");
    assert_eq!(run(values(), "corr", vec![col("v")], false).await, "1.0 1.0 1.0");
    assert_eq!(run(values(), "regr_count", vec![col("v")], false).await, "4 2 2");
    assert_eq!(run(Arc::new(Float64Array::from(vec![1.0])), "stddev", vec![], false).await, "NULL NULL");
}

#[tokio::test]
async fn nan_is_the_largest_and_the_last_of_equals_wins() {
    let values = || Arc::new(Float64Array::from(vec![1.0, 5.0, f64::NAN, -1.0])) as ArrayRef;
    assert_eq!(run(values(), "max", vec![], false).await, "NaN NaN 5.0");
    assert_eq!(run(values(), "min", vec![], false).await, "-1.0 1.0 -1.0");
    assert_eq!(run(longs(vec![Some(1), Some(2), Some(3), Some(4)]), "max_by", vec![lit(1)], false).await.split(' ').nth(1), Some("3"));
    assert_eq!(run(longs(vec![Some(1), Some(2)]), "max", vec![], false).await, "2 1 2");
}

mod states;
