//! Prints the representation as Spark prints its own unresolved trees, so that nesting can be compared.
//! Whatever has no such form gives `None` and is compared for acceptance only.

use millstream_sql::ir::{
    CastMode, DataType, DayTimeField, Expr, FrameBound, FrameUnits, Grouping, JoinKind, Literal, NullOrdering, Plan, ReadSource, SetOpKind,
    SortDirection, SortOrder, TypedLiteralKind, WindowSpec, YearMonthField, quote_if_needed,
};

/// Spark's `Expression.sql` of an unresolved expression.
pub fn expr_form(expr: &Expr) -> Option<String> {
    Some(match expr {
        Expr::Literal { value, .. } => literal(value)?,
        Expr::TypedLiteral { kind, text, .. } => match kind {
            TypedLiteralKind::Date if text.len() == 10 => format!("DATE '{text}'"),
            TypedLiteralKind::TimestampNtz => format!("TIMESTAMP_NTZ '{text}'"),
            TypedLiteralKind::Time => format!("TIME '{text}'"),
            _ => return None,
        },
        Expr::UnresolvedAttribute { parts, .. } | Expr::LambdaVariable { parts, .. } => name(parts),
        Expr::UnresolvedFunction(call) => return function(&call.name, &call.args, call.filter.as_deref(), &call.within_group),
        Expr::Alias { expr, names, .. } => match names.as_slice() {
            [one] => format!("{} AS {one}", expr_form(expr)?),
            _ => format!("multialias({})", expr_form(expr)?),
        },
        // Spark's form leaves out casts to nested types.
        Expr::Cast { expr, data_type: DataType::Array { .. } | DataType::Map { .. } | DataType::Struct(_), .. } => expr_form(expr)?,
        Expr::Cast { expr, data_type, mode, .. } => {
            let word = if *mode == CastMode::Try { "TRY_CAST" } else { "CAST" };
            format!("{word}({} AS {})", expr_form(expr)?, data_type.sql())
        }
        Expr::UnresolvedExtractValue { child, extraction, .. } => format!("{}[{}]", expr_form(child)?, expr_form(extraction)?),
        Expr::Lambda { args, body, .. } => {
            let args: Vec<String> = args.iter().map(ToString::to_string).collect();
            format!("lambdafunction({}, {})", expr_form(body)?, args.join(", "))
        }
        Expr::NamedArgument { value, .. } => format!("namedargumentexpression({})", expr_form(value)?),
        Expr::Window { function, spec, .. } if spec.name.is_some() => format!("unresolvedwindowexpression({})", expr_form(function)?),
        Expr::Window { function, spec, .. } => format!("{} OVER {}", expr_form(function)?, window(spec)?),
        _ => return None,
    })
}

fn literal(value: &Literal) -> Option<String> {
    Some(match value {
        Literal::Null => "NULL".into(),
        Literal::Boolean(b) => b.to_string(),
        Literal::Byte(n) => format!("{n}Y"),
        Literal::Short(n) => format!("{n}S"),
        Literal::Int(n) => n.to_string(),
        Literal::Long(n) => format!("{n}L"),
        Literal::Decimal { unscaled, scale, .. } => {
            let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = *scale as usize + 1);
            let (whole, fraction) = digits.split_at(digits.len() - *scale as usize);
            let sign = if *unscaled < 0 { "-" } else { "" };
            let point = if fraction.is_empty() { "" } else { "." };
            format!("{sign}{whole}{point}{fraction}BD")
        }
        Literal::String(s) => format!("'{}'", s.replace('\\', "\\\\").replace('\'', "\\'")),
        // Java prints numbers between 0.001 and 10 million without an exponent; the gold has few others.
        Literal::Double(d) if *d == 0.0 || (1e-3..1e7).contains(&d.abs()) => format!("{d:?}D"),
        Literal::Float(f) => format!("CAST('{f:?}' AS FLOAT)"),
        Literal::YearMonthInterval { months, start, end } => {
            let sign = if *months < 0 { "-" } else { "" };
            let months = months.unsigned_abs();
            let text = match (start, end) {
                (YearMonthField::Year, YearMonthField::Month) => format!("{sign}{}-{}", months / 12, months % 12),
                (YearMonthField::Year, _) => format!("{sign}{}", months / 12),
                _ => format!("{sign}{months}"),
            };
            format!("INTERVAL '{text}' {}", fields(start, end))
        }
        Literal::DayTimeInterval { micros, start, end } => {
            format!("INTERVAL '{}' {}", day_time(*micros, *start, *end), fields(start, end))
        }
        Literal::Binary(bytes) => format!("X'{}'", bytes.iter().map(|b| format!("{b:02X}")).collect::<String>()),
        _ => return None,
    })
}

