//! Comfortable constructors, so that the DataFrame API, Spark Connect and tests build the same nodes
//! as the parser. They never look anything up.

use super::expr::{CastMode, Expr, Ident, Literal, NullOrdering, ObjectName, SortDirection, SortOrder, UnresolvedFunction, WindowSpec};
use super::interval::CalendarInterval;
use super::plan::{DedupColumns, Grouping, JoinCondition, JoinKind, LocalId, Plan, Properties, Property, Read, ReadSource, SetOpKind};
use super::types::DataType;
use crate::span::Span;

impl Expr {
    /// A column by its written name: points part it, backticks keep points: ``a.`b.c` ``. `*` and `a.*` are stars.
    ///
    /// A name with an unclosed backtick is taken as one part; the analyzer then does not find it.
    pub fn col(name: &str) -> Expr {
        if name == "*" {
            return Expr::star();
        }
        if let Some(target) = name.strip_suffix(".*") {
            return Expr::UnresolvedStar { target: Some(split_name(target)), except: vec![], plan_id: None, span: Span::NONE };
        }
        Expr::UnresolvedAttribute { parts: split_name(name), plan_id: None, span: Span::NONE }
    }

    /// `*`
    pub fn star() -> Expr {
        Expr::UnresolvedStar { target: None, except: vec![], plan_id: None, span: Span::NONE }
    }

    /// A literal of a Rust value: `Expr::lit(1)`, `Expr::lit("a")`, `Expr::lit(Literal::Null)`.
    pub fn lit(value: impl Into<Literal>) -> Expr {
        Expr::Literal { value: value.into(), span: Span::NONE }
    }

    /// A call of a function or operator.
    pub fn call(name: impl Into<String>, args: Vec<Expr>) -> Expr {
        Expr::call_at(name, args, Span::NONE)
    }

    /// A call that was written at `span`.
    pub fn call_at(name: impl Into<String>, args: Vec<Expr>, span: Span) -> Expr {
        Expr::UnresolvedFunction(UnresolvedFunction {
            name: name.into(),
            args,
            is_distinct: false,
            filter: None,
            ignore_nulls: false,
            within_group: vec![],
            span,
        })
    }

    /// `self AS name`
    #[must_use]
    pub fn alias(self, name: impl Into<Ident>) -> Expr {
        let name = name.into();
        let span = self.span().to(name.span);
        Expr::Alias { expr: Box::new(self), names: vec![name], metadata: None, span }
    }

    /// `CAST(self AS data_type)`
    #[must_use]
    pub fn cast(self, data_type: DataType) -> Expr {
        self.cast_as(data_type, CastMode::Session)
    }

    /// A cast with a mode of its own.
    #[must_use]
    pub fn cast_as(self, data_type: DataType, mode: CastMode) -> Expr {
        let span = self.span();
        Expr::Cast { expr: Box::new(self), data_type, mode, span }
    }

    /// `self[extraction]`
    #[must_use]
    pub fn extract(self, extraction: Expr) -> Expr {
        let span = self.span();
        Expr::UnresolvedExtractValue { child: Box::new(self), extraction: Box::new(extraction), span }
    }

    /// `self.name`
    #[must_use]
    pub fn field(self, name: &str) -> Expr {
        self.extract(Expr::lit(name))
    }

    /// `NOT self`
    #[must_use]
    pub fn negate(self) -> Expr {
        let span = self.span();
        Expr::call_at("not", vec![self], span)
    }

    /// `self OVER spec`
    #[must_use]
    pub fn over(self, spec: WindowSpec) -> Expr {
        let span = self.span();
        Expr::Window { function: Box::new(self), spec, span }
    }

    /// `self ASC NULLS FIRST`
    #[must_use]
    pub fn asc(self) -> SortOrder {
        SortOrder { expr: self, direction: SortDirection::Ascending, nulls: NullOrdering::First }
    }

    /// `self DESC NULLS LAST`
    #[must_use]
    pub fn desc(self) -> SortOrder {
        SortOrder { expr: self, direction: SortDirection::Descending, nulls: NullOrdering::Last }
    }
}

