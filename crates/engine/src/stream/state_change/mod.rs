//! Whether a changed query can go on from what its checkpoint remembers: said for each stateful operator before anything runs.
//!
//! ```text
//!  start record of the last run ─► operators then ─┐
//!                                                  ├─► compare ─► kept │ migrated │ dropped │ new │ refused, and why
//!  plan of this start ───────────► operators now ──┘                  └─► their columns then ─► the start record of this run
//! ```
//! State is never written again for a change: old files keep the columns that they have, the start record says which those
//! were (`EarlierLayout`), and whoever reads them widens and fills in. What would give a wrong row is refused, such as a new
//! aggregate, which would look like one of all rows and be one of some. An operator that cannot go on may be allowed to begin
//! afresh. Reads no state and writes nothing.

mod columns;
mod together;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use millstream_core::{Error, Result, RunEpoch};
use millstream_state::store::{EarlierLayout, OPERATOR_VERSION_WITH_PAST, OperatorState};

use self::columns::{Layout, layout};
use self::together::{drawn_in, fed_otherwise};

/// What becomes of an operator's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateFate {
    /// It stays as it is.
    Kept,
    /// It is read with other columns from here on.
    Migrated,
    /// It is let go, as the user allows; the operator, if it is still there, begins afresh.
    Dropped,
    /// There is none yet.
    New,
    /// The query cannot go on with it.
    Refused,
}

/// What becomes of the state of one operator, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OperatorChange {
    /// The operator's name.
    pub operator: String,
    /// What becomes of its state.
    pub fate: StateFate,
    /// What has changed; empty if nothing has.
    pub reasons: Vec<String>,
}

/// What becomes of the state of all operators.
#[derive(Debug, Clone, Default)]
pub struct StateComparison {
    /// Each operator of before and of now, by name.
    pub changes: Vec<OperatorChange>,
    /// The operators that have to begin afresh, together, if the query is to go on as it is, by name.
    pub must_begin_afresh: BTreeSet<String>,
    /// Why the query cannot go on although its state could: other sources, another sink, other columns.
    pub query_refusal: Option<QueryRefusal>,
    /// Whether a flush has closed the checkpoint: a start is refused then if a source has new input, and ends well if none has.
    pub is_closed_by_flush: bool,
    /// The operators of now with their past, for the start record.
    operators: BTreeMap<String, OperatorState>,
}

/// What has changed of the query, beside its state, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueryRefusal {
    /// What has changed.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// The last run's operators, and what else a comparison must know.
#[derive(Debug, Clone)]
pub(super) struct Before<'a> {
    pub(super) operators: &'a BTreeMap<String, OperatorState>,
    /// Whether a batch is decided: without one there is nothing to remember.
    pub(super) has_batches: bool,
    /// The number of the run that is about to begin.
    pub(super) epoch: RunEpoch,
    /// Columns that sources did not have, as `source.column`: rows that are kept have none of them.
    pub(super) new_source_columns: BTreeSet<String>,
}

/// Compares. `may_drop` are the operators that may begin afresh if they cannot go on.
pub(super) fn compare(before: Before<'_>, now: &BTreeMap<String, OperatorState>, may_drop: &[String]) -> Result<StateComparison> {
    if let Some(unknown) = may_drop.iter().find(|name| !now.contains_key(*name) && !before.operators.contains_key(*name)) {
        let mut names: Vec<&str> = now.keys().chain(before.operators.keys()).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        return Err(Error::invalid(format!("there is no stateful operator '{unknown}' whose state could be dropped"))
            .hint(format!("there are '{}'", names.join("', '"))));
    }
    let mut comparison = StateComparison { operators: now.clone(), ..StateComparison::default() };
    for (id, old) in before.operators {
        let change = match comparison.operators.get_mut(id) {
            Some(new) => match (continued(id, old, new, &before), fed_otherwise(old, new, before.operators, now)) {
                (change, Some(why)) if change.fate != StateFate::Refused => refused(id, vec![why]),
                (change, _) => change,
            },
            None => refused(id, vec!["it is gone from the query".to_owned()]),
        };
        comparison.changes.push(change);
    }
    for id in now.keys().filter(|id| !before.operators.contains_key(*id)) {
        let why = "it is new, and would begin without what went by before".to_owned();
        comparison.changes.push(refused(id, vec![why]));
    }
    comparison.changes.sort_by(|left, right| left.operator.cmp(&right.operator));
    if before.has_batches {
        comparison.draw_in(now, may_drop);
    }
    for change in comparison.changes.iter_mut().filter(|change| change.fate == StateFate::Refused) {
        let is_allowed = may_drop.contains(&change.operator);
        if before.has_batches && !is_allowed {
            continue;
        }
        change.fate = if before.operators.contains_key(&change.operator) { StateFate::Dropped } else { StateFate::New };
        if let Some(operator) = comparison.operators.get_mut(&change.operator) {
            operator.since = Some(before.epoch);
            operator.earlier.clear();
            operator.v = OPERATOR_VERSION_WITH_PAST;
        }
    }
    Ok(comparison)
}

