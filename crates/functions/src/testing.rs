//! Calls a function by its name, as DataFusion would: for the tests of this crate.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Decimal128Array, StringArray};
use arrow::datatypes::{Field, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs};

/// Calls a function on columns.
pub(crate) fn call(name: &str, args: &[ArrayRef]) -> Result<ArrayRef> {
    let n_rows = args.first().map_or(1, |array| array.len());
    call_values(name, args.iter().cloned().map(ColumnarValue::Array).collect(), n_rows)
}

/// Calls a function on columns and literals.
pub(crate) fn call_values(name: &str, args: Vec<ColumnarValue>, n_rows: usize) -> Result<ArrayRef> {
    let udf = crate::scalar(name).unwrap_or_else(|| panic!("no function {name}")).udf();
    let arg_fields: Vec<FieldRef> =
        args.iter().enumerate().map(|(idx, arg)| Arc::new(Field::new(format!("c{idx}"), arg.data_type(), true))).collect();
    let literals: Vec<Option<&ScalarValue>> = args
        .iter()
        .map(|arg| match arg {
            ColumnarValue::Scalar(value) => Some(value),
            ColumnarValue::Array(_) => None,
        })
        .collect();
    let return_field = udf.return_field_from_args(ReturnFieldArgs { arg_fields: &arg_fields, scalar_arguments: &literals })?;
    let result = udf.invoke_with_args(ScalarFunctionArgs {
        args: args.clone(),
        arg_fields,
        number_rows: n_rows,
        return_field: Arc::clone(&return_field),
        config_options: Arc::new(ConfigOptions::default()),
    })?;
    let array = result.into_array(n_rows)?;
    assert_eq!(array.data_type(), return_field.data_type(), "{name}");
    Ok(array)
}

/// A literal.
pub(crate) fn lit(value: impl Into<ScalarValue>) -> ColumnarValue {
    ColumnarValue::Scalar(value.into())
}

/// A column of strings.
pub(crate) fn strings(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// A decimal column of one row.
pub(crate) fn decimal(unscaled: i128, precision: u8, scale: i8) -> ArrayRef {
    Arc::new(Decimal128Array::from(vec![unscaled]).with_precision_and_scale(precision, scale).unwrap())
}

/// The text of every row, by the cast to STRING.
pub(crate) fn texts(array: &ArrayRef) -> Vec<Option<String>> {
    let options = crate::cast::CastOptions::new(crate::cast::CastMode::Ansi, millstream_formats::datetime::Zone::UTC);
    let text = crate::cast::cast_array(array, &arrow::datatypes::DataType::Utf8, &options).unwrap();
    let text = text.as_any().downcast_ref::<StringArray>().unwrap();
    text.iter().map(|value| value.map(str::to_string)).collect()
}

/// Calls a function on literals and gives the text of the one result, or the error's class.
pub(crate) fn eval(name: &str, args: Vec<ScalarValue>) -> String {
    match call_values(name, args.into_iter().map(ColumnarValue::Scalar).collect(), 1) {
        Ok(array) => texts(&array).first().cloned().flatten().unwrap_or_else(|| "NULL".into()),
        Err(error) => format!("!{}", crate::error_class(&error).unwrap_or("?")),
    }
}
