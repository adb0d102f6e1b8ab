//! How time without an answer counts.

use super::*;

#[test]
fn time_in_which_nobody_answers_makes_no_partition_gone() {
    let missing: Offsets = [("t", 0, 7)].into_iter().collect();
    let (mut doubts, second) = (Doubts::default(), Duration::from_secs(1));
    assert_eq!(doubts.left_of(&missing, Duration::ZERO, second), missing);
    // Asked after a second, answered a minute later.
    assert_eq!(doubts.left_of(&missing, second * 2, second * 62), missing);
    assert_eq!(doubts.left_of(&missing, second * 62, second * 63), missing);
    assert!(doubts.left_of(&missing, second * 65, second * 65).is_empty());
}
