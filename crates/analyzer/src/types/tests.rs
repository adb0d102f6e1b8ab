//! Types there and back.
use super::*;

#[test]
fn every_spark_type_survives_the_way_through_arrow() {
    let types = [
        DataType::Boolean,
        DataType::Byte,
        DataType::Long,
        DataType::Double,
        DataType::Decimal { precision: 10, scale: 2 },
        DataType::String,
        DataType::Binary,
        DataType::Date,
        DataType::Timestamp,
        DataType::TimestampNtz,
        DataType::DAY_TIME,
        DataType::YEAR_MONTH,
        DataType::CalendarInterval,
        DataType::Null,
        DataType::array(DataType::structure([("a", DataType::Int), ("B", DataType::map(DataType::String, DataType::Date))])),
    ];
    for data_type in types {
        assert_eq!(from_arrow(&to_arrow(&data_type).unwrap()).unwrap(), data_type);
    }
}

#[test]
fn types_that_spark_lacks_become_the_next_wider() {
    assert_eq!(from_arrow(&ArrowType::UInt32).unwrap(), DataType::Long);
    assert_eq!(from_arrow(&ArrowType::Utf8View).unwrap(), DataType::String);
    assert_eq!(from_arrow(&ArrowType::Timestamp(TimeUnit::Nanosecond, None)).unwrap(), DataType::TimestampNtz);
}

#[test]
fn variant_is_refused_by_name() {
    let error = to_arrow(&DataType::Variant).unwrap_err();
    assert_eq!(error.message(), "the type VARIANT is not supported");
}
