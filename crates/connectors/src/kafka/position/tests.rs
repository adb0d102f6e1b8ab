//! Tests of positions as they are written.

use serde_json::json;

use super::*;

const A: &str = "AAAAAAAAAAAAAAAAAAAAAQ";
const B: &str = "AAAAAAAAAAAAAAAAAAAAAg";

fn told(topics: &[(&str, serde_json::Value)]) -> Fingerprints {
    topics.iter().map(|(topic, known)| ((*topic).to_owned(), serde_json::from_value(known.clone()).unwrap())).collect()
}

#[test]
fn positions_are_read_as_they_are_written() {
    let with_topics = json!({ "offsets": { "t": { "0": 40 }, "u": { "1": 2 } }, "topics": { "t": A, "u": { "1": 7 } } });
    // Topics may have these names.
    let plain = json!({ "offsets": { "0": 1 }, "topics": { "0": 2 } });
    for written in [with_topics, plain, json!({}), json!({ "t": { "0": 40 } })] {
        let position = Position(written);
        assert_eq!(KafkaPosition::of(&position).unwrap().to_position().unwrap(), position);
    }
    for wrong in [json!({ "offsets": { "t": { "0": 40 } }, "topics": { "t": "A" } }), json!({ "t": { "zero": 1 } }), json!([1])] {
        assert!(KafkaPosition::of(&Position(wrong)).unwrap_err().message().starts_with("kafka position cannot be decoded: "));
    }
}

#[test]
fn a_topic_is_another_one_by_its_id_or_by_a_leader_epoch_that_is_lower() {
    let cases = [
        (json!(A), json!(A), Identity::Same),
        (json!(A), json!(B), Identity::Other),
        (json!(A), json!({}), Identity::Unknown),
        (json!({ "0": 1 }), json!(A), Identity::Unknown),
        (json!({ "0": 1, "1": 4 }), json!({ "0": 1, "1": 5 }), Identity::Unknown),
        (json!({ "0": 1, "1": 4 }), json!({ "0": 9, "1": 3 }), Identity::Other),
        (json!({ "0": 1, "1": 4 }), json!({ "0": 1 }), Identity::Unknown),
        (json!({}), json!({ "0": 1 }), Identity::Unknown),
    ];
    for (before, now, expected) in cases {
        let position = KafkaPosition::new([("t", 0, 1)].into_iter().collect(), &told(&[("t", before.clone())]));
        let now = told(&[("t", now)]);
        assert_eq!(position.identity("t", &now), expected, "{before} {now:?}");
        assert_eq!(position.replaced_topics(&now).len(), usize::from(expected == Identity::Other));
        assert_eq!(position.identity("t", &Fingerprints::new()), Identity::Unknown);
    }
}

#[test]
fn a_position_that_moves_keeps_what_is_known_of_topics_that_are_away() {
    let offsets: Offsets = [("away", 0, 1), ("new", 0, 1), ("there", 0, 1), ("untold", 0, 1)].into_iter().collect();
    let position = KafkaPosition::new(offsets.clone(), &told(&[("away", json!(A)), ("there", json!(A)), ("unread", json!(A))]));
    let moved = position.moved_to(offsets, &told(&[("new", json!({ "0": 2 })), ("there", json!(B)), ("untold", json!({}))]));
    let position = moved.to_position().unwrap();
    assert_eq!(position.0["topics"], json!({ "away": A, "new": { "0": 2 }, "there": B }));
}
