//! Slices and windows as a reader of state sees them.

use arrow::array::TimestampMicrosecondArray;
use arrow::datatypes::TimeUnit;

use super::*;

#[test]
fn slices_are_shown_with_their_ends_and_other_columns_as_they_are() {
    let plain = Arc::new(Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false));
    let starts: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![0, 2, 4]).with_timezone("UTC"));
    assert_eq!(shown_field(&plain), plain);
    assert_eq!(&shown_column(&plain, &starts).unwrap(), &starts);
    // Windows begin at 0, 4, 8 and end at 2, 6, 10.
    let slices = Arc::new(of_slices(plain.as_ref().clone(), TimeWindows::new(10, 4, 0).unwrap()).unwrap());
    let shown = shown_column(&slices, &starts).unwrap();
    assert_eq!(shown.data_type(), shown_field(&slices).data_type());
    let ends = shown.as_struct().column(1).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(ends.values(), &[2, 4, 6]);
}
