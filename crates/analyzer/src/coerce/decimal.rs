//! Decimals that hold values of other types. Results of arithmetic are the kernels' work.

use millstream_sql::ir::DataType;

/// Most digits of a decimal.
const PRECISION_MAX: i32 = 38;
/// The decimal that holds both without loss, or as much of the integral digits as there is room for.
pub(crate) fn wider_decimal(left: &DataType, right: &DataType) -> Option<DataType> {
    let (p1, s1) = parts(left)?;
    let (p2, s2) = parts(right)?;
    let scale = s1.max(s2);
    let integral = (p1 - s1).max(p2 - s2);
    if integral + scale <= PRECISION_MAX {
        return Some(decimal(integral + scale, scale));
    }
    Some(decimal(PRECISION_MAX, (PRECISION_MAX - integral).max(0)))
}

/// The decimal with room for every value of an integral type; decimals stay as they are.
pub(crate) fn decimal_for_integral(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Byte => decimal(3, 0),
        DataType::Short => decimal(5, 0),
        DataType::Int => decimal(10, 0),
        DataType::Long => decimal(20, 0),
        DataType::Float => decimal(14, 7),
        DataType::Double => decimal(30, 15),
        DataType::Decimal { .. } => data_type.clone(),
        _ => return None,
    })
}

/// A decimal cut to 38 digits on both counts.
pub(crate) fn bounded(precision: i32, scale: i32) -> DataType {
    decimal(precision.min(PRECISION_MAX), scale.min(PRECISION_MAX))
}

fn parts(data_type: &DataType) -> Option<(i32, i32)> {
    match data_type {
        DataType::Decimal { precision, scale } => Some((i32::from(*precision), i32::from(*scale))),
        _ => None,
    }
}

fn decimal(precision: i32, scale: i32) -> DataType {
    // Both are within 0..=38 here; the conversions cannot fail.
    DataType::Decimal { precision: u8::try_from(precision).unwrap_or(38), scale: i8::try_from(scale).unwrap_or(0) }
}
