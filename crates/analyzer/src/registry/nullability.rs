//! Whether a call may give NULL: Spark's `nullable`, which schemas and `printSchema` show.

use millstream_functions::FunctionDef;

use crate::expr::Typed;

/// Lenient kernels that always have an answer.
const NEVER_NULL: [&str; 8] = ["array", "map", "named_struct", "hash", "xxhash64", "version", "equal_null_safe", "size"];

/// Strict kernels whose result may be null for arguments that are not.
const NULLABLE_BY_NATURE: [&str; 24] = [
    "get",
    "element_at",
    "try_element_at",
    "get_json_object",
    "json_tuple",
    "from_json",
    "from_csv",
    "to_timestamp",
    "to_date",
    "try_to_timestamp",
    "try_to_date",
    "try_to_number",
    "try_add",
    "try_subtract",
    "try_multiply",
    "try_divide",
    "date_trunc",
    "trunc",
    "conv",
    "unhex",
    "array_max",
    "array_min",
    "next_day",
    "ln",
];

/// Whether the call of `name` with these (coerced) arguments may give NULL.
pub(crate) fn of_call(def: &FunctionDef, name: &str, args: &[Typed]) -> bool {
    if NEVER_NULL.contains(&def.name) && !def.strict {
        return false;
    }
    match name {
        "concat_ws" => args.first().is_none_or(|separator| separator.nullable),
        "greatest" | "least" => args.iter().all(|arg| arg.nullable),
        _ => !def.strict || args.iter().any(|arg| arg.nullable) || NULLABLE_BY_NATURE.contains(&name),
    }
}
