//! DataFrame programs: the steps of `/gold/cases/dataframe_cases.py`, and of scenarios, as calls.

use std::collections::BTreeMap;

use futures::FutureExt;
use futures::future::BoxFuture;
use millstream::{AllowMissing, Column, DataFrame, Error, KeepKnown, Result, Session, expr};
use millstream_sql::ir::Literal;
use millstream_testkit::gold::{Report, expected, lines};
use serde_json::Value;

use super::running_count::running_count;
use super::{finish, outcome, rows, session_with_views};

#[tokio::test(flavor = "multi_thread")]
async fn dataframes_answer_as_in_spark() {
    let session = session_with_views().await;
    let mut report = Report::new("dataframe").unwrap();
    for case in lines("dataframe.jsonl").unwrap() {
        let frame = build(&session, case["steps"].as_array().unwrap(), "append").await;
        let is_ordered = case["ordered"].as_bool().unwrap();
        report.case(case["id"].as_str().unwrap(), &expected(&case, "schema").unwrap(), is_ordered, &outcome(rows(frame).await));
    }
    finish(report);
}

/// The frame that the steps make; `mode` is the output mode of its functions with state.
pub fn build<'a>(session: &'a Session, steps: &'a [Value], mode: &'a str) -> BoxFuture<'a, Result<DataFrame>> {
    async move {
        let mut frame: Option<DataFrame> = None;
        for step in steps {
            let step = step.as_array().unwrap();
            frame = Some(apply(session, frame, step[0].as_str().unwrap(), &step[1..], mode).await?);
        }
        Ok(frame.unwrap())
    }
    .boxed()
}

async fn apply(session: &Session, frame: Option<DataFrame>, method: &str, args: &[Value], mode: &str) -> Result<DataFrame> {
    let Some(frame) = frame else {
        return match method {
            "table" => Ok(session.table(text(&args[0]))),
            _ => session.sql(text(&args[0])).await,
        };
    };
    let texts = || args.iter().map(text);
    let side = async || build(session, args[0].as_array().unwrap(), mode).await;
    Ok(match method {
        "select" => frame.select(texts()),
        "select_expr" => frame.select_expr(texts())?,
        "filter" => frame.filter_expr(text(&args[0]))?,
        "where" => frame.where_(text(&args[0]))?,
        "with_column" => frame.with_column(text(&args[0]), expr(text(&args[1]))?),
        "with_columns" => frame.with_columns(pairs(&args[0]).map(|(name, column)| Ok((name, expr(column)?))).collect::<Result<Vec<_>>>()?),
        "with_column_renamed" => frame.with_column_renamed(text(&args[0]), text(&args[1])),
        "with_columns_renamed" => frame.with_columns_renamed(pairs(&args[0])),
        "drop" => frame.drop(texts()),
        "to_df" => frame.to_df(texts()),
        "alias" => frame.alias(text(&args[0])),
        "union" => frame.union(&side().await?),
        "intersect" => frame.intersect(&side().await?),
        "except" => frame.except(&side().await?),
        "union_by_name" => {
            let missing = if args[1] == Value::Bool(true) { AllowMissing::Yes } else { AllowMissing::No };
            frame.union_by_name(&side().await?, missing)
        }
        "join" => join(&frame, &side().await?, &args[1], text(&args[2]))?,
        "group_by" => grouped(&frame, args)?,
        "order_by" => frame.order_by(texts().map(sort_key).collect::<Result<Vec<_>>>()?),
        "limit" => frame.limit(number(&args[0])),
        "offset" => frame.offset(number(&args[0])),
        "distinct" => frame.distinct(),
        "drop_duplicates" => frame.drop_duplicates(texts()),
        "drop_duplicates_within_watermark" => frame.drop_duplicates_within_watermark(texts()),
        "with_watermark" => frame.with_watermark(text(&args[0]), text(&args[1]))?,
        "flat_map_groups_with_state" => {
            assert_eq!(args[1], "running_count");
            running_count(&frame, names(args.first()), text(&args[2]), mode)?
        }
        "fillna" => frame.fillna(literal(&args[0]), &names(args.get(1))),
        "dropna" => frame.dropna(kept(args), &names(args.get(2))),
        other => return Err(Error::unsupported(format!("the method {other}"))),
    })
}

fn literal(value: &Value) -> Literal {
    match value {
        Value::Bool(value) => Literal::from(*value),
        Value::String(text) => Literal::from(text.as_str()),
        Value::Number(number) => number.as_i64().map_or_else(|| Literal::from(number.as_f64().unwrap()), Literal::from),
        other => panic!("{other} is no literal"),
    }
}

/// PySpark's `how` and `thresh`.
fn kept(args: &[Value]) -> KeepKnown {
    match (args.first().and_then(Value::as_str), args.get(1).and_then(Value::as_u64)) {
        (_, Some(n)) => KeepKnown::AtLeast(usize::try_from(n).unwrap()),
        (Some("all"), None) => KeepKnown::AtLeast(1),
        _ => KeepKnown::All,
    }
}

fn names(value: Option<&Value>) -> Vec<&str> {
    value.and_then(Value::as_array).map_or_else(Vec::new, |names| names.iter().map(text).collect())
}

fn join(left: &DataFrame, right: &DataFrame, on: &Value, how: &str) -> Result<DataFrame> {
    match on {
        Value::Null => Ok(left.cross_join(right)),
        Value::String(condition) => left.join(right, expr(condition)?, how),
        names => left.join_using(right, names.as_array().unwrap().iter().map(text), how),
    }
}

fn grouped(frame: &DataFrame, args: &[Value]) -> Result<DataFrame> {
    let keys = args[0].as_array().unwrap().iter().map(|key| expr(text(key))).collect::<Result<Vec<_>>>()?;
    let grouped = frame.group_by(keys);
    let columns: Vec<&str> = args[2..].iter().map(text).collect();
    Ok(match text(&args[1]) {
        "agg" => grouped.agg(columns.into_iter().map(expr).collect::<Result<Vec<_>>>()?),
        "count" => grouped.count(),
        "sum" => grouped.sum(&columns),
        "avg" => grouped.avg(&columns),
        "min" => grouped.min(&columns),
        "max" => grouped.max(&columns),
        other => return Err(Error::unsupported(format!("the method {other}"))),
    })
}

/// `desc` puts nulls last by itself.
fn sort_key(key: &str) -> Result<Column> {
    match key.strip_suffix(" DESC NULLS LAST").or_else(|| key.strip_suffix(" DESC")) {
        Some(column) => Ok(expr(column)?.desc()),
        None => expr(key),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn number(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}

fn pairs(value: &Value) -> impl Iterator<Item = (&str, &str)> {
    let pairs: BTreeMap<&str, &str> = value.as_object().unwrap().iter().map(|(name, value)| (name.as_str(), text(value))).collect();
    pairs.into_iter()
}
