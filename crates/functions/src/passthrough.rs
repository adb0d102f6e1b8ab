//! Functions that DataFusion or datafusion-spark already compute as Spark does: an allow-list, not a default.
//!
//! A name is here because its results were compared with Spark's. The call goes through our own function all the
//! same, so that types come out as the contract of this crate says.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF};

use crate::def::{Arg, Call, FunctionDef, Returns};

/// Hashes and formats taken from DataFusion.
pub const FUNCTIONS: &[FunctionDef] = &[
    FunctionDef::new("md5", &[Arg::Binary], Returns::String, |call| delegate(call, datafusion::functions::crypto::md5())),
    FunctionDef::new("sha1", &[Arg::Binary], Returns::String, |call| delegate(call, datafusion_spark::function::hash::sha1()))
        .alias(&["sha"]),
    FunctionDef::new("sha2", &[Arg::Binary, Arg::Int], Returns::String, |call| delegate(call, datafusion_spark::function::hash::sha2())),
    FunctionDef::new("format_string", &[Arg::String, Arg::Any], Returns::String, |call| {
        delegate(call, datafusion_spark::function::string::format_string())
    })
    .min(1)
    .repeat(1)
    .alias(&["printf"])
    .lenient(),
];

/// Calls a DataFusion function on the same arguments and casts its result to the type of ours.
pub(crate) fn delegate(call: &Call<'_>, udf: Arc<ScalarUDF>) -> Result<ArrayRef> {
    let args = (0..call.len()).map(|idx| call.array(idx)).collect::<Result<Vec<_>>>()?;
    delegate_arrays(args, call.n_rows(), &udf, call.return_type())
}

/// Calls a DataFusion function on columns.
pub(crate) fn delegate_arrays(args: Vec<ArrayRef>, n_rows: usize, udf: &ScalarUDF, wanted: &DataType) -> Result<ArrayRef> {
    let arg_fields: Vec<FieldRef> =
        args.iter().map(|array| Arc::new(Field::new("", array.data_type().clone(), true)) as FieldRef).collect();
    let literals = vec![None; args.len()];
    let return_field = udf.return_field_from_args(ReturnFieldArgs { arg_fields: &arg_fields, scalar_arguments: &literals })?;
    let result = udf.invoke_with_args(ScalarFunctionArgs {
        args: args.into_iter().map(ColumnarValue::Array).collect(),
        arg_fields,
        number_rows: n_rows,
        return_field,
        config_options: Arc::new(ConfigOptions::default()),
    })?;
    let result = result.into_array(n_rows)?;
    if result.data_type() == wanted { Ok(result) } else { Ok(arrow::compute::cast(&result, wanted)?) }
}
