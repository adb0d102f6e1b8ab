//! The columns that an expression may name, and how a written name finds one of them.
//!
//! An attribute is a column of a plan: its plan name is `#id`, unique in the whole query, and everything that the
//! user sees (written name, qualifiers) lives only here. So no node of the resulting plan depends on written names,
//! and two columns of the same name never collide.

use datafusion::common::Column;
use datafusion::logical_expr::{Expr as DfExpr, LogicalPlan};
use millstream_sql::Span;
use millstream_sql::error::nearest;
use millstream_sql::ir::{CalendarInterval, DataType, quote_if_needed};

use crate::error::{AnalysisError, Result};

/// Most parts of a qualifier: catalog, database, table.
const QUALIFIER_PARTS_MAX: usize = 3;
/// How many names an error suggests.
const SUGGESTIONS_MAX: usize = 5;

/// A column of a plan.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Attribute {
    /// Unique in the query; the plan's column is called `#id`.
    pub(crate) id: u64,
    /// The column it is a copy of: `SELECT v, v` makes two, which are no two answers to `v`.
    pub(crate) origin: Option<u64>,
    /// The name in the written case.
    pub(crate) name: String,
    /// Catalog, database and table, or an alias; empty when there is none.
    pub(crate) qualifiers: Vec<String>,
    pub(crate) data_type: DataType,
    pub(crate) nullable: bool,
    /// Column metadata as JSON text.
    pub(crate) metadata: Option<String>,
    pub(crate) visibility: Visibility,
}

/// Who sees a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visibility {
    /// `*` and every name.
    Shown,
    /// Qualified names only: the right side's key of `USING`.
    Qualified,
    /// Names that nothing else answers to: a source's `_metadata`.
    Metadata,
}

impl Attribute {
    /// The column's name in the plan.
    pub(crate) fn plan_name(&self) -> String {
        plan_name(self.id)
    }

    /// The id of the column it is or copies.
    fn source(&self) -> u64 {
        self.origin.unwrap_or(self.id)
    }

    /// The column as a plan expression.
    pub(crate) fn column(&self) -> DfExpr {
        column(self.id)
    }
}

/// The plan name of an id.
pub(crate) fn plan_name(id: u64) -> String {
    format!("#{id}")
}

/// The plan column of an id.
pub(crate) fn column(id: u64) -> DfExpr {
    DfExpr::Column(Column::new_unqualified(plan_name(id)))
}

/// A resolved relation: its plan, and the names of the plan's columns.
#[derive(Clone, Debug)]
pub(crate) struct Rel {
    pub(crate) plan: LogicalPlan,
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) is_streaming: bool,
    pub(crate) watermarks: Vec<AttributeWatermark>,
}

/// The watermark of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AttributeWatermark {
    pub(crate) id: u64,
    pub(crate) delay: CalendarInterval,
}

impl Rel {
    /// The columns that `*` gives.
    pub(crate) fn visible(&self) -> impl Iterator<Item = &Attribute> {
        self.attrs.iter().filter(|attr| attr.visibility == Visibility::Shown)
    }

    /// The columns of a source that only a name brings forth.
    pub(crate) fn metadata(&self) -> impl Iterator<Item = &Attribute> {
        self.attrs.iter().filter(|attr| attr.visibility == Visibility::Metadata)
    }
}

/// How written names compare.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NameCase {
    Sensitive,
    Insensitive,
}

impl NameCase {
    pub(crate) fn same(self, left: &str, right: &str) -> bool {
        match self {
            NameCase::Sensitive => left == right,
            NameCase::Insensitive => left == right || left.to_lowercase() == right.to_lowercase(),
        }
    }
}

/// An attribute, and the parts of the name behind it: struct fields.
pub(crate) struct Found<'a> {
    pub(crate) attr: &'a Attribute,
    /// The name as written, which is the column's name from here on.
    pub(crate) written: &'a str,
    pub(crate) fields: &'a [String],
}

