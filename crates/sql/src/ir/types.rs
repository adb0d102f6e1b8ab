//! Spark's data types and their two written forms.
//!
//! `simple_string` is what `printSchema`, error messages and `typeof` show (`struct<a:int>`), `sql`
//! is what DDL takes (`STRUCT<a: INT>`). The Arrow form of a type is the analyzer's work, not ours.

use std::fmt;

use super::interval::{DayTimeField, YearMonthField};

/// A Spark data type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DataType {
    /// `VOID`, the type of `NULL`.
    Null,
    /// `BOOLEAN`
    Boolean,
    /// `TINYINT`, `BYTE`
    Byte,
    /// `SMALLINT`, `SHORT`
    Short,
    /// `INT`, `INTEGER`
    Int,
    /// `BIGINT`, `LONG`
    Long,
    /// `FLOAT`, `REAL`
    Float,
    /// `DOUBLE`
    Double,
    /// `DECIMAL(p, s)`, `DEC`, `NUMERIC`
    Decimal {
        /// Digits in all, at most 38.
        precision: u8,
        /// Digits behind the point.
        scale: i8,
    },
    /// `STRING`
    String,
    /// `CHAR(n)`
    Char(u32),
    /// `VARCHAR(n)`
    Varchar(u32),
    /// `BINARY`
    Binary,
    /// `DATE`
    Date,
    /// `TIME(p)`
    Time(u8),
    /// `TIMESTAMP`, an instant (`TIMESTAMP_LTZ`).
    Timestamp,
    /// `TIMESTAMP_NTZ`, without a time zone.
    TimestampNtz,
    /// `INTERVAL YEAR TO MONTH` and its parts.
    YearMonthInterval {
        /// First field.
        start: YearMonthField,
        /// Last field.
        end: YearMonthField,
    },
    /// `INTERVAL DAY TO SECOND` and its parts.
    DayTimeInterval {
        /// First field.
        start: DayTimeField,
        /// Last field.
        end: DayTimeField,
    },
    /// `INTERVAL`, the calendar interval.
    CalendarInterval,
    /// `ARRAY<element>`
    Array {
        /// Type of the elements.
        element: Box<DataType>,
        /// Whether elements may be null.
        contains_null: bool,
    },
    /// `MAP<key, value>`
    Map {
        /// Type of the keys.
        key: Box<DataType>,
        /// Type of the values.
        value: Box<DataType>,
        /// Whether values may be null.
        value_contains_null: bool,
    },
    /// `STRUCT<name: type, ...>`; also the schema of a table.
    Struct(Vec<StructField>),
    /// `VARIANT`
    Variant,
}

/// A field of a struct, or a column of a schema.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StructField {
    /// Name in the written case.
    pub name: String,
    /// Type.
    pub data_type: DataType,
    /// False for `NOT NULL`.
    pub nullable: bool,
    /// `COMMENT '...'`
    pub comment: Option<String>,
}

impl StructField {
    /// A nullable field without comment.
    pub fn new(name: impl Into<String>, data_type: DataType) -> StructField {
        StructField { name: name.into(), data_type, nullable: true, comment: None }
    }

    /// The field as it stands in a table's column list: `a INT NOT NULL COMMENT 'x'`.
    pub fn to_ddl(&self) -> String {
        format!("{} {}{}", quote_if_needed(&self.name), self.data_type.sql(), self.suffix())
    }

