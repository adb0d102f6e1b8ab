//! Comparison, logic, `IN`, `BETWEEN`, `LIKE`, `CASE` and their kin: DataFusion's own nodes where they agree with Spark.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Case, Expr as DfExpr, Like, Operator};
use millstream_sql::Span;
use millstream_sql::ir::{DataType, Expr, UnresolvedFunction};

use super::{ExprCx, Typed, guard};
use crate::coerce::{common_type, common_type_of, is_integral, is_orderable};
use crate::error::{AnalysisError, Result};
use crate::resolver::Resolver;

impl Resolver<'_> {
    /// A predicate's call; none when `call` is none of them.
    pub(crate) fn predicate(&mut self, cx: &mut ExprCx, call: &UnresolvedFunction) -> Result<Option<Typed>> {
        let span = call.span;
        let name = call.name.to_lowercase();
        let out = match (name.as_str(), call.args.as_slice()) {
            ("==" | "=" | "<" | "<=" | ">" | ">=" | "<=>" | "equal_null", [l, r]) => {
                let left = self.expr(cx, l)?;
                let right = self.expr(cx, r)?;
                let mut out = self.compare(if name == "equal_null" { "<=>" } else { &name }, left, right, span)?;
                if name == "equal_null" {
                    out.name = format!("equal_null({})", out.name.trim_matches(['(', ')']).replace(" <=> ", ", "));
                }
                out
            }
            ("!=" | "<>", [l, r]) => {
                let left = self.expr(cx, l)?;
                let right = self.expr(cx, r)?;
                let equal = self.compare("==", left, right, span)?;
                negated(equal)
            }
            ("and" | "or", [_, _]) => self.connected(cx, &name, call)?,
            ("not" | "!", [Expr::InSubquery { values, .. }]) if values.len() > 1 => {
                return Err(AnalysisError::unsupported("NOT IN (SELECT ...) with several columns on the left", span)
                    .hint("write NOT EXISTS with a condition per column"));
            }
            ("not" | "!", [x]) => negated(self.boolean(cx, x, "not")?),
            ("isnull" | "isunknown", [x]) => {
                let arg = self.expr(cx, x)?;
                Typed::new(DfExpr::IsNull(Box::new(arg.expr)), DataType::Boolean, false, format!("({} IS NULL)", arg.name))
            }
            ("isnotnull" | "isnotunknown", [x]) => {
                let arg = self.expr(cx, x)?;
                Typed::new(DfExpr::IsNotNull(Box::new(arg.expr)), DataType::Boolean, false, format!("({} IS NOT NULL)", arg.name))
            }
            ("in", [value, list @ ..]) if !list.is_empty() => self.in_list(cx, value, list, span)?,
            ("between", [x, low, high]) => self.between(cx, x, low, high, span)?,
            ("like" | "ilike", [x, pattern, escape @ ..]) if escape.len() < 2 => self.like(cx, &name, x, pattern, escape.first(), span)?,
            (
                "likeany" | "likeall" | "notlikeany" | "notlikeall" | "ilikeany" | "ilikeall" | "notilikeany" | "notilikeall",
                [x, patterns @ ..],
            ) => self.quantified_like(cx, &name, x, patterns, span)?,
            ("when", args) if args.len() > 1 => self.case_when(cx, args, span)?,
            ("if", [condition, yes, no]) => self.if_else(cx, condition, yes, no, span)?,
            ("coalesce", args) if !args.is_empty() => {
                let args = self.exprs(cx, args)?;
                let shown = call_text("coalesce", &args);
                self.coalesce(args, &shown, span)?
            }
            ("nvl" | "ifnull", [a, b]) => {
                let args = vec![self.expr(cx, a)?, self.expr(cx, b)?];
                let shown = call_text(&name, &args);
                self.coalesce(args, &shown, span)?
            }
            ("nvl2", [x, yes, no]) => {
                let value = self.expr(cx, x)?;
                let yes = self.expr(cx, yes)?;
                let no = self.expr(cx, no)?;
                let shown = call_text("nvl2", &[value.clone(), yes.clone(), no.clone()]);
                let condition = DfExpr::IsNotNull(Box::new(value.expr));
                self.branches(vec![(condition, yes)], Some(no), shown, span)?
            }
            ("nullif", [a, b]) => {
                let left = self.expr(cx, a)?;
                let right = self.expr(cx, b)?;
                let shown = call_text("nullif", &[left.clone(), right.clone()]);
                let equal = self.compare("==", left.clone(), right, span)?;
                let null = DfExpr::Literal(ScalarValue::try_from(&crate::types::arrow_type(&left.data_type)?)?, None);
                let case = Case::new(None, vec![(Box::new(equal.expr), Box::new(null))], Some(Box::new(left.expr)));
                Typed::new(DfExpr::Case(case), left.data_type, true, shown)
            }
            ("nullifzero", [x]) => {
                let value = self.expr(cx, x)?;
                let shown = call_text("nullifzero", std::slice::from_ref(&value));
                let zero = Typed::new(DfExpr::Literal(ScalarValue::Int32(Some(0)), None), DataType::Int, false, "0");
                let equal = self.compare("==", value.clone(), zero, span)?;
                let null = DfExpr::Literal(ScalarValue::try_from(&crate::types::arrow_type(&value.data_type)?)?, None);
                let case = Case::new(None, vec![(Box::new(equal.expr), Box::new(null))], Some(Box::new(value.expr)));
                Typed::new(DfExpr::Case(case), value.data_type, true, shown)
            }
            ("zeroifnull", [x]) => {
                let value = self.expr(cx, x)?;
                let shown = call_text("zeroifnull", std::slice::from_ref(&value));
                let zero = Typed::new(DfExpr::Literal(ScalarValue::Int32(Some(0)), None), DataType::Int, false, "0");
                self.coalesce(vec![value, zero], &shown, span)?
            }
            _ => return Ok(None),
        };
        Ok(Some(out))
    }

    /// `left op right`, both in their common type.
    pub(crate) fn compare(&mut self, op: &str, left: Typed, right: Typed, span: Span) -> Result<Typed> {
        let (operator, sign) = match op {
            "<" => (Operator::Lt, "<"),
            "<=" => (Operator::LtEq, "<="),
            ">" => (Operator::Gt, ">"),
            ">=" => (Operator::GtEq, ">="),
            "<=>" => (Operator::IsNotDistinctFrom, "<=>"),
            _ => (Operator::Eq, "="),
        };
        let (left, right) = whole_numbers(sign, left, right);
        let shown = format!("({} {sign} {})", left.name, right.name);
        let nullable = sign != "<=>" && (left.nullable || right.nullable);
        let common = common_type(&left.data_type, &right.data_type).or_else(|| common_struct(&left.data_type, &right.data_type));
        let Some(common) = common else {
            return Err(AnalysisError::invalid(
                "DATATYPE_MISMATCH.BINARY_OP_DIFF_TYPES",
                format!(
                    "'{}' of type {} and '{}' of type {} cannot be compared",
                    left.name,
                    left.data_type.sql(),
                    right.name,
                    right.data_type.sql()
                ),
                span,
            ));
        };
        if !is_orderable(&common) {
            return Err(AnalysisError::invalid(
                "DATATYPE_MISMATCH.INVALID_ORDERING_TYPE",
                format!("values of type {} cannot be compared", common.sql()),
                span,
            ));
        }
        // Two VOIDs have no kernel; they compare as booleans, which no one can tell apart.
        let common = if common == DataType::Null { DataType::Boolean } else { common };
        let left = self.cast_with(left, &common, "ansi", span)?;
        let right = self.cast_with(right, &common, "ansi", span)?;
        if matches!(common, DataType::Array { .. } | DataType::Struct(_)) {
            let kernel = match operator {
                Operator::Eq => "equal",
                Operator::IsNotDistinctFrom => "equal_null_safe",
                Operator::Lt => "less",
                Operator::LtEq => "less_or_equal",
                Operator::Gt => "greater",
                _ => "greater_or_equal",
            };
            if crate::registry::has_kernel(kernel) {
                let mut out = self.kernel_typed(kernel, vec![left, right], span)?.named(shown);
                out.nullable = nullable;
                return Ok(out);
            }
        }
        let (left, right) = (zero_normalized(left), zero_normalized(right));
        let expr = DfExpr::BinaryExpr(BinaryExpr::new(Box::new(left.expr), operator, Box::new(right.expr)));
        Ok(Typed::new(expr, DataType::Boolean, nullable, shown))
    }

    /// Several expressions.
    pub(crate) fn exprs(&mut self, cx: &mut ExprCx, exprs: &[Expr]) -> Result<Vec<Typed>> {
        exprs.iter().map(|expr| self.expr(cx, expr)).collect()
    }

    pub(super) fn boolean(&mut self, cx: &mut ExprCx, expr: &Expr, op: &str) -> Result<Typed> {
        let arg = self.expr(cx, expr)?;
        match arg.data_type {
            DataType::Boolean => Ok(arg),
            DataType::Null | DataType::String if op != "when" => self.implicit_cast(arg, &DataType::Boolean, expr.span()),
            ref other => Err(AnalysisError::invalid(
                if matches!(op, "not" | "when" | "if") {
                    "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE"
                } else {
                    "DATATYPE_MISMATCH.BINARY_OP_DIFF_TYPES"
                },
                format!("'{}' is of type {}, but {} wants BOOLEAN", arg.name, other.sql(), op.to_uppercase()),
                expr.span(),
            )),
        }
    }

    fn in_list(&mut self, cx: &mut ExprCx, value: &Expr, list: &[Expr], span: Span) -> Result<Typed> {
        let value = self.expr(cx, value)?;
        let list = self.exprs(cx, list)?;
        let names: Vec<&str> = list.iter().map(|item| item.name.as_str()).collect();
        let shown = format!("({} IN ({}))", value.name, names.join(", "));
        let nullable = value.nullable || list.iter().any(|item| item.nullable);
        let all: Vec<Typed> = std::iter::once(value).chain(list).collect();
        let common = common_type_of(all.iter().map(|arg| &arg.data_type));
        let Some(common) = common else {
            return Err(super::cast::different_types(&all, "IN", span));
        };
        let common = if common == DataType::Null { DataType::Boolean } else { common };
        let mut all = all
            .into_iter()
            .map(|arg| Ok(zero_normalized(self.cast_with(arg, &common, "ansi", span)?).expr))
            .collect::<Result<Vec<_>>>()?
            .into_iter();
        let value = all.next().ok_or_else(|| AnalysisError::internal("IN without a value"))?;
        let expr = DfExpr::InList(InList::new(Box::new(value), all.collect(), false));
        Ok(Typed::new(expr, DataType::Boolean, nullable, shown))
    }

    fn between(&mut self, cx: &mut ExprCx, value: &Expr, low: &Expr, high: &Expr, span: Span) -> Result<Typed> {
        let value = self.expr(cx, value)?;
        let low = self.expr(cx, low)?;
        let high = self.expr(cx, high)?;
        let shown = format!("between({}, {}, {})", value.name, low.name, high.name);
        let at_least = self.compare(">=", value.clone(), low, span)?;
        let at_most = self.compare("<=", value, high, span)?;
        let nullable = at_least.nullable || at_most.nullable;
        Ok(Typed::new(guard::connect(Operator::And, vec![at_least, at_most])?, DataType::Boolean, nullable, shown))
    }

    fn like(&mut self, cx: &mut ExprCx, name: &str, value: &Expr, pattern: &Expr, escape: Option<&Expr>, span: Span) -> Result<Typed> {
        let value = self.expr(cx, value)?;
        let pattern = self.expr(cx, pattern)?;
        let escape_char = match escape {
            None => '\\',
            Some(expr) => {
                let typed = self.expr(cx, expr)?;
                self.escape_char(&typed, span)?
            }
        };
        let mut shown = match name {
            "like" => format!("{} LIKE {}", value.name, pattern.name),
            _ => format!("ilike({}, {})", value.name, pattern.name),
        };
        if escape_char != '\\' {
            shown.push_str(&format!(" ESCAPE '{escape_char}'"));
        }
        let value = self.implicit_cast(value, &DataType::String, span)?;
        let pattern = self.implicit_cast(pattern, &DataType::String, span)?;
        self.like_typed(name == "ilike", value, pattern, escape_char, shown, span)
    }

    fn like_typed(&mut self, ignore_case: bool, value: Typed, pattern: Typed, escape: char, shown: String, span: Span) -> Result<Typed> {
        let nullable = value.nullable || pattern.nullable;
        let pattern = match pattern.literal() {
            Some(ScalarValue::Utf8(Some(text))) => super::operators::text_arg(&with_backslash(text, escape, span)?),
            _ if escape != '\\' => return Err(AnalysisError::unsupported("LIKE with a computed pattern and ESCAPE", span)),
            _ => pattern,
        };
        let like = Like::new(false, Box::new(value.expr), Box::new(pattern.expr), None, ignore_case);
        Ok(Typed::new(DfExpr::Like(like), DataType::Boolean, nullable, shown))
    }

    fn escape_char(&self, typed: &Typed, span: Span) -> Result<char> {
        if let Some(ScalarValue::Utf8(Some(text))) = typed.literal() {
            let mut chars = text.chars();
            if let (Some(c), None) = (chars.next(), chars.next()) {
                return Ok(c);
            }
        }
        Err(AnalysisError::invalid("INVALID_ESCAPE_CHAR", format!("'{}' is not one character to escape with", typed.name), span))
    }

    fn quantified_like(&mut self, cx: &mut ExprCx, name: &str, value: &Expr, patterns: &[Expr], span: Span) -> Result<Typed> {
        let value = self.expr(cx, value)?;
        let shown = format!("{name}({})", value.name);
        let negated = name.starts_with("not");
        let bare = name.trim_start_matches("not");
        let op = if bare.ends_with("any") { Operator::Or } else { Operator::And };
        let value = self.implicit_cast(value, &DataType::String, span)?;
        let mut terms = vec![];
        for pattern in patterns {
            let pattern = self.expr(cx, pattern)?;
            let pattern = self.implicit_cast(pattern, &DataType::String, span)?;
            let like = self.like_typed(bare.starts_with("ilike"), value.clone(), pattern, '\\', String::new(), span)?;
            terms.push(if negated { Typed { expr: DfExpr::Not(Box::new(like.expr)), ..like } } else { like });
        }
        if terms.is_empty() {
            return Err(AnalysisError::invalid("PARSE_SYNTAX_ERROR", "LIKE ANY and ALL want at least one pattern", span));
        }
        let nullable = terms.iter().any(|term| term.nullable);
        Ok(Typed::new(guard::connect(op, terms)?, DataType::Boolean, nullable, shown))
    }

    fn case_when(&mut self, cx: &mut ExprCx, args: &[Expr], span: Span) -> Result<Typed> {
        let mut shown = String::from("CASE");
        let mut branches = vec![];
        let mut chunks = args.chunks_exact(2);
        for pair in &mut chunks {
            let [condition, value] = pair else { continue };
            let condition = self.boolean(cx, condition, "when")?;
            let value = self.expr(cx, value)?;
            shown.push_str(&format!(" WHEN {} THEN {}", condition.name, value.name));
            branches.push((condition.expr, value));
        }
        let otherwise = match chunks.remainder() {
            [expr] => {
                let value = self.expr(cx, expr)?;
                shown.push_str(&format!(" ELSE {}", value.name));
                Some(value)
            }
            _ => None,
        };
        shown.push_str(" END");
        self.branches(branches, otherwise, shown, span)
    }

    fn if_else(&mut self, cx: &mut ExprCx, condition: &Expr, yes: &Expr, no: &Expr, span: Span) -> Result<Typed> {
        let condition = self.boolean(cx, condition, "if")?;
        let yes = self.expr(cx, yes)?;
        let no = self.expr(cx, no)?;
        let shown = format!("(IF({}, {}, {}))", condition.name, yes.name, no.name);
        self.branches(vec![(condition.expr, yes)], Some(no), shown, span)
    }

    /// A `CASE` whose branches have a common type.
    pub(crate) fn branches(
        &mut self,
        branches: Vec<(DfExpr, Typed)>,
        otherwise: Option<Typed>,
        shown: String,
        span: Span,
    ) -> Result<Typed> {
        let nullable = otherwise.as_ref().is_none_or(|value| value.nullable) || branches.iter().any(|(_, value)| value.nullable);
        let (conditions, values): (Vec<_>, Vec<_>) = branches.into_iter().unzip();
        let n_branches = values.len();
        let (values, common) = self.in_common_type(values.into_iter().chain(otherwise).collect(), "CASE", span)?;
        let mut values = values.into_iter().map(|value| Box::new(value.expr));
        let when_then = conditions.into_iter().map(Box::new).zip(values.by_ref().take(n_branches)).collect();
        let case = Case::new(None, when_then, values.next());
        Ok(Typed::new(DfExpr::Case(case), common, nullable, shown))
    }

    /// The first value that is not null.
    pub(crate) fn coalesce(&mut self, args: Vec<Typed>, shown: &str, span: Span) -> Result<Typed> {
        let nullable = args.iter().all(|arg| arg.nullable);
        let (args, common) = self.in_common_type(args, "coalesce", span)?;
        // A CASE, because its later branches are not evaluated for rows that are decided.
        let mut args: Vec<DfExpr> = args.into_iter().map(|arg| arg.expr).collect();
        let Some(last) = args.pop() else { return Err(AnalysisError::internal("coalesce without arguments")) };
        if args.is_empty() {
            return Ok(Typed::new(last, common, nullable, shown));
        }
        let when_then = args.into_iter().map(|arg| (Box::new(DfExpr::IsNotNull(Box::new(arg.clone()))), Box::new(arg))).collect();
        Ok(Typed::new(DfExpr::Case(Case::new(None, when_then, Some(Box::new(last)))), common, nullable, shown))
    }
}