/// Finds the attribute that `parts` names: with as many parts as qualifier as match, the rest struct fields.
pub(crate) fn find<'a>(attrs: &'a [Attribute], parts: &'a [String], case: NameCase, span: Span) -> Result<Option<Found<'a>>> {
    let is_metadata = |attr: &&Attribute| attr.visibility == Visibility::Metadata;
    match find_among(attrs.iter().filter(|attr| !is_metadata(attr)), parts, case, span)? {
        None => find_among(attrs.iter().filter(is_metadata), parts, case, span),
        found => Ok(found),
    }
}

fn find_among<'a>(
    attrs: impl Iterator<Item = &'a Attribute> + Clone,
    parts: &'a [String],
    case: NameCase,
    span: Span,
) -> Result<Option<Found<'a>>> {
    let longest = parts.len().saturating_sub(1).min(QUALIFIER_PARTS_MAX);
    for n_qualifiers in (0..=longest).rev() {
        let (qualifier, rest) = parts.split_at(n_qualifiers);
        let Some((name, fields)) = rest.split_first() else { continue };
        let mut found: Vec<&Attribute> = vec![];
        for attr in attrs.clone() {
            let is_seen = n_qualifiers > 0 || attr.visibility != Visibility::Qualified;
            let matches = case.same(&attr.name, name) && is_seen && has_qualifier(attr, qualifier, case);
            if matches && !found.iter().any(|other| other.source() == attr.source()) {
                found.push(attr);
            }
        }
        match found.as_slice() {
            [] => {}
            [attr] => return Ok(Some(Found { attr, written: name, fields })),
            many => return Err(ambiguous(parts, many, span)),
        }
    }
    Ok(None)
}

/// Whether `qualifier` names the relation that `attr` comes from; the empty one always does.
pub(crate) fn has_qualifier(attr: &Attribute, qualifier: &[String], case: NameCase) -> bool {
    let Some(start) = attr.qualifiers.len().checked_sub(qualifier.len()) else { return false };
    attr.qualifiers.iter().skip(start).zip(qualifier).all(|(a, b)| case.same(a, b))
}

/// The written form of a name of several parts.
pub(crate) fn written(parts: &[String]) -> String {
    parts.iter().map(|part| quote_if_needed(part)).collect::<Vec<_>>().join(".")
}

fn ambiguous(parts: &[String], found: &[&Attribute], span: Span) -> AnalysisError {
    let candidates: Vec<String> = found
        .iter()
        .map(|attr| {
            let mut parts = attr.qualifiers.clone();
            parts.push(attr.name.clone());
            written(&parts)
        })
        .collect();
    AnalysisError::invalid(
        "AMBIGUOUS_REFERENCE",
        format!("column '{}' is ambiguous: it could be {}", written(parts), candidates.join(", ")),
        span,
    )
    .hint("put the table's name or alias in front of it")
}

/// The error for a name that no attribute has.
pub(crate) fn not_found(attrs: &[Attribute], parts: &[String], span: Span) -> AnalysisError {
    let name = written(parts);
    let names: Vec<&str> = attrs.iter().filter(|attr| attr.visibility == Visibility::Shown).map(|attr| attr.name.as_str()).collect();
    if names.is_empty() {
        return AnalysisError::invalid("UNRESOLVED_COLUMN.WITHOUT_SUGGESTION", format!("column '{name}' cannot be found"), span);
    }
    let last = parts.last().map_or("", String::as_str);
    let mut near = nearest(last, names.iter().copied()).map(str::to_owned);
    // The column is there, but the relation in front of it is another: `x.id` for `l.id`.
    if parts.len() > 1
        && let Some(known) = attrs.iter().find(|attr| attr.name.eq_ignore_ascii_case(last) && !attr.qualifiers.is_empty())
    {
        let parts: Vec<String> = known.qualifiers.last().into_iter().chain([&known.name]).cloned().collect();
        near = Some(written(&parts));
    }
    let mut known: Vec<&str> = names.iter().take(SUGGESTIONS_MAX).copied().collect();
    if names.len() > SUGGESTIONS_MAX {
        known.push("...");
    }
    AnalysisError::invalid("UNRESOLVED_COLUMN.WITH_SUGGESTION", format!("column '{name}' cannot be found"), span)
        .near(near)
        .hint(format!("columns here: {}", known.join(", ")))
}

#[cfg(test)]
mod tests;
