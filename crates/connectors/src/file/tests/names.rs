//! Names, globs, the seen set.

use std::collections::HashSet;

use millstream_core::sink::WriteAttempt;
use millstream_core::{BatchId, QueryId, RunEpoch, TaskId};

use crate::file::glob_path::{GlobPath, NameFilter};
use crate::file::names::{OwnName, is_hidden, parse_partition_folder, partition_folder};
use crate::file::seen::{SeenFiles, name_key};

#[test]
fn own_names_carry_query_batch_and_task() {
    let query_id = QueryId(uuid::Uuid::from_u128(0xabcd));
    let attempt = WriteAttempt { query_id, epoch: RunEpoch(3), batch_id: BatchId(17), attempt: 2, task_id: TaskId(4) };
    let own = OwnName::new(&attempt, 5);
    let name = own.format(".snappy.parquet");
    assert_eq!(name, "part-00004-00000000-0000-0000-0000-00000000abcd-0000000017-005.snappy.parquet");
    assert_eq!(OwnName::parse(&name), Some(own));
    for foreign in [
        "part-00000-a6ffb488-2da0-41ce-a678-11f5ea903769-c000.snappy.parquet",
        "part-0.parquet",
        "part-00004-00000000-0000-0000-0000-00000000abcd-17-005.json",
        "data.json",
        "",
    ] {
        assert_eq!(OwnName::parse(foreign), None, "{foreign}");
    }
}

#[test]
fn partition_folders_are_escaped_as_sparks() {
    // From gold: `k=a%2Fb c%3Dd`.
    assert_eq!(partition_folder("k", Some("a/b c=d")), "k=a%2Fb c%3Dd");
    assert_eq!(partition_folder("ts", Some("2024-03-01 10:00:00")), "ts=2024-03-01 10%3A00%3A00");
    assert_eq!(partition_folder("k", None), "k=__HIVE_DEFAULT_PARTITION__");
    assert_eq!(partition_folder("k", Some("")), "k=__HIVE_DEFAULT_PARTITION__");
    for value in ["plain", "a/b c=d", "100%", "ümläut", "tab\t", "%41"] {
        assert_eq!(parse_partition_folder(&partition_folder("k", Some(value))), Some(("k".to_owned(), Some(value.to_owned()))));
    }
    assert_eq!(parse_partition_folder("k=__HIVE_DEFAULT_PARTITION__"), Some(("k".to_owned(), None)));
    assert_eq!(parse_partition_folder("plain"), None);
}

#[test]
fn hidden_names_are_sparks() {
    for hidden in ["_SUCCESS", ".x.json.crc", "_millstream", "a._COPYING_"] {
        assert!(is_hidden(hidden), "{hidden}");
    }
    for shown in ["_k=1", "a.json", "a_b"] {
        assert!(!is_hidden(shown), "{shown}");
    }
}

#[test]
fn globs_match_level_by_level() {
    let glob = GlobPath::parse("/data/{in,more}/2024-[01]?/*.json").unwrap();
    assert_eq!(glob.base, "/data");
    assert!(glob.matches(&["more", "2024-01", "a.json"]));
    assert!(!glob.matches(&["other", "2024-01", "a.json"]));
    assert!(!glob.matches(&["in", "2024-01"]));
    assert!(glob.leads_on(&["in"]) && glob.leads_on(&["in", "2024-12"]) && !glob.leads_on(&["in", "2024-21"]));
    assert!(!GlobPath::parse("/data/in").unwrap().is_glob());
    assert!(GlobPath::parse("in/*").unwrap().matches(&["x"]));
    assert!(NameFilter::parse("*.{json,gz}").unwrap().matches("a.gz"));
    assert!(!NameFilter::parse("[^a]*.json").unwrap().matches("abc.json"));
}

#[test]
fn the_seen_set_survives_and_stays_small() {
    let mut seen = SeenFiles::default();
    for idx in 0..100_000_i64 {
        seen.add(name_key(&format!("/data/in/day=2024-01-{:02}/file-{idx:08}.json.gz", idx % 28)), idx);
    }
    assert_eq!(seen.len(), 100_000);
    let bytes = seen.encode(41);
    // A million files: 24 MB in a snapshot.
    assert!(bytes.len() < 2_500_000);
    let (back, offset) = SeenFiles::decode(&bytes).unwrap();
    assert_eq!((back.len(), offset), (100_000, 41));
    assert!(!back.is_new_name(name_key("/data/in/day=2024-01-00/file-00000000.json.gz")));
    assert!(back.is_new_name(name_key("/data/in/day=2024-01-01/file-90000000.json.gz")));
    assert!(SeenFiles::decode(&bytes[..bytes.len() - 1]).is_err());
    assert!(SeenFiles::decode(b"").is_err());
    seen.purge(1000);
    assert!(seen.len() < 2000 && !seen.is_young(10) && seen.is_young(99_999));
}

#[test]
fn keys_of_names_do_not_meet() {
    let keys: HashSet<u128> = (0..200_000).map(|idx| name_key(&format!("f{idx}"))).collect();
    assert_eq!(keys.len(), 200_000);
    let low: HashSet<u64> = keys.iter().map(|key| *key as u64).collect();
    assert_eq!(low.len(), 200_000);
}
