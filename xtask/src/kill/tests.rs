//! Tests of the campaign's own parts: draws repeat, inputs have unique ids, the batch job is the stream job less a word.

use std::collections::BTreeSet;

use super::inputs::{self, Format};
use super::jobs::JOBS;
use super::rng::Rng;

#[test]
fn a_run_draws_the_same_again_and_other_runs_draw_otherwise() {
    let draw = |run| {
        let mut rng = Rng::new(7, run);
        (0..4).map(|idx| inputs::file(Format::Json, idx, &mut rng)).collect::<Vec<_>>()
    };
    assert_eq!(draw(3), draw(3));
    assert_ne!(draw(3), draw(4));
}

#[test]
fn ids_are_unique_and_every_json_line_is_an_object() {
    let mut rng = Rng::new(1, 1);
    let mut ids = BTreeSet::new();
    let mut n_rows = 0;
    for idx in 0..20 {
        let (_, text) = inputs::file(Format::Json, idx, &mut rng);
        for line in text.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(row["n"].is_u64() && row["ts"].as_str().unwrap().starts_with("2023-11-1"));
            ids.insert(row["id"].as_str().unwrap().to_owned());
            n_rows += 1;
        }
    }
    assert!(n_rows > 100);
    assert_eq!(ids.len(), n_rows);
}

#[test]
fn the_batch_job_has_no_stream_and_no_checkpoint() {
    for job in JOBS {
        let (stream, batch) = (job.stream_sql("x/"), job.batch_sql("y/"));
        assert!(stream.contains("STREAMING TABLE") && stream.contains("FROM STREAM ") && stream.contains("'x/checkpoint"), "{stream}");
        for word in ["STREAM", "checkpoint", "{root}"] {
            assert!(!batch.contains(word), "{word} in {batch}");
        }
        assert!(batch.contains("MATERIALIZED VIEW") && batch.contains("LOCATION 'y/"), "{batch}");
    }
}
