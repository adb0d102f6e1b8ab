//! `[0, 1, 2]` for a list of three: the positions that `posexplode` unnests beside the elements.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use crate::types::{ELEMENT, list_of};

/// The function's name.
pub(crate) const NAME: &str = "millstream_positions";

/// The function; stateless, so it is found by its name when a plan is decoded.
pub(crate) fn udf() -> Arc<ScalarUDF> {
    static UDF: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::new_from_impl(Positions::new())));
    Arc::clone(&UDF)
}

/// The positions of a list.
pub(crate) fn call(list: Expr) -> Expr {
    udf().call(vec![list])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Positions {
    signature: Signature,
}

impl Positions {
    fn new() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Positions {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(list_of(DataType::Int32))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [arg] = args.args.as_slice() else { return exec_err!("millstream_positions takes one list") };
        let is_scalar = matches!(arg, ColumnarValue::Scalar(_));
        let list = arg.to_array(if is_scalar { 1 } else { args.number_rows })?;
        let Some(list) = list.as_list_opt::<i32>() else { return exec_err!("millstream_positions takes a list, not {}", list.data_type()) };
        let positions: ArrayRef = Arc::new(positions(list)?);
        Ok(match is_scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&positions, 0)?),
            false => ColumnarValue::Array(positions),
        })
    }
}

fn positions(list: &ListArray) -> Result<ListArray> {
    let lengths: Vec<usize> = list
        .offsets()
        .windows(2)
        .map(|pair| match pair {
            [start, end] => usize::try_from(end - start).unwrap_or(0),
            _ => 0,
        })
        .collect();
    let values: Int32Array = lengths.iter().flat_map(|n| 0..i32::try_from(*n).unwrap_or(i32::MAX)).collect();
    let field: FieldRef = Arc::new(Field::new(ELEMENT, DataType::Int32, true));
    Ok(ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), Arc::new(values), list.nulls().cloned())?)
}
