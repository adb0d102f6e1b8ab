//! The texts of the live view.

use super::{Standing, size};

#[test]
fn a_line_tells_batch_speed_lag_and_watermark() {
    let mut standing = Standing { batch_id: 7, rows_per_second: 1234.56, ..Standing::default() };
    assert_eq!(standing.to_string(), "batch 7, 1235 rows/s, lag -, watermark -");
    standing.lag = Some((0, 0));
    standing.watermark = Some("2026-11-21T09:00:00.000Z".to_owned());
    assert_eq!(standing.to_string(), "batch 7, 1235 rows/s, lag 0 files, watermark 2026-11-21T09:00:00.000Z");
    standing.lag = Some((1, 999));
    assert_eq!(standing.to_string(), "batch 7, 1235 rows/s, lag 1 file (999 B), watermark 2026-11-21T09:00:00.000Z");
    standing.lag = Some((12, 1_500_000));
    assert!(standing.to_string().contains("lag 12 files (1.5 MB)"));
}

#[test]
fn sizes_take_the_fitting_unit() {
    assert_eq!([0, 1_000, 999_949, 2_000_000_000, 3_000_000_000_000].map(size), ["0 B", "1.0 kB", "999.9 kB", "2.0 GB", "3.0 TB"]);
}
