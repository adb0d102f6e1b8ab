//! The round of a recursive query that follows another, with the error that ends a recursion without end.

use std::sync::{Arc, LazyLock};

use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit};

/// The function; stateless, so it is found by its name when a plan is decoded.
pub(crate) fn udf() -> Arc<ScalarUDF> {
    static UDF: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::new_from_impl(RecursionLevel::new())));
    Arc::clone(&UDF)
}

/// The level behind `level`, which must not be above `limit`.
pub(crate) fn call(level: Expr, limit: i64) -> Expr {
    udf().call(vec![level, lit(limit)])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct RecursionLevel {
    signature: Signature,
}

impl RecursionLevel {
    fn new() -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for RecursionLevel {
    fn name(&self) -> &str {
        "millstream_recursion_level"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [levels, limits] = arrays.as_slice() else { return exec_err!("millstream_recursion_level takes two numbers") };
        let (Some(levels), Some(limits)) = (levels.as_primitive_opt::<Int64Type>(), limits.as_primitive_opt::<Int64Type>()) else {
            return exec_err!("millstream_recursion_level takes BIGINT");
        };
        if let Some((_, limit)) = levels.iter().flatten().zip(limits.iter().flatten()).find(|(level, limit)| level >= limit) {
            let error = millstream_core::Error::data(format!("the recursion has not ended after {limit} rounds"))
                .code("RECURSION_LEVEL_LIMIT_EXCEEDED")
                .hint("raise the limit: WITH RECURSIVE t(col) MAX RECURSION LEVEL 200 AS ...");
            return Err(DataFusionError::External(Box::new(error)));
        }
        let next: Int64Array = levels.unary(|level| level + 1);
        Ok(ColumnarValue::Array(Arc::new(next)))
    }
}
