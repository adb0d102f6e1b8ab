//! `s.field`, `array[i]`, `map[key]`, `array_of_structs.field`.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr as DfExpr;
use millstream_sql::Span;
use millstream_sql::error::nearest;
use millstream_sql::ir::{DataType, Expr, Literal, StructField};

use super::{ExprCx, Typed};
use crate::coerce::is_integral;
use crate::error::{AnalysisError, Result};
use crate::resolver::Resolver;

impl Resolver<'_> {
    /// `child[extraction]`
    pub(crate) fn extract(&mut self, cx: &mut ExprCx, child: Typed, extraction: &Expr, span: Span) -> Result<Typed> {
        match (&child.data_type, extraction) {
            (DataType::Struct(_), Expr::Literal { value: Literal::String(name), .. }) => {
                let mut field = self.named_field(child, name, span)?;
                field.own_name = None;
                Ok(field)
            }
            (DataType::Array { element, .. }, Expr::Literal { value: Literal::String(name), .. })
                if matches!(element.as_ref(), DataType::Struct(_)) =>
            {
                let mut field = self.named_field(child, name, span)?;
                field.own_name = None;
                Ok(field)
            }
            (DataType::Struct(_), _) => {
                Err(AnalysisError::invalid("INVALID_EXTRACT_FIELD", "a field of a struct is taken by its name, written as a string", span))
            }
            (DataType::Array { .. }, _) => {
                let index = self.expr(cx, extraction)?;
                self.array_item(child, index, span)
            }
            (DataType::Map { .. }, _) => {
                let key = self.expr(cx, extraction)?;
                self.map_value(child, key, span)
            }
            (other, _) => Err(AnalysisError::invalid(
                "INVALID_EXTRACT_BASE_FIELD_TYPE",
                format!("nothing can be taken out of '{}': it is of type {}", child.name, other.sql()),
                span,
            )),
        }
    }

    /// The field `name` of a struct, of every struct of an array, or the value of a map's key.
    pub(crate) fn named_field(&mut self, child: Typed, name: &str, span: Span) -> Result<Typed> {
        match child.data_type.clone() {
            DataType::Struct(fields) => {
                let field = self.field_named(&fields, name, &child, span)?;
                let mut out = self.struct_field(&child, &field)?;
                out.name = format!("{}.{name}", child.name);
                Ok(out)
            }
            DataType::Array { element, contains_null } => {
                let DataType::Struct(fields) = element.as_ref() else {
                    return Err(not_a_struct(&child, name, span));
                };
                let field = self.field_named(fields, name, &child, span)?;
                let call = self.kernel("get_array_struct_fields", vec![child.expr.clone(), text(&field.name)], span)?;
                let data_type =
                    DataType::Array { element: Box::new(field.data_type.clone()), contains_null: contains_null || field.nullable };
                let mut out = Typed::new(call, data_type, child.nullable, format!("{}.{}", child.name, field.name));
                out.own_name = Some(field.name);
                Ok(out)
            }
            DataType::Map { .. } => {
                let key = Typed::new(text(name), DataType::String, false, name);
                let mut out = self.map_value(child, key, span)?;
                out.own_name = Some(name.to_owned());
                Ok(out)
            }
            _ => Err(not_a_struct(&child, name, span)),
        }
    }

    /// A known field of a struct.
    pub(crate) fn struct_field(&mut self, child: &Typed, field: &StructField) -> Result<Typed> {
        let call = crate::registry::field(child.expr.clone(), &field.name);
        let mut out = Typed::new(call, field.data_type.clone(), child.nullable || field.nullable, format!("{}.{}", child.name, field.name));
        out.own_name = Some(field.name.clone());
        Ok(out)
    }

    fn field_named(&self, fields: &[StructField], name: &str, child: &Typed, span: Span) -> Result<StructField> {
        let case = self.name_case();
        let found: Vec<&StructField> = fields.iter().filter(|field| case.same(&field.name, name)).collect();
        match found.as_slice() {
            [field] => Ok((*field).clone()),
            [] => {
                let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
                Err(AnalysisError::invalid(
                    "FIELD_NOT_FOUND",
                    format!("the struct '{}' has no field '{name}', only {}", child.name, names.join(", ")),
                    span,
                )
                .near(nearest(name, names).map(str::to_owned)))
            }
            _ => Err(AnalysisError::invalid(
                "AMBIGUOUS_REFERENCE_TO_FIELDS",
                format!("the struct '{}' has more than one field '{name}'", child.name),
                span,
            )),
        }
    }

    fn array_item(&mut self, child: Typed, index: Typed, span: Span) -> Result<Typed> {
        let DataType::Array { element, .. } = child.data_type.clone() else {
            return Err(AnalysisError::internal("an item of something that is no array"));
        };
        if !is_integral(&index.data_type) && index.data_type != DataType::Null {
            return Err(AnalysisError::invalid(
                "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
                format!("the index '{}' of an array is of type {}, not an integer", index.name, index.data_type.sql()),
                span,
            ));
        }
        let name = format!("{}[{}]", child.name, index.name);
        let index = self.implicit_cast(index, &DataType::Int, span)?;
        let call = self.kernel("get_array_item", vec![child.expr, index.expr], span)?;
        Ok(Typed::new(call, *element, true, name))
    }

    fn map_value(&mut self, child: Typed, key: Typed, span: Span) -> Result<Typed> {
        let DataType::Map { key: key_type, value, .. } = child.data_type.clone() else {
            return Err(AnalysisError::internal("a value of something that is no map"));
        };
        let name = format!("{}[{}]", child.name, key.name);
        let key = self.implicit_cast(key, &key_type, span)?;
        let call = self.kernel("get_map_value", vec![child.expr, key.expr], span)?;
        Ok(Typed::new(call, *value, true, name))
    }
}

fn text(value: &str) -> DfExpr {
    DfExpr::Literal(ScalarValue::Utf8(Some(value.to_owned())), None)
}

fn not_a_struct(child: &Typed, name: &str, span: Span) -> AnalysisError {
    AnalysisError::invalid(
        "INVALID_EXTRACT_BASE_FIELD_TYPE",
        format!("'{}' has no field '{name}': it is of type {}, not a struct", child.name, child.data_type.sql()),
        span,
    )
}