    fn to_json(&self) -> String {
        let metadata = match &self.comment {
            Some(comment) => format!(r#"{{"comment":{}}}"#, json_string(comment)),
            None => "{}".to_owned(),
        };
        let (name, data_type) = (json_string(&self.name), self.data_type.to_json());
        format!(r#"{{"name":{name},"type":{data_type},"nullable":{},"metadata":{metadata}}}"#, self.nullable)
    }

    fn suffix(&self) -> String {
        let mut out = String::new();
        if !self.nullable {
            out.push_str(" NOT NULL");
        }
        if let Some(comment) = &self.comment {
            out.push_str(&format!(" COMMENT '{}'", comment.replace('\\', "\\\\").replace('\'', "\\'")));
        }
        out
    }
}

impl DataType {
    /// `DECIMAL` without arguments.
    pub const DECIMAL_DEFAULT: DataType = DataType::Decimal { precision: 10, scale: 0 };

    /// An array whose elements may be null.
    pub fn array(element: DataType) -> DataType {
        DataType::Array { element: Box::new(element), contains_null: true }
    }

    /// A map whose values may be null.
    pub fn map(key: DataType, value: DataType) -> DataType {
        DataType::Map { key: Box::new(key), value: Box::new(value), value_contains_null: true }
    }

    /// A struct of nullable fields.
    pub fn structure<N: Into<String>>(fields: impl IntoIterator<Item = (N, DataType)>) -> DataType {
        DataType::Struct(fields.into_iter().map(|(name, data_type)| StructField::new(name, data_type)).collect())
    }

    /// `INTERVAL YEAR TO MONTH`
    pub const YEAR_MONTH: DataType = DataType::YearMonthInterval { start: YearMonthField::Year, end: YearMonthField::Month };

    /// `INTERVAL DAY TO SECOND`
    pub const DAY_TIME: DataType = DataType::DayTimeInterval { start: DayTimeField::Day, end: DayTimeField::Second };

    /// Spark's `catalogString`: lower case, `struct<a:int,b:array<string>>`, never shortened.
    pub fn simple_string(&self) -> String {
        self.to_string()
    }

    /// The type as DDL takes it: upper case, `STRUCT<a: INT, b: ARRAY<STRING>>`.
    pub fn sql(&self) -> String {
        match self {
            DataType::Array { element, .. } => format!("ARRAY<{}>", element.sql()),
            DataType::Map { key, value, .. } => format!("MAP<{}, {}>", key.sql(), value.sql()),
            DataType::Struct(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|f| format!("{}: {}{}", quote_if_needed(&f.name), f.data_type.sql(), f.suffix())).collect();
                format!("STRUCT<{}>", fields.join(", "))
            }
            other => other.to_string().to_uppercase(),
        }
    }

    /// The schema as a column list, `a INT,b STRING NOT NULL`; for anything but a struct, [`DataType::sql`].
    pub fn to_ddl(&self) -> String {
        match self {
            DataType::Struct(fields) => fields.iter().map(StructField::to_ddl).collect::<Vec<_>>().join(","),
            other => other.sql(),
        }
    }
}

impl DataType {
    /// The type as Spark's JSON, which Spark's checkpoints, Parquet files and `schema.json()` hold.
    pub fn to_json(&self) -> String {
        match self {
            DataType::Array { element, contains_null } => {
                format!(r#"{{"type":"array","elementType":{},"containsNull":{contains_null}}}"#, element.to_json())
            }
            DataType::Map { key, value, value_contains_null } => format!(
                r#"{{"type":"map","keyType":{},"valueType":{},"valueContainsNull":{value_contains_null}}}"#,
                key.to_json(),
                value.to_json()
            ),
            DataType::Struct(fields) => {
                let fields: Vec<String> = fields.iter().map(StructField::to_json).collect();
                format!(r#"{{"type":"struct","fields":[{}]}}"#, fields.join(","))
            }
            DataType::Byte => r#""byte""#.to_owned(),
            DataType::Short => r#""short""#.to_owned(),
            DataType::Int => r#""integer""#.to_owned(),
            DataType::Long => r#""long""#.to_owned(),
            other => format!("\"{other}\""),
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            DataType::Null => "void",
            DataType::Boolean => "boolean",
            DataType::Byte => "tinyint",
            DataType::Short => "smallint",
            DataType::Int => "int",
            DataType::Long => "bigint",
            DataType::Float => "float",
            DataType::Double => "double",
            DataType::Decimal { precision, scale } => return write!(f, "decimal({precision},{scale})"),
            DataType::String => "string",
            DataType::Char(n) => return write!(f, "char({n})"),
            DataType::Varchar(n) => return write!(f, "varchar({n})"),
            DataType::Binary => "binary",
            DataType::Date => "date",
            DataType::Time(precision) => return write!(f, "time({precision})"),
            DataType::Timestamp => "timestamp",
            DataType::TimestampNtz => "timestamp_ntz",
            DataType::YearMonthInterval { start, end } if start == end => return write!(f, "interval {start}"),
            DataType::YearMonthInterval { start, end } => return write!(f, "interval {start} to {end}"),
            DataType::DayTimeInterval { start, end } if start == end => return write!(f, "interval {start}"),
            DataType::DayTimeInterval { start, end } => return write!(f, "interval {start} to {end}"),
            DataType::CalendarInterval => "interval",
            DataType::Array { element, .. } => return write!(f, "array<{element}>"),
            DataType::Map { key, value, .. } => return write!(f, "map<{key},{value}>"),
            DataType::Struct(fields) => {
                f.write_str("struct<")?;
                for (i, field) in fields.iter().enumerate() {
                    let comma = if i == 0 { "" } else { "," };
                    write!(f, "{comma}{}:{}", field.name, field.data_type)?;
                }
                ">"
            }
            DataType::Variant => "variant",
        };
        f.write_str(name)
    }
}

/// A JSON string; written out here because this crate has no other use for a JSON library.
fn json_string(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// `name`, in backticks when it is not made of ASCII letters, digits and underscores or begins with a digit.
pub fn quote_if_needed(name: &str) -> String {
    let plain =
        name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit());
    if plain { name.to_owned() } else { format!("`{}`", name.replace('`', "``")) }
}
