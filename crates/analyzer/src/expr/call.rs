//! Calls of functions by name: who answers to the name, and what its arguments become.
//!
//! The order is: user's functions, operators and predicates, special forms, aggregates, scalar kernels. A kernel's
//! line in `millstream_functions` says what each argument is cast to; the casts are made here, explicitly.

use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr as DfExpr, ScalarUDF};
use millstream_functions::FunctionDef;
use millstream_sql::Span;
use millstream_sql::error::nearest;
use millstream_sql::ir::{Expr, UnresolvedFunction};

use super::{ExprCx, Typed};
use crate::catalog::UserFunction;
use crate::error::{AnalysisError, Result};
use crate::registry;
use crate::resolver::Resolver;
use crate::types::{arrow_type, spark_type};

impl Resolver<'_> {
    /// Resolves a call.
    pub(crate) fn call(&mut self, cx: &mut ExprCx, call: &UnresolvedFunction) -> Result<Typed> {
        let span = call.span;
        let name = call.name.to_lowercase();
        let name = name.strip_prefix("builtin.").or_else(|| name.strip_prefix("system.builtin.")).unwrap_or(&name).to_owned();
        match self.catalog().function(&name) {
            Some(UserFunction::Scalar(udf)) => return self.user_scalar(cx, udf, call),
            Some(UserFunction::Aggregate(udf)) => return self.user_aggregate(cx, udf, call),
            None => {}
        }
        let expanded;
        let call = if call.args.iter().any(|arg| matches!(arg, Expr::UnresolvedStar { .. })) && name != "count" {
            expanded = self.with_stars_expanded(cx, call)?;
            &expanded
        } else {
            call
        };
        if registry::is_generator(&name) {
            return Err(AnalysisError::invalid(
                "UNSUPPORTED_GENERATOR.NESTED_IN_EXPRESSIONS",
                format!("the generator {name}() can only stand alone in a select list or in LATERAL VIEW"),
                span,
            ));
        }
        if registry::is_aggregate(&name) {
            return self.aggregate_call(cx, &name, call);
        }
        if let Some(feature) = misplaced_clause(call) {
            return Err(AnalysisError::invalid(
                "INVALID_SQL_SYNTAX.FUNCTION_WITH_UNSUPPORTED_SYNTAX",
                format!("{name}() is no aggregate function and takes no {feature}"),
                span,
            ));
        }
        if let Some(typed) = self.operator(cx, call)? {
            return Ok(typed);
        }
        if let Some(typed) = self.predicate(cx, call)? {
            return Ok(typed);
        }
        if let Some(typed) = self.special_form(cx, &name, call)? {
            return Ok(typed);
        }
        if registry::is_higher_order(&name) && call.args.iter().any(|arg| matches!(arg, Expr::Lambda { .. })) {
            return self.higher_order(cx, &name, call);
        }
        if let Some(def) = millstream_functions::scalar(&name) {
            let args = self.exprs(cx, &call.args)?;
            return self.scalar_call(def, &name, args, span);
        }
        if registry::is_window_only(&name) {
            return Err(AnalysisError::invalid(
                "WINDOW_FUNCTION_WITHOUT_OVER_CLAUSE",
                format!("the window function {name}() needs an OVER clause"),
                span,
            )
            .hint(format!("write {name}() OVER (PARTITION BY ... ORDER BY ...)")));
        }
        Err(self.unknown_function(&call.name, span))
    }

    /// A call of a kernel with arguments as the user wrote them: defaults are added, arguments cast.
    pub(crate) fn scalar_call(&mut self, def: &FunctionDef, name: &str, mut args: Vec<Typed>, span: Span) -> Result<Typed> {
        registry::defaults::fill(name, &mut args);
        let n_args = args.len();
        if n_args < def.min_args || n_args > def.max_args() {
            let wanted = match (def.min_args, def.max_args()) {
                (min, usize::MAX) => format!("at least {min}"),
                (min, max) if min == max => min.to_string(),
                (min, max) => format!("{min} to {max}"),
            };
            return Err(AnalysisError::invalid(
                "WRONG_NUM_ARGS.WITHOUT_SUGGESTION",
                format!("{name}() takes {wanted} {}, not {n_args}", if wanted == "1" { "argument" } else { "arguments" }),
                span,
            ));
        }
        check_types(name, &args, span)?;
        let shown = registry::names::call_name(name, &args);
        let args = self.coerce_args(def, name, args, span)?;
        self.check_options(def, name, &args, span)?;
        let result_hint = registry::names::result_type(name, &args);
        let nullable = registry::nullability::of_call(def, name, &args);
        let mut out = self.kernel_of(def, args, span)?.named(shown);
        out.nullable = nullable;
        if let Some(data_type) = result_hint {
            out.data_type = data_type;
        }
        Ok(out)
    }

    /// The options of `from_json` and its like are constants, known to be right before the query starts.
    fn check_options(&self, def: &FunctionDef, name: &str, args: &[Typed], span: Span) -> Result<()> {
        let Some(options) = def.args.len().checked_sub(1).and_then(|last| args.get(last)).filter(|_| def.options.is_some()) else {
            return Ok(());
        };
        if !options.is_constant() {
            let message = format!("the options of {name}() must be a constant map, not '{}'", options.name);
            return Err(AnalysisError::invalid("INVALID_OPTIONS.NON_MAP_FUNCTION", message, span).hint("write map('name', 'value', ...)"));
        }
        let value = self.evaluate(options, span)?;
        def.check_options(&value).map_err(|error| AnalysisError::from(error).at(span))
    }

    /// A call of a kernel by its own name with arguments of the right types.
    pub(crate) fn kernel_typed(&mut self, kernel: &str, args: Vec<Typed>, span: Span) -> Result<Typed> {
        let Some(def) = millstream_functions::scalar(kernel) else {
            return Err(AnalysisError::unsupported(format!("'{kernel}'"), span));
        };
        self.kernel_of(def, args, span)
    }

    /// The plan expression of a kernel's call.
    pub(crate) fn kernel(&mut self, kernel: &str, args: Vec<DfExpr>, span: Span) -> Result<DfExpr> {
        registry::kernel_call(kernel, args).map_err(|error| error.at(span))
    }

    fn kernel_of(&mut self, def: &FunctionDef, mut args: Vec<Typed>, span: Span) -> Result<Typed> {
        let nullable = args.iter().any(|arg| arg.nullable);
        if def.time_zone {
            let zone = self.settings().time_zone.clone();
            args.push(super::operators::text_arg(&zone));
        }
        let fields = args
            .iter()
            .map(|arg| Ok(Arc::new(Field::new(arg.column_name(), arrow_type(&arg.data_type)?, true)) as FieldRef))
            .collect::<Result<Vec<_>>>()?;
        let literals: Vec<Option<&ScalarValue>> = args.iter().map(Typed::literal).collect();
        let returned = def.return_type(&fields, &literals).map_err(|error| AnalysisError::from(error).at(span))?;
        let data_type = spark_type(&returned)?;
        let expr = registry::udf_of(def).call(args.into_iter().map(|arg| arg.expr).collect());
        Ok(Typed::new(expr, data_type, nullable, def.name))
    }

    /// The call with every `*` among its arguments replaced by columns.
    pub(crate) fn with_stars_expanded(&mut self, cx: &ExprCx, call: &UnresolvedFunction) -> Result<UnresolvedFunction> {
        let mut args = vec![];
        for arg in &call.args {
            match self.expand_star(&cx.scope, arg)? {
                None => args.push(arg.clone()),
                Some(columns) => {
                    let prefix = star_target(arg);
                    for column in columns {
                        args.push(star_column(&prefix, &column, call.span));
                    }
                }
            }
        }
        Ok(UnresolvedFunction { args, ..call.clone() })
    }

    fn user_scalar(&mut self, cx: &mut ExprCx, udf: Arc<ScalarUDF>, call: &UnresolvedFunction) -> Result<Typed> {
        let args = self.exprs(cx, &call.args)?;
        let shown = super::predicate::call_text(&call.name, &args);
        let args = self.user_args(udf.signature(), args, call)?;
        let fields = args.iter().map(|arg| arrow_type(&arg.data_type)).collect::<Result<Vec<_>>>()?;
        let literals: Vec<Option<ScalarValue>> = args.iter().map(|arg| arg.literal().cloned()).collect();
        let arg_fields: Vec<FieldRef> =
            args.iter().zip(fields).map(|(arg, t)| Arc::new(Field::new(&arg.name, t, arg.nullable)) as FieldRef).collect();
        let scalar_arguments: Vec<Option<&ScalarValue>> = literals.iter().map(Option::as_ref).collect();
        let returned = udf
            .return_field_from_args(datafusion::logical_expr::ReturnFieldArgs {
                arg_fields: &arg_fields,
                scalar_arguments: &scalar_arguments,
            })
            .map_err(|error| AnalysisError::from(error).at(call.span))?;
        let data_type = spark_type(returned.data_type())?;
        let mut expr = udf.call(args.into_iter().map(|arg| arg.expr).collect());
        let wanted = arrow_type(&data_type)?;
        if *returned.data_type() != wanted {
            // A user's function may give a view, a large string or nanoseconds.
            expr = datafusion::logical_expr::cast(expr, wanted);
        }
        Ok(Typed::new(expr, data_type, returned.is_nullable(), shown))
    }

    /// The arguments of a user's function, cast as its signature asks.
    pub(crate) fn user_args(
        &mut self,
        signature: &datafusion::logical_expr::Signature,
        args: Vec<Typed>,
        call: &UnresolvedFunction,
    ) -> Result<Vec<Typed>> {
        use datafusion::logical_expr::TypeSignature;
        let wanted: Option<Vec<arrow::datatypes::DataType>> = match &signature.type_signature {
            TypeSignature::Exact(types) => Some(types.clone()),
            TypeSignature::Uniform(n, types) => types.first().map(|t| vec![t.clone(); *n]),
            _ => None,
        };
        let Some(wanted) = wanted else { return Ok(args) };
        if wanted.len() != args.len() {
            return Err(AnalysisError::invalid(
                "WRONG_NUM_ARGS.WITHOUT_SUGGESTION",
                format!("{}() takes {} arguments, not {}", call.name, wanted.len(), args.len()),
                call.span,
            ));
        }
        args.into_iter()
            .zip(wanted)
            .map(|(arg, arrow)| {
                let spark = spark_type(&arrow)?;
                let mut arg = self.implicit_cast(arg, &spark, call.span)?;
                if arrow_type(&spark)? != arrow {
                    arg.expr = datafusion::logical_expr::cast(arg.expr, arrow);
                }
                Ok(arg)
            })
            .collect()
    }

    fn unknown_function(&self, name: &str, span: Span) -> AnalysisError {
        let known = registry::known_names();
        let near = nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
        let error = AnalysisError::invalid("UNRESOLVED_ROUTINE", format!("the function '{name}' is not known"), span).near(near);
        if registry::is_spark_function(name) {
            return AnalysisError::unsupported(format!("the function {name}()"), span);
        }
        error
    }
}

