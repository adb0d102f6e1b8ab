//! Which queries each output mode can serve, and stateful nodes fitted to the mode.
//!
//! The rules and their words are Spark's (UnsupportedOperationChecker, the table of output modes in the Structured
//! Streaming guide). A mode is known when a query starts, so these errors name the operation and no place in the text.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, Extension, JoinType, Limit, LogicalPlan, Projection, UserDefinedLogicalNodeCore, lit};
use millstream_core::stack::{with_room, with_room_for_query};
use millstream_core::{Error, OutputMode, Result};

use super::carried::{Changes, Fitted, carried, carried_up, column_of, internal, not_on_changes};
use super::changes::{CHANGE, Gives};
use super::groups_with_state::NamedColumn;
use super::join::{check_join, known_of, resolve_joins};
use super::late_row::with_late_row;
use super::sink_changes::{CHANGE_TYPE, Shown, SinkChangesNode};
use super::{DeduplicateNode, GroupsWithStateNode, StatefulAggregateNode, StreamJoinNode, StreamLimitNode, state_function_rules};

/// What is asked of a streaming query's output.
#[derive(Debug, Clone)]
pub struct OutputRequest {
    /// Which rows a batch gives.
    pub mode: OutputMode,
    /// Whether the sink is given new rows only, or changes.
    pub shown: Shown,
    /// The columns, by the user's names, by which a row that is added replaces one that is taken out; `None`: what is known.
    pub upsert_key: Option<Vec<String>>,
    /// Whether rows that come too late are kept, whole: the columns of what an operator reads are read then, used or not.
    pub keeps_late_rows: bool,
}

impl From<OutputMode> for OutputRequest {
    /// New rows only.
    fn from(mode: OutputMode) -> Self {
        Self { mode, shown: Shown::NewRows, upsert_key: None, keeps_late_rows: false }
    }
}

/// The plan of a streaming query as it runs for `request`: its stateful operators are named and fitted, and changes flow
/// between them where rows that were given are taken back. Refuses what the mode does not allow.
pub fn for_output_mode(plan: &LogicalPlan, request: impl Into<OutputRequest>) -> Result<LogicalPlan> {
    let request = request.into();
    with_room_for_query(|| {
        let plan = resolve_joins(plan)?;
        check(&plan, request.mode)?;
        at_sink(&plan, &request)
    })
}

/// How the rows that update mode gives, batch by batch, make up the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Updates {
    /// Every row stays.
    Rows,
    /// A row replaces the one before it of the same group, which is equal in these columns of the result. No group goes.
    Replaced(Vec<usize>),
    /// Rows may go: only changes tell.
    Changes,
}

/// How the rows of a query in update mode make up its result.
pub fn updates(plan: &LogicalPlan) -> Result<Updates> {
    with_room_for_query(|| {
        let plan = resolve_joins(plan)?;
        check(&plan, OutputMode::Update)?;
        let LogicalPlan::Projection(last) = &plan else { return Err(Error::internal("a query whose columns have no names")) };
        let mut fitter = Fitter { mode: OutputMode::Update, keeps_late_rows: false, names: Names::default() };
        let Fitted { changes, .. } = fitter.fit(&last.input, Above { wants_changes: true, is_result: true })?;
        Ok(match changes {
            None => Updates::Rows,
            Some(changes) if check_replaced(&changes, None, OutputMode::Update).is_err() => Updates::Changes,
            Some(changes) => {
                let is_stable = |expr: &Expr| column_of(expr).is_some_and(|column| changes.stable.contains(column));
                Updates::Replaced(last.expr.iter().enumerate().filter(|(_, expr)| is_stable(expr)).map(|(at, _)| at).collect())
            }
        })
    })
}

