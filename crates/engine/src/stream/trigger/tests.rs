//! Spellings of triggers and the alignment of intervals.

use super::*;

#[test]
fn every_documented_spelling_is_read() {
    for (text, trigger) in [
        ("available-now", Trigger::AvailableNow),
        ("availableNow", Trigger::AvailableNow),
        ("once", Trigger::Once),
        ("default", Trigger::AsSoonAsPossible),
        ("10 seconds", Trigger::ProcessingTime(Duration::from_secs(10))),
        ("processing-time 500 ms", Trigger::ProcessingTime(Duration::from_millis(500))),
        ("0 seconds", Trigger::AsSoonAsPossible),
    ] {
        assert_eq!(text.parse::<Trigger>().unwrap(), trigger, "{text}");
    }
    assert!("sometimes".parse::<Trigger>().is_err());
    assert!("continuous".parse::<Trigger>().unwrap_err().message().contains("continuous"));
}

#[test]
fn ticks_are_multiples_of_the_interval() {
    let ten = Duration::from_secs(10);
    assert_eq!(until_next_tick(12_345, ten), Duration::from_millis(7_655));
    assert_eq!(until_next_tick(20_000, ten), ten);
}