impl From<Expr> for SortOrder {
    /// A column as a sort key; a column that is already one (`col.desc()`) keeps its direction.
    fn from(expr: Expr) -> SortOrder {
        match expr {
            Expr::SortOrder(order) => *order,
            other => other.asc(),
        }
    }
}

macro_rules! literal_from {
    ($($from:ty => $variant:ident),* $(,)?) => {
        $(impl From<$from> for Literal {
            fn from(value: $from) -> Literal {
                Literal::$variant(value.into())
            }
        })*
    };
}

literal_from! {
    bool => Boolean, i8 => Byte, i16 => Short, i32 => Int, i64 => Long, f32 => Float, f64 => Double,
    &str => String, String => String, Vec<u8> => Binary, CalendarInterval => CalendarInterval,
}

impl<T: Into<Literal>> From<Option<T>> for Literal {
    fn from(value: Option<T>) -> Literal {
        value.map_or(Literal::Null, Into::into)
    }
}

impl Property {
    /// An option that was not written in a text.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Property {
        Property { key: key.into(), value: value.into(), span: Span::NONE }
    }
}

impl Plan {
    /// A table or view by its written name.
    pub fn table(name: &str, is_streaming: bool) -> Plan {
        let source = ReadSource::Table(ObjectName { parts: split_name(name), span: Span::NONE });
        Plan::Read(Read { source, is_streaming, options: vec![], schema: None, span: Span::NONE })
    }

    /// A data source by format, options and paths.
    pub fn data_source(
        format: Option<String>,
        paths: Vec<String>,
        options: Properties,
        schema: Option<DataType>,
        is_streaming: bool,
    ) -> Plan {
        let source = ReadSource::DataSource { format, paths };
        Plan::Read(Read { source, is_streaming, options, schema, span: Span::NONE })
    }

    /// Rows that the caller keeps under `id`.
    pub fn local(id: LocalId) -> Plan {
        Plan::Local(id)
    }

    /// `self AS alias`
    #[must_use]
    pub fn alias(self, alias: impl Into<Ident>) -> Plan {
        Plan::SubqueryAlias { input: Box::new(self), alias: alias.into(), columns: vec![], span: Span::NONE }
    }

    /// `SELECT exprs`
    #[must_use]
    pub fn project(self, exprs: Vec<Expr>) -> Plan {
        Plan::Project { input: Box::new(self), exprs, span: Span::NONE }
    }

    /// `WHERE condition`
    #[must_use]
    pub fn filter(self, condition: Expr) -> Plan {
        let span = condition.span();
        Plan::Filter { input: Box::new(self), condition, span }
    }

    /// A join.
    #[must_use]
    pub fn join(self, right: Plan, kind: JoinKind, condition: JoinCondition) -> Plan {
        Plan::Join { left: Box::new(self), right: Box::new(right), kind, condition, lateral: false, span: Span::NONE }
    }

    /// `UNION ALL` by position.
    #[must_use]
    pub fn union(self, right: Plan) -> Plan {
        match self {
            Plan::UnionAll { mut inputs, span } => {
                inputs.push(right);
                Plan::UnionAll { inputs, span }
            }
            left => Plan::UnionAll { inputs: vec![left, right], span: Span::NONE },
        }
    }

    /// `UNION ALL BY NAME`; `allow_missing` fills columns that one side lacks with null.
    #[must_use]
    pub fn union_by_name(self, right: Plan, allow_missing: bool) -> Plan {
        Plan::SetOp {
            left: Box::new(self),
            right: Box::new(right),
            kind: SetOpKind::Union,
            all: true,
            by_name: true,
            allow_missing,
            span: Span::NONE,
        }
    }

    /// A set operation by position.
    #[must_use]
    pub fn set_op(self, right: Plan, kind: SetOpKind, all: bool) -> Plan {
        if kind == SetOpKind::Union && all {
            return self.union(right);
        }
        Plan::SetOp { left: Box::new(self), right: Box::new(right), kind, all, by_name: false, allow_missing: false, span: Span::NONE }
    }

