//! Arguments that Spark adds when they are left out; they show in the column's name.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr as DfExpr;
use millstream_sql::ir::DataType;

use crate::expr::Typed;

/// The value of an argument that was left out.
enum Default {
    Int(i32),
    Text(&'static str),
    Bool(bool),
    Null,
}

use Default::{Bool, Int, Null, Text};

/// Function, number of arguments from which on defaults follow, the defaults.
const DEFAULTS: &[(&str, usize, &[Default])] = &[
    ("substring", 2, &[Int(i32::MAX)]),
    ("substr", 2, &[Int(i32::MAX)]),
    ("locate", 2, &[Int(1)]),
    ("position", 2, &[Int(1)]),
    ("lpad", 2, &[Text(" ")]),
    ("rpad", 2, &[Text(" ")]),
    ("replace", 2, &[Text("")]),
    ("split", 2, &[Int(-1)]),
    ("regexp_extract", 2, &[Int(1)]),
    ("regexp_extract_all", 2, &[Int(1)]),
    ("regexp_replace", 3, &[Int(1)]),
    ("regexp_instr", 2, &[Int(0)]),
    ("overlay", 3, &[Int(-1)]),
    ("round", 1, &[Int(0)]),
    ("bround", 1, &[Int(0)]),
    ("sort_array", 1, &[Bool(true)]),
    ("str_to_map", 1, &[Text(","), Text(":")]),
    ("sentences", 1, &[Text(""), Text("")]),
    ("unix_timestamp", 1, &[Text("yyyy-MM-dd HH:mm:ss")]),
    ("to_unix_timestamp", 1, &[Text("yyyy-MM-dd HH:mm:ss")]),
    ("from_unixtime", 1, &[Text("yyyy-MM-dd HH:mm:ss")]),
    ("months_between", 2, &[Bool(true)]),
    ("mask", 1, &[Text("X"), Text("x"), Text("n"), Null]),
];

/// Adds the defaults of `name`.
pub(crate) fn fill(name: &str, args: &mut Vec<Typed>) {
    let Some((_, from, defaults)) = DEFAULTS.iter().find(|(function, ..)| *function == name) else { return };
    let Some(given) = args.len().checked_sub(*from) else { return };
    args.extend(defaults.iter().skip(given).map(typed));
}

fn typed(default: &Default) -> Typed {
    let (scalar, data_type, name) = match default {
        Int(value) => (ScalarValue::Int32(Some(*value)), DataType::Int, value.to_string()),
        Text(value) => (ScalarValue::Utf8(Some((*value).to_owned())), DataType::String, (*value).to_owned()),
        Bool(value) => (ScalarValue::Boolean(Some(*value)), DataType::Boolean, value.to_string()),
        Null => (ScalarValue::Utf8(None), DataType::String, "NULL".to_owned()),
    };
    let nullable = scalar.is_null();
    Typed::new(DfExpr::Literal(scalar, None), data_type, nullable, name)
}
