//! Columns that `from_json` makes, with the fields alone that are used.
//!
//! As Spark's rule of the same purpose (`OptimizeCsvJsonExprs`) only calls without options: a mode or a column of corrupt records
//! looks at the whole text.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::{Alias, ScalarFunction};
use millstream_functions::types::{parse_type, type_name};

use super::{Use, narrowed_type};

const FROM_JSON: &str = "spark_from_json";

/// The same column of a narrower call, if it is one that can be narrower.
pub(super) fn narrowed(expr: &Expr, how: &Use) -> Option<Expr> {
    match expr {
        Expr::Alias(alias) => {
            let inner = narrowed(&alias.expr, how)?;
            Some(Expr::Alias(Alias { expr: Box::new(inner), ..alias.clone() }))
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == FROM_JSON => {
            // Its last argument is the time zone.
            let [text, Expr::Literal(ScalarValue::Utf8(Some(schema)), metadata), zone] = args.as_slice() else { return None };
            let whole = parse_type(schema).or_else(|_| parse_type(&format!("struct<{schema}>"))).ok()?;
            let data_type = narrowed_type(&whole, how);
            let name = type_name(&data_type);
            // Not every type has a name that says all of it.
            if data_type == whole || !is_said(&data_type, &name) {
                return None;
            }
            let schema = Expr::Literal(ScalarValue::Utf8(Some(name)), metadata.clone());
            let args = vec![text.clone(), schema, zone.clone()];
            Some(Expr::ScalarFunction(ScalarFunction { func: std::sync::Arc::clone(func), args }))
        }
        _ => None,
    }
}

fn is_said(data_type: &DataType, name: &str) -> bool {
    parse_type(name).is_ok_and(|read| read == *data_type)
}
