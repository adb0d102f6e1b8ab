//! Unresolved expressions become typed plan expressions.
//!
//! [`Typed`] carries what DataFusion's expression cannot: the Spark type, Spark's name for the expression, and
//! whether it can raise an error. [`ExprCx`] is what an expression may use where it stands: columns, earlier
//! columns of the select list, aggregates. No row is ever looked at.

mod aggregate_call;
mod attribute;
mod call;
mod cast;
mod chain;
mod extract;
mod guard;
mod lambda;
mod literal;
mod operators;
mod predicate;
mod session_window;
mod special;
mod subquery;
mod temporal;
mod time_window;
mod used_facts;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr as DfExpr;
use millstream_sql::Span;
use millstream_sql::ir::{CalendarInterval, DataType, Expr, UnresolvedFunction};

use crate::error::{AnalysisError, Result};
use crate::resolver::Resolver;
use crate::scope::{Attribute, AttributeWatermark, column};

pub(crate) use aggregate_call::IN_AGGREGATE;
pub(crate) use attribute::Item;
pub(crate) use guard::{contains_subquery, may_raise};
pub(crate) use literal::literal_of;
pub(crate) use operators::text_arg;
pub(crate) use predicate::call_text;
pub(crate) use session_window::SessionBounds;
pub use time_window::lists_windows;
pub(crate) use time_window::{Sliding, TimeWindow};
pub(crate) use used_facts::UsedFacts;

/// A resolved expression.
#[derive(Clone, Debug)]
pub(crate) struct Typed {
    pub(crate) expr: DfExpr,
    pub(crate) data_type: DataType,
    pub(crate) nullable: bool,
    /// Spark's text for the expression (`toPrettySQL`): the column's name when there is no better one.
    pub(crate) name: String,
    /// The name it has by itself: a column's, a struct field's; it survives a cast.
    pub(crate) own_name: Option<String>,
    /// Column metadata as JSON text.
    pub(crate) metadata: Option<String>,
}

impl Typed {
    pub(crate) fn new(expr: DfExpr, data_type: DataType, nullable: bool, name: impl Into<String>) -> Typed {
        Typed { expr, data_type, nullable, name: name.into(), own_name: None, metadata: None }
    }

    /// A column.
    pub(crate) fn attribute(attr: &Attribute) -> Typed {
        Typed {
            expr: attr.column(),
            data_type: attr.data_type.clone(),
            nullable: attr.nullable,
            name: attr.name.clone(),
            own_name: Some(attr.name.clone()),
            metadata: attr.metadata.clone(),
        }
    }

    /// A column under the name by which it was asked for.
    pub(crate) fn written_as(mut self, name: &str) -> Typed {
        name.clone_into(&mut self.name);
        self.own_name = Some(name.to_owned());
        self
    }

    /// A computed column of the plan.
    pub(crate) fn computed(id: u64, from: &Typed) -> Typed {
        Typed { expr: column(id), own_name: None, ..from.clone() }
    }

    /// The name of the column this expression makes.
    pub(crate) fn column_name(&self) -> String {
        self.own_name.clone().unwrap_or_else(|| self.name.clone())
    }

    /// The value of a literal.
    pub(crate) fn literal(&self) -> Option<&ScalarValue> {
        match &self.expr {
            DfExpr::Literal(value, _) => Some(value),
            _ => None,
        }
    }

    /// Whether the value is the same for every row and known without rows.
    pub(crate) fn is_constant(&self) -> bool {
        self.expr.column_refs().is_empty() && !self.expr.is_volatile() && !self.expr.contains_outer()
    }

    /// The same value under another name.
    pub(crate) fn named(mut self, name: impl Into<String>) -> Typed {
        self.name = name.into();
        self.own_name = None;
        self
    }
}

/// An aggregate or window call that a clause collects: computed by a node below, used as a column.
#[derive(Clone, Debug)]
pub(crate) struct Collected {
    pub(crate) id: u64,
    pub(crate) expr: DfExpr,
    pub(crate) typed: Typed,
}

/// What aggregate calls mean where an expression stands.
#[derive(Clone, Debug)]
pub(crate) enum Collect {
    /// They are collected.
    Allowed(Vec<Collected>),
    /// They are refused: the clause's name.
    Refused(&'static str),
}

impl Collect {
    /// What was collected.
    pub(crate) fn items(&self) -> &[Collected] {
        match self {
            Collect::Allowed(items) => items,
            Collect::Refused(_) => &[],
        }
    }

