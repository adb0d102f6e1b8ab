//! The value of a scalar subquery, given as its number of rows and its first value: more than one row is an error.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err};
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// The function; stateless, so it is found by its name when a plan is decoded.
pub(crate) fn udf() -> Arc<ScalarUDF> {
    static UDF: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::new_from_impl(SingleRow::new())));
    Arc::clone(&UDF)
}

/// The value in a struct of `n` and `value`.
pub(crate) fn call(row: Expr) -> Expr {
    udf().call(vec![row])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SingleRow {
    signature: Signature,
}

impl SingleRow {
    fn new() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for SingleRow {
    fn name(&self) -> &str {
        "millstream_single_row"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        match args {
            [DataType::Struct(fields)] if fields.len() == 2 => Ok(fields.last().map_or(DataType::Null, |field| field.data_type().clone())),
            _ => exec_err!("millstream_single_row takes a number of rows and a value"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [arg] = args.args.as_slice() else { return exec_err!("millstream_single_row takes one struct") };
        let is_scalar = matches!(arg, ColumnarValue::Scalar(_));
        let rows = arg.to_array(if is_scalar { 1 } else { args.number_rows })?;
        let Some(rows) = rows.as_struct_opt() else { return exec_err!("millstream_single_row takes a struct") };
        let [counts, values] = rows.columns() else { return exec_err!("millstream_single_row takes a struct of two") };
        let Some(counts) = counts.as_primitive_opt::<Int64Type>() else { return exec_err!("a number of rows that is no BIGINT") };
        if (0..rows.len()).any(|row| rows.is_valid(row) && counts.is_valid(row) && counts.value(row) > 1) {
            let error = millstream_core::Error::data("a subquery used as an expression gave more than one row");
            return Err(DataFusionError::External(Box::new(error.code("SCALAR_SUBQUERY_TOO_MANY_ROWS"))));
        }
        // No row of the subquery at all: a struct that is null, over values that may be anything.
        let missing = arrow::compute::is_null(rows)?;
        let values = arrow::compute::nullif(values, &missing)?;
        Ok(match is_scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?),
            false => ColumnarValue::Array(values),
        })
    }
}