fn check(plan: &LogicalPlan, mode: OutputMode) -> Result<()> {
    let n_aggregations = aggregations_in_a_row(plan);
    if mode == OutputMode::Complete && n_aggregations == 0 {
        return Err(not_in(mode, "no streaming aggregations")
            .hint("use append, or aggregate: complete mode gives the whole result after each batch"));
    }
    state_function_rules::check(plan, mode)?;
    visit(plan, &mut |node| {
        if let Some(aggregate) = node_of::<StatefulAggregateNode>(node)
            && mode == OutputMode::Append
            && aggregate.event_time().is_none()
        {
            return Err(not_in(mode, "streaming aggregations without watermark")
                .hint("group by an event time with a watermark (or a window of it), or use update or complete mode"));
        }
        if let Some(join) = node_of::<StreamJoinNode>(node) {
            check_join(join, mode)?;
        }
        if node_of::<StreamLimitNode>(node).is_some() && mode == OutputMode::Update {
            return Err(
                Error::unsupported("LIMIT on a stream in update mode").hint("use append mode, or complete mode after an aggregation")
            );
        }
        if matches!(node, LogicalPlan::Sort(_)) && mode != OutputMode::Complete && aggregations_in_a_row(node) > 0 {
            return Err(Error::unsupported(format!("sorting a stream in {mode} mode"))
                .hint("only the whole result can be sorted: use complete mode"));
        }
        Ok(())
    })
}

fn not_in(mode: OutputMode, operation: &str) -> Error {
    Error::unsupported(format!("output mode {mode} is not supported for {operation} on a stream"))
        .code("STREAMING_OUTPUT_MODE.UNSUPPORTED_OPERATION")
}

/// What stands above a node on its way to the sink.
#[derive(Debug, Clone, Copy)]
struct Above {
    /// Somebody must hear when a row that was given is taken back.
    wants_changes: bool,
    /// Nothing there aggregates: what the node gives in complete mode is the whole result.
    is_result: bool,
}

/// Fits nodes to an output mode, from the sources up: so what is put on top of a query does not rename what is below.
struct Fitter {
    mode: OutputMode,
    keeps_late_rows: bool,
    names: Names,
}

impl Fitter {
    fn fit(&mut self, plan: &LogicalPlan, above: Above) -> Result<Fitted> {
        with_room(|| self.fit_here(plan, above))
    }

    fn fit_here(&mut self, plan: &LogicalPlan, above: Above) -> Result<Fitted> {
        if let Some(aggregate) = node_of::<StatefulAggregateNode>(plan) {
            return self.aggregate(aggregate, above);
        }
        if let Some(deduplicate) = node_of::<DeduplicateNode>(plan) {
            return self.deduplicate(deduplicate, above);
        }
        if let Some(join) = node_of::<StreamJoinNode>(plan) {
            return self.join(join, above);
        }
        if let Some(groups) = node_of::<GroupsWithStateNode>(plan).filter(|groups| groups.is_streaming()) {
            return self.groups_with_state(groups);
        }
        if let Some(limit) = node_of::<StreamLimitNode>(plan) {
            return self.limit(limit, above);
        }
        let inputs = plan.inputs().into_iter().map(|input| self.fit(input, above)).collect::<Result<_>>()?;
        carried(plan.clone(), inputs)
    }

    fn aggregate(&mut self, node: &StatefulAggregateNode, above: Above) -> Result<Fitted> {
        let mut input = self.fit(node.input(), Above { wants_changes: self.mode != OutputMode::Append, is_result: false })?;
        // Below the aggregation that gives the whole result the others run as in update mode, as in Spark.
        let mode = match self.mode {
            OutputMode::Complete if !above.is_result => OutputMode::Update,
            mode => mode,
        };
        // A session that grows is another one, also where nobody asked for changes.
        let grows = node.session().is_some();
        let gives_changes = mode == OutputMode::Update && (above.wants_changes || input.changes.is_some() || grows);
        let gives = if gives_changes { Gives::Changes } else { Gives::Rows };
        let by_whole_windows;
        let node = if node.window().is_some() && (gives_changes || input.changes.is_some()) {
            by_whole_windows = node.by_whole_windows().map_err(|error| error.into_core(None))?;
            input = carried_up(by_whole_windows.input().clone(), node.input(), input)?;
            &by_whole_windows
        } else {
            node
        };
        let name = self.names.unique("aggregate", node.key_names());
        let input = self.judged(input, node.relation(), node.late_by(mode))?;
        let fitted = node.fitted(name, mode, gives, input.plan).map_err(internal)?;
        let n_keys = fitted.schema().fields().len() - node.aggregate().aggr_expr.len() - usize::from(gives_changes);
        // Behind the user's keys may stand a time that depends on them.
        let is_own = |(idx, column): &(usize, Column)| *idx < node.key_names().len() || node.event_time() != Some(column);
        let key = fitted.schema().columns().into_iter().take(n_keys).enumerate().filter(is_own).map(|(_, column)| column);
        let key: Vec<Column> = key.collect();
        // A group is gone when all its rows are; one that rows cannot leave never is, nor is the group of all rows.
        let deletes = input.changes.is_some_and(|changes| {
            let rows_stay = node.aggregate().group_expr.iter().flat_map(Expr::column_refs).all(|column| changes.stable.contains(column));
            n_keys > 0 && (changes.deletes || !rows_stay)
        });
        let changes = Changes { stable: key.iter().cloned().collect(), key: Some(key), deletes: deletes || grows, completes: false };
        Ok(Fitted { plan: fitted.into_plan(), changes: gives_changes.then_some(changes) })
    }

