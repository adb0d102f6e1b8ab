//! Slices and windows against the definition: a time is in the windows `[offset + k * slide, .. + length)` around it.

use super::*;

fn windows_of(windows: TimeWindows, time: i64) -> Vec<i64> {
    let (length, slide, offset) = (windows.length_us(), windows.slide_us(), windows.offset_us());
    let starts = (-200..200).map(|k| offset + k * slide);
    starts.filter(|start| *start <= time && time < start + length).collect()
}

#[test]
fn slices_are_the_longest_stretches_of_times_in_the_same_windows() {
    for (length, slide, offset) in [(10, 4, 0), (10, 5, 0), (10, 10, 3), (10, 7, -2), (10, 9, 8), (7, 1, 0), (1, 1, 0), (12, 5, 4)] {
        let windows = TimeWindows::new(length, slide, offset).unwrap();
        for time in -60..60 {
            let expected = windows_of(windows, time);
            assert_eq!(windows.earliest_start(time), expected[0], "{windows:?} {time}");
            assert_eq!(windows.latest_start(time), *expected.last().unwrap(), "{windows:?} {time}");
            assert_eq!(windows.latest_end(time), *expected.last().unwrap() + length);
            let slice = windows.slice(time);
            assert!((slice.start_us..slice.end_us).contains(&time), "{windows:?} {time} {slice:?}");
            assert!((slice.start_us..slice.end_us).all(|other| windows_of(windows, other) == expected), "{windows:?} {slice:?}");
            assert_ne!(windows_of(windows, slice.start_us - 1), expected, "{windows:?} {slice:?}");
            assert_ne!(windows_of(windows, slice.end_us), expected, "{windows:?} {slice:?}");
            assert_eq!(windows.slice(slice.start_us), slice);
        }
    }
}

#[test]
fn windows_with_gaps_or_without_length_are_none() {
    assert_eq!(TimeWindows::new(10, 11, 0), None);
    assert_eq!(TimeWindows::new(10, 0, 0), None);
    assert_eq!(TimeWindows::new(0, 0, 0), None);
    assert!(TimeWindows::new(10, 10, 0).unwrap().is_tumbling());
    assert!(!TimeWindows::new(10, 9, 0).unwrap().is_tumbling());
}

#[test]
fn the_ends_of_time_do_not_overflow() {
    let windows = TimeWindows::new(10, 4, 3).unwrap();
    for time in [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX] {
        let slice = windows.slice(time);
        assert!(slice.start_us <= slice.end_us, "{slice:?}");
        assert!(windows.earliest_start(time) <= windows.latest_end(time));
    }
}