    /// `GROUP BY groups` with `aggregates` as the whole select list.
    #[must_use]
    pub fn aggregate(self, grouping: Grouping, aggregates: Vec<Expr>) -> Plan {
        Plan::Aggregate { input: Box::new(self), grouping, aggregates, span: Span::NONE }
    }

    /// `ORDER BY order`
    #[must_use]
    pub fn sort(self, order: Vec<SortOrder>, is_global: bool) -> Plan {
        Plan::Sort { input: Box::new(self), order, is_global, span: Span::NONE }
    }

    /// `LIMIT n`
    #[must_use]
    pub fn limit(self, n: i32) -> Plan {
        Plan::Limit { input: Box::new(self), limit: Expr::lit(n), span: Span::NONE }
    }

    /// `OFFSET n`
    #[must_use]
    pub fn offset(self, n: i32) -> Plan {
        Plan::Offset { input: Box::new(self), offset: Expr::lit(n), span: Span::NONE }
    }

    /// `SELECT DISTINCT *`
    #[must_use]
    pub fn distinct(self) -> Plan {
        self.deduplicate(DedupColumns::All, false)
    }

    /// `dropDuplicates`
    #[must_use]
    pub fn deduplicate(self, columns: DedupColumns, within_watermark: bool) -> Plan {
        Plan::Deduplicate { input: Box::new(self), columns, within_watermark, span: Span::NONE }
    }

    /// `flatMapGroupsWithState`; the caller keeps the function under `function`.
    #[must_use]
    pub fn groups_with_state(self, keys: Vec<Expr>, function: LocalId, initial_state: Option<Plan>) -> Plan {
        let initial_state = initial_state.map(Box::new);
        Plan::GroupsWithState { input: Box::new(self), keys, function, initial_state, span: Span::NONE }
    }

    /// `withColumns`
    #[must_use]
    pub fn with_columns(self, columns: Vec<(String, Expr)>) -> Plan {
        Plan::WithColumns { input: Box::new(self), columns, span: Span::NONE }
    }

    /// `withColumnsRenamed`
    #[must_use]
    pub fn with_columns_renamed(self, renames: Vec<(String, String)>) -> Plan {
        Plan::WithColumnsRenamed { input: Box::new(self), renames, span: Span::NONE }
    }

    /// `drop`
    #[must_use]
    pub fn drop_columns(self, columns: Vec<Expr>) -> Plan {
        Plan::Drop { input: Box::new(self), columns, span: Span::NONE }
    }

    /// `toDF`
    #[must_use]
    pub fn to_df(self, names: Vec<String>) -> Plan {
        Plan::ToDF { input: Box::new(self), names, span: Span::NONE }
    }

    /// `withWatermark`
    #[must_use]
    pub fn with_watermark(self, event_time: Expr, delay: CalendarInterval) -> Plan {
        Plan::WithWatermark { input: Box::new(self), event_time, name: None, delay, span: Span::NONE }
    }
}

/// The parts of a written name. Anything odd (an unclosed or misplaced backtick) makes one part of the whole.
fn split_name(name: &str) -> Vec<String> {
    let mut parts = vec![];
    let mut part = String::new();
    let mut chars = name.chars().peekable();
    loop {
        match chars.next() {
            None => {
                parts.push(part);
                return parts;
            }
            Some('.') => parts.push(std::mem::take(&mut part)),
            Some('`') if part.is_empty() => loop {
                match chars.next() {
                    Some('`') if chars.next_if_eq(&'`').is_some() => part.push('`'),
                    Some('`') => {
                        if !matches!(chars.peek(), None | Some('.')) {
                            return vec![name.to_owned()];
                        }
                        break;
                    }
                    Some(c) => part.push(c),
                    None => return vec![name.to_owned()],
                }
            },
            Some('`') => return vec![name.to_owned()],
            Some(c) => part.push(c),
        }
    }
}
