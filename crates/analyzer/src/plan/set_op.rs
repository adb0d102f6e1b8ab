//! `UNION`, `INTERSECT` and `EXCEPT`, by position or by name, with widening.

use std::sync::Arc;

use datafusion::common::NullEquality;
use datafusion::logical_expr::{Distinct, Expr as DfExpr, JoinType, LogicalPlan, LogicalPlanBuilder, Union, lit};
use millstream_sql::Span;
use millstream_sql::ir::{DataType, DedupColumns, Plan, SetOpKind, StructField};

use super::projection;
use crate::coerce::common_type;
use crate::error::{AnalysisError, Result};
use crate::expr::Typed;
use crate::resolver::Resolver;
use crate::scope::{Attribute, AttributeWatermark, NameCase, Rel, Visibility, column};
use crate::stream_check;

impl Resolver<'_> {
    /// `UNION ALL` of any number of relations, by position.
    pub(crate) fn union_all(&mut self, inputs: &[Plan], span: Span) -> Result<Rel> {
        const NAME: &str = "UNION ALL";
        let rels = inputs.iter().map(|input| self.plan(input)).collect::<Result<Vec<_>>>()?;
        let columns: Vec<Vec<Attribute>> = rels.iter().map(|rel| rel.visible().cloned().collect()).collect();
        let width = columns.first().map_or(0, Vec::len);
        if let Some(other) = columns.iter().find(|columns| columns.len() != width) {
            return Err(different_widths(NAME, width, other.len(), span));
        }
        stream_check::union(NAME, rels.iter(), span)?;
        let is_streaming = rels.iter().any(|rel| rel.is_streaming);
        let marks: Vec<AttributeWatermark> = rels.first().map(|rel| rel.watermarks.clone()).unwrap_or_default();
        let firsts = columns.first().cloned().unwrap_or_default();
        let columns = (0..width).map(|idx| columns.iter().map(|of| of.get(idx).cloned()).collect()).collect();
        let (plans, attrs) = self.aligned(rels.into_iter().map(|rel| rel.plan).collect(), columns, Structs::ByPosition, NAME, span)?;
        let plan = LogicalPlan::Union(Union::try_new_with_loose_types(plans.into_iter().map(Arc::new).collect())?);
        let watermarks = watermarks_of_union(&marks, &firsts, &attrs);
        Ok(Rel { plan, attrs, is_streaming, watermarks })
    }

    /// A set operation.
    pub(crate) fn set_op(&mut self, plan: &Plan) -> Result<Rel> {
        let Plan::SetOp { left, right, kind, all, by_name, allow_missing, span } = plan else {
            return Err(AnalysisError::internal("a set operation of another kind"));
        };
        let left = self.plan(left)?;
        let right = self.plan(right)?;
        let (name, keeps_duplicates) = match (kind, all) {
            (SetOpKind::Union, true) => ("UNION ALL", true),
            (SetOpKind::Union, false) => ("UNION", false),
            (SetOpKind::Intersect, true) => ("INTERSECT ALL", true),
            (SetOpKind::Intersect, false) => ("INTERSECT", false),
            (SetOpKind::Except, true) => ("EXCEPT ALL", true),
            (SetOpKind::Except, false) => ("EXCEPT", false),
        };
        match kind {
            SetOpKind::Union => stream_check::union(name, [&left, &right].into_iter(), *span)?,
            SetOpKind::Intersect | SetOpKind::Except => stream_check::set_operation(name, &left, &right, *span)?,
        }
        let firsts: Vec<Attribute> = left.visible().cloned().collect();
        let (left, right, attrs) = self.sides(left, right, name, *by_name, *allow_missing, *span)?;
        if (!keeps_duplicates || name != "UNION ALL")
            && let Some(attr) = attrs.iter().find(|attr| !crate::coerce::is_orderable(&attr.data_type))
        {
            return Err(AnalysisError::invalid(
                "UNSUPPORTED_FEATURE.SET_OPERATION_ON_MAP_TYPE",
                format!("rows with the column '{}' of type {} cannot be compared", attr.name, attr.data_type.sql()),
                *span,
            ));
        }
        let is_streaming = left.is_streaming || right.is_streaming;
        let watermarks = watermarks_of_union(&left.watermarks, &firsts, &attrs);
        let plan = match kind {
            SetOpKind::Union => {
                let plan = LogicalPlan::Union(Union::try_new_with_loose_types(vec![Arc::new(left.plan), Arc::new(right.plan)])?);
                let union = Rel { plan, attrs, is_streaming, watermarks };
                return if keeps_duplicates { Ok(union) } else { self.deduplicate(union, &DedupColumns::Distinct, false, *span) };
            }
            SetOpKind::Intersect if keeps_duplicates => self.counted_join(left.plan, right.plan, &attrs, JoinType::LeftSemi)?,
            SetOpKind::Except if keeps_duplicates => self.counted_join(left.plan, right.plan, &attrs, JoinType::LeftAnti)?,
            SetOpKind::Intersect => self.distinct_join(left.plan, right.plan, &attrs, JoinType::LeftSemi)?,
            SetOpKind::Except => self.distinct_join(left.plan, right.plan, &attrs, JoinType::LeftAnti)?,
        };
        Ok(Rel { plan, attrs, is_streaming, watermarks })
    }

    /// Both sides with the same columns in the same order and types, under the result's ids.
    fn sides(
        &mut self,
        left: Rel,
        right: Rel,
        name: &str,
        by_name: bool,
        allow_missing: bool,
        span: Span,
    ) -> Result<(Rel, Rel, Vec<Attribute>)> {
        let case = self.name_case();
        let lefts: Vec<Attribute> = left.visible().cloned().collect();
        let rights: Vec<Attribute> = right.visible().cloned().collect();
        let pairs = match by_name {
            true => pairs_by_name(&lefts, &rights, allow_missing, case, span)?,
            false if lefts.len() == rights.len() => {
                lefts.into_iter().zip(rights).map(|(left, right)| vec![Some(left), Some(right)]).collect()
            }
            false => return Err(different_widths(name, lefts.len(), rights.len(), span)),
        };
        let structs = if by_name { Structs::ByName { allow_missing } } else { Structs::ByPosition };
        let (plans, attrs) = self.aligned(vec![left.plan, right.plan], pairs, structs, name, span)?;
        match <[LogicalPlan; 2]>::try_from(plans) {
            Ok([l, r]) => Ok((Rel { plan: l, ..left }, Rel { plan: r, ..right }, attrs)),
            Err(_) => Err(AnalysisError::internal("a set operation without two sides")),
        }
    }

    /// The inputs with the same columns in the same order and types, under the result's ids. For each column of the
    /// result there is one of each input, or none where the input lacks it.
    fn aligned(
        &mut self,
        inputs: Vec<LogicalPlan>,
        columns: Vec<Vec<Option<Attribute>>>,
        structs: Structs,
        name: &str,
        span: Span,
    ) -> Result<(Vec<LogicalPlan>, Vec<Attribute>)> {
        let case = self.name_case();
        let mut exprs: Vec<Vec<DfExpr>> = inputs.iter().map(|_| vec![]).collect();
        let mut attrs = vec![];
        for (idx, of_inputs) in columns.into_iter().enumerate() {
            let Some(named) = of_inputs.iter().flatten().next().cloned() else { continue };
            let type_of = |attr: &Option<Attribute>| attr.as_ref().map_or(DataType::Null, |attr| attr.data_type.clone());
            let mut common: Option<DataType> = None;
            for next in of_inputs.iter().map(type_of) {
                let Some(left) = common else {
                    common = Some(next);
                    continue;
                };
                common = structs.merged(&left, &next, case).or_else(|| common_type(&left, &next)).or_else(|| by_position(&left, &next));
                if common.is_none() {
                    return Err(AnalysisError::invalid(
                        "INCOMPATIBLE_COLUMN_TYPE",
                        format!("column {} of {name} is of type {} on one side and {} on the other", idx + 1, left.sql(), next.sql()),
                        span,
                    ));
                }
            }
            let common = common.unwrap_or(DataType::Null);
            let nullable = of_inputs.iter().any(|attr| attr.as_ref().is_none_or(|attr| attr.nullable));
            let attr = Attribute {
                id: self.next_id(),
                origin: None,
                qualifiers: vec![],
                data_type: common.clone(),
                nullable,
                visibility: Visibility::Shown,
                ..named
            };
            for (of_input, exprs) in of_inputs.into_iter().zip(&mut exprs) {
                let typed = match of_input {
                    Some(attr) => match (&common, structs) {
                        (DataType::Struct(fields), Structs::ByName { .. }) if by_other_fields(&attr.data_type, fields, case) => {
                            self.reshaped(Typed::attribute(&attr), fields, span)?
                        }
                        _ => Typed::attribute(&attr),
                    },
                    None => Typed::new(lit(datafusion::common::ScalarValue::Null), DataType::Null, true, "NULL"),
                };
                exprs.push(self.cast_with(typed, &common, "ansi", span)?.expr.alias(attr.plan_name()));
            }
            attrs.push(attr);
        }
        let plans = inputs.into_iter().zip(exprs).map(|(plan, exprs)| projection(exprs, plan)).collect::<Result<Vec<_>>>()?;
        Ok((plans, attrs))
    }

    /// A struct with the fields of another one, by name; fields that it does not have are null.
    fn reshaped(&mut self, value: Typed, fields: &[StructField], span: Span) -> Result<Typed> {
        let DataType::Struct(has) = value.data_type.clone() else { return Ok(value) };
        let case = self.name_case();
        let mut args = vec![];
        for field in fields {
            let child = match has.iter().find(|known| case.same(&known.name, &field.name)) {
                Some(known) => self.struct_field(&value, known)?,
                None => Typed::new(lit(datafusion::common::ScalarValue::Null), DataType::Null, true, "NULL"),
            };
            let child = match &field.data_type {
                DataType::Struct(fields) => self.reshaped(child, fields, span)?,
                _ => child,
            };
            args.push(crate::expr::text_arg(&field.name));
            args.push(self.cast_with(child, &field.data_type, "ansi", span)?);
        }
        let known = DfExpr::IsNotNull(Box::new(value.expr.clone()));
        let made = self.kernel_typed("named_struct", args, span)?;
        let case = datafusion::logical_expr::Case::new(None, vec![(Box::new(known), Box::new(made.expr))], None);
        Ok(Typed { expr: DfExpr::Case(case), data_type: DataType::Struct(fields.to_vec()), ..value })
    }

    /// Distinct rows of the left that are (not) among the right's; nulls are equal.
    fn distinct_join(&mut self, left: LogicalPlan, right: LogicalPlan, attrs: &[Attribute], kind: JoinType) -> Result<LogicalPlan> {
        let left = LogicalPlan::Distinct(Distinct::All(Arc::new(left)));
        self.row_join(left, right, attrs.iter().map(|attr| attr.id).collect(), kind)
    }

    /// As [`Self::distinct_join`], but the n-th copy of a row pairs with the n-th copy on the other side.
    fn counted_join(&mut self, left: LogicalPlan, right: LogicalPlan, attrs: &[Attribute], kind: JoinType) -> Result<LogicalPlan> {
        let copy = self.next_id();
        let numbered = |plan: LogicalPlan| -> Result<LogicalPlan> {
            let partition: Vec<DfExpr> = attrs.iter().map(Attribute::column).collect();
            let mut call =
                datafusion::logical_expr::expr::WindowFunction::new(datafusion::functions_window::row_number::row_number_udwf(), vec![]);
            call.params.partition_by = partition;
            let call = DfExpr::WindowFunction(Box::new(call));
            super::window_plan(call, copy, plan)
        };
        let (left, right) = (numbered(left)?, numbered(right)?);
        let ids = attrs.iter().map(|attr| attr.id).chain([copy]).collect();
        let plan = self.row_join(left, right, ids, kind)?;
        projection(attrs.iter().map(Attribute::column).collect(), plan)
    }

    fn row_join(&mut self, left: LogicalPlan, right: LogicalPlan, ids: Vec<u64>, kind: JoinType) -> Result<LogicalPlan> {
        let renamed: Vec<u64> = ids.iter().map(|_| self.next_id()).collect();
        let exprs = ids.iter().zip(&renamed).map(|(id, new)| column(*id).alias(crate::scope::plan_name(*new))).collect();
        let right = projection(exprs, right)?;
        let keys = |ids: &[u64]| -> Vec<datafusion::common::Column> {
            ids.iter().map(|id| datafusion::common::Column::new_unqualified(crate::scope::plan_name(*id))).collect()
        };
        Ok(LogicalPlanBuilder::from(left)
            .join_detailed(right, kind, (keys(&ids), keys(&renamed)), None, NullEquality::NullEqualsNull)?
            .build()?)
    }
}

