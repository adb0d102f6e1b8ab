//! Which operators begin afresh together: those that take changes of each other.
//!
//! ```text
//!   lower ── adds a row, takes it back ──► upper
//! ```
//! The upper one has what the lower one has given, and the lower one takes back only that. If the lower one alone began
//! afresh, it would give rows again that the upper one has, which would count them twice; if the upper one alone did, it
//! would be told to take out rows that it never had. Who is given rows that stay may begin afresh by itself: it has not seen
//! what went by, which is what the user asked for.

use std::collections::{BTreeMap, BTreeSet};

use millstream_state::store::OperatorState;

type Operators = BTreeMap<String, OperatorState>;

/// The operators that have to begin afresh because those of `begin` do, and why.
pub(super) fn drawn_in(now: &Operators, begin: &[String]) -> BTreeMap<String, String> {
    let mut drawn_in: BTreeMap<String, String> = BTreeMap::new();
    let mut walk: Vec<&str> = begin.iter().map(String::as_str).collect();
    while let Some(name) = walk.pop() {
        let below = changes_of(now, name).map(|lower| (lower, format!("it gives changes to '{name}'")));
        let above = now.keys().filter(|upper| changes_of(now, upper).any(|lower| lower == name));
        let above = above.map(|upper| (upper, format!("it takes changes of '{name}'")));
        for (other, how) in below.chain(above) {
            if !begin.contains(other) && !drawn_in.contains_key(other) {
                drawn_in.insert(other.clone(), format!("{how}: they begin afresh together or not at all"));
                walk.push(other);
            }
        }
    }
    drawn_in
}

/// Why an operator cannot go on although its columns could: what it has was given by others than those that take it back.
pub(super) fn fed_otherwise(old: &OperatorState, new: &OperatorState, before: &Operators, now: &Operators) -> Option<String> {
    let Some(then) = &old.changes_of else {
        let may_stand_below = |other: &OperatorState| old.ordinal.zip(other.ordinal).is_none_or(|(upper, lower)| lower < upper);
        let gone = before.iter().find(|(name, other)| !now.contains_key(*name) && may_stand_below(other));
        return gone.map(|(name, _)| format!("the checkpoint is of an older build, which did not say whether it took changes of '{name}'"));
    };
    let now = new.changes_of.as_ref()?;
    if then != now {
        return Some(format!("it took {} and takes {}", in_words(then), in_words(now)));
    }
    // What is taken back goes the way of now, what was given went that of then. Older builds did not say which.
    let is_known = !old.keys_from.is_empty();
    (!now.is_empty() && is_known && old.steps != new.steps).then(|| {
        let only = |these: &BTreeSet<String>, others: &BTreeSet<String>| these.difference(others).cloned().collect::<Vec<_>>().join(", ");
        format!(
            "{} came to it by way of ({}) and come by way of ({})",
            in_words(now),
            only(&old.steps, &new.steps),
            only(&new.steps, &old.steps)
        )
    })
}

fn changes_of<'a>(operators: &'a Operators, name: &str) -> impl Iterator<Item = &'a String> {
    operators.get(name).and_then(|operator| operator.changes_of.as_ref()).into_iter().flatten()
}

fn in_words(lower: &BTreeSet<String>) -> String {
    if lower.is_empty() {
        return "rows that stay".to_owned();
    }
    let names: Vec<&str> = lower.iter().map(String::as_str).collect();
    format!("changes of '{}'", names.join("', '"))
}