    fn join(&mut self, node: &StreamJoinNode, above: Above) -> Result<Fitted> {
        if self.mode == OutputMode::Complete && above.is_result {
            return self.join_of_whole_results(node, above);
        }
        let below = Above { wants_changes: self.mode != OutputMode::Append, is_result: false };
        let [(left, _), (right, _)] = node.sides();
        let [left, right] = [self.fit(left, below)?, self.fit(right, below)?];
        let ([(_, of_left), (_, of_right)], [left_columns, right_columns]) = (node.sides(), node.relations());
        let left = self.judged(left, left_columns, of_left.event_time.as_ref())?;
        let right = self.judged(right, right_columns, of_right.event_time.as_ref())?;
        // In append mode unmatched rows wait until they are final; else they come at once and may be taken back.
        let takes_back = self.mode != OutputMode::Append && !matches!(node.kind(), JoinType::Inner | JoinType::LeftSemi);
        let gives_changes = takes_back || left.changes.is_some() || right.changes.is_some();
        let changes = gives_changes.then(|| known_of(node, [&left, &right]));
        let gives = if gives_changes { Gives::Changes } else { Gives::Rows };
        let name = self.names.unique("join", node.key_names());
        let plan = node.fitted(name, gives, left.plan, right.plan).map_err(internal)?.into_plan();
        Ok(Fitted { plan, changes })
    }

    /// In complete mode both sides are given whole in each batch, so the join has nothing to remember.
    fn join_of_whole_results(&mut self, node: &StreamJoinNode, above: Above) -> Result<Fitted> {
        let [(left, _), (right, _)] = node.sides();
        if !(is_whole_in_complete_mode(left) && is_whole_in_complete_mode(right)) {
            return Err(Error::unsupported("complete mode for a join of what is aggregated with rows that are not")
                .hint("aggregate both sides, or the joined rows, which complete mode then gives whole; or use update mode"));
        }
        let [left, right] = [self.fit(left, above)?, self.fit(right, above)?];
        node.of_whole_results(left.plan, right.plan).map(Fitted::rows).map_err(internal)
    }

    fn groups_with_state(&mut self, node: &GroupsWithStateNode) -> Result<Fitted> {
        let inputs = self.rows_below(node.inputs(), "a function with state")?;
        let mut inputs = inputs.into_iter();
        let rows = inputs.next().map(|rows| self.judged(rows, &node.input().columns, node.late_by())).transpose()?;
        let inputs = rows.into_iter().chain(inputs).collect();
        let name = self.names.unique("groups-with-state", &node.key_names());
        carried(node.named(name).into_plan(), inputs)
    }