fn different_widths(name: &str, left: usize, right: usize, span: Span) -> AnalysisError {
    AnalysisError::invalid(
        "NUM_COLUMNS_MISMATCH",
        format!("{name} needs the same number of columns on both sides, but there are {left} and {right}"),
        span,
    )
    .hint("select the same columns on both sides, NULL for what one side lacks")
}

/// A column of the result: one of the left and one of the right, where they have it.
type Pair = Vec<Option<Attribute>>;

fn pairs_by_name(lefts: &[Attribute], rights: &[Attribute], allow_missing: bool, case: NameCase, span: Span) -> Result<Vec<Pair>> {
    for side in [lefts, rights] {
        for (idx, attr) in side.iter().enumerate() {
            if side.iter().skip(idx + 1).any(|other| case.same(&other.name, &attr.name)) {
                return Err(AnalysisError::invalid(
                    "COLUMN_ALREADY_EXISTS",
                    format!("a union by name cannot tell apart two columns '{}'", attr.name),
                    span,
                ));
            }
        }
    }
    let missing = |name: &str| {
        AnalysisError::invalid("UNRESOLVED_COLUMN_AMONG_FIELD_NAMES", format!("the column '{name}' is on one side of the union only"), span)
            .hint("allowMissingColumns fills it with NULL")
    };
    let mut pairs: Vec<Pair> = vec![];
    for left in lefts {
        let right = rights.iter().find(|right| case.same(&right.name, &left.name)).cloned();
        if right.is_none() && !allow_missing {
            return Err(missing(&left.name));
        }
        pairs.push(vec![Some(left.clone()), right]);
    }
    for right in rights.iter().filter(|right| !lefts.iter().any(|left| case.same(&left.name, &right.name))) {
        if !allow_missing {
            return Err(missing(&right.name));
        }
        pairs.push(vec![None, Some(right.clone())]);
    }
    Ok(pairs)
}

