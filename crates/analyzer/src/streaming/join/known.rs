//! What is known of the changes that a join of two streams gives, from what is known of its sides.

use std::collections::BTreeSet;

use datafusion::common::Column;
use datafusion::logical_expr::{Expr, JoinType};

use super::StreamJoinNode;
use crate::streaming::carried::{Changes, Fitted, is_stable};
use crate::streaming::changes::CHANGE;

/// What is known of the changes of `node` over these sides.
pub(in crate::streaming) fn known_of(node: &StreamJoinNode, sides: [&Fitted; 2]) -> Changes {
    let stable = sides.map(|side| match &side.changes {
        Some(changes) => changes.stable.clone(),
        // A row that is only added stays as it is.
        None => side.plan.schema().columns().into_iter().filter(|column| column.name != CHANGE).collect::<BTreeSet<Column>>(),
    });
    let deletes = sides.map(|side| side.changes.as_ref().is_some_and(|changes| changes.deletes));
    let [left, right] = stable;
    let [deletes_left, deletes_right] = deletes;
    let both: BTreeSet<Column> = left.union(&right).cloned().collect();
    let keys = node.keys().iter().flat_map(|key| [&key.left, &key.right]);
    let can_match = node.sides().into_iter().filter_map(|(_, facts)| facts.can_match.as_ref());
    // A row that replaces another one finds the same partners.
    let finds_the_same =
        keys.chain(can_match).all(|column| both.contains(column)) && node.filter().is_none_or(|filter: &Expr| is_stable(filter, &both));
    let key_of = |side: &Fitted| side.changes.as_ref().and_then(|changes| changes.key.clone());
    let [of_left, of_right] = sides;
    let completes = sides.iter().any(|side| side.changes.as_ref().is_some_and(|changes| changes.completes));
    match node.kind() {
        JoinType::Inner => Changes {
            key: key_of(of_left).zip(key_of(of_right)).map(|(left, right)| left.into_iter().chain(right).collect()),
            stable: if finds_the_same { both } else { BTreeSet::new() },
            deletes: deletes_left || deletes_right || !finds_the_same,
            completes,
        },
        // A row of the outer side is always there, with or without the other side.
        JoinType::Left => Changes { key: None, stable: left, deletes: deletes_left, completes: true },
        JoinType::Right => Changes { key: None, stable: right, deletes: deletes_right, completes: true },
        JoinType::LeftSemi => {
            let deletes = deletes_left || !finds_the_same || of_right.changes.is_some();
            Changes { key: key_of(of_left), stable: left, deletes, completes }
        }
        JoinType::LeftAnti => Changes { key: key_of(of_left), stable: left, deletes: true, completes },
        _ => Changes { key: None, stable: BTreeSet::new(), deletes: true, completes: true },
    }
}
