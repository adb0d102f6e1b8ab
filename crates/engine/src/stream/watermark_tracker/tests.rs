//! Minimum and maximum, silence, restarts.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn tracker(policy: WatermarkPolicy, recorded: Option<&RecordedWatermarks>, idle_timeout: Option<Duration>) -> WatermarkTracker {
    let node = |name: &str, delay_ms| TrackedNode { name: format!("ts@{name}"), delay_ms, sources: vec![name.to_owned()] };
    let timeouts = BTreeMap::from([("a".to_owned(), idle_timeout), ("b".to_owned(), None)]);
    WatermarkTracker::new(policy, vec![node("a", 10), node("b", 0)], timeouts, recorded, Duration::ZERO)
}

/// Runs a batch in which the nodes saw these greatest event times; gives what it was judged by.
fn batch(tracker: &mut WatermarkTracker, seen: &[(&str, i64)]) -> (i64, i64) {
    let judged_by = tracker.of_next_batch();
    let seen = seen.iter().map(|(source, max_ms)| (format!("ts@{source}"), EventTimeStats::of(*max_ms))).collect();
    tracker.batch_has_run(judged_by, &seen);
    (judged_by.late_ms, judged_by.current_ms)
}

#[test]
fn the_slowest_node_decides_and_one_that_saw_nothing_stands_at_the_epoch() {
    let mut t = tracker(WatermarkPolicy::Min, None, None);
    assert_eq!(batch(&mut t, &[("a", 110)]), (0, 0));
    assert!(!t.has_moved());
    assert_eq!(batch(&mut t, &[("b", 70)]), (0, 0));
    assert!(t.has_moved());
    assert_eq!(batch(&mut t, &[("b", 300)]), (0, 70));
    assert_eq!(batch(&mut t, &[]), (70, 100));
    assert!(!t.has_moved());
    assert_eq!(batch(&mut t, &[]), (100, 100));
}

#[test]
fn the_fastest_node_decides_under_max() {
    let mut t = tracker(WatermarkPolicy::Max, None, None);
    batch(&mut t, &[("a", 110)]);
    assert_eq!(batch(&mut t, &[("b", 70)]), (0, 100));
    assert_eq!(batch(&mut t, &[("b", 300)]), (100, 100));
    assert_eq!(batch(&mut t, &[]), (100, 300));
}

#[test]
fn a_watermark_never_falls_and_does_not_go_before_the_epoch() {
    let mut t = tracker(WatermarkPolicy::Max, None, None);
    batch(&mut t, &[("b", -50)]);
    assert_eq!(t.of_next_batch(), BatchWatermarks::EPOCH);
    batch(&mut t, &[("b", 80)]);
    batch(&mut t, &[("b", 20), ("a", i64::MIN)]);
    assert_eq!(t.of_next_batch().current_ms, 80);
}

#[test]
fn a_restart_after_any_batch_changes_nothing() {
    let steps: [&[(&str, i64)]; 7] =
        [&[("a", 110)], &[("b", 70)], &[], &[("a", 90), ("b", 400)], &[("a", 500)], &[("b", 401)], &[("a", 600), ("b", 600)]];
    for policy in [WatermarkPolicy::Min, WatermarkPolicy::Max] {
        let (mut one, mut restarted) = (tracker(policy, None, None), tracker(policy, None, None));
        for step in steps {
            let judged_by = one.of_next_batch();
            assert_eq!(batch(&mut one, step), batch(&mut restarted, step));
            let record = serde_json::to_string(&restarted.recorded(judged_by)).unwrap();
            restarted = tracker(policy, Some(&serde_json::from_str(&record).unwrap()), None);
            assert_eq!((one.of_next_batch(), one.has_moved()), (restarted.of_next_batch(), restarted.has_moved()), "{policy:?} {step:?}");
        }
    }
}

