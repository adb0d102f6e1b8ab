//! A frame is whole or it is not there.

use super::*;

#[test]
fn frames_are_read_back_and_any_changed_byte_is_seen() {
    let mut bytes = Vec::new();
    encode(b"one", &mut bytes).unwrap();
    let end = bytes.len();
    encode(b"", &mut bytes).unwrap();
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
        assert!(only(&bytes[..at]).is_err());
    }
    assert_eq!(only(&bytes[..end]), Ok(&b"one"[..]));
    assert!(only(&bytes).is_err());
}
