//! The tables against Spark's answers.
use super::*;
use DataType as T;

fn dec(precision: u8, scale: i8) -> T {
    T::Decimal { precision, scale }
}

#[test]
fn numbers_meet_in_the_wider_type() {
    assert_eq!(common_type(&T::Byte, &T::Long), Some(T::Long));
    assert_eq!(common_type(&T::Int, &T::Float), Some(T::Double));
    assert_eq!(common_type(&T::Float, &T::Float), Some(T::Float));
    assert_eq!(common_type(&T::Int, &dec(5, 2)), Some(dec(12, 2)));
    assert_eq!(common_type(&dec(5, 2), &T::Double), Some(T::Double));
    assert_eq!(common_type(&dec(38, 10), &dec(38, 0)), Some(dec(38, 0)));
}

#[test]
fn strings_give_way_to_the_other_type() {
    assert_eq!(common_type(&T::String, &T::Int), Some(T::Long));
    assert_eq!(common_type(&dec(3, 1), &T::String), Some(T::Double));
    assert_eq!(common_type(&T::Date, &T::String), Some(T::Date));
    assert_eq!(common_type(&T::DAY_TIME, &T::String), None);
    assert_eq!(common_type_of([&T::Null, &T::String, &T::Int]), Some(T::Long));
}

#[test]
fn nested_types_meet_field_by_field() {
    let left = T::array(T::structure([("a", T::Int)]));
    let right = T::array(T::structure([("A", T::Long)]));
    assert_eq!(common_type(&left, &right), Some(T::array(T::structure([("a", T::Long)]))));
    assert_eq!(common_type(&left, &T::Int), None);
}

#[test]
fn casts_follow_the_ansi_matrix() {
    assert!(can_cast(&T::String, &T::Date, false));
    assert!(!can_cast(&T::Date, &T::Int, false));
    assert!(!can_cast(&T::Boolean, &T::Timestamp, false));
    assert!(can_cast(&T::array(T::Int), &T::String, false));
    assert!(can_cast_implicitly(&T::Int, &T::String));
    assert!(!can_cast_implicitly(&T::Boolean, &T::Int));
    assert!(can_cast_implicitly(&T::String, &T::Boolean));
}