/// An operator that is there before and now; gives `new` its past.
fn continued(id: &str, old: &OperatorState, new: &mut OperatorState, before: &Before<'_>) -> OperatorChange {
    if old.v > OPERATOR_VERSION_WITH_PAST {
        let why =
            format!("it is described in version {} and this build reads up to {OPERATOR_VERSION_WITH_PAST}: use a newer build", old.v);
        return refused(id, vec![why]);
    }
    let mut reasons = Vec::new();
    if old.kind != new.kind {
        reasons.push(format!("it was of kind {} and is of kind {}", old.kind, new.kind));
    }
    if old.n_key_groups != new.n_key_groups {
        reasons.push(format!("it had {} key groups and has {}", old.n_key_groups, new.n_key_groups));
    }
    if !reasons.is_empty() {
        return refused(id, reasons);
    }
    let Layout { notes, refusals, columns } = layout(old, new, &before.new_source_columns);
    if !refusals.is_empty() {
        return refused(id, refusals);
    }
    new.since = old.since;
    new.earlier = BTreeMap::new();
    for store in &new.stores {
        let earlier = old.earlier.get(&store.name).cloned().unwrap_or_default();
        let earlier = match columns.get(&store.name) {
            None => earlier,
            Some(columns) => continued_layouts(earlier, columns, before.epoch),
        };
        if !earlier.is_empty() {
            new.earlier.insert(store.name.clone(), earlier);
        }
    }
    if new.since.is_some() || !new.earlier.is_empty() {
        new.v = OPERATOR_VERSION_WITH_PAST;
    }
    let fate = if columns.is_empty() { StateFate::Kept } else { StateFate::Migrated };
    OperatorChange { operator: id.to_owned(), fate, reasons: notes }
}

/// Where the columns of now were, for each older layout: by way of the columns that there were in the last run.
fn continued_layouts(earlier: Vec<EarlierLayout>, columns: &[Option<usize>], epoch: RunEpoch) -> Vec<EarlierLayout> {
    let through = |layout: EarlierLayout| EarlierLayout {
        before: layout.before,
        columns: columns.iter().map(|column| column.and_then(|column| layout.columns.get(column).copied().flatten())).collect(),
    };
    let last = EarlierLayout { before: epoch, columns: columns.to_vec() };
    earlier.into_iter().map(through).chain([last]).collect()
}

fn refused(id: &str, reasons: Vec<String>) -> OperatorChange {
    OperatorChange { operator: id.to_owned(), fate: StateFate::Refused, reasons }
}

impl StateComparison {
    /// Whether the query cannot go on.
    pub fn is_refused(&self) -> bool {
        self.query_refusal.is_some() || self.changes.iter().any(|change| change.fate == StateFate::Refused)
    }

    /// Operators that could go on by themselves begin afresh with others, or the query is refused.
    fn draw_in(&mut self, now: &BTreeMap<String, OperatorState>, may_drop: &[String]) {
        let cannot_go_on: Vec<String> =
            self.changes.iter().filter(|change| change.fate == StateFate::Refused).map(|change| change.operator.clone()).collect();
        self.must_begin_afresh = cannot_go_on.iter().cloned().chain(drawn_in(now, &cannot_go_on).into_keys()).collect();
        let begin_afresh: Vec<String> = cannot_go_on.into_iter().filter(|name| may_drop.contains(name)).collect();
        let mut drawn_in = drawn_in(now, &begin_afresh);
        for change in self.changes.iter_mut().filter(|change| change.fate != StateFate::Refused) {
            if let Some(why) = drawn_in.remove(&change.operator) {
                *change = refused(&change.operator, vec![why]);
            }
        }
    }

    /// The query is refused for this, whatever becomes of its state.
    pub(super) fn refused_for(mut self, error: &Error) -> Self {
        let hint = error.hint_text().unwrap_or_default().to_owned();
        self.query_refusal = Some(QueryRefusal { message: error.message().to_owned(), hint });
        self
    }

    /// The operators of now with their past; an error if the query cannot go on, saying why of each operator.
    pub(super) fn into_operators(self) -> Result<BTreeMap<String, OperatorState>> {
        if !self.is_refused() {
            return Ok(self.operators);
        }
        if let Some(QueryRefusal { message, hint }) = self.query_refusal {
            let of_state = self.changes.iter().filter(|change| !change.reasons.is_empty());
            let of_state: Vec<String> = of_state.map(|change| format!("'{}': {}", change.operator, change.reasons.join(", "))).collect();
            let of_state = if of_state.is_empty() { String::new() } else { format!("; of its state {}", of_state.join("; ")) };
            return Err(Error::invalid(message + &of_state).hint(hint));
        }
        let refused: Vec<&OperatorChange> = self.changes.iter().filter(|change| change.fate == StateFate::Refused).collect();
        let why = refused.iter().map(|change| format!("the stateful operator '{}': {}", change.operator, change.reasons.join(", ")));
        let names = self.must_begin_afresh.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        let afresh = match self.must_begin_afresh.len() {
            1 => "the operator begin afresh, without what it remembers",
            _ => "these operators begin afresh, without what they remember",
        };
        Err(Error::invalid(format!("the query's state changed since its checkpoint was made: {}", why.collect::<Vec<_>>().join("; ")))
            .hint(format!(
                "undo the change; or let {afresh} (allowStateDrop '{names}'); or start with a new checkpointLocation (the input is then read \
                 from its beginning)"
            )))
    }
}

impl fmt::Display for StateFate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kept => "kept",
            Self::Migrated => "migrated",
            Self::Dropped => "dropped",
            Self::New => "new",
            Self::Refused => "refused",
        })
    }
}

/// A line for people.
impl fmt::Display for OperatorChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<9} {}", self.fate, self.operator)?;
        if self.reasons.is_empty() { Ok(()) } else { write!(f, ": {}", self.reasons.join(", ")) }
    }
}

#[cfg(test)]
mod tests;
