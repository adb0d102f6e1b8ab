//! Data types and column lists as DDL writes them.

use super::{Parser, Result};
use crate::error::SqlError;
use crate::ir::{DataType, DayTimeField, StructField, YearMonthField};
use crate::lexer::TokenKind;
use crate::span::Span;

/// Names of types without parameters, and of those whose parameters are checked in `data_type`.
const TYPE_NAMES: &[&str] = &[
    "BOOLEAN",
    "TINYINT",
    "BYTE",
    "SMALLINT",
    "SHORT",
    "INT",
    "INTEGER",
    "BIGINT",
    "LONG",
    "FLOAT",
    "REAL",
    "DOUBLE",
    "DECIMAL",
    "DEC",
    "NUMERIC",
    "STRING",
    "CHAR",
    "CHARACTER",
    "VARCHAR",
    "BINARY",
    "DATE",
    "TIME",
    "TIMESTAMP",
    "TIMESTAMP_LTZ",
    "TIMESTAMP_NTZ",
    "INTERVAL",
    "ARRAY",
    "MAP",
    "STRUCT",
    "VARIANT",
    "VOID",
];

impl Parser<'_> {
    /// One data type.
    pub(crate) fn data_type(&mut self) -> Result<DataType> {
        self.nested(Self::bare_data_type)
    }

    fn bare_data_type(&mut self) -> Result<DataType> {
        let token = self.peek();
        if token.kind != TokenKind::Word {
            return Err(self.unexpected("a data type"));
        }
        self.next();
        let name = token.text.to_uppercase();
        match name.as_str() {
            "ARRAY" => {
                self.expect_symbol("<")?;
                let element = self.data_type()?;
                self.expect_symbol(">")?;
                return Ok(DataType::array(element));
            }
            "MAP" => {
                self.expect_symbol("<")?;
                let key = self.data_type()?;
                self.expect_symbol(",")?;
                let value = self.data_type()?;
                self.expect_symbol(">")?;
                return Ok(DataType::map(key, value));
            }
            "STRUCT" => return self.struct_type(),
            "INTERVAL" => return self.interval_type(),
            _ => {}
        }
        let parameters = self.type_parameters()?;
        if self.at_word("COLLATE") && matches!(name.as_str(), "STRING" | "CHAR" | "VARCHAR") {
            self.next();
            let collation = self.object_name()?;
            if !collation.last().eq_ignore_ascii_case("UTF8_BINARY") {
                return Err(SqlError::unsupported(format!("the collation {}", collation.last()), collation.span));
            }
        }
        simple_type(&name, &parameters)
            .unwrap_or_else(|| {
                let span = self.span_from(token.span);
                Err(SqlError::invalid(format!("'{}' is not a data type", self.text_of(span)), span)
                    .with_class("UNSUPPORTED_DATATYPE")
                    .with_nearest(&name, TYPE_NAMES.iter().copied()))
            })
            .map_err(|e| if e.span.is_known() { e } else { SqlError { span: self.span_from(token.span), ..e } })
    }

    /// `(10, 2)`, or nothing.
    fn type_parameters(&mut self) -> Result<Vec<u32>> {
        if !self.at_symbol("(") {
            return Ok(vec![]);
        }
        self.paren_list(|p| {
            let token = p.peek();
            let value = (token.kind == TokenKind::Integer).then(|| token.text.parse().ok()).flatten();
            let value = value.ok_or_else(|| p.unexpected("a whole number"))?;
            p.next();
            Ok(value)
        })
    }

    fn struct_type(&mut self) -> Result<DataType> {
        // `STRUCT<>` is lexed as a comparison.
        if self.take_symbol("<>") {
            return Ok(DataType::Struct(vec![]));
        }
        self.expect_symbol("<")?;
        let mut fields = vec![];
        if !self.at_symbol(">") {
            fields = self.comma_list(Self::struct_field)?;
        }
        self.expect_symbol(">")?;
        Ok(DataType::Struct(fields))
    }

    /// `name [:] type [NOT NULL] [COMMENT '...']`
    fn struct_field(&mut self) -> Result<StructField> {
        let name = self.plain_ident()?;
        self.take_symbol(":");
        let data_type = self.data_type()?;
        let nullable = !self.take_not_null()?;
        let comment = self.take_comment()?;
        Ok(StructField { name: name.name, data_type, nullable, comment })
    }

    pub(super) fn take_not_null(&mut self) -> Result<bool> {
        let found = self.take_word("NOT");
        if found {
            self.expect_word("NULL")?;
        }
        Ok(found)
    }

    pub(super) fn take_comment(&mut self) -> Result<Option<String>> {
        if self.take_word("COMMENT") { self.string().map(Some) } else { Ok(None) }
    }

    /// A column list: `a INT NOT NULL, b STRING COMMENT 'x'`. A colon behind a name is taken too.
    pub(crate) fn column_types(&mut self) -> Result<Vec<StructField>> {
        self.comma_list(Self::struct_field)
    }

    fn interval_type(&mut self) -> Result<DataType> {
        let token = self.peek();
        let year_month = |word: &str| match word {
            "YEAR" => Some(YearMonthField::Year),
            "MONTH" => Some(YearMonthField::Month),
            _ => None,
        };
        let day_time = |word: &str| match word {
            "DAY" => Some(DayTimeField::Day),
            "HOUR" => Some(DayTimeField::Hour),
            "MINUTE" => Some(DayTimeField::Minute),
            "SECOND" => Some(DayTimeField::Second),
            _ => None,
        };
        let word = if token.kind == TokenKind::Word { token.text.to_uppercase() } else { String::new() };
        if year_month(&word).is_none() && day_time(&word).is_none() {
            return Ok(DataType::CalendarInterval);
        }
        self.next();
        let last = if self.take_word("TO") { self.next().text.to_uppercase() } else { word.clone() };
        let span = token.span.to(self.previous_span());
        let result = match (year_month(&word), year_month(&last), day_time(&word), day_time(&last)) {
            (Some(start), Some(end), ..) if start <= end => Some(DataType::YearMonthInterval { start, end }),
            (_, _, Some(start), Some(end)) if start <= end => Some(DataType::DayTimeInterval { start, end }),
            _ => None,
        };
        result.ok_or_else(|| SqlError::invalid(format!("there is no type INTERVAL {word} TO {last}"), span))
    }

    pub(super) fn text_of(&self, span: Span) -> String {
        self.text.get(span.offset as usize..span.end() as usize).unwrap_or_default().to_owned()
    }
}

