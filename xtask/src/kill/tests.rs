//! Tests of the campaign's own parts: draws repeat, inputs have unique ids, the batch job is the stream job less a word.

use std::collections::BTreeSet;

use super::feeder::{self, Feeder};
use super::inputs::{self, Format};
use super::jobs::{Ending, JOBS, KAFKA_JOBS};
use super::rng::Rng;
use super::wal;

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
fn events_come_out_of_order_by_less_than_the_delay_and_repeat_near_by() {
    let mut rng = Rng::new(1, 2);
    let (mut ids, mut tokens, mut greatest) = (BTreeSet::new(), std::collections::BTreeMap::new(), 0);
    let (mut n_rows, mut n_without_time) = (0, 0);
    for idx in 0..20 {
        let (_, text) = inputs::file(Format::Events, idx, &mut rng);
        for line in text.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            ids.insert(row["id"].as_str().unwrap().to_owned());
            n_rows += 1;
            let Some(ts) = row["ts"].as_str() else {
                n_without_time += 1;
                continue;
            };
            let number = |at: std::ops::Range<usize>| ts[at].parse::<i64>().unwrap();
            let ms = ((number(11..13) * 60 + number(14..16)) * 60 + number(17..19)) * 1000 + number(20..23);
            assert!(ms > 0 && ms > greatest - 60_000, "{line}, after {greatest}");
            greatest = greatest.max(ms);
            // Rows of one token are the same but for their ids.
            let first = tokens.entry(row["token"].as_str().unwrap().to_owned()).or_insert_with(|| row.clone());
            assert_eq!((&first["ts"], &first["k"], &first["v"]), (&row["ts"], &row["k"], &row["v"]));
        }
    }
    assert!(n_rows > 200 && ids.len() == n_rows, "{n_rows}");
    assert!(n_without_time > 0 && tokens.len() + n_without_time < n_rows * 19 / 20, "{} of {n_rows}", tokens.len());
}

#[test]
fn the_batch_job_has_no_stream_and_no_checkpoint() {
    for job in JOBS.iter().chain(KAFKA_JOBS) {
        let (Some(stream), Some(batch)) = (job.stream_sql("x/", Ending::Pause), job.batch_sql("y/")) else { continue };
        assert!(stream.contains("STREAMING TABLE") && stream.contains("FROM STREAM ") && stream.contains("'x/checkpoint"), "{stream}");
        for word in ["STREAM", "checkpoint", "{root}", "{flush}"] {
            assert!(!batch.contains(word), "{word} in {batch}");
        }
        assert!(batch.contains("MATERIALIZED VIEW") && batch.contains("LOCATION 'y/"), "{batch}");
    }
}

/// Lines as the socket job sends them.
fn lines(n: usize) -> Vec<String> {
    let mut rng = Rng::new(2, 2);
    (0..n).map(|idx| feeder::line(idx, &mut rng)).collect()
}

#[test]
fn lines_lost_with_a_connection_are_forgiven_and_nothing_else_is() {
    let sent = lines(10);
    let got = |idxs: &[usize]| idxs.iter().map(|idx| sent[*idx].clone()).collect::<Vec<_>>();
    assert_eq!(feeder::verdict(&sent, &[5], &got(&[0, 1, 2, 5, 6, 7, 8, 9])), Ok(()));
    assert!(feeder::verdict(&sent, &[5], &got(&[0, 1, 2, 4, 5, 6, 7, 8, 9])).unwrap_err().contains("no connection ended"));
    assert!(feeder::verdict(&sent, &[5], &got(&[0, 1, 2, 3, 4, 5, 6, 7, 8])).unwrap_err().contains("last line"));
    assert!(feeder::verdict(&sent, &[], &got(&[0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9])).unwrap_err().contains("twice"));
    let torn = sent[3].get(..8).unwrap().to_owned();
    assert!(feeder::verdict(&sent, &[], &[torn]).unwrap_err().contains("torn"));
}

#[test]
fn the_feeder_goes_on_with_the_next_connection_and_sends_nothing_twice() {
    use std::io::{BufRead, BufReader};
    let sent = lines(300);
    let feeder = Feeder::start(sent.clone(), Rng::new(3, 3)).unwrap();
    feeder.allow(100);
    let mut got = Vec::new();
    for allowed in [100, 300] {
        feeder.allow(allowed);
        let connection = std::net::TcpStream::connect(("127.0.0.1", feeder.port)).unwrap();
        let mut reader = BufReader::new(connection).lines();
        while got.len() < allowed {
            got.push(reader.next().unwrap().unwrap());
        }
    }
    assert_eq!(got, sent);
    let ends = feeder.stop().unwrap();
    assert_eq!(feeder::verdict(&sent, &ends, &got), Ok(()));
    assert!(ends.starts_with(&[100]), "{ends:?}");
}

#[test]
fn the_log_is_read_up_to_its_torn_tail() {
    assert_eq!(wal::crc32c(b"123456789".iter()), 0xE306_9283);
    let mut log: Vec<u8> = Vec::new();
    for payload in [b"header".as_slice(), b"one", b"torn"] {
        let (len, at) = (u32::try_from(payload.len()).unwrap().to_le_bytes(), (log.len() as u64).to_le_bytes());
        let sum = wal::crc32c(len.iter().chain(payload).chain(&at)).to_le_bytes();
        log.extend([b"MSR1".as_slice(), &len, &sum, payload].concat());
    }
    assert_eq!(wal::frames(&log), [b"header".as_slice(), b"one", b"torn"]);
    assert_eq!(wal::frames(log.get(..log.len() - 1).unwrap()), [b"header".as_slice(), b"one"]);
}