/// What Spark's signatures refuse although a cast would be legal elsewhere.
fn check_types(name: &str, args: &[Typed], span: Span) -> Result<()> {
    use millstream_sql::ir::DataType;
    match (name, args) {
        ("date_add" | "dateadd" | "date_sub", [_, days]) => match days.data_type {
            DataType::Decimal { .. } | DataType::Float | DataType::Double | DataType::Long => Err(AnalysisError::invalid(
                "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
                format!("argument 2 of {name}() must be an INT, but '{}' is of type {}", days.name, days.data_type.sql()),
                span,
            )),
            _ => Ok(()),
        },
        ("greatest" | "least", args) => {
            let is_text = |arg: &&Typed| crate::coerce::is_string(&arg.data_type);
            let mixed = args.iter().any(|arg| is_text(&arg)) && args.iter().any(|arg| !is_text(&arg) && arg.data_type != DataType::Null);
            if mixed { Err(super::cast::different_types(args, name, span)) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

fn misplaced_clause(call: &UnresolvedFunction) -> Option<&'static str> {
    match call {
        call if call.is_distinct => Some("DISTINCT"),
        call if call.filter.is_some() => Some("FILTER"),
        call if call.ignore_nulls => Some("IGNORE NULLS"),
        call if !call.within_group.is_empty() => Some("WITHIN GROUP"),
        _ => None,
    }
}

fn star_target(star: &Expr) -> Vec<String> {
    match star {
        Expr::UnresolvedStar { target: Some(target), .. } => target.clone(),
        _ => vec![],
    }
}

fn star_column(prefix: &[String], column: &Typed, span: Span) -> Expr {
    let mut parts = prefix.to_vec();
    let name = column.column_name();
    parts.push(name.clone());
    let attribute = Expr::UnresolvedAttribute { parts, plan_id: None, span };
    // Fields of a struct show as `s.a AS a`, columns of a relation as themselves.
    if matches!(column.expr, DfExpr::Column(_)) { attribute } else { attribute.alias(name) }
}
