//! The controller on simulated loads.

use super::*;

/// A query that needs so long for each batch, and for each record.
struct Load {
    per_batch: Duration,
    per_record: Duration,
}

impl Load {
    /// Runs a batch with all that the pace admits: records and time.
    fn run(&self, pace: &mut Pace) -> (u64, Duration) {
        let n_records = pace.records_max();
        let took = self.per_batch + Duration::from_nanos(n_records * u64::try_from(self.per_record.as_nanos()).unwrap());
        pace.batch_ran(n_records, took);
        (n_records, took)
    }
}

const TARGET: Duration = Duration::from_secs(1);

fn is_near_target(took: Duration) -> bool {
    (0.9..1.1).contains(&took.as_secs_f64())
}

#[test]
fn batches_come_to_take_the_target_time_whatever_a_record_costs() {
    for per_record_us in [1, 50, 500, 2_000] {
        let load = Load { per_batch: Duration::from_millis(20), per_record: Duration::from_micros(per_record_us) };
        let mut pace = Pace::new(TARGET);
        assert_eq!(pace.records_max(), 10_000, "nothing is known of the first");
        let last = (0..6).map(|_| load.run(&mut pace)).last().unwrap();
        assert!(is_near_target(last.1), "{per_record_us} us: {last:?}");
    }
}

#[test]
fn a_load_that_becomes_ten_times_heavier_overruns_once() {
    let mut load = Load { per_batch: Duration::from_millis(20), per_record: Duration::from_micros(50) };
    let mut pace = Pace::new(TARGET);
    for _ in 0..5 {
        load.run(&mut pace);
    }
    load.per_record *= 10;
    let (_, took) = load.run(&mut pace);
    assert!(took > TARGET * 9, "{took:?}");
    let after: Vec<_> = (0..5).map(|_| load.run(&mut pace).1).collect();
    assert!(after.iter().all(|took| *took <= TARGET.mul_f64(1.1)) && is_near_target(after[4]), "{after:?}");
    load.per_record /= 10;
    for _ in 0..3 {
        load.run(&mut pace);
    }
    assert!(is_near_target(load.run(&mut pace).1), "and back");
}

#[test]
fn a_batch_that_stood_still_leaves_the_least_rate_and_small_ones_tell_little() {
    let mut pace = Pace::new(TARGET);
    pace.batch_ran(10_000, Duration::from_millis(100));
    assert_eq!(pace.records_max(), 100_000);
    pace.batch_ran(0, Duration::from_secs(1));
    pace.batch_ran(5, Duration::ZERO);
    assert_eq!(pace.records_max(), 100_000, "no records and no time show no rate");
    pace.batch_ran(100_000, Duration::from_secs(60));
    assert_eq!(pace.records_max(), 100);
    // 1.5 times the target: half of a target is over, a tenth of the shown rate goes.
    let mut pace = Pace { target: TARGET, rate: Some(1_000.0) };
    pace.batch_ran(1_000, Duration::from_millis(1_500));
    assert_eq!(pace.records_max(), 600);
}
