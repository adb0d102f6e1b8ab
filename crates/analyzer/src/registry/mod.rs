//! The one registry of functions for all doors: what a name is, how its call is named, which kernel computes it.
//!
//! Scalar kernels come from `millstream_functions`, aggregates from it or from DataFusion by an allow-list, window
//! functions from DataFusion. Names that are in none of the lists are unknown, whatever DataFusion has under them.

pub(crate) mod aggregates;
mod datafusion_aggregates;
pub(crate) mod defaults;
pub(crate) mod names;
pub(crate) mod nullability;
pub(crate) mod positions;
pub(crate) mod recursion_level;
pub(crate) mod single_row;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use datafusion::logical_expr::{Expr, ScalarUDF, lit};
use millstream_functions::FunctionDef;
use millstream_functions::collections::GET_STRUCT_FIELD;
use millstream_sql::Span;

use crate::error::{AnalysisError, Result};

/// Functions that make rows.
const GENERATORS: [&str; 9] =
    ["explode", "explode_outer", "posexplode", "posexplode_outer", "inline", "inline_outer", "stack", "json_tuple", "variant_explode"];

/// Window functions that are no aggregates.
const WINDOW_ONLY: [&str; 8] = ["row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile", "lag", "lead"];

/// Functions with lambdas.
const HIGHER_ORDER: [&str; 12] = [
    "transform",
    "filter",
    "exists",
    "forall",
    "aggregate",
    "reduce",
    "zip_with",
    "transform_keys",
    "transform_values",
    "map_filter",
    "map_zip_with",
    "array_sort",
];

/// Kernels that answer every value of their argument types.
const NEVER_RAISE: [&str; 40] = [
    "spark_get_struct_field",
    "spark_get_array_struct_fields",
    "spark_get_map_value",
    "spark_upper",
    "spark_lower",
    "spark_trim",
    "spark_ltrim",
    "spark_rtrim",
    "spark_substring",
    "spark_concat",
    "spark_concat_ws",
    "spark_length",
    "spark_size",
    "spark_array",
    "spark_struct",
    "spark_named_struct",
    "spark_contains",
    "spark_startswith",
    "spark_endswith",
    "spark_year",
    "spark_month",
    "spark_day",
    "spark_hour",
    "spark_minute",
    "spark_second",
    "spark_date_trunc",
    "spark_trunc",
    "spark_reverse",
    "spark_instr",
    "spark_locate",
    "spark_get",
    "spark_map_keys",
    "spark_map_values",
    "spark_get_json_object",
    "spark_isnan",
    "spark_hash",
    "spark_xxhash64",
    "spark_md5",
    "spark_array_contains",
    "spark_replace",
];

/// Kernels whose result is BOOLEAN.
const BOOLEAN: [&str; 18] = [
    "contains",
    "startswith",
    "endswith",
    "rlike",
    "regexp_like",
    "like",
    "ilike",
    "isnan",
    "array_contains",
    "arrays_overlap",
    "map_contains_key",
    "luhn_check",
    "equal",
    "less",
    "less_or_equal",
    "greater",
    "greater_or_equal",
    "equal_null_safe",
];

/// Functions of Spark that are not offered: the error then says so instead of "not known".
const NOT_OFFERED: [&str; 21] = [
    "input_file_name",
    "java_method",
    "reflect",
    "xpath",
    "parse_json",
    "variant_get",
    "to_xml",
    "from_xml",
    "from_avro",
    "to_avro",
    "approx_top_k",
    "histogram_numeric",
    "hll_sketch_agg",
    "count_min_sketch",
    "bitmap_construct_agg",
    "aes_encrypt",
    "aes_decrypt",
    "from_protobuf",
    "to_protobuf",
    "try_variant_get",
    "to_variant_object",
];

pub(crate) fn is_generator(name: &str) -> bool {
    GENERATORS.contains(&name)
}

pub(crate) fn is_window_only(name: &str) -> bool {
    WINDOW_ONLY.contains(&name)
}

pub(crate) fn is_higher_order(name: &str) -> bool {
    HIGHER_ORDER.contains(&name)
}

pub(crate) fn is_aggregate(name: &str) -> bool {
    aggregates::find(name).is_some()
}

pub(crate) fn is_spark_function(name: &str) -> bool {
    let name = name.to_lowercase();
    NOT_OFFERED.contains(&name.as_str()) || is_higher_order(&name)
}

/// Whether a DataFusion function of this name cannot fail.
pub(crate) fn never_raises(udf_name: &str) -> bool {
    NEVER_RAISE.contains(&udf_name) || udf_name.strip_prefix("spark_").is_some_and(|name| name.starts_with("try_"))
}

/// Whether the DataFusion function of this name gives a BOOLEAN.
pub(crate) fn is_boolean_kernel(udf_name: &str) -> bool {
    udf_name.strip_prefix("spark_").is_some_and(|name| BOOLEAN.contains(&name))
}

/// Whether there is a kernel of this name.
pub(crate) fn has_kernel(name: &str) -> bool {
    millstream_functions::scalar(name).is_some()
}

/// All names that a call may use, for suggestions.
pub(crate) fn known_names() -> Vec<String> {
    let mut names: Vec<String> = millstream_functions::registry::all()
        .flat_map(|def| std::iter::once(def.name).chain(def.aliases.iter().copied()))
        .map(str::to_owned)
        .collect();
    names.extend(GENERATORS.iter().chain(&WINDOW_ONLY).map(|name| (*name).to_owned()));
    names.extend(aggregates::names().map(str::to_owned));
    names
}

/// The call of a kernel.
pub(crate) fn kernel_call(name: &str, args: Vec<Expr>) -> Result<Expr> {
    match millstream_functions::scalar(name) {
        Some(def) => Ok(udf_of(def).call(args)),
        None => Err(AnalysisError::unsupported(format!("'{name}'"), Span::NONE)),
    }
}

/// The field of a struct.
pub(crate) fn field(of: Expr, name: &str) -> Expr {
    udf_of(&GET_STRUCT_FIELD).call(vec![of, lit(name)])
}

/// A window of time, or a session: its bounds as one value.
pub(crate) fn bounds(start: Expr, end: Expr) -> Result<Expr> {
    kernel_call("named_struct", vec![lit("start"), start, lit("end"), end])
}

/// The DataFusion function of a kernel; made once per name.
pub(crate) fn udf_of(def: &FunctionDef) -> Arc<ScalarUDF> {
    static MADE: LazyLock<Mutex<HashMap<&'static str, Arc<ScalarUDF>>>> = LazyLock::new(Mutex::default);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(made.entry(def.name).or_insert_with(|| Arc::new(def.udf())))
}
