//! Lines must not depend on how the bytes were cut into pieces.

use super::*;

fn lines(separator: Option<&[u8]>, input: &[u8], piece: usize) -> Vec<Vec<u8>> {
    let mut cutter = LineCutter::new(LineEnd::new(separator), 1 << 20);
    let mut regions: Vec<Vec<u8>> = Vec::new();
    for piece in input.chunks(piece) {
        cutter
            .push(piece, &mut |region| {
                regions.push(region.to_vec());
                Ok(())
            })
            .unwrap();
    }
    let last = cutter.end();
    if !last.is_empty() {
        regions.push(last);
    }
    let mut out = Vec::new();
    for region in regions {
        let mut rest = region.as_slice();
        while !rest.is_empty() {
            let (line, skip) = LineEnd::new(separator).first_line(rest);
            out.push(line.to_vec());
            rest = &rest[skip..];
        }
    }
    out
}

#[test]
fn the_size_of_the_pieces_does_not_matter() {
    let input = b"a\r\nbb\n\n\rccc\r\r\nd";
    let want: Vec<Vec<u8>> = [&b"a"[..], b"bb", b"", b"", b"ccc", b"", b"d"].iter().map(|line| line.to_vec()).collect();
    for piece in 1..=input.len() {
        assert_eq!(lines(None, input, piece), want, "pieces of {piece}");
    }
    let input = b"a||bb|||c||";
    for piece in 1..=input.len() {
        assert_eq!(lines(Some(b"||"), input, piece), [&b"a"[..], b"bb", b"|c"], "pieces of {piece}");
    }
}

#[test]
fn a_line_past_the_bound_is_refused() {
    let mut cutter = LineCutter::new(LineEnd::new(None), 10);
    assert!(cutter.push(b"12345", &mut |_| Ok(())).is_ok());
    let error = cutter.push(b"678901", &mut |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("10 bytes"), "{error}");
}
