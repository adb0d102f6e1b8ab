//! Which pieces become one session.

use super::*;

fn piece(key: usize, start_us: i64, end_us: i64, row: usize) -> Piece {
    Piece { key, start_us, end_us, place: Place::Batch { chunk: 0, row } }
}

fn joined(mut pieces: Vec<Piece>) -> Vec<(usize, i64, i64, usize)> {
    join(&mut pieces).into_iter().map(|session| (session.key, session.start_us, session.end_us, session.pieces.len())).collect()
}

#[test]
fn touching_and_overlapping_pieces_of_a_key_are_one_session() {
    let pieces = vec![piece(1, 6, 11, 0), piece(0, 1, 6, 1), piece(0, 6, 11, 2), piece(0, 12, 17, 3), piece(1, 0, 5, 4)];
    assert_eq!(joined(pieces), [(0, 1, 11, 2), (0, 12, 17, 1), (1, 0, 5, 1), (1, 6, 11, 1)]);
}

#[test]
fn a_short_piece_within_a_long_one_does_not_shorten_it() {
    assert_eq!(
        joined(vec![piece(0, 0, 20, 0), piece(0, 2, 3, 1), piece(0, 15, 18, 2), piece(0, 21, 22, 3)]),
        [(0, 0, 20, 3), (0, 21, 22, 1)]
    );
}

#[test]
fn one_piece_may_join_many() {
    assert_eq!(joined(vec![piece(0, 0, 2, 0), piece(0, 4, 6, 1), piece(0, 8, 9, 2), piece(0, 1, 8, 3)]), [(0, 0, 9, 4)]);
}

#[test]
fn pieces_keep_the_order_of_starts_then_of_the_batch() {
    let mut pieces = vec![piece(0, 5, 6, 0), piece(0, 1, 9, 1), piece(0, 5, 7, 2)];
    join(&mut pieces);
    let rows: Vec<Place> = pieces.iter().map(|piece| piece.place).collect();
    assert_eq!(rows, [1, 0, 2].map(|row| Place::Batch { chunk: 0, row }));
}
