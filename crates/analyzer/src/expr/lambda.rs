//! Higher-order functions: `transform`, `filter`, `exists`, `forall`, `zip_with`, `transform_keys`, `transform_values`, `map_filter`.
//!
//! DataFusion has three of one list and one argument each; the others become these over a list of structs (array and
//! position, two arrays zipped, the entries of a map), whose fields stand for the lambda's arguments.

use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::common::ScalarValue;
use datafusion::functions_nested as nested;
use datafusion::logical_expr::expr::{HigherOrderFunction, Lambda, LambdaVariable};
use datafusion::logical_expr::{Expr as DfExpr, HigherOrderUDF};
use millstream_sql::Span;
use millstream_sql::ir::{DataType, Expr, Ident, StructField, UnresolvedFunction};

use super::{ExprCx, Typed};
use crate::error::{AnalysisError, Result};
use crate::resolver::Resolver;
use crate::types::arrow_type;

/// How Spark shows a lambda's argument.
const SHOWN_VARIABLE: &str = "namedlambdavariable()";

/// A resolved lambda over the elements of one list.
struct Body {
    variable: String,
    typed: Typed,
    shown: String,
}

impl Resolver<'_> {
    /// A higher-order function's call.
    pub(crate) fn higher_order(&mut self, cx: &mut ExprCx, name: &str, call: &UnresolvedFunction) -> Result<Typed> {
        let span = call.span;
        let wrong_count = || {
            AnalysisError::invalid("WRONG_NUM_ARGS.WITHOUT_SUGGESTION", format!("{name}() is given {} arguments", call.args.len()), span)
        };
        match (name, call.args.as_slice()) {
            ("transform", [list, Expr::Lambda { args, body, .. }]) => {
                let list = self.array_arg(cx, list, name, span)?;
                let shown = list.name.clone();
                let (list, element, nullable) = if args.len() == 2 { self.with_positions(list, span)? } else { whole(list)? };
                let body = self.lambda(cx, &element, args, body, span)?;
                let out = DataType::Array { element: Box::new(body.typed.data_type.clone()), contains_null: body.typed.nullable };
                let shown = format!("transform({shown}, {})", body.shown);
                let expr = higher_order(nested::array_transform::array_transform_higher_order_function(), list, body);
                Ok(Typed::new(datafusion::logical_expr::cast(expr, arrow_type(&out)?), out, nullable, shown))
            }
            ("filter" | "exists" | "forall", [list, Expr::Lambda { args, body, .. }]) => {
                let list = self.array_arg(cx, list, name, span)?;
                if name == "filter" && args.len() == 2 {
                    return self.filter_with_position(cx, list, args, body, span);
                }
                if args.len() != 1 {
                    return Err(AnalysisError::unsupported(format!("{name}() with a lambda of {} arguments", args.len()), span));
                }
                let data_type = list.data_type.clone();
                let shown = list.name.clone();
                let (list, element, nullable) = whole(list)?;
                let mut body = self.lambda(cx, &element, args, body, span)?;
                body.typed = self.implicit_cast(body.typed, &DataType::Boolean, span)?;
                let shown = format!("{name}({shown}, {})", body.shown);
                match name {
                    "filter" => {
                        let expr = higher_order(nested::array_filter::array_filter_higher_order_function(), list, body);
                        Ok(Typed::new(datafusion::logical_expr::cast(expr, arrow_type(&data_type)?), data_type, nullable, shown))
                    }
                    "exists" => {
                        let expr = higher_order(nested::array_any_match::array_any_match_higher_order_function(), list, body);
                        Ok(Typed::new(expr, DataType::Boolean, true, shown))
                    }
                    _ => {
                        // All are true when none is not.
                        body.typed.expr = DfExpr::Not(Box::new(body.typed.expr));
                        let expr = higher_order(nested::array_any_match::array_any_match_higher_order_function(), list, body);
                        Ok(Typed::new(DfExpr::Not(Box::new(expr)), DataType::Boolean, true, shown))
                    }
                }
            }
            ("zip_with", [left, right, Expr::Lambda { args, body, .. }]) => {
                let left = self.array_arg(cx, left, name, span)?;
                let right = self.array_arg(cx, right, name, span)?;
                let shown = format!("{}, {}", left.name, right.name);
                let zipped = self.kernel_typed("arrays_zip", vec![left, right], span)?;
                let (list, element, nullable) = whole(zipped)?;
                let body = self.lambda(cx, &element, args, body, span)?;
                let out = DataType::Array { element: Box::new(body.typed.data_type.clone()), contains_null: body.typed.nullable };
                let shown = format!("zip_with({shown}, {})", body.shown);
                let expr = higher_order(nested::array_transform::array_transform_higher_order_function(), list, body);
                Ok(Typed::new(datafusion::logical_expr::cast(expr, arrow_type(&out)?), out, nullable, shown))
            }
            ("transform_keys" | "transform_values" | "map_filter", [map, Expr::Lambda { args, body, .. }]) => {
                self.map_lambda(cx, name, map, args, body, span)
            }
            ("transform" | "filter" | "exists" | "forall" | "zip_with" | "transform_keys" | "transform_values" | "map_filter", _) => {
                Err(wrong_count())
            }
            _ => Err(AnalysisError::unsupported(format!("the higher-order function {name}()"), span)
                .hint("explode the array, compute on its rows and collect_list() them")),
        }
    }

    /// `filter(list, (x, i) -> ...)`: over pairs of element and position, of which the elements stay.
    fn filter_with_position(&mut self, cx: &mut ExprCx, list: Typed, args: &[Ident], body: &Expr, span: Span) -> Result<Typed> {
        let (data_type, shown, nullable) = (list.data_type.clone(), list.name.clone(), list.nullable);
        let (pairs, element, _) = self.with_positions(list, span)?;
        let mut body = self.lambda(cx, &element, args, body, span)?;
        body.typed = self.implicit_cast(body.typed, &DataType::Boolean, span)?;
        let shown = format!("filter({shown}, {})", body.shown);
        let kept = higher_order(nested::array_filter::array_filter_higher_order_function(), pairs, body);
        let kept = datafusion::logical_expr::cast(kept, arrow_type(&DataType::array(element.clone()))?);
        let DataType::Struct(fields) = &element else { return Err(AnalysisError::internal("positions without a struct")) };
        let first = fields.first().map_or("0", |field| field.name.as_str());
        let name = DfExpr::Literal(ScalarValue::Utf8(Some(first.to_owned())), None);
        let expr = self.kernel("get_array_struct_fields", vec![kept, name], span)?;
        Ok(Typed::new(expr, data_type, nullable, shown))
    }

    fn map_lambda(&mut self, cx: &mut ExprCx, name: &str, map: &Expr, args: &[Ident], body: &Expr, span: Span) -> Result<Typed> {
        let map = self.expr(cx, map)?;
        let DataType::Map { key, value, value_contains_null } = map.data_type.clone() else {
            return Err(wrong_input(name, &map, "a map", span));
        };
        let entry = DataType::Struct(vec![
            StructField { nullable: false, ..StructField::new("key", *key.clone()) },
            StructField { nullable: value_contains_null, ..StructField::new("value", *value.clone()) },
        ]);
        // The lambda's argument must have the very type of the list's elements.
        let entries_type = arrow_type(&DataType::array(entry.clone()))?;
        let entries = datafusion::logical_expr::cast(self.kernel("map_entries", vec![map.expr.clone()], span)?, entries_type);
        let mut body = self.lambda(cx, &entry, args, body, span)?;
        let shown = format!("{name}({}, {})", map.name, body.shown);
        if name == "map_filter" {
            body.typed = self.implicit_cast(body.typed, &DataType::Boolean, span)?;
            let kept = higher_order(nested::array_filter::array_filter_higher_order_function(), entries, body);
            let list = DataType::Array { element: Box::new(entry), contains_null: false };
            let kept = datafusion::logical_expr::cast(kept, arrow_type(&list)?);
            let expr = self.kernel("map_from_entries", vec![kept], span)?;
            return Ok(Typed::new(expr, map.data_type, map.nullable, shown));
        }
        let new_type = body.typed.data_type.clone();
        let list = DataType::Array { element: Box::new(new_type.clone()), contains_null: body.typed.nullable };
        let contains_null = body.typed.nullable;
        let new = higher_order(nested::array_transform::array_transform_higher_order_function(), entries, body);
        let new = datafusion::logical_expr::cast(new, arrow_type(&list)?);
        let (keys, values, data_type) = match name {
            "transform_keys" => {
                let values = self.kernel("map_values", vec![map.expr], span)?;
                (new, values, DataType::Map { key: Box::new(new_type), value, value_contains_null })
            }
            _ => {
                let keys = self.kernel("map_keys", vec![map.expr], span)?;
                (keys, new, DataType::Map { key, value: Box::new(new_type), value_contains_null: contains_null })
            }
        };
        let expr = self.kernel("map_from_arrays", vec![keys, values], span)?;
        Ok(Typed::new(expr, data_type, map.nullable, shown))
    }

    fn array_arg(&mut self, cx: &mut ExprCx, expr: &Expr, name: &str, span: Span) -> Result<Typed> {
        let typed = self.expr(cx, expr)?;
        match typed.data_type {
            DataType::Array { .. } => Ok(typed),
            _ => Err(wrong_input(name, &typed, "an array", span)),
        }
    }

    /// The list as one of structs of element and position.
    fn with_positions(&mut self, list: Typed, span: Span) -> Result<(DfExpr, DataType, bool)> {
        let nullable = list.nullable;
        let positions = Typed::new(
            crate::registry::positions::call(list.expr.clone()),
            DataType::Array { element: Box::new(DataType::Int), contains_null: false },
            nullable,
            "positions",
        );
        let zipped = self.kernel_typed("arrays_zip", vec![list, positions], span)?;
        whole(zipped)
    }

    /// A lambda over elements of type `element`; with several arguments they are the element's fields.
    fn lambda(&mut self, cx: &mut ExprCx, element: &DataType, args: &[Ident], body: &Expr, span: Span) -> Result<Body> {
        let variable = format!("lambda{}", self.next_id());
        let field = Field::new(&variable, arrow_type(element)?, true);
        let whole = DfExpr::LambdaVariable(LambdaVariable::new(variable.clone(), Some(Arc::new(field))));
        let mut bound = vec![];
        match (args, element) {
            ([arg], _) => bound.push((arg.name.clone(), Typed::new(whole, element.clone(), true, SHOWN_VARIABLE))),
            (args, DataType::Struct(fields)) if args.len() == fields.len() => {
                for (arg, field) in args.iter().zip(fields) {
                    let get = crate::registry::field(whole.clone(), &field.name);
                    bound.push((arg.name.clone(), Typed::new(get, field.data_type.clone(), field.nullable, SHOWN_VARIABLE)));
                }
            }
            _ => {
                return Err(AnalysisError::invalid(
                    "INVALID_LAMBDA_FUNCTION_CALL.NUM_ARGS_MISMATCH",
                    format!("the lambda has {} arguments, which is not what the function gives it", args.len()),
                    span,
                ));
            }
        }
        let n_outer = cx.lambdas.len();
        cx.lambdas.extend(bound);
        let typed = self.expr(cx, body);
        cx.lambdas.truncate(n_outer);
        let typed = typed?;
        let variables: Vec<&str> = args.iter().map(|_| SHOWN_VARIABLE).collect();
        let shown = format!("lambdafunction({}, {})", typed.name, variables.join(", "));
        Ok(Body { variable, typed, shown })
    }
}

fn higher_order(function: Arc<HigherOrderUDF>, list: DfExpr, body: Body) -> DfExpr {
    let lambda = DfExpr::Lambda(Lambda::new(vec![body.variable], body.typed.expr));
    DfExpr::HigherOrderFunction(HigherOrderFunction::new(function, vec![list, lambda]))
}

fn whole(list: Typed) -> Result<(DfExpr, DataType, bool)> {
    let arrow = arrow_type(&list.data_type)?;
    match list.data_type {
        // A cast to the type it should have is no work, but makes sure that lambda and list agree on it.
        DataType::Array { element, .. } => Ok((datafusion::logical_expr::cast(list.expr, arrow), *element, list.nullable)),
        _ => Err(AnalysisError::internal("a lambda over something that is no array")),
    }
}

fn wrong_input(name: &str, arg: &Typed, wanted: &str, span: Span) -> AnalysisError {
    AnalysisError::invalid(
        "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
        format!("{name}() wants {wanted}, but '{}' is of type {}", arg.name, arg.data_type.sql()),
        span,
    )
}