/// `name(a, b)`
pub(crate) fn call_text(name: &str, args: &[Typed]) -> String {
    let args: Vec<&str> = args.iter().map(|arg| arg.name.as_str()).collect();
    format!("{name}({})", args.join(", "))
}

/// The pattern with a backslash as escape character, the one that arrow's LIKE knows.
fn with_backslash(pattern: &str, escape: char, span: Span) -> Result<String> {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c == escape {
            match chars.next() {
                Some(next) if next == '%' || next == '_' => out.extend(['\\', next]),
                Some(next) if next == escape && next == '\\' => out.push_str("\\\\"),
                Some(next) if next == escape => out.push(next),
                _ => {
                    return Err(AnalysisError::invalid(
                        "INVALID_FORMAT.ESC_IN_THE_MIDDLE",
                        format!("in the pattern '{pattern}' the escape character '{escape}' must be followed by '%', '_' or itself"),
                        span,
                    ));
                }
            }
        } else if c == '\\' {
            out.push_str("\\\\");
        } else {
            out.push(c);
        }
    }
    Ok(out)
}

fn negated(typed: Typed) -> Typed {
    let shown = format!("(NOT {})", typed.name);
    // IN and LIKE have a negation of their own, but NOT around them is the same to the optimiser.
    Typed::new(DfExpr::Not(Box::new(typed.expr)), DataType::Boolean, typed.nullable, shown)
}

