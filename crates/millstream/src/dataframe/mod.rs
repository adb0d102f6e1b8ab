//! DataFrames: what Spark calls so, over finished and live data with the same methods.
//!
//! A DataFrame is an unresolved plan and a session. Methods build the plan that SQL text would build; names and types are
//! resolved by the first action ([`DataFrame::schema`], [`DataFrame::collect`], a writer's start), which reports what is
//! wrong as Spark does.

mod actions;
mod grouped;
mod groups_with_state;
mod show;

use std::fmt;
use std::sync::Arc;

use millstream_analyzer::{FILL_NULLS, KEEP_KNOWN};
use millstream_core::{Error, Result};
use millstream_sql::ir::{self, DedupColumns, Expr, Grouping, JoinCondition, JoinKind, Plan, SetOpKind};

pub(crate) use actions::output_schema;
pub use grouped::GroupedData;
pub use groups_with_state::GroupsWithState;
pub use show::ShowOptions;

use crate::catalog::ViewDefinition;
use crate::column::{Column, call, expr, lit};
use crate::session::Session;
use crate::text_error;
use crate::writer::{DataFrameWriter, DataStreamWriter};

/// A table that is yet to be computed..
#[derive(Clone)]
pub struct DataFrame {
    pub(crate) session: Session,
    pub(crate) plan: Arc<Plan>,
    /// The SQL text the plan came from, for messages.
    pub(crate) text: Option<Arc<str>>,
}