fn fields<F: ToString + PartialEq>(start: &F, end: &F) -> String {
    let text = if start == end { start.to_string() } else { format!("{} to {}", start.to_string(), end.to_string()) };
    text.to_uppercase()
}

/// The ANSI text of a day-time interval: the first field takes all larger ones in.
fn day_time(micros: i64, start: DayTimeField, end: DayTimeField) -> String {
    let mut rest = micros.unsigned_abs();
    let mut out = if micros < 0 { "-".to_owned() } else { String::new() };
    let steps = [
        (DayTimeField::Day, 86_400_000_000),
        (DayTimeField::Hour, 3_600_000_000),
        (DayTimeField::Minute, 60_000_000),
        (DayTimeField::Second, 1_000_000),
    ];
    for (field, unit) in steps.into_iter().filter(|(f, _)| (start..=end).contains(f)) {
        let value = rest / unit;
        rest %= unit;
        if field != start {
            out += if field == DayTimeField::Hour { " " } else { ":" };
        }
        out += &if field == DayTimeField::Day { value.to_string() } else { format!("{value:02}") };
        if field == DayTimeField::Second && rest > 0 {
            out += format!(".{rest:06}").trim_end_matches('0');
        }
    }
    out
}

fn name(parts: &[String]) -> String {
    parts.iter().map(|p| quote_if_needed(p)).collect::<Vec<_>>().join(".")
}

fn function(function: &str, args: &[Expr], filter: Option<&Expr>, within: &[SortOrder]) -> Option<String> {
    let infix = ["+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>", ">>>", "<=>", "<", "<=", ">", ">="];
    let stars = args.iter().any(|a| matches!(a, Expr::UnresolvedStar { .. }));
    if stars && !function.eq_ignore_ascii_case("count") {
        return None;
    }
    let mut forms: Vec<String> = if stars { vec!["1".into()] } else { args.iter().map(expr_form).collect::<Option<_>>()? };
    Some(match (function, forms.as_slice()) {
        ("==", [a, b]) => format!("({a} = {b})"),
        ("and", [a, b]) => format!("({a} AND {b})"),
        ("or", [a, b]) => format!("({a} OR {b})"),
        ("not", [a]) => format!("(NOT {a})"),
        ("div", [a, b]) => format!("({a} div {b})"),
        ("isnull", [a]) => format!("({a} IS NULL)"),
        ("isnotnull", [a]) => format!("({a} IS NOT NULL)"),
        ("isunknown", [a]) => format!("({a} IS UNKNOWN)"),
        ("isnotunknown", [a]) => format!("({a} IS NOT UNKNOWN)"),
        ("in", [a, list @ ..]) => format!("({a} IN ({}))", list.join(", ")),
        ("like", [a, b]) => format!("{a} LIKE {b}"),
        ("like", [a, b, e]) => format!("{a} LIKE {b} ESCAPE {e}"),
        ("rlike", [a, b]) => format!("RLIKE({a}, {b})"),
        ("likeany" | "likeall" | "notlikeany" | "notlikeall", [a, ..]) => format!("{function}({a})"),
        ("-", [a]) => format!("(- {a})"),
        ("+", [a]) => format!("(+ {a})"),
        ("~", [a]) => format!("~{a}"),
        ("when", _) => case(&forms),
        ("||", [first, rest @ ..]) => rest.iter().fold(first.clone(), |left, right| format!("concat({left}, {right})")),
        (op @ ("+" | "*"), [first, rest @ ..]) => rest.iter().fold(first.clone(), |left, right| format!("({left} {op} {right})")),
        (op, [a, b]) if infix.contains(&op) => format!("({a} {op} {b})"),
        ("locate", [a, b]) => format!("locate({a}, {b}, 1)"),
        ("timestampadd" | "timestampdiff", [unit, a, b]) => format!("{function}({}, {a}, {b})", unit.trim_matches('\'')),
        // Whether it was a call or words between arguments shows in Spark's form only.
        ("trim" | "ltrim" | "rtrim" | "substring" | "collate" | "overlay", _) => return None,
        ("current_date" | "CURRENT_DATE" | "CURRENT_TIMESTAMP" | "current_user", []) => return None,
        _ => {
            for order in within {
                forms.push(sort(order)?);
            }
            forms.extend(match filter {
                Some(f) => Some(expr_form(f)?),
                None => None,
            });
            format!("{}({})", function.split('.').map(quote_if_needed).collect::<Vec<_>>().join("."), forms.join(", "))
        }
    })
}

