//! How Spark names a call: `SQRT(4)` in upper case, `from_json(j)` without its schema, `RLIKE(s, p)`.

use millstream_sql::ir::{DataType, StructField};

use crate::expr::Typed;

/// Math functions whose name Spark shows in upper case.
const UPPER: [&str; 33] = [
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "cos", "cosh", "cot", "csc", "degrees", "exp", "expm1",
    "floor", "hypot", "log", "log10", "log1p", "log2", "radians", "rlike", "sec", "sin", "sinh", "sqrt", "tan", "tanh", "e", "pi", "rint",
];

/// Spark's name of another name of the same function.
const SHOWN_AS: [(&str, &str); 11] = [
    ("to_varchar", "to_char"),
    ("regexp", "REGEXP"),
    ("regexp_like", "REGEXP_LIKE"),
    ("power", "POWER"),
    ("signum", "SIGNUM"),
    ("dateadd", "date_add"),
    ("current_schema", "current_schema"),
    ("rint", "rint"),
    ("hypot", "HYPOT"),
    ("ln", "ln"),
    ("isnan", "isnan"),
];

/// Calls whose name shows only the first argument.
const FIRST_ONLY: [&str; 9] =
    ["from_json", "to_json", "from_csv", "to_csv", "schema_of_json", "schema_of_csv", "likeall", "likeany", "from_avro"];

/// How Spark shows the order in which `array_sort` sorts by itself.
const NATURAL_ORDER: &str = "lambdafunction((IF(((namedlambdavariable() IS NULL) AND (namedlambdavariable() IS NULL)), 0, \
     (IF((namedlambdavariable() IS NULL), 1, (IF((namedlambdavariable() IS NULL), -1, \
     (IF((namedlambdavariable() < namedlambdavariable()), -1, (IF((namedlambdavariable() > namedlambdavariable()), 1, 0)))))))))), \
     namedlambdavariable(), namedlambdavariable())";

/// The text of a call.
pub(crate) fn call_name(name: &str, args: &[Typed]) -> String {
    let shown = match SHOWN_AS.iter().find(|(from, _)| *from == name) {
        Some((_, to)) => (*to).to_owned(),
        None if UPPER.contains(&name) => name.to_uppercase(),
        None => name.to_owned(),
    };
    let names: Vec<&str> = args.iter().map(|arg| arg.name.as_str()).collect();
    match (name, names.as_slice()) {
        ("log", [x]) => format!("LOG(E(), {x})"),
        ("ltrim", [what, from]) => format!("TRIM(LEADING {what} FROM {from})"),
        ("rtrim", [what, from]) => format!("TRIM(TRAILING {what} FROM {from})"),
        ("trim", [what, from]) => format!("TRIM(BOTH {what} FROM {from})"),
        ("btrim", [from, what]) => format!("btrim({from}, {what})"),
        ("ceil" | "floor", [x, scale]) => format!("{name}({x}, {scale})"),
        ("datepart", [field, from]) => format!("{name}({field} FROM {from})"),
        ("extract", [field, from]) => format!("extract({field} FROM {from})"),
        ("from_json", [json, ..]) if matches!(args.get(1).map(map_schema), Some(true)) => {
            let _ = json;
            "entries".to_owned()
        }
        ("array_sort", [list]) => format!("array_sort({list}, {NATURAL_ORDER})"),
        (name, [first, ..]) if FIRST_ONLY.contains(&name) => format!("{shown}({first})"),
        (_, names) => format!("{shown}({})", names.join(", ")),
    }
}

/// The Spark type of a result whose Arrow type does not tell all.
pub(crate) fn result_type(name: &str, args: &[Typed]) -> Option<DataType> {
    let of = |idx: usize| args.get(idx).map(|arg| arg.data_type.clone());
    match name {
        "abs" | "negative" | "positive" => of(0).filter(crate::coerce::is_ansi_interval),
        "array" => {
            let contains_null = args.iter().any(|arg| arg.nullable);
            Some(DataType::Array { element: Box::new(args.first().map_or(DataType::Null, |arg| arg.data_type.clone())), contains_null })
        }
        "map" => {
            let (key, value) = (args.first()?, args.get(1)?);
            let value_contains_null = args.iter().skip(1).step_by(2).any(|arg| arg.nullable);
            Some(DataType::Map { key: Box::new(key.data_type.clone()), value: Box::new(value.data_type.clone()), value_contains_null })
        }
        "split" => Some(DataType::Array { element: Box::new(DataType::String), contains_null: false }),
        "map_keys" => match of(0) {
            Some(DataType::Map { key, .. }) => Some(DataType::Array { element: key, contains_null: false }),
            _ => None,
        },
        "map_values" => match of(0) {
            Some(DataType::Map { value, value_contains_null, .. }) => {
                Some(DataType::Array { element: value, contains_null: value_contains_null })
            }
            _ => None,
        },
        // The same values in another order, or fewer of them.
        "reverse" | "array_distinct" | "sort_array" | "slice" | "shuffle" | "array_remove" | "array_except" => {
            of(0).filter(|t| matches!(t, DataType::Array { .. }))
        }
        "named_struct" => {
            let fields = args.chunks_exact(2).map(|pair| match pair {
                [name, value] => Some(StructField {
                    nullable: value.nullable,
                    ..StructField::new(name.literal()?.try_as_str().flatten()?, value.data_type.clone())
                }),
                _ => None,
            });
            fields.collect::<Option<Vec<_>>>().map(DataType::Struct)
        }
        _ => None,
    }
}

fn map_schema(schema: &Typed) -> bool {
    schema.name.trim_start().get(..4).is_some_and(|word| word.eq_ignore_ascii_case("map<"))
}
