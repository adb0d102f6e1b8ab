//! When an idle loop looks at its sources.

use super::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn looks_become_rarer_and_end_at_moments_that_all_queries_share() {
    // Two queries that had their last data at different times.
    for mut now in [ms(12_345), ms(70_001)] {
        let mut poll = IdlePoll::default();
        let mut waits = Vec::new();
        for _ in 0..9 {
            let wait = poll.next(now);
            now += wait;
            waits.push(wait);
        }
        assert_eq!(waits[..6], [10, 20, 40, 80, 160, 320].map(ms));
        assert!(waits[6] > Duration::ZERO && waits[6] <= LOOK_EVERY, "{waits:?}");
        assert_eq!((waits[7], waits[8]), (LOOK_EVERY, LOOK_EVERY));
        assert_eq!(now.as_millis() % LOOK_EVERY.as_millis(), 0);
    }
}

#[test]
fn what_is_due_is_done_at_the_first_look_behind_it() {
    assert_eq!(until_look(ms(1_000), Duration::ZERO), ms(500));
    assert_eq!(until_look(ms(1_001), Duration::ZERO), ms(499));
    assert_eq!(until_look(ms(1_499), ms(1)), ms(1));
    assert_eq!(until_look(ms(1_499), ms(2)), ms(501));
    assert_eq!(until_look(ms(100), ms(10_000)), ms(10_400));
    assert!(until_look(ms(1), Duration::MAX) > Duration::from_secs(1 << 40), "no overflow");
}