fn case(forms: &[String]) -> String {
    let mut out = "CASE".to_owned();
    for pair in forms.chunks(2) {
        match pair {
            [condition, value] => out += &format!(" WHEN {condition} THEN {value}"),
            [last] => out += &format!(" ELSE {last}"),
            _ => {}
        }
    }
    out + " END"
}

fn sort(order: &SortOrder) -> Option<String> {
    let direction = if order.direction == SortDirection::Ascending { "ASC" } else { "DESC" };
    let nulls = if order.nulls == NullOrdering::First { "FIRST" } else { "LAST" };
    Some(format!("{} {direction} NULLS {nulls}", expr_form(&order.expr)?))
}

fn window(spec: &WindowSpec) -> Option<String> {
    let mut parts = vec![];
    if !spec.partition_by.is_empty() {
        let keys: Vec<String> = spec.partition_by.iter().map(expr_form).collect::<Option<_>>()?;
        parts.push(format!("PARTITION BY {}", keys.join(", ")));
    }
    if !spec.order_by.is_empty() {
        let keys: Vec<String> = spec.order_by.iter().map(sort).collect::<Option<_>>()?;
        parts.push(format!("ORDER BY {}", keys.join(", ")));
    }
    match &spec.frame {
        Some(frame) => {
            let units = if frame.units == FrameUnits::Rows { "ROWS" } else { "RANGE" };
            parts.push(format!("{units} BETWEEN {} AND {}", bound(&frame.start)?, bound(&frame.end)?));
        }
        None => parts.push("unspecifiedframe$()".into()),
    }
    Some(format!("({})", parts.join(" ")))
}

fn bound(bound: &FrameBound) -> Option<String> {
    Some(match bound {
        FrameBound::UnboundedPreceding => "UNBOUNDED PRECEDING".into(),
        FrameBound::UnboundedFollowing => "UNBOUNDED FOLLOWING".into(),
        FrameBound::CurrentRow => "CURRENT ROW".into(),
        FrameBound::Preceding(e) => format!("{} PRECEDING", expr_form(e)?),
        FrameBound::Following(e) => format!("{} FOLLOWING", expr_form(e)?),
    })
}

/// The names of the nodes as Spark's `toString` lists them, top down; `None` where the trees differ in kind.
pub fn plan_nodes(plan: &Plan) -> Option<Vec<String>> {
    let mut nodes = vec![];
    walk(plan, &mut nodes)?;
    Some(nodes)
}

fn walk(plan: &Plan, out: &mut Vec<String>) -> Option<()> {
    walk_named(plan, out, false)
}

