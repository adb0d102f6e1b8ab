//! Where guards stand: above every chain of row-wise operators whose rows come from a guarded source.
//!
//! An operator that neither is row-wise nor only passes rows on (an aggregation, a join condition that computes) cannot
//! be guarded: the plan is refused by name before anything runs. Parts of a plan without a guarded source (the static side
//! of a stream's join) stay as they are: what fails there fails in every batch, and stops the query.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::{InterleaveExec, UnionExec};
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::{ExecutionPlan, Partitioning};
use millstream_core::{Error, Result};

use super::names::column_names;
use super::steps::{is_fallible, step_of};
use super::{RowGuardExec, RowGuardSpec};
use crate::error::from_datafusion;
use crate::physical::carry::passes_rows_on;
use crate::physical::stateful::StreamJoinExec;
use crate::physical::{DeadLetters, RowFactExec, SourceExec};

/// Puts guards into a plan. `guarded`: the names of the sources whose rows are guarded, and what they read; each needs a
/// dead-letter table.
pub fn guard_rows(plan: &Arc<dyn ExecutionPlan>, guarded: &BTreeMap<String, String>) -> Result<Arc<dyn ExecutionPlan>> {
    Ok(Placer { guarded, n_guards: 0 }.place(plan)?.plan)
}

struct Placer<'a> {
    guarded: &'a BTreeMap<String, String>,
    n_guards: u32,
}

/// A part of the plan with its guards, and whose rows it gives.
struct Placed {
    plan: Arc<dyn ExecutionPlan>,
    sources: BTreeSet<String>,
    /// Of one of them.
    dead_letters: Option<DeadLetters>,
}

impl Placer<'_> {
    fn place(&mut self, plan: &Arc<dyn ExecutionPlan>) -> Result<Placed> {
        if let Some(source) = plan.downcast_ref::<SourceExec>() {
            return self.place_source(plan, source);
        }
        let mut chain = Vec::new();
        let mut is_chain_fallible = false;
        let mut at = plan;
        while let Some(step) = step_of(at)
            && let [child] = at.children().as_slice()
        {
            is_chain_fallible |= step.is_fallible();
            chain.push(at);
            at = child;
        }
        let mut placed = if chain.is_empty() { self.place_other(plan)? } else { self.place(at)? };
        let (depth, columns) = (chain.len(), column_names(&placed.plan));
        for operator in chain.into_iter().rev() {
            placed.plan = replace_children_if_necessary(Arc::clone(operator), vec![placed.plan]).map_err(from_datafusion)?;
        }
        if is_chain_fallible && let Some(dead_letters) = &placed.dead_letters {
            self.n_guards += 1;
            let spec = RowGuardSpec {
                depth,
                sources: join(&placed.sources),
                origin: self.origin(&placed.sources),
                columns,
                writer_no: self.n_guards,
            };
            placed.plan = Arc::new(RowGuardExec::try_new(placed.plan, spec, dead_letters.clone())?);
        }
        Ok(placed)
    }

    fn place_source(&self, plan: &Arc<dyn ExecutionPlan>, source: &SourceExec) -> Result<Placed> {
        let name = source.source_name();
        let mut placed = Placed { plan: Arc::clone(plan), sources: BTreeSet::new(), dead_letters: None };
        if self.guarded.contains_key(name) {
            let Some(dead_letters) = source.dead_letters() else {
                return Err(Error::invalid(format!("rowErrors 'deadLetter': source '{name}' has no dead-letter table"))
                    .hint("give the source the option deadLetterPath or deadLetterTopic"));
            };
            placed.sources.insert(name.to_owned());
            placed.dead_letters = Some(dead_letters.clone());
        }
        Ok(placed)
    }

    fn place_other(&mut self, plan: &Arc<dyn ExecutionPlan>) -> Result<Placed> {
        let (mut children, mut sources, mut dead_letters) = (Vec::new(), BTreeSet::new(), None);
        for child in plan.children() {
            let placed = self.place(child)?;
            children.push(placed.plan);
            sources.extend(placed.sources);
            // Where rows of several sources meet, the table with the most to say has a place for the records of all.
            let n_columns = |letters: &Option<DeadLetters>| letters.as_ref().map_or(0, DeadLetters::n_columns);
            if n_columns(&placed.dead_letters) > n_columns(&dead_letters) {
                dead_letters = placed.dead_letters;
            }
        }
        if dead_letters.is_some() {
            refuse_what_fails(plan)?;
        }
        let plan = if children.is_empty() {
            Arc::clone(plan)
        } else {
            replace_children_if_necessary(Arc::clone(plan), children).map_err(from_datafusion)?
        };
        Ok(Placed { plan, sources, dead_letters })
    }

    fn origin(&self, sources: &BTreeSet<String>) -> String {
        sources.iter().filter_map(|name| self.guarded.get(name)).cloned().collect::<Vec<_>>().join(", ")
    }
}

fn join(names: &BTreeSet<String>) -> String {
    names.iter().cloned().collect::<Vec<_>>().join(", ")
}

/// Refuses an operator that computes on rows and is not guarded.
fn refuse_what_fails(plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
    let passes_on = passes_rows_on(plan)
        || plan.is::<UnionExec>()
        || plan.is::<InterleaveExec>()
        || plan.is::<UnnestExec>()
        || plan.is::<RowFactExec>()
        || plan.is::<SortPreservingMergeExec>()
        || plan.is::<CrossJoinExec>();
    if passes_on {
        return Ok(());
    }
    let computes = if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        let keys = join.on().iter().flat_map(|(left, right)| [left, right]);
        keys.chain(join.filter().map(|filter| filter.expression())).any(is_fallible)
    } else if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        join.filter().is_some_and(|filter| is_fallible(filter.expression()))
    } else if let Some(join) = plan.downcast_ref::<StreamJoinExec>() {
        join.spec().filter.as_ref().is_some_and(is_fallible)
    } else if let Some(exchange) = plan.downcast_ref::<RepartitionExec>() {
        matches!(exchange.partitioning(), Partitioning::Hash(keys, _) if keys.iter().any(is_fallible))
    } else {
        return Err(Error::unsupported(format!("rowErrors 'deadLetter' over '{}'", plan.name()))
            .hint("rows are guarded in filters, projections, explode, unions and joins"));
    };
    if computes {
        return Err(Error::unsupported(format!("rowErrors 'deadLetter' with a condition that computes in '{}'", plan.name()))
            .hint("compute the join's columns before the join"));
    }
    Ok(())
}