/// Structs compare by position, whatever their fields are called.
fn common_struct(left: &DataType, right: &DataType) -> Option<DataType> {
    let (DataType::Struct(l), DataType::Struct(r)) = (left, right) else { return None };
    if l.len() != r.len() {
        return None;
    }
    let renamed: Vec<_> =
        r.iter().zip(l).map(|(right, left)| millstream_sql::ir::StructField { name: left.name.clone(), ..right.clone() }).collect();
    common_type(left, &DataType::Struct(renamed))
}

/// `i > 1.1` is `i > 1` for an integer, in name and in fact, so that the column is not cast.
fn whole_numbers(sign: &str, left: Typed, right: Typed) -> (Typed, Typed) {
    let floor_right = match sign {
        ">" | "<=" => true,
        "<" | ">=" => false,
        _ => return (left, right),
    };
    if is_integral(&left.data_type)
        && left.literal().is_none_or(|value| !value.is_null())
        && let Some(whole) = whole_number(&right, floor_right)
    {
        return (left, whole);
    }
    if is_integral(&right.data_type)
        && let Some(whole) = whole_number(&left, !floor_right)
    {
        return (whole, right);
    }
    (left, right)
}

fn whole_number(typed: &Typed, floor: bool) -> Option<Typed> {
    let ScalarValue::Decimal128(Some(unscaled), _, scale) = typed.literal()? else { return None };
    let unit = 10_i128.checked_pow(u32::try_from(*scale).ok()?)?;
    let down = unscaled.div_euclid(unit);
    let whole = if floor || unscaled.rem_euclid(unit) == 0 { down } else { down + 1 };
    let whole = i64::try_from(whole).ok()?;
    Some(Typed::new(DfExpr::Literal(ScalarValue::Int64(Some(whole)), None), DataType::Long, false, whole.to_string()))
}

/// DataFusion orders -0.0 before 0.0; Spark takes them as equal.
fn zero_normalized(typed: Typed) -> Typed {
    let is_float = matches!(typed.data_type, DataType::Float | DataType::Double);
    let may_be_zero = match typed.literal() {
        Some(ScalarValue::Float64(Some(v))) => *v == 0.0,
        Some(ScalarValue::Float32(Some(v))) => *v == 0.0,
        _ => false,
    };
    if !is_float || !may_be_zero {
        return typed;
    }
    let zero = if typed.data_type == DataType::Float { ScalarValue::Float32(Some(0.0)) } else { ScalarValue::Float64(Some(0.0)) };
    Typed { expr: DfExpr::Literal(zero, None), ..typed }
}
