//! What the arguments of a kernel are cast to: [`Arg`] by [`Arg`].

use millstream_functions::{Arg, FunctionDef};
use millstream_sql::Span;
use millstream_sql::ir::DataType;

use super::{can_cast_implicitly, common_type, common_type_of, is_ansi_interval, is_datetime, is_integral, is_numeric, is_string};
use crate::error::{AnalysisError, Result};
use crate::expr::Typed;
use crate::resolver::Resolver;

impl Resolver<'_> {
    /// Casts `args` to what `def` takes.
    pub(crate) fn coerce_args(&mut self, def: &FunctionDef, name: &str, args: Vec<Typed>, span: Span) -> Result<Vec<Typed>> {
        let classes: Vec<Arg> = (0..args.len()).map(|idx| def.arg(idx).unwrap_or(Arg::Any)).collect();
        let args = widen_groups(self, &classes, args, name, span)?;
        let mut out: Vec<Typed> = Vec::with_capacity(args.len());
        for (idx, arg) in args.into_iter().enumerate() {
            let class = classes.get(idx).copied().unwrap_or(Arg::Any);
            out.push(self.coerce_arg(class, arg, name, idx, span)?);
        }
        self.coerce_related(&classes, out, name, span)
    }

    fn coerce_arg(&mut self, class: Arg, arg: Typed, name: &str, idx: usize, span: Span) -> Result<Typed> {
        use DataType as T;
        let t = arg.data_type.clone();
        let target = match class {
            Arg::Boolean | Arg::LiteralBoolean => T::Boolean,
            Arg::Int => T::Int,
            Arg::Long => T::Long,
            Arg::Double => T::Double,
            Arg::String | Arg::LiteralString => T::String,
            Arg::Binary => T::Binary,
            Arg::Date => T::Date,
            Arg::Timestamp => T::Timestamp,
            Arg::TimestampNtz => T::TimestampNtz,
            Arg::Decimal(precision, scale) => T::Decimal { precision, scale },
            Arg::YearMonth => T::YEAR_MONTH,
            Arg::DayTime => T::DAY_TIME,
            Arg::Strings => T::array(T::String),
            Arg::Integral => match &t {
                t if is_integral(t) => return Ok(arg),
                t if is_string(t) => T::Long,
                T::Null => T::Int,
                _ => return Err(wrong(name, idx, &arg, "an integer", span)),
            },
            Arg::Numeric | Arg::NumericOrInterval => match &t {
                t if is_numeric(t) => return Ok(arg),
                t if class == Arg::NumericOrInterval && (is_ansi_interval(t) || *t == T::CalendarInterval) => return Ok(arg),
                t if is_string(t) || *t == T::Null => T::Double,
                _ => return Err(wrong(name, idx, &arg, "a number", span)),
            },
            Arg::StringOrBinary => match &t {
                T::Binary => return Ok(arg),
                _ => T::String,
            },
            Arg::StringOrStrings => match &t {
                T::Array { .. } => T::array(T::String),
                _ => T::String,
            },
            Arg::AnyTimestamp => match &t {
                T::Timestamp | T::TimestampNtz => return Ok(arg),
                _ => T::Timestamp,
            },
            Arg::Temporal => match &t {
                t if is_datetime(t) => return Ok(arg),
                t if is_string(t) || *t == T::Null => T::Timestamp,
                _ => return Err(wrong(name, idx, &arg, "a date or timestamp", span)),
            },
            Arg::Interval => match &t {
                t if is_ansi_interval(t) || *t == T::CalendarInterval => return Ok(arg),
                T::Null => T::CalendarInterval,
                _ => return Err(wrong(name, idx, &arg, "an interval", span)),
            },
            Arg::Array => match &t {
                T::Array { .. } => return Ok(arg),
                T::Null => T::array(T::Null),
                _ => return Err(wrong(name, idx, &arg, "an array", span)),
            },
            Arg::Map => match &t {
                T::Map { .. } => return Ok(arg),
                T::Null => T::map(T::Null, T::Null),
                _ => return Err(wrong(name, idx, &arg, "a map", span)),
            },
            Arg::Struct => match &t {
                T::Struct(_) => return Ok(arg),
                T::Null => T::Struct(vec![]),
                _ => return Err(wrong(name, idx, &arg, "a struct", span)),
            },
            Arg::ArrayOrMap => match &t {
                T::Array { .. } | T::Map { .. } => return Ok(arg),
                T::Null => T::array(T::Null),
                _ => return Err(wrong(name, idx, &arg, "an array or a map", span)),
            },
            _ => return Ok(arg),
        };
        if !can_cast_implicitly(&t, &target) {
            return Err(wrong(name, idx, &arg, &target.sql(), span));
        }
        let mut out = self.cast_with(arg, &target, "ansi", span)?;
        if matches!(class, Arg::LiteralString | Arg::LiteralBoolean) && out.literal().is_none() {
            // A constant such as schema_of_json('...') is as good as a literal.
            out.expr = datafusion::logical_expr::Expr::Literal(self.evaluate(&out, span)?, None);
        }
        Ok(out)
    }

    /// Arguments whose type hangs on another argument's: an element of an array, a key of a map.
    fn coerce_related(&mut self, classes: &[Arg], args: Vec<Typed>, name: &str, span: Span) -> Result<Vec<Typed>> {
        let mut out = args.clone();
        for (idx, class) in classes.iter().enumerate() {
            let Some(arg) = args.get(idx) else { continue };
            match class {
                Arg::ElementOf(of) => {
                    let Some(DataType::Array { element, contains_null }) = out.get(*of).map(|arg| arg.data_type.clone()) else { continue };
                    if name == "array_contains" && arg.data_type == DataType::Null {
                        return Err(AnalysisError::invalid("DATATYPE_MISMATCH.NULL_TYPE", format!("{name}() of NULL has no type"), span));
                    }
                    let mixes =
                        is_string(&element) != is_string(&arg.data_type) && arg.data_type != DataType::Null && *element != DataType::Null;
                    let Some(common) = common_type(&element, &arg.data_type).filter(|_| !mixes) else {
                        return Err(AnalysisError::invalid(
                            "DATATYPE_MISMATCH.ARRAY_FUNCTION_DIFF_TYPES",
                            format!(
                                "{name}() wants an element of type {}, but '{}' is of type {}",
                                element.sql(),
                                arg.name,
                                arg.data_type.sql()
                            ),
                            span,
                        ));
                    };
                    let array = DataType::Array { element: Box::new(common.clone()), contains_null };
                    self.replace(&mut out, *of, &array, span)?;
                    self.replace(&mut out, idx, &common, span)?;
                }
                Arg::KeyOf(of) => {
                    let Some(DataType::Map { key, .. }) = out.get(*of).map(|arg| arg.data_type.clone()) else { continue };
                    self.replace(&mut out, idx, &key, span)?;
                }
                _ => {}
            }
        }
        Ok(out)
    }

    fn replace(&mut self, args: &mut [Typed], idx: usize, to: &DataType, span: Span) -> Result<()> {
        if let Some(arg) = args.get_mut(idx) {
            *arg = self.implicit_cast(arg.clone(), to, span)?;
        }
        Ok(())
    }
}