impl fmt::Debug for DataFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataFrame").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl DataFrame {
    pub(crate) fn new(session: Session, plan: Plan) -> Self {
        Self { session, plan: Arc::new(plan), text: None }
    }

    pub(crate) fn with_text(session: Session, plan: Plan, text: &str) -> Self {
        Self { session, plan: Arc::new(plan), text: Some(text.into()) }
    }

    fn then(&self, make: impl FnOnce(Plan) -> Plan) -> Self {
        Self { session: self.session.clone(), plan: Arc::new(make((*self.plan).clone())), text: self.text.clone() }
    }

    /// The unresolved plan.
    pub fn unresolved_plan(&self) -> &Plan {
        &self.plan
    }

    /// The columns given: names or expressions.
    #[must_use]
    pub fn select<C: Into<Column>>(&self, columns: impl IntoIterator<Item = C>) -> Self {
        let exprs = columns.into_iter().map(|column| column.into().0).collect();
        self.then(|plan| plan.project(exprs))
    }

    /// Expressions in SQL text.
    pub fn select_expr<S: AsRef<str>>(&self, exprs: impl IntoIterator<Item = S>) -> Result<Self> {
        let mut all = Vec::new();
        for text in exprs {
            let text = text.as_ref();
            all.extend(millstream_sql::parse_expressions(text).map_err(|error| text_error(error, text))?);
        }
        Ok(self.then(|plan| plan.project(all)))
    }

    /// The rows for which the condition holds.
    #[must_use]
    pub fn filter(&self, condition: Column) -> Self {
        self.then(|plan| plan.filter(condition.0))
    }

    /// The rows for which the condition, SQL text, holds.
    pub fn filter_expr(&self, condition: &str) -> Result<Self> {
        Ok(self.filter(expr(condition)?))
    }

    /// As [`Self::filter_expr`].
    pub fn where_(&self, condition: &str) -> Result<Self> {
        self.filter_expr(condition)
    }

    /// Adds a column, or replaces the one of this name.
    #[must_use]
    pub fn with_column(&self, name: &str, column: Column) -> Self {
        self.with_columns([(name, column)])
    }

    /// Adds or replaces columns.
    #[must_use]
    pub fn with_columns<S: Into<String>>(&self, columns: impl IntoIterator<Item = (S, Column)>) -> Self {
        let columns = columns.into_iter().map(|(name, column)| (name.into(), column.0)).collect();
        self.then(|plan| plan.with_columns(columns))
    }

    /// Renames a column; nothing happens if there is none of this name.
    #[must_use]
    pub fn with_column_renamed(&self, existing: &str, new: &str) -> Self {
        self.then(|plan| plan.with_columns_renamed(vec![(existing.to_owned(), new.to_owned())]))
    }

    /// All columns but those named; unknown names are passed over.
    #[must_use]
    pub fn drop<C: Into<Column>>(&self, columns: impl IntoIterator<Item = C>) -> Self {
        let columns = columns.into_iter().map(|column| column.into().0).collect();
        self.then(|plan| plan.drop_columns(columns))
    }

    /// New names for all columns.
    #[must_use]
    pub fn to_df<S: Into<String>>(&self, names: impl IntoIterator<Item = S>) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        self.then(|plan| plan.to_df(names))
    }

    /// A name by which its columns can be qualified.
    #[must_use]
    pub fn alias(&self, name: &str) -> Self {
        self.then(|plan| plan.alias(name))
    }

    /// The rows of both, by position.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let right = (*other.plan).clone();
        self.then(|plan| plan.union(right))
    }

    /// The rows of both, by name; with `allow_missing` columns that one side lacks are null.
    #[must_use]
    pub fn union_by_name(&self, other: &Self, allow_missing: AllowMissing) -> Self {
        let right = (*other.plan).clone();
        self.then(|plan| plan.union_by_name(right, allow_missing == AllowMissing::Yes))
    }

    /// The distinct rows that both have.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let right = (*other.plan).clone();
        self.then(|plan| plan.set_op(right, SetOpKind::Intersect, false))
    }

    /// The distinct rows that the other does not have.
    #[must_use]
    pub fn except(&self, other: &Self) -> Self {
        let right = (*other.plan).clone();
        self.then(|plan| plan.set_op(right, SetOpKind::Except, false))
    }

    /// Joins on a condition. `how` is Spark's: inner, cross, left, right, full, semi, anti and their longer spellings.
    pub fn join(&self, right: &Self, on: Column, how: &str) -> Result<Self> {
        self.join_with(right, JoinCondition::On(on.0), how)
    }

    /// Joins on columns of the same name, which appear once in the result.
    pub fn join_using<S: Into<String>>(&self, right: &Self, columns: impl IntoIterator<Item = S>, how: &str) -> Result<Self> {
        let columns = columns.into_iter().map(|name| ir::Ident::from(name.into())).collect();
        self.join_with(right, JoinCondition::Using(columns), how)
    }

    /// Every row of one with every row of the other.
    #[must_use]
    pub fn cross_join(&self, right: &Self) -> Self {
        let right = (*right.plan).clone();
        self.then(|plan| plan.join(right, JoinKind::Cross, JoinCondition::None))
    }

    fn join_with(&self, right: &Self, condition: JoinCondition, how: &str) -> Result<Self> {
        let kind = match how.to_ascii_lowercase().replace('_', "").as_str() {
            "inner" => JoinKind::Inner,
            "cross" => JoinKind::Cross,
            "left" | "leftouter" => JoinKind::LeftOuter,
            "right" | "rightouter" => JoinKind::RightOuter,
            "full" | "outer" | "fullouter" => JoinKind::FullOuter,
            "semi" | "leftsemi" => JoinKind::LeftSemi,
            "anti" | "leftanti" => JoinKind::LeftAnti,
            _ => {
                return Err(Error::invalid(format!("join type '{how}' is not known"))
                    .hint("known are inner, cross, left, right, full, left_semi and left_anti"));
            }
        };
        let right = (*right.plan).clone();
        Ok(self.then(|plan| plan.join(right, kind, condition)))
    }

    /// Groups the rows; go on with an aggregation.
    pub fn group_by<C: Into<Column>>(&self, columns: impl IntoIterator<Item = C>) -> GroupedData {
        GroupedData::new(self.clone(), columns.into_iter().map(|column| column.into().0).collect())
    }

    /// Aggregates over all rows.
    #[must_use]
    pub fn agg(&self, aggregates: impl IntoIterator<Item = Column>) -> Self {
        let aggregates = aggregates.into_iter().map(|column| column.0).collect();
        self.then(|plan| plan.aggregate(Grouping::Plain(Vec::new()), aggregates))
    }

    /// Sorted rows; keys are ascending unless [`Column::desc`] says otherwise.
    #[must_use]
    pub fn order_by<C: Into<Column>>(&self, keys: impl IntoIterator<Item = C>) -> Self {
        let order = keys
            .into_iter()
            .map(|key| match key.into().0 {
                Expr::SortOrder(order) => *order,
                other => other.asc(),
            })
            .collect();
        self.then(|plan| plan.sort(order, true))
    }

    /// As [`Self::order_by`].
    #[must_use]
    pub fn sort<C: Into<Column>>(&self, keys: impl IntoIterator<Item = C>) -> Self {
        self.order_by(keys)
    }

    /// Renames columns, in order; names that do not exist are passed over.
    #[must_use]
    pub fn with_columns_renamed<S: Into<String>>(&self, renames: impl IntoIterator<Item = (S, S)>) -> Self {
        let renames = renames.into_iter().map(|(from, to)| (from.into(), to.into())).collect();
        self.then(|plan| plan.with_columns_renamed(renames))
    }

    /// At most `n` rows.
    #[must_use]
    pub fn limit(&self, n: u32) -> Self {
        self.then(|plan| plan.limit(i32::try_from(n).unwrap_or(i32::MAX)))
    }

    /// Without the first `n` rows.
    #[must_use]
    pub fn offset(&self, n: u32) -> Self {
        self.then(|plan| plan.offset(i32::try_from(n).unwrap_or(i32::MAX)))
    }

    /// The distinct rows.
    #[must_use]
    pub fn distinct(&self) -> Self {
        self.then(Plan::distinct)
    }

    /// One row of every combination of the named columns, or of all when none is named.
    #[must_use]
    pub fn drop_duplicates<S: Into<String>>(&self, columns: impl IntoIterator<Item = S>) -> Self {
        self.without_duplicates(columns, false)
    }

    /// One row of every combination of the named columns, or of all when none is named, of a stream with a watermark: a
    /// combination is remembered until the watermark has passed the event time of its first row plus the watermark's delay.
    #[must_use]
    pub fn drop_duplicates_within_watermark<S: Into<String>>(&self, columns: impl IntoIterator<Item = S>) -> Self {
        self.without_duplicates(columns, true)
    }

    fn without_duplicates<S: Into<String>>(&self, columns: impl IntoIterator<Item = S>, within_watermark: bool) -> Self {
        let columns: Vec<ir::Ident> = columns.into_iter().map(|name| ir::Ident::from(name.into())).collect();
        let columns = if columns.is_empty() { DedupColumns::All } else { DedupColumns::Names(columns) };
        self.then(|plan| plan.deduplicate(columns, within_watermark))
    }

    /// Nulls and NaNs of the named columns replaced; of all columns of the value's kind (numbers, texts, booleans) when
    /// none is named.
    #[must_use]
    pub fn fillna(&self, value: impl Into<ir::Literal>, columns: &[&str]) -> Self {
        let args = std::iter::once(lit(value)).chain(columns.iter().map(|name| lit(*name)));
        self.with_columns([(FILL_NULLS, call(FILL_NULLS, args))])
    }

    /// The rows with as many values among the columns as wanted; a NaN is no value. All columns count when none is named.
    #[must_use]
    pub fn dropna(&self, keep: KeepKnown, columns: &[&str]) -> Self {
        let least = match keep {
            KeepKnown::All => -1,
            KeepKnown::AtLeast(n) => i32::try_from(n).unwrap_or(i32::MAX),
        };
        let args = std::iter::once(lit(least)).chain(columns.iter().map(|name| lit(*name)));
        self.filter(call(KEEP_KNOWN, args))
    }

    /// Says which column is the event time and how late rows may be, such as `10 seconds`.
    pub fn with_watermark(&self, event_time: &str, delay: &str) -> Result<Self> {
        let delay = millstream_sql::parse_interval(delay).map_err(|error| text_error(error, delay))?;
        Ok(self.then(|plan| plan.with_watermark(Expr::col(event_time), delay)))
    }

    /// Writes finished data.
    pub fn write(&self) -> DataFrameWriter {
        DataFrameWriter::new(self.clone())
    }

    /// Writes a stream.
    pub fn write_stream(&self) -> DataStreamWriter {
        DataStreamWriter::new(self.clone())
    }

    /// Makes it a view of the session; replaces one of this name.
    pub fn create_or_replace_temp_view(&self, name: &str) {
        self.session.catalog().set_view(self.as_view(name));
    }

    /// Makes it a view of the session; fails if there is one of this name.
    pub fn create_temp_view(&self, name: &str) -> Result<()> {
        self.session.catalog().add_view(self.as_view(name))
    }

    fn as_view(&self, name: &str) -> ViewDefinition {
        let (plan, time_zone) = (Arc::clone(&self.plan), self.session.time_zone());
        ViewDefinition { name: name.to_owned(), plan, columns: Vec::new(), time_zone }
    }
}

/// Which rows [`DataFrame::dropna`] keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepKnown {
    /// Those in which no value is missing (`how = "any"`).
    All,
    /// Those with at least so many values (`thresh`); 1 is `how = "all"`.
    AtLeast(usize),
}

/// Whether [`DataFrame::union_by_name`] fills columns that one side lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllowMissing {
    /// Missing columns are null.
    Yes,
    /// Missing columns are an error.
    No,
}
