//! What the model test does not show: hashes, key groups, refusals, eviction of few among many.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, Int64Array, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Float64Type};
use millstream_state::store::{KEY_GROUPS, KeyHasher, KeyedTable, StateMemory, StoreSchema, hash_key, key_group, partition_of};

pub fn sixteen_bytes(numbers: impl IntoIterator<Item = u64>) -> ArrayRef {
    let keys = numbers.into_iter().map(|n| [n.to_be_bytes(), (!n).to_le_bytes()].concat());
    Arc::new(FixedSizeBinaryArray::try_from_iter(keys).unwrap())
}

pub fn dedup_schema() -> StoreSchema {
    StoreSchema::new(vec![Field::new("id", DataType::FixedSizeBinary(16), false)], Vec::<Field>::new()).unwrap()
}

#[test]
fn hashes_never_change() {
    let hashes = [&b""[..], b"\x01", b"\x01\x80\x00\x00\x2a", b"millstream", &[7; 100], &[9; 1000]].map(hash_key);
    let expected: [u64; 6] = [
        0x2d06_8005_38d3_94c2,
        0xe12e_f9d2_eb86_ceeb,
        0xbf57_eef6_8d60_53fd,
        0xbd33_9227_5844_0f84,
        0x8d38_6492_dd51_2dcd,
        0xe210_fb15_53c0_90ee,
    ];
    assert_eq!(hashes, expected, "{hashes:#018x?}");
    assert_eq!(hashes.map(|hash| key_group(hash, KEY_GROUPS)), [6, 46, 87, 51, 56, 16]);
    let fields = vec![Field::new("a", DataType::Utf8, true), Field::new("b", DataType::Int64, true)];
    let keys: Vec<ArrayRef> = vec![Arc::new(StringArray::from(vec![Some("abc"), None])), Arc::new(Int64Array::from(vec![None, Some(-7)]))];
    let hashes = KeyHasher::new(&fields.into()).unwrap().hashes(&keys).unwrap();
    assert_eq!(hashes, [0x40f3_6ee9_fb91_7368, 0xf271_8f87_ee98_19ea], "{hashes:#018x?}");
}

#[test]
fn groups_go_to_tasks_in_contiguous_ranges_of_equal_size() {
    for parallelism in [1, 2, 3, 7, 16, 100, 256, 300] {
        let tasks: Vec<u32> = (0..KEY_GROUPS).map(|group| partition_of(group, KEY_GROUPS, parallelism)).collect();
        assert!(tasks.is_sorted() && tasks[0] == 0 && tasks[255] < parallelism);
        let sizes: Vec<usize> = tasks.chunk_by(|a, b| a == b).map(<[u32]>::len).collect();
        assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{parallelism}: {sizes:?}");
        assert_eq!(sizes.len() as u32, parallelism.min(KEY_GROUPS));
    }
    let mut counts = vec![0_u32; 256];
    for n in 0..100_000_u64 {
        counts[key_group(hash_key(&n.to_be_bytes()), KEY_GROUPS) as usize] += 1;
    }
    assert!(counts.iter().all(|count| (290..500).contains(count)), "{counts:?}");
}