    /// The inputs of an operator that takes no changes.
    fn rows_below<'p>(&mut self, inputs: impl IntoIterator<Item = &'p LogicalPlan>, what: &str) -> Result<Vec<Fitted>> {
        let below = Above { wants_changes: self.mode != OutputMode::Append, is_result: false };
        let inputs = inputs.into_iter().map(|input| self.fit(input, below)).collect::<Result<Vec<_>>>()?;
        match inputs.iter().any(|input| input.changes.is_some()) {
            true => Err(not_on_changes(what)),
            false => Ok(inputs),
        }
    }

    fn deduplicate(&mut self, node: &DeduplicateNode, above: Above) -> Result<Fitted> {
        let input = self.fit(node.input(), above)?;
        if self.mode == OutputMode::Complete && above.is_result && aggregations_in_a_row(node.input()) > 0 {
            return node.of_whole_result(input.plan).map(Fitted::rows).map_err(internal);
        }
        let name = self.names.unique("deduplicate", node.key_names());
        let changes = match input.changes {
            Some(changes) => {
                let key: Vec<Column> = node.keys().iter().filter_map(|key| key.try_as_col().cloned()).collect();
                let deletes = changes.deletes || !key.iter().all(|column| changes.stable.contains(column));
                Some(Changes { stable: key.iter().cloned().collect(), key: Some(key), deletes, completes: false })
            }
            None => None,
        };
        let Fitted { plan: input, .. } = self.judged(Fitted { plan: input.plan, changes: None }, node.relation(), node.late_by())?;
        Ok(Fitted { plan: node.fitted(name, input).map_err(internal)?.into_plan(), changes })
    }

    /// The input of an operator that drops late rows, with what is kept of such a row on request.
    fn judged(&self, input: Fitted, relation: &[NamedColumn], late_by: Option<&Column>) -> Result<Fitted> {
        if !self.keeps_late_rows || late_by.is_none() {
            return Ok(input);
        }
        Ok(Fitted { plan: with_late_row(input.plan, relation).map_err(internal)?, changes: input.changes })
    }

    fn limit(&mut self, node: &StreamLimitNode, above: Above) -> Result<Fitted> {
        let input = self.fit(node.input(), above)?;
        if input.changes.is_some() {
            return Err(not_on_changes("LIMIT"));
        }
        if self.mode == OutputMode::Append || aggregations_in_a_row(node.input()) == 0 {
            return Ok(Fitted::rows(node.fitted(self.names.unique("limit", &[]), input.plan).into_plan()));
        }
        // Of the whole result, anew in each batch.
        let fetch = Some(Box::new(lit(i64::try_from(node.n_rows()).unwrap_or(i64::MAX))));
        Ok(Fitted::rows(LogicalPlan::Limit(Limit { skip: None, fetch, input: Arc::new(input.plan) })))
    }
}

/// The whole plan: its last projection, which gives columns the user's names, stays the last.
fn at_sink(plan: &LogicalPlan, request: &OutputRequest) -> Result<LogicalPlan> {
    let OutputRequest { mode, shown, upsert_key, keeps_late_rows } = request;
    let shows_changes = *shown == Shown::Changes;
    let LogicalPlan::Projection(last) = plan else { return Err(Error::internal("a query whose columns have no names")) };
    let named: Vec<(&str, &Column)> =
        last.schema.fields().iter().map(|field| field.name().as_str()).zip(last.expr.iter().filter_map(column_of)).collect();
    if named.len() != last.expr.len() {
        return Err(Error::internal("a query whose last step computes"));
    }
    if shows_changes && *mode == OutputMode::Complete {
        return Err(Error::invalid("option 'changes' does not apply to complete mode, which gives the whole result after each batch")
            .hint("use update mode"));
    }
    if shows_changes && named.iter().any(|(name, _)| name.eq_ignore_ascii_case(CHANGE_TYPE)) {
        return Err(Error::invalid(format!("a column is called {CHANGE_TYPE}, as the column of changes is")).hint("give it another name"));
    }
    let upsert_key = upsert_key.as_ref().map(|names| names.iter().map(|name| column_called(name, &named)).collect::<Result<Vec<_>>>());
    let upsert_key = upsert_key.transpose()?;
    let mut fitter = Fitter { mode: *mode, keeps_late_rows: *keeps_late_rows, names: Names::default() };
    let above = Above { wants_changes: shows_changes, is_result: true };
    let Fitted { plan: input, changes } = fitter.fit(&last.input, above)?;
    if changes.is_none() && upsert_key.is_some() {
        return Err(Error::invalid(format!("option 'upsertKey' does not apply: in {mode} mode this query gives rows and takes none back"))
            .hint("leave it out"));
    }
    let kind = match (&changes, shows_changes) {
        (None, false) => None,
        (None, true) => Some(lit("insert").alias(CHANGE_TYPE)),
        (Some(_), true) => Some(Expr::Column(Column::new_unqualified(CHANGE_TYPE))),
        (Some(changes), false) => {
            check_replaced(changes, upsert_key.as_deref(), *mode)?;
            None
        }
    };
    let input = match changes {
        None => input,
        Some(changes) => {
            let mut columns: Vec<Column> = Vec::new();
            named.iter().for_each(|(_, column)| {
                if !columns.contains(column) {
                    columns.push((*column).clone())
                }
            });
            let known = changes.key.filter(|key| key.iter().all(|column| columns.contains(column)));
            let exprs = columns.into_iter().map(Expr::Column).chain([Expr::Column(Column::new_unqualified(CHANGE))]).collect();
            let used = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input)).map_err(internal)?);
            let node = SinkChangesNode::try_new(used, upsert_key.or(known), *shown).map_err(internal)?;
            node.declared_as(request.upsert_key.clone()).into_plan()
        }
    };
    let exprs = kind.into_iter().chain(last.expr.iter().cloned()).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input)).map_err(internal)?))
}

