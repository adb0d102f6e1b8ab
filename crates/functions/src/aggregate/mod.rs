//! Aggregates that DataFusion does not compute as Spark does.
//!
//! `sum` and `avg` with checked overflow and decimals by Spark's rules, percentiles, `mode`, higher moments. What
//! agrees (`count`, `min`, `max`, `bool_and`, `stddev`, `corr`, `array_agg`, ..) is used from DataFusion directly.
//!
//! | name | arguments | result |
//! |---|---|---|
//! | `sum`, `try_sum` | BIGINT, DOUBLE, DECIMAL(p,s) or an interval | BIGINT, DOUBLE, DECIMAL(p+10,s), the interval |
//! | `avg`, `try_avg` | DOUBLE, DECIMAL(p,s) or an interval | DOUBLE, DECIMAL(p+4,s+4), the interval |
//! | `percentile`, `median` | DOUBLE, a literal DOUBLE or ARRAY of DOUBLE | DOUBLE or ARRAY of DOUBLE |
//! | `percentile_approx` | any ordered type, the same literal, an accuracy | the type or an ARRAY of it |
//! | `mode` | any type | the type |
//! | `list` | any type | an ARRAY of it |
//! | `max`, `min` | any ordered type | the type |
//! | `max_by`, `min_by` | a value, an ordered type | the value's type |
//! | `stddev`.. , `var_..`, `skewness`, `kurtosis` | DOUBLE | DOUBLE |
//! | `corr`, `covar_..`, `regr_..` | DOUBLE, DOUBLE | DOUBLE (`regr_count`: BIGINT) |
//!
//! Percentiles of intervals give the interval. Variances follow Spark's formulas, so that the last digit agrees.

mod arguments;
mod buffered;
mod by_group;
mod distinct;
mod double_averages;
mod extreme_by;
mod extremes;
mod framed;
mod moments;
mod sliding;
mod totals;

use std::sync::Arc;

use datafusion::logical_expr::AggregateUDF;

use buffered::{Buffered, Finish};
use extreme_by::ExtremeBy;
use extremes::Extreme;
pub use framed::in_frames;
use moments::{Moment, Moments};
use totals::{Kind, Total};

/// The aggregate of a Spark name.
pub fn aggregate(name: &str) -> Option<Arc<AggregateUDF>> {
    let udaf = match name {
        "sum" => AggregateUDF::from(Total::new(Kind::Sum)),
        "try_sum" => AggregateUDF::from(Total::new(Kind::TrySum)),
        "avg" | "mean" => AggregateUDF::from(Total::new(Kind::Avg)),
        "try_avg" => AggregateUDF::from(Total::new(Kind::TryAvg)),
        "percentile" => AggregateUDF::from(Buffered::new(Finish::Percentile)),
        "median" => AggregateUDF::from(Buffered::new(Finish::Median)),
        "percentile_approx" | "approx_percentile" => AggregateUDF::from(Buffered::new(Finish::NearestRank)),
        "mode" => AggregateUDF::from(Buffered::new(Finish::Mode)),
        "mode_largest" => AggregateUDF::from(Buffered::new(Finish::ModeLargest)),
        "list" => AggregateUDF::from(Buffered::new(Finish::List)),
        "max" => AggregateUDF::from(Extreme::new(true)),
        "min" => AggregateUDF::from(Extreme::new(false)),
        "max_by" => AggregateUDF::from(ExtremeBy::new(true)),
        "min_by" => AggregateUDF::from(ExtremeBy::new(false)),
        other => AggregateUDF::from(Moments::new(Moment::parse(other)?)),
    };
    Some(Arc::new(udaf))
}

/// Every aggregate, to be registered with a session and to decode plans.
pub fn all_aggregate() -> Vec<Arc<AggregateUDF>> {
    [
        "sum",
        "try_sum",
        "avg",
        "try_avg",
        "percentile",
        "median",
        "percentile_approx",
        "mode",
        "mode_largest",
        "list",
        "max",
        "min",
        "max_by",
        "min_by",
    ]
    .into_iter()
    .chain(Moment::ALL.into_iter().map(Moment::name))
    .filter_map(aggregate)
    .chain(framed::all())
    .collect()
}

#[cfg(test)]
mod tests;
