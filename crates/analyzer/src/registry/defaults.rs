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
    Seconds,
}

use Default::{Bool, Int, Null, Seconds, Text};

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
    ("make_interval", 0, &[Int(0), Int(0), Int(0), Int(0), Int(0), Int(0), Seconds]),
    ("try_make_interval", 0, &[Int(0), Int(0), Int(0), Int(0), Int(0), Int(0), Seconds]),
    ("make_dt_interval", 0, &[Int(0), Int(0), Int(0), Seconds]),
    ("make_ym_interval", 0, &[Int(0), Int(0)]),
    ("instr", 3, &[Int(1)]),
    ("mask", 1, &[Text("X"), Text("x"), Text("n"), Null]),
];

/// Adds the defaults of `name`.
pub(crate) fn fill(name: &str, args: &mut Vec<Typed>) {
    let Some((_, from, defaults)) = DEFAULTS.iter().find(|(function, ..)| *function == name) else { return };
    if matches!(name, "lpad" | "rpad") && args.len() == 2 && args.first().is_some_and(|arg| arg.data_type == DataType::Binary) {
        let zero = DfExpr::Literal(ScalarValue::Binary(Some(vec![0])), None);
        args.push(Typed::new(zero, DataType::Binary, false, "X'00'"));
        return;
    }
    let Some(given) = args.len().checked_sub(*from) else { return };
    args.extend(defaults.iter().skip(given).map(typed));
}

fn typed(default: &Default) -> Typed {
    let (scalar, data_type, name) = match default {
        Int(value) => (ScalarValue::Int32(Some(*value)), DataType::Int, value.to_string()),
        Text(value) => (ScalarValue::Utf8(Some((*value).to_owned())), DataType::String, (*value).to_owned()),
        Bool(value) => (ScalarValue::Boolean(Some(*value)), DataType::Boolean, value.to_string()),
        Seconds => (ScalarValue::Decimal128(Some(0), 18, 6), DataType::Decimal { precision: 18, scale: 6 }, "0.000000".to_owned()),
        Null => (ScalarValue::Utf8(None), DataType::String, "NULL".to_owned()),
    };
    let nullable = scalar.is_null();
    Typed::new(DfExpr::Literal(scalar, None), data_type, nullable, name)
}