#[test]
fn floats_within_structs_are_one_zero_too() {
    let inner = Field::new("x", DataType::Float64, true);
    let schema = StoreSchema::new(vec![Field::new("k", DataType::Struct(vec![inner.clone()].into()), true)], Vec::<Field>::new()).unwrap();
    let key = |x: f64| -> Vec<ArrayRef> {
        let x: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![x]));
        vec![Arc::new(StructArray::new(vec![inner.clone()].into(), vec![x], None))]
    };
    let mut table = KeyedTable::new(schema).unwrap();
    for x in [0.0, -0.0, f64::NAN, -f64::NAN] {
        table.upsert(&key(x), None, &[]).unwrap();
    }
    assert_eq!(table.n_rows(), 2);
    let slot = table.lookup(&key(-0.0)).unwrap()[0].unwrap();
    let zero = table.gather_keys(&[slot]).unwrap()[0].as_struct().column(0).as_primitive::<Float64Type>().value(0);
    assert!(zero == 0.0 && zero.is_sign_positive());
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut table = KeyedTable::new(dedup_schema()).unwrap();
    let words: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let error = table.upsert(&[words], None, &[]).unwrap_err();
    assert!(error.message().contains("key column 'id' of a store is FixedSizeBinary(16) and was given as Utf8"), "{error}");
    let error = table.upsert(&[sixteen_bytes(0..3)], Some(&Int64Array::from(vec![1])), &[]).unwrap_err();
    assert!(error.message().contains("3 keys came with 1 expiries"), "{error}");
    assert!(table.upsert(&[], None, &[]).is_err());
    assert!(StoreSchema::new(Vec::<Field>::new(), Vec::<Field>::new()).is_err());
    assert!(StoreSchema::new(vec![Field::new("v", DataType::Utf8View, true)], Vec::<Field>::new()).is_err());
    assert_eq!(table.n_rows(), 0);
    let slot = {
        table.upsert(&[sixteen_bytes([1])], None, &[]).unwrap();
        table.lookup(&[sixteen_bytes([1])]).unwrap()[0].unwrap()
    };
    table.remove_slots(&[slot, slot]).unwrap();
    assert_eq!(table.n_rows(), 0);
    assert!(table.gather_keys(&[slot]).is_err());
}

#[test]
fn rows_leave_at_their_time_over_the_whole_range_of_time() {
    let mut table = KeyedTable::new(dedup_schema()).unwrap();
    let times = [i64::MIN, i64::MIN + 1, -1, 0, 1, 255, 256, 65_535, 65_536, 1 << 40, i64::MAX - 1, i64::MAX];
    let expiry = Int64Array::from(times.to_vec());
    table.upsert(&[sixteen_bytes(0..times.len() as u64)], Some(&expiry), &[]).unwrap();
    for (at, t) in times.into_iter().enumerate() {
        let left: usize = table.expire(t).unwrap().iter().map(|rows| rows.n_rows).sum();
        assert_eq!((left, table.n_rows()), (1, times.len() - at - 1), "at {t}");
    }
}

#[test]
fn a_table_tells_when_rows_are_due_without_giving_them_up() {
    let dir = tempfile::tempdir().unwrap();
    tells_when_rows_are_due(&StateMemory::unlimited());
    tells_when_rows_are_due(&StateMemory::limited(1, dir.path()));
}

fn tells_when_rows_are_due(memory: &StateMemory) {
    let mut table = KeyedTable::within(dedup_schema(), memory).unwrap();
    assert!(table.none_expires_before().is_none() && !table.has_expired(i64::MIN).unwrap());
    let times = [-70_000, 3, 300, 70_000, 70_001];
    table.upsert(&[sixteen_bytes(0..5)], Some(&Int64Array::from(times.to_vec())), &[]).unwrap();
    table.take_delta().unwrap();
    assert_eq!(table.spilled().map(|spilled| spilled.rows), memory.is_limited().then_some(5));
    for t in times {
        // Whoever waits until then and asks comes nearer each time, and never too late.
        let mut n_asked = 0;
        let mut asked_at = i64::MIN;
        while !table.has_expired(asked_at).unwrap() {
            asked_at = table.none_expires_before().unwrap().max(asked_at);
            assert!(asked_at <= t, "{asked_at} is behind {t}");
            n_asked += 1;
        }
        assert!(asked_at == t && n_asked <= 10, "{asked_at} and {t}, asked {n_asked} times");
        assert!(table.has_expired(t).unwrap(), "asking takes nothing away");
        assert_eq!(table.discard_expired(t).unwrap(), 1);
    }
    assert_eq!(table.none_expires_before(), None);
}

#[test]
fn a_large_call_is_as_good_as_many() {
    let mut table = KeyedTable::new(dedup_schema()).unwrap();
    let is_new = table.insert_new(&[sixteen_bytes((0..150_000).chain(0..50_000))], None, &[]).unwrap();
    assert_eq!((table.n_rows(), is_new.true_count(), is_new.slice(150_000, 50_000).true_count()), (150_000, 150_000, 0));
    let found = table.lookup(&[sixteen_bytes(0..200_000)]).unwrap();
    assert!(found[..150_000].iter().all(Option::is_some) && found[150_000..].iter().all(Option::is_none));
    assert_eq!(table.scan().map(|rows| rows.unwrap().keys[0].len()).sum::<usize>(), 150_000);
}