    /// The column of `expr`, which is computed once however often it is written.
    pub(crate) fn add(&mut self, resolver: &mut Resolver<'_>, typed: Typed) -> Result<Typed, &'static str> {
        match self {
            Collect::Refused(clause) => Err(clause),
            Collect::Allowed(items) => {
                if let Some(known) = items.iter().find(|item| item.expr == typed.expr && item.typed.data_type == typed.data_type) {
                    return Ok(Typed::computed(known.id, &typed));
                }
                let id = resolver.next_id();
                let out = Typed::computed(id, &typed);
                items.push(Collected { id, expr: typed.expr.clone(), typed });
                Ok(out)
            }
        }
    }
}

/// The keys of grouping sets: what each is, in the order of the bits of the id, highest first.
#[derive(Clone, Debug)]
pub(crate) struct GroupingKeys {
    pub(crate) keys: Vec<DfExpr>,
    /// The column with the id.
    pub(crate) id: u64,
}

/// What an expression may use where it stands.
pub(crate) struct ExprCx {
    /// The input's columns.
    pub(crate) scope: Vec<Attribute>,
    /// Columns of the select list: earlier ones in the list itself, all of them in `ORDER BY` and `HAVING`.
    pub(crate) outputs: Vec<Attribute>,
    /// Whether `outputs` are asked before `scope`.
    pub(crate) outputs_first: bool,
    pub(crate) aggregates: Collect,
    pub(crate) windows: Collect,
    /// Columns that are known only when a row's batch runs.
    pub(crate) facts: UsedFacts,
    /// Arguments of enclosing lambdas, innermost last.
    pub(crate) lambdas: Vec<(String, Typed)>,
    /// The keys of grouping sets and the column of their id, where `grouping()` is legal.
    pub(crate) grouping: Option<GroupingKeys>,
    /// Whether this is an argument of an aggregate.
    pub(crate) is_inside_aggregate: bool,
    /// Windows of time that were made, for `window.start`; rows without a time belong to none.
    pub(crate) time_windows: Vec<TimeWindow>,
    /// Whether there may be several of them: rows are multiplied by each, which only the keys of a grouping may ask for.
    pub(crate) takes_several_windows: bool,
    /// Expressions that are event times, and the delays of their watermarks: columns, windows of them, `window_time`.
    pub(crate) event_times: Vec<(DfExpr, CalendarInterval)>,
    /// Where this stands, for subqueries.
    pub(crate) place: Place,
}

/// Where an expression stands: DataFusion makes joins of subqueries in conditions only, and there they are true or false.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Its value is used.
    Value,
    /// In a condition, below other functions: unknown is not always as good as false.
    Condition,
    /// It is a condition, or one of those that AND connects: where it is not true the row is gone.
    Conjunct,
}

/// Whether the arguments of a call in a conjunct are conjuncts, too, or one that is negated as a whole.
fn passes_on_conjuncts(call: &UnresolvedFunction) -> bool {
    match call.args.as_slice() {
        [Expr::InSubquery { .. }] => call.name.eq_ignore_ascii_case("not") || call.name == "!",
        [_, _] => call.name.eq_ignore_ascii_case("and"),
        _ => false,
    }
}

impl ExprCx {
    /// Whether expressions use columns that the input does not have by itself.
    pub(crate) fn adds_columns(&self) -> bool {
        !self.facts.is_empty()
    }

    /// Also knows the input's event times.
    pub(crate) fn with_event_times(mut self, marks: &[AttributeWatermark]) -> ExprCx {
        self.event_times = marks.iter().map(|mark| (column(mark.id), mark.delay)).collect();
        self
    }

    /// The delay of the watermark, if `expr` is an event time.
    pub(crate) fn event_time_delay(&self, expr: &DfExpr) -> Option<CalendarInterval> {
        self.event_times.iter().find(|(known, _)| known == expr).map(|(_, delay)| *delay)
    }

    /// `made` is an event time if `from` is one.
    pub(crate) fn carry_event_time(&mut self, from: &DfExpr, made: &DfExpr) {
        if let Some(delay) = self.event_time_delay(from)
            && self.event_time_delay(made).is_none()
        {
            self.event_times.push((made.clone(), delay));
        }
    }

    /// A context over an input's columns in which neither aggregates nor window functions are legal.
    pub(crate) fn new(scope: &[Attribute], clause: &'static str) -> ExprCx {
        ExprCx {
            scope: scope.to_vec(),
            outputs: vec![],
            outputs_first: false,
            aggregates: Collect::Refused(clause),
            windows: Collect::Refused(clause),
            facts: UsedFacts::default(),
            lambdas: vec![],
            grouping: None,
            is_inside_aggregate: false,
            time_windows: vec![],
            takes_several_windows: false,
            event_times: vec![],
            place: Place::Value,
        }
    }
}

impl Resolver<'_> {
    /// Resolves one expression.
    pub(crate) fn expr(&mut self, cx: &mut ExprCx, expr: &Expr) -> Result<Typed> {
        self.nested(expr.span(), |resolver| resolver.expr_unbounded(cx, expr))
    }