/// The type of that name and those parameters; none when there is no such type.
fn simple_type(name: &str, parameters: &[u32]) -> Option<Result<DataType>> {
    let invalid = |message: String| Some(Err(SqlError::invalid(message, Span::NONE)));
    let plain = match name {
        "BOOLEAN" => DataType::Boolean,
        "TINYINT" | "BYTE" => DataType::Byte,
        "SMALLINT" | "SHORT" => DataType::Short,
        "INT" | "INTEGER" => DataType::Int,
        "BIGINT" | "LONG" => DataType::Long,
        "FLOAT" | "REAL" => DataType::Float,
        "DOUBLE" => DataType::Double,
        "STRING" => DataType::String,
        "BINARY" => DataType::Binary,
        "DATE" => DataType::Date,
        "TIMESTAMP" | "TIMESTAMP_LTZ" => DataType::Timestamp,
        "TIMESTAMP_NTZ" => DataType::TimestampNtz,
        "VARIANT" => DataType::Variant,
        "VOID" => DataType::Null,
        "DECIMAL" | "DEC" | "NUMERIC" => {
            return match parameters {
                [] => Some(Ok(DataType::DECIMAL_DEFAULT)),
                [precision] => Some(decimal_type(*precision, 0)),
                [precision, scale] => Some(decimal_type(*precision, *scale)),
                _ => None,
            };
        }
        "CHAR" | "CHARACTER" | "VARCHAR" => {
            return match parameters {
                [n] if name == "VARCHAR" => Some(Ok(DataType::Varchar(*n))),
                [n] => Some(Ok(DataType::Char(*n))),
                [] => invalid(format!("the type {name} needs a length, for example {name}(10)")),
                _ => None,
            };
        }
        "TIME" => {
            return match parameters {
                [] => Some(Ok(DataType::Time(6))),
                [precision @ 0..=6] => Some(Ok(DataType::Time(u8::try_from(*precision).unwrap_or(6)))),
                [precision] => invalid(format!("the precision {precision} of TIME is not between 0 and 6")),
                _ => None,
            };
        }
        _ => return None,
    };
    parameters.is_empty().then_some(Ok(plain))
}

/// Spark's error class of decimals with more than 38 digits.
pub(super) const PRECISION_EXCEEDED: &str = "DECIMAL_PRECISION_EXCEEDS_MAX_PRECISION";

fn decimal_type(precision: u32, scale: u32) -> Result<DataType> {
    let bad = |message: String| Err(SqlError::invalid(message, Span::NONE));
    if precision > 38 {
        return bad(format!("the precision {precision} of DECIMAL is above 38")).map_err(|error| error.with_class(PRECISION_EXCEEDED));
    }
    if scale > precision {
        return bad(format!("the scale {scale} of DECIMAL is above its precision {precision}"));
    }
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(precision), Ok(scale)) => Ok(DataType::Decimal { precision, scale }),
        _ => bad(format!("DECIMAL({precision}, {scale}) does not exist")),
    }
}
