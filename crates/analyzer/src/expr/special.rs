//! Functions that are no plain kernel calls: they look at types, names or the session, or are casts by another name.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr as DfExpr;
use millstream_sql::Span;
use millstream_sql::ir::{CastMode, DataType, Expr, StructField, UnresolvedFunction};

use super::predicate::call_text;
use super::{ExprCx, Typed};
use crate::error::{AnalysisError, Result};
use crate::resolver::Resolver;
use crate::row_facts::{RowFact, Seed};

impl Resolver<'_> {
    /// A special form's call; none when `name` is none.
    pub(crate) fn special_form(&mut self, cx: &mut ExprCx, name: &str, call: &UnresolvedFunction) -> Result<Option<Typed>> {
        let span = call.span;
        if call.args.is_empty()
            && let Some(typed) = self.clock_function(cx, name, span)?
        {
            return Ok(Some(typed));
        }
        if let (Some(data_type), [arg]) = (cast_function(name), call.args.as_slice()) {
            return self.cast_function_call(cx, arg, data_type, span).map(Some);
        }
        let settings = self.settings();
        let out = match (name, call.args.as_slice()) {
            ("current_timezone", []) => constant(&settings.time_zone, "current_timezone()"),
            ("current_database" | "current_schema", []) => constant(&settings.current_database, "current_schema()"),
            ("current_catalog", []) => constant(&settings.current_catalog, "current_catalog()"),
            ("current_user" | "user" | "session_user", []) => constant(&settings.current_user, &format!("{name}()")),
            ("typeof", [arg]) => {
                let arg = self.expr(cx, arg)?;
                constant(&arg.data_type.simple_string(), &format!("typeof({})", arg.name))
            }
            ("grouping" | "grouping_id", _) => self.grouping_function(cx, name, call)?,
            ("struct", _) => self.struct_call(cx, call)?,
            ("try_cast", [_]) => return Ok(None),
            ("unix_timestamp" | "to_unix_timestamp", []) => {
                let now = Typed::new(self.batch_time(cx), DataType::Timestamp, false, "current_timestamp()");
                let format = super::operators::text_arg("yyyy-MM-dd HH:mm:ss");
                let Some(def) = millstream_functions::scalar(name) else { return Ok(None) };
                self.scalar_call(def, name, vec![now, format], span)?
            }
            ("date_part" | "datepart", [field, from]) => {
                let field = self.expr(cx, field)?;
                let from = self.expr(cx, from)?;
                let shown = crate::registry::names::call_name(name, &[field.clone(), from.clone()]);
                let Some(def) = millstream_functions::scalar("extract").or_else(|| millstream_functions::scalar("date_part")) else {
                    return Ok(None);
                };
                self.scalar_call(def, "extract", vec![field, from], span)?.named(shown)
            }
            ("to_char" | "to_varchar", [value, format]) => {
                let (value, format) = (self.expr(cx, value)?, self.expr(cx, format)?);
                let (kernel, args) = self.text_by_format(name, value, format, span)?;
                let Some(def) = millstream_functions::scalar(kernel) else { return Ok(None) };
                // Of bytes, to_char() shows as what it stands for and to_varchar() as itself.
                let shown = (name == "to_varchar" && matches!(kernel, "base64" | "hex" | "decode")).then(|| call_text(name, &args));
                let typed = self.scalar_call(def, kernel, args, span)?;
                match shown {
                    Some(shown) => typed.named(shown),
                    None => typed,
                }
            }
            ("convert_timezone", [_, _]) => {
                let mut args = vec![constant(&settings.time_zone, "current_timezone()")];
                args.extend(self.exprs(cx, &call.args)?);
                let Some(def) = millstream_functions::scalar(name) else { return Ok(None) };
                self.scalar_call(def, name, args, span)?
            }
            ("time_bucket", [_, _]) => {
                let mut args = self.exprs(cx, &call.args)?;
                args.push(super::literal_of(&millstream_sql::ir::Literal::Timestamp(0), settings)?);
                let Some(def) = millstream_functions::scalar(name) else { return Ok(None) };
                self.scalar_call(def, name, args, span)?
            }
            ("rand" | "random" | "randn", [] | [_]) => self.random(cx, name, call.args.first(), span)?,
            ("uuid", []) => {
                let expr = self.row_fact(cx, span, |id| RowFact::Uuid(Seed::OfBatch(id)));
                Typed::new(expr, DataType::String, false, "uuid()")
            }
            ("monotonically_increasing_id", []) => {
                Typed::new(self.row_fact(cx, span, |_| RowFact::RowId), DataType::Long, false, "monotonically_increasing_id()")
            }
            ("spark_partition_id", []) => {
                Typed::new(self.row_fact(cx, span, |_| RowFact::PartitionId), DataType::Int, false, "SPARK_PARTITION_ID()")
            }
            ("shuffle", [list] | [list, _]) => {
                let list = self.expr(cx, list)?;
                let (seed, shown) = match call.args.get(1) {
                    Some(seed) => {
                        let seed = self.expr(cx, seed)?;
                        (Some(self.seed(&seed, name, span)?), format!("shuffle({}, {})", list.name, seed.name))
                    }
                    None => (None, format!("shuffle({})", list.name)),
                };
                let bits = self.row_fact(cx, span, |id| RowFact::Bits(seed.map_or(Seed::OfBatch(id), Seed::Given)));
                let bits = Typed::new(bits, DataType::Long, false, "bits");
                let Some(def) = millstream_functions::scalar(name) else { return Ok(None) };
                let data_type = list.data_type.clone();
                let typed = self.scalar_call(def, name, vec![list, bits], span)?.named(shown);
                Typed { data_type: if data_type == DataType::Null { typed.data_type.clone() } else { data_type }, ..typed }
            }
            ("concat", [_, ..]) => {
                let args = self.exprs(cx, &call.args)?;
                self.concat(args, span)?
            }
            ("decode", [_, _, _, ..]) => self.decode(cx, call)?,
            ("window", _) => self.time_window(cx, call)?,
            ("session_window", _) => self.session_window(cx, call)?,
            ("window_time", [window]) => {
                let window = self.expr(cx, window)?;
                self.window_time(cx, window, span)?
            }
            _ => return Ok(None),
        };
        Ok(Some(out))
    }

    /// `concat(a, b, ...)` of strings, bytes or arrays.
    pub(super) fn concat(&mut self, args: Vec<Typed>, span: Span) -> Result<Typed> {
        let is_array = |arg: &Typed| matches!(arg.data_type, DataType::Array { .. });
        let shown = call_text("concat", &args);
        let args = match (args.iter().any(is_array), args.iter().all(is_array)) {
            (true, true) => self.in_common_type(args, "concat", span)?.0,
            (true, false) => return Err(super::cast::different_types(&args, "concat", span)),
            _ => args,
        };
        let Some(def) = millstream_functions::scalar("concat") else { return Err(AnalysisError::internal("no concat")) };
        Ok(self.scalar_call(def, "concat", args, span)?.named(shown))
    }

    /// `to_char(value, format)` is `date_format`, `base64`, `hex` or `decode` of what is no number.
    fn text_by_format(&mut self, name: &str, value: Typed, format: Typed, span: Span) -> Result<(&'static str, Vec<Typed>)> {
        if crate::coerce::is_datetime(&value.data_type) {
            return Ok(("date_format", vec![value, format]));
        }
        if value.data_type != DataType::Binary {
            return Ok(("to_char", vec![value, format]));
        }
        let wanted = match self.evaluate(&format, span)? {
            ScalarValue::Utf8(Some(text)) => text.to_lowercase(),
            other => other.to_string(),
        };
        match wanted.as_str() {
            "base64" => Ok(("base64", vec![value])),
            "hex" => Ok(("hex", vec![value])),
            "utf-8" => Ok(("decode", vec![value, format])),
            other => Err(AnalysisError::invalid(
                "INVALID_PARAMETER_VALUE.BINARY_FORMAT",
                format!("the format of {name}() is '{other}', which is not one of base64, hex and utf-8"),
                span,
            )),
        }
    }

    /// `rand([seed])` and `randn([seed])`.
    fn random(&mut self, cx: &mut ExprCx, name: &str, seed: Option<&Expr>, span: Span) -> Result<Typed> {
        let shown = if name == "randn" { "randn" } else { "rand" };
        let (given, shown) = match seed {
            Some(seed) => {
                let seed = self.expr(cx, seed)?;
                (Some(self.seed(&seed, name, span)?), format!("{shown}({})", seed.name))
            }
            None => (None, format!("{shown}()")),
        };
        let expr = self.row_fact(cx, span, |id| {
            let seed = given.map_or(Seed::OfBatch(id), Seed::Given);
            if name == "randn" { RowFact::Randn(seed) } else { RowFact::Rand(seed) }
        });
        Ok(Typed::new(expr, DataType::Double, false, shown))
    }

    /// A seed: a constant integer, NULL for 0.
    fn seed(&mut self, seed: &Typed, name: &str, span: Span) -> Result<i64> {
        if !seed.is_constant() {
            return Err(AnalysisError::invalid("SEED_EXPRESSION_IS_UNFOLDABLE", format!("the seed of {name}() must be a constant"), span));
        }
        match self.evaluate(seed, span)? {
            ScalarValue::Int32(value) if seed.data_type == DataType::Int => Ok(i64::from(value.unwrap_or(0))),
            ScalarValue::Int64(value) if seed.data_type == DataType::Long => Ok(value.unwrap_or(0)),
            ScalarValue::Null => Ok(0),
            _ => Err(AnalysisError::invalid(
                "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
                format!("the seed of {name}() must be INT or BIGINT, but '{}' is of type {}", seed.name, seed.data_type.sql()),
                span,
            )),
        }
    }

    /// `int(x)`, `date(x)`: a cast that does not show in the name.
    fn cast_function_call(&mut self, cx: &mut ExprCx, arg: &Expr, data_type: DataType, span: Span) -> Result<Typed> {
        let typed = self.expr(cx, arg)?;
        let (name, own_name) = (typed.name.clone(), typed.own_name.clone());
        let mut out = self.explicit_cast(typed, &data_type, CastMode::Session, span)?;
        out.name = name;
        out.own_name = own_name;
        Ok(out)
    }

    /// `decode(x, a, 'A', b, 'B', 'other')`: the value beside the first equal key.
    fn decode(&mut self, cx: &mut ExprCx, call: &UnresolvedFunction) -> Result<Typed> {
        let span = call.span;
        let args = self.exprs(cx, &call.args)?;
        let shown = call_text("decode", &args);
        let mut args = args.into_iter();
        let value = args.next().ok_or_else(|| AnalysisError::internal("decode without arguments"))?;
        let rest: Vec<Typed> = args.collect();
        let mut branches = vec![];
        let mut pairs = rest.chunks_exact(2);
        for pair in &mut pairs {
            let [key, result] = pair else { continue };
            let equal = self.compare("<=>", value.clone(), key.clone(), span)?;
            branches.push((equal.expr, result.clone()));
        }
        let otherwise = pairs.remainder().first().cloned();
        self.branches(branches, otherwise, shown, span)
    }

    /// `struct(a, b AS c, 1)`: fields are called by their columns, their aliases, or `colN`.
    fn struct_call(&mut self, cx: &mut ExprCx, call: &UnresolvedFunction) -> Result<Typed> {
        let args = self.exprs(cx, &call.args)?;
        let shown = call_text("struct", &args);
        let (mut fields, mut pairs) = (vec![], vec![]);
        for (idx, arg) in args.into_iter().enumerate() {
            let name = arg.own_name.clone().unwrap_or_else(|| format!("col{}", idx + 1));
            fields.push(StructField { nullable: arg.nullable, ..StructField::new(&name, arg.data_type.clone()) });
            pairs.push(super::operators::text_arg(&name));
            pairs.push(arg);
        }
        let mut out = self.kernel_typed("named_struct", pairs, call.span)?.named(shown);
        out.data_type = DataType::Struct(fields);
        out.nullable = false;
        Ok(out)
    }
}

fn constant(value: &str, shown: &str) -> Typed {
    Typed::new(DfExpr::Literal(ScalarValue::Utf8(Some(value.to_owned())), None), DataType::String, false, shown)
}

/// The type that a function of the same name casts to.
fn cast_function(name: &str) -> Option<DataType> {
    Some(match name {
        "boolean" => DataType::Boolean,
        "tinyint" => DataType::Byte,
        "smallint" => DataType::Short,
        "int" => DataType::Int,
        "bigint" => DataType::Long,
        "float" => DataType::Float,
        "double" => DataType::Double,
        "decimal" => DataType::DECIMAL_DEFAULT,
        "string" => DataType::String,
        "binary" => DataType::Binary,
        "date" => DataType::Date,
        "timestamp" => DataType::Timestamp,
        _ => return None,
    })
}