#[test]
fn a_silent_source_is_left_out_and_comes_back_without_moving_the_watermark_back() {
    let mut t = tracker(WatermarkPolicy::Min, None, Some(5 * SECOND));
    batch(&mut t, &[("a", 110), ("b", 100)]);
    batch(&mut t, &[("b", 900)]);
    t.asked([&"b".to_owned()], 4 * SECOND);
    assert_eq!(t.of_next_batch().current_ms, 100);
    t.asked([], 5 * SECOND);
    assert_eq!(t.of_next_batch().current_ms, 900);
    assert!(t.has_moved());
    batch(&mut t, &[]);

    t.asked([&"a".to_owned()], 6 * SECOND);
    batch(&mut t, &[("a", 200)]);
    assert_eq!(t.of_next_batch(), BatchWatermarks { late_ms: 900, current_ms: 900 });
    batch(&mut t, &[("b", 2000)]);
    assert_eq!(t.of_next_batch().current_ms, 900, "the source that came back holds the query again");
}

#[test]
fn who_waits_for_silence_knows_until_when() {
    let mut t = tracker(WatermarkPolicy::Min, None, Some(5 * SECOND));
    t.asked([&"a".to_owned(), &"b".to_owned()], 2 * SECOND);
    let waited_for = t.until_silent(3 * SECOND);
    assert_eq!(waited_for, Some(4 * SECOND));
    assert_eq!(t.until_silent(9 * SECOND), Some(Duration::ZERO));
    t.asked([], 7 * SECOND);
    assert_eq!(t.until_silent(8 * SECOND), None, "whoever is silent already is not waited for");
    assert_eq!(tracker(WatermarkPolicy::Min, None, None).until_silent(SECOND), None);
}

#[test]
fn a_source_that_was_silent_before_a_restart_still_is_and_one_that_was_not_gets_its_time() {
    let timeout = Some(5 * SECOND);
    let mut t = tracker(WatermarkPolicy::Min, None, timeout);
    batch(&mut t, &[("b", 100)]);
    t.asked([], 5 * SECOND);
    let judged_by = t.of_next_batch();
    batch(&mut t, &[("b", 300)]);
    assert_eq!(judged_by.current_ms, 100);
    let recorded = t.recorded(judged_by);
    let mut t = tracker(WatermarkPolicy::Min, Some(&recorded), timeout);
    assert_eq!(t.of_next_batch(), BatchWatermarks { late_ms: 100, current_ms: 300 });
    batch(&mut t, &[("b", 400)]);
    assert_eq!(t.of_next_batch().current_ms, 400);

    let mut t = tracker(WatermarkPolicy::Min, None, timeout);
    let judged_by = t.of_next_batch();
    batch(&mut t, &[("b", 100)]);
    let mut t = tracker(WatermarkPolicy::Min, Some(&t.recorded(judged_by)), timeout);
    t.asked([], 4 * SECOND);
    assert_eq!(t.of_next_batch().current_ms, 0);
    t.asked([], 5 * SECOND);
    assert_eq!(t.of_next_batch().current_ms, 100);
}

#[test]
fn when_all_are_silent_time_stands_still() {
    let node = TrackedNode { name: "ts@a".to_owned(), delay_ms: 0, sources: vec!["a".to_owned()] };
    let timeouts = BTreeMap::from([("a".to_owned(), Some(SECOND))]);
    let mut t = WatermarkTracker::new(WatermarkPolicy::Min, vec![node], timeouts, None, Duration::ZERO);
    batch(&mut t, &[("a", 7)]);
    t.asked([], 9 * SECOND);
    assert_eq!(t.of_next_batch().current_ms, 7);
}

#[test]
fn a_policy_is_min_or_max() {
    assert_eq!("MAX".parse::<WatermarkPolicy>().unwrap(), WatermarkPolicy::Max);
    assert!("avg".parse::<WatermarkPolicy>().unwrap_err().message().contains("multipleWatermarkPolicy"));
}
