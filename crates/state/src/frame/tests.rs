//! A frame is whole or it is not there.

use super::*;

#[test]
fn frames_are_read_back_and_any_changed_byte_is_seen() {
    let mut bytes = Vec::new();
    encode(b"one", 0, &mut bytes).unwrap();
    let end = bytes.len();
    encode(b"", 0, &mut bytes).unwrap();
    assert_eq!(next(&bytes, 0), Next::Frame { payload: b"one", end });
    assert_eq!(next(&bytes, end), Next::Frame { payload: b"", end: bytes.len() });
    assert_eq!(next(&bytes, bytes.len()), Next::End);
    for at in 0..end {
        for flip in [1_u8, 0x80, 0xff] {
            let mut bad = bytes.clone();
            bad[at] ^= flip;
            assert!(matches!(next(&bad, 0), Next::Bad(_)), "byte {at}");
            assert_eq!(find(&bad, 1), Some(end));
        }
        assert!(only(&bytes[..at], 0).is_err());
    }
    assert_eq!(only(&bytes[..end], 0), Ok(&b"one"[..]));
    assert!(only(&bytes, 0).is_err());
}

#[test]
fn a_frame_is_one_at_its_own_offset_only() {
    let mut inner = Vec::new();
    encode(b"inner", 0, &mut inner).unwrap();
    let mut bytes = Vec::new();
    encode(&inner, 0, &mut bytes).unwrap();
    assert!(matches!(next(&bytes, HEADER_BYTES), Next::Bad(_)));
    assert_eq!(find(&bytes, 1), None);
    let mut second = Vec::new();
    encode(b"second", bytes.len() as u64, &mut second).unwrap();
    let end = bytes.len();
    bytes.extend(second);
    assert_eq!(only(&bytes, end), Ok(&b"second"[..]));
}