/// `named` when the node above already gave the streaming read its name.
fn walk_named(plan: &Plan, out: &mut Vec<String>, named: bool) -> Option<()> {
    let mut node = |name: &str| out.push(name.to_owned());
    match plan {
        Plan::OneRow => node("OneRowRelation"),
        Plan::Read(read) => {
            if read.is_streaming && !named {
                node("NamedStreamingRelation");
            }
            match &read.source {
                ReadSource::Table(_) => node("UnresolvedRelation"),
                ReadSource::Function { .. } => node("UnresolvedTableValuedFunction"),
                _ => return None,
            }
        }
        Plan::NamedStream { input, .. } => {
            node("NamedStreamingRelation");
            walk_named(input, out, true)?;
        }
        Plan::Project { input, .. } => {
            node("Project");
            walk(input, out)?;
        }
        Plan::Filter { input, .. } => {
            node("Filter");
            walk(input, out)?;
        }
        Plan::Having { input, .. } => {
            node("UnresolvedHaving");
            walk(input, out)?;
        }
        Plan::Qualify { input, .. } => {
            node("UnresolvedQualify");
            walk(input, out)?;
        }
        Plan::Aggregate { input, grouping, .. } => {
            if matches!(grouping, Grouping::Several(_)) {
                return None;
            }
            node("Aggregate");
            walk(input, out)?;
        }
        Plan::Sort { input, .. } => {
            node("Sort");
            walk(input, out)?;
        }
        Plan::Repartition { input, .. } => {
            node("RepartitionByExpression");
            walk(input, out)?;
        }
        Plan::Limit { input, .. } => {
            node("GlobalLimit");
            node("LocalLimit");
            walk(input, out)?;
        }
        Plan::Offset { input, .. } => {
            node("Offset");
            walk(input, out)?;
        }
        Plan::Deduplicate { input, .. } => {
            node("Distinct");
            walk(input, out)?;
        }
        Plan::SubqueryAlias { input, columns, .. } => {
            node("SubqueryAlias");
            if !columns.is_empty() {
                node("UnresolvedSubqueryColumnAliases");
            }
            if matches!(**input, Plan::Values { .. }) || !columns.is_empty() && matches!(**input, Plan::Read(_)) {
                return None;
            }
            walk(input, out)?;
        }
        Plan::WithWatermark { input, .. } => {
            node("UnresolvedEventTimeWatermark");
            walk(input, out)?;
        }
        Plan::Hint { input, .. } => {
            node("UnresolvedHint");
            walk(input, out)?;
        }
        Plan::WindowDefinitions { input, .. } => {
            node("WithWindowDefinition");
            walk(input, out)?;
        }
        Plan::Generate { input, .. } => {
            node("Generate");
            walk(input, out)?;
        }
        Plan::Join { left, right, kind, lateral: false, .. } => {
            let kind = match kind {
                JoinKind::Inner => " Inner",
                // The comma is an inner join without condition in Spark.
                JoinKind::Cross => return None,
                JoinKind::LeftOuter => " LeftOuter",
                JoinKind::RightOuter => " RightOuter",
                JoinKind::FullOuter => " FullOuter",
                JoinKind::LeftSemi => " LeftSemi",
                JoinKind::LeftAnti => " LeftAnti",
            };
            if matches!(
                plan,
                Plan::Join { condition: millstream_sql::ir::JoinCondition::Using(_) | millstream_sql::ir::JoinCondition::Natural, .. }
            ) {
                node("Join");
            } else {
                node(&format!("Join{kind}"));
            }
            walk(left, out)?;
            walk(right, out)?;
        }
        Plan::UnionAll { inputs, .. } => {
            inputs.iter().skip(1).for_each(|_| node("Union"));
            for input in inputs {
                walk(input, out)?;
            }
        }
        Plan::SetOp { left, right, kind, all, .. } => {
            match (kind, all) {
                (SetOpKind::Union, false) => {
                    node("Distinct");
                    node("Union");
                }
                (SetOpKind::Union, true) => node("Union"),
                (SetOpKind::Intersect, _) => node("Intersect"),
                (SetOpKind::Except, _) => node("Except"),
            }
            walk(left, out)?;
            walk(right, out)?;
        }
        Plan::Pivot { input, .. } => {
            node("Pivot");
            walk(input, out)?;
        }
        _ => return None,
    }
    Some(())
}