fn column_called(name: &str, named: &[(&str, &Column)]) -> Result<Column> {
    let mut found = named.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    match (found.next(), found.next()) {
        (Some((_, column)), None) => Ok((*column).clone()),
        (None, _) => Err(Error::invalid(format!("option 'upsertKey' names '{name}', which is not a column of the result"))),
        (Some(_), Some(_)) => Err(Error::invalid(format!("option 'upsertKey' names '{name}', which several columns are called"))),
    }
}

/// Whether new rows alone tell what becomes of the result: each takes the place of the row with the same key.
fn check_replaced(changes: &Changes, upsert_key: Option<&[Column]>, mode: OutputMode) -> Result<()> {
    if changes.deletes {
        return Err(cannot_delete(mode));
    }
    match upsert_key {
        Some(key) if key.iter().all(|column| changes.stable.contains(column)) => Ok(()),
        // A row of this key may go when one of another key comes in its place.
        Some(_) => Err(cannot_delete(mode)),
        None if !changes.completes => Ok(()),
        None => Err(Error::unsupported(format!("{mode} mode for a result whose rows take the place of others, and which has no key to tell them by"))
            .code("STREAMING_OUTPUT_MODE.UNSUPPORTED_OPERATION")
            .hint("name the columns of its key by option upsertKey, of an outer join those of the side that is always there; or option changes 'true'")),
    }
}

fn cannot_delete(mode: OutputMode) -> Error {
    Error::unsupported(format!("{mode} mode for a result whose rows may be deleted: the sink is given new rows only"))
        .code("STREAMING_OUTPUT_MODE.UNSUPPORTED_OPERATION")
        .hint("option changes 'true' shows deletes, too (console, memory, noop, kafka, foreach, foreach_batch); complete mode gives the whole result")
}

/// The most stateful aggregations on a way from the sink to a source.
fn aggregations_in_a_row(plan: &LogicalPlan) -> usize {
    let below = plan.inputs().into_iter().map(aggregations_in_a_row).max().unwrap_or(0);
    below + usize::from(node_of::<StatefulAggregateNode>(plan).is_some())
}

/// Whether complete mode gives all rows of the plan in each batch: each stream in it is aggregated.
fn is_whole_in_complete_mode(plan: &LogicalPlan) -> bool {
    let mut inputs = plan.inputs().into_iter();
    match plan {
        _ if node_of::<StatefulAggregateNode>(plan).is_some() => true,
        // One side is a stream, the other a table; a table has no aggregation with state.
        LogicalPlan::Join(_) => inputs.any(is_whole_in_complete_mode),
        _ => !plan.inputs().is_empty() && inputs.all(is_whole_in_complete_mode),
    }
}

pub(super) fn visit(plan: &LogicalPlan, look: &mut dyn FnMut(&LogicalPlan) -> Result<()>) -> Result<()> {
    let mut seen = Ok(());
    let walked = plan.apply(|node| {
        seen = look(node);
        Ok(if seen.is_err() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    seen?;
    walked.map(|_| ()).map_err(|error| Error::internal(error.to_string()))
}

pub(crate) fn node_of<N: 'static>(plan: &LogicalPlan) -> Option<&N> {
    match plan {
        LogicalPlan::Extension(Extension { node }) => node.as_any().downcast_ref::<N>(),
        _ => None,
    }
}

/// Names of operators: from what they do and by which keys; the second of the same name is `...-2`.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl Names {
    fn unique(&mut self, kind: &str, keys: &[String]) -> String {
        let mut base = kind.to_owned();
        for key in keys {
            base.push('-');
            base.extend(key.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '_' }));
        }
        let mut name = base.clone();
        for n in 2_u32.. {
            if self.0.insert(name.clone()) {
                break;
            }
            name = format!("{base}-{n}");
        }
        name
    }
}

#[cfg(test)]
mod tests;