/// Casts the arguments marked `Common` (and those marked `CommonKey`) to their common type.
fn widen_groups(resolver: &mut Resolver<'_>, classes: &[Arg], args: Vec<Typed>, name: &str, span: Span) -> Result<Vec<Typed>> {
    let mut args = args;
    for class in [Arg::Common, Arg::CommonKey] {
        let is_member = |idx: usize| classes.get(idx) == Some(&class);
        let members: Vec<Typed> = args.iter().enumerate().filter(|(idx, _)| is_member(*idx)).map(|(_, arg)| arg.clone()).collect();
        if members.is_empty() {
            continue;
        }
        let Some(common) = common_type_of(members.iter().map(|arg| &arg.data_type)) else {
            let types: Vec<String> = members.iter().map(|arg| arg.data_type.sql()).collect();
            return Err(AnalysisError::invalid(
                "DATATYPE_MISMATCH.DATA_DIFF_TYPES",
                format!("the arguments of {name}() have no common type: {}", types.join(", ")),
                span,
            ));
        };
        args = args
            .into_iter()
            .enumerate()
            .map(|(idx, arg)| if is_member(idx) { resolver.cast_with(arg, &common, "ansi", span) } else { Ok(arg) })
            .collect::<Result<_>>()?;
    }
    Ok(args)
}

fn wrong(name: &str, idx: usize, arg: &Typed, wanted: &str, span: Span) -> AnalysisError {
    AnalysisError::invalid(
        "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
        format!("argument {} of {name}() must be {wanted}, but '{}' is of type {}", idx + 1, arg.name, arg.data_type.sql()),
        span,
    )
}
