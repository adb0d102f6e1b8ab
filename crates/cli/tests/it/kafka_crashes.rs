//! A process that aborts at each step of a Kafka transaction: readers of committed records see all of its batch or nothing, and the next
//! start loses and doubles nothing.

use millstream_testkit::kafka::{TestKafka, takes_its_time};

use crate::kafka_copy::{Copying, runtime};
use crate::process::was_aborted;

/// The steps, and whether the transaction is committed behind them: records are produced; they are flushed with their marker; the batch is
/// proposed; the transaction is committed; the log says so; the sources are told.
const STEPS: [(&str, bool); 6] = [
    ("after-run", false),
    ("after-prepare", false),
    ("after-proposed", false),
    ("after-decision", true),
    ("after-prepared", true),
    ("after-source-commit", true),
];

#[test]
fn a_batch_is_committed_once_wherever_its_process_died() {
    let runtime = runtime();
    std::thread::scope(|scope| {
        for (step, is_committed) in STEPS {
            let Some(kafka) = TestKafka::from_env() else { return };
            let servers = kafka.bootstrap_servers().to_owned();
            let mut t = Copying::new(&runtime, kafka, &servers);
            scope.spawn(move || {
                // The second one dies in the same place, behind its recovery.
                for round in 0..if takes_its_time() { 2 } else { 1 } {
                    t.produce();
                    let before = t.values(&t.to);
                    let (status, said) = t.run_once(Some(step));
                    assert!(was_aborted(status), "{step}: {status}: {said}");
                    let wanted = if is_committed { t.values(&t.from) } else { before };
                    assert_eq!(t.values(&t.to), wanted, "{step}, round {round}");
                }
                t.produce();
                let (status, said) = t.run_once(None);
                assert!(status.success(), "{step}: {said}");
                assert_eq!(t.values(&t.to), t.values(&t.from), "{step}");
            });
        }
    });
}