/// How the fields of structs find each other.
#[derive(Clone, Copy)]
enum Structs {
    ByPosition,
    ByName { allow_missing: bool },
}

impl Structs {
    fn merged(self, left: &DataType, right: &DataType, case: NameCase) -> Option<DataType> {
        match self {
            Self::ByPosition => None,
            Self::ByName { allow_missing } => by_field_name(left, right, allow_missing, case),
        }
    }
}

/// Whether a value's fields are not those of the result, in their order.
fn by_other_fields(data_type: &DataType, fields: &[StructField], case: NameCase) -> bool {
    match data_type {
        DataType::Struct(has) => {
            has.len() != fields.len()
                || has.iter().zip(fields).any(|(has, field)| {
                    !case.same(&has.name, &field.name)
                        || matches!(&field.data_type, DataType::Struct(inner) if by_other_fields(&has.data_type, inner, case))
                })
        }
        _ => false,
    }
}

/// In a union by name structs meet by their fields' names: the left's fields, then those that only the right has.
/// None when there is nothing to reorder or to add.
fn by_field_name(left: &DataType, right: &DataType, allow_missing: bool, case: NameCase) -> Option<DataType> {
    let (DataType::Struct(l), DataType::Struct(r)) = (left, right) else { return None };
    let is_same = |(l, r): (&StructField, &StructField)| case.same(&l.name, &r.name) && !matches!(l.data_type, DataType::Struct(_));
    if l.len() == r.len() && l.iter().zip(r).all(is_same) {
        return None;
    }
    let mut fields = vec![];
    for left in l {
        let right = r.iter().find(|right| case.same(&right.name, &left.name));
        let Some(right) = right else {
            if !allow_missing {
                return None;
            }
            fields.push(StructField { nullable: true, ..left.clone() });
            continue;
        };
        let data_type = by_field_name(&left.data_type, &right.data_type, allow_missing, case)
            .or_else(|| common_type(&left.data_type, &right.data_type))?;
        fields.push(StructField { nullable: left.nullable || right.nullable, ..StructField::new(&left.name, data_type) });
    }
    for right in r.iter().filter(|right| !l.iter().any(|left| case.same(&left.name, &right.name))) {
        if !allow_missing {
            return None;
        }
        fields.push(StructField { nullable: true, ..right.clone() });
    }
    Some(DataType::Struct(fields))
}

/// A column of a union is an event time if that of the first input is one, as in Spark. Columns that only other inputs have
/// come behind those of the first.
fn watermarks_of_union(marks: &[AttributeWatermark], firsts: &[Attribute], outs: &[Attribute]) -> Vec<AttributeWatermark> {
    let marked = |(first, out): (&Attribute, &Attribute)| {
        let mark = marks.iter().find(|mark| mark.id == first.id)?;
        Some(AttributeWatermark { id: out.id, delay: mark.delay })
    };
    firsts.iter().zip(outs).filter_map(marked).collect()
}

/// Structs meet by position in set operations, under the left side's names.
fn by_position(left: &DataType, right: &DataType) -> Option<DataType> {
    let (DataType::Struct(l), DataType::Struct(r)) = (left, right) else { return None };
    if l.len() != r.len() {
        return None;
    }
    let fields = l
        .iter()
        .zip(r)
        .map(|(l, r)| {
            let data_type = common_type(&l.data_type, &r.data_type).or_else(|| by_position(&l.data_type, &r.data_type))?;
            Some(StructField { nullable: l.nullable || r.nullable, ..StructField::new(&l.name, data_type) })
        })
        .collect::<Option<Vec<_>>>()?;
    Some(DataType::Struct(fields))
}