    fn expr_unbounded(&mut self, cx: &mut ExprCx, expr: &Expr) -> Result<Typed> {
        let span = expr.span();
        match expr {
            Expr::Literal { value, .. } => literal_of(value, self.settings()),
            Expr::TypedLiteral { kind, text, .. } => self.typed_literal(*kind, text, span),
            Expr::UnresolvedAttribute { parts, .. } => self.attribute(cx, parts, span),
            Expr::LambdaVariable { parts, .. } => self.lambda_variable(cx, parts, span),
            Expr::UnresolvedFunction(call) => {
                let place = cx.place;
                if place == Place::Conjunct && !passes_on_conjuncts(call) {
                    cx.place = Place::Condition;
                }
                let typed = self.call(cx, call);
                cx.place = place;
                typed
            }
            Expr::Alias { expr, names, metadata, .. } => {
                // An alias inside an expression only names it (a struct's field takes it from there).
                let mut typed = self.expr(cx, expr)?;
                if let Some(name) = names.first() {
                    typed.name = format!("{} AS {}", typed.name, name.name);
                    typed.own_name = Some(name.name.clone());
                }
                typed.metadata.clone_from(metadata);
                Ok(typed)
            }
            Expr::Cast { expr, data_type, mode, .. } => {
                let typed = self.expr(cx, expr)?;
                self.explicit_cast(typed, data_type, *mode, span)
            }
            Expr::UnresolvedExtractValue { child, extraction, .. } => {
                let child = self.expr(cx, child)?;
                self.extract(cx, child, extraction, span)
            }
            Expr::Window { function, spec, .. } => self.window_call(cx, function, spec, span),
            Expr::ScalarSubquery { plan, .. } => self.scalar_subquery(cx, plan, span),
            Expr::Exists { plan, .. } => self.exists_subquery(cx, plan, span),
            Expr::InSubquery { values, plan, .. } => self.in_subquery(cx, values, plan, span),
            Expr::UnresolvedStar { .. } => Err(AnalysisError::invalid(
                "INVALID_USAGE_OF_STAR_OR_REGEX",
                "'*' cannot stand here: it is for select lists and arguments of functions",
                span,
            )),
            Expr::UpdateFields { .. } => Err(AnalysisError::unsupported("withField and dropFields", span)),
            Expr::Lambda { .. } => {
                Err(AnalysisError::invalid("UNEXPECTED_INPUT_TYPE", "a lambda can only be an argument of a higher-order function", span))
            }
            Expr::SortOrder(_) => Err(AnalysisError::invalid("INVALID_ORDERING", "a sort order can only stand in ORDER BY", span)),
            Expr::NamedArgument { name, .. } => Err(AnalysisError::invalid(
                "NAMED_PARAMETERS_NOT_SUPPORTED",
                format!("the named argument '{}' is not taken by this function", name.name),
                span,
            )),
            Expr::Parameter { name, .. } => Err(AnalysisError::invalid(
                "UNBOUND_SQL_PARAMETER",
                match name {
                    Some(name) => format!("the parameter ':{name}' has no value"),
                    None => "the parameter '?' has no value".to_owned(),
                },
                span,
            )),
            _ => Err(AnalysisError::unsupported(expr.kind(), span)),
        }
    }

    /// Resolves a condition: BOOLEAN, or the error that names the clause.
    pub(crate) fn condition(&mut self, cx: &mut ExprCx, expr: &Expr, clause: &str) -> Result<Typed> {
        let before = std::mem::replace(&mut cx.place, Place::Conjunct);
        let typed = self.expr(cx, expr);
        cx.place = before;
        let typed = typed?;
        match typed.data_type {
            DataType::Boolean => Ok(typed),
            // Spark casts strings and nulls in arguments, not here.
            ref other => Err(AnalysisError::invalid(
                "DATATYPE_MISMATCH.FILTER_NOT_BOOLEAN",
                format!("the condition '{}' of {clause} is of type {}, not BOOLEAN", typed.name, other.sql()),
                expr.span(),
            )
            .hint("compare it with something, or ask whether it IS NOT NULL")),
        }
    }

    /// The value of a constant expression.
    pub(crate) fn evaluate(&self, typed: &Typed, span: Span) -> Result<ScalarValue> {
        match typed.literal() {
            Some(value) => Ok(value.clone()),
            None if typed.is_constant() => crate::constant::evaluate(&typed.expr).map_err(|error| error.at(span)),
            None => {
                Err(AnalysisError::invalid("DATATYPE_MISMATCH.NON_FOLDABLE_INPUT", format!("'{}' must be a constant", typed.name), span))
            }
        }
    }
}

#[cfg(test)]
mod tests;
