//! The options of Spark's JSON reader, read once.

use millstream_core::{Error, OptionSpec, Options, ParseMode, Result};

use super::scan::Dialect;
use crate::datetime::Zone;
use crate::pattern::DateTimePattern;
use crate::read_options::{check_encoding, check_locale, line_separator, record_bytes_max, sampling_ratio};

/// Options of JSON readers and of `from_json`, for checking names.
pub const JSON_READ_OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("mode", "PERMISSIVE (default), DROPMALFORMED or FAILFAST"),
    OptionSpec::new("columnNameOfCorruptRecord", "the string column that gets the text of bad records (_corrupt_record)"),
    OptionSpec::new("dateFormat", "datetime pattern of dates; without it Spark's casts"),
    OptionSpec::new("timestampFormat", "datetime pattern of timestamps; without it Spark's casts"),
    OptionSpec::new("timestampNTZFormat", "datetime pattern of timestamps without time zone"),
    OptionSpec::new("timeZone", "zone of timestamps that name none (the session's)"),
    OptionSpec::new("locale", "language of names in dates: en-US"),
    OptionSpec::new("multiLine", "one record is a whole file (false)"),
    OptionSpec::new("lineSep", "what separates records (any line end)"),
    OptionSpec::new("encoding", "UTF-8"),
    OptionSpec::new("charset", "UTF-8"),
    OptionSpec::new("allowComments", "take /* */ and // comments (false)"),
    OptionSpec::new("allowSingleQuotes", "take single quotes (true)"),
    OptionSpec::new("allowUnquotedFieldNames", "take names without quotes (false)"),
    OptionSpec::new("allowNumericLeadingZeros", "take numbers such as 007 (false)"),
    OptionSpec::new("allowBackslashEscapingAnyCharacter", "take any escape (false)"),
    OptionSpec::new("allowUnquotedControlChars", "take control characters within strings (false)"),
    OptionSpec::new("allowNonNumericNumbers", "take NaN and Infinity as numbers (true)"),
    OptionSpec::new("primitivesAsString", "infer every number and boolean as string (false)"),
    OptionSpec::new("prefersDecimal", "infer numbers with fraction as decimal where they fit (false)"),
    OptionSpec::new("inferTimestamp", "infer strings that look like timestamps as such (false)"),
    OptionSpec::new("samplingRatio", "the share of records used to infer a schema (1.0)"),
    OptionSpec::new("dropFieldIfAllNull", "leave out columns without a value when inferring (false)"),
    OptionSpec::new("maxRecordBytes", "the longest record in bytes (512m)"),
];

/// How JSON is read.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct JsonReadOptions {
    /// What to do with bad records.
    pub mode: ParseMode,
    /// The column that gets the text of bad records, if the schema has it.
    pub corrupt_record_column: String,
    /// Pattern of dates, else Spark's cast.
    pub date_format: Option<DateTimePattern>,
    /// Pattern of timestamps, else Spark's cast.
    pub timestamp_format: Option<DateTimePattern>,
    /// Pattern of timestamps without time zone, else Spark's cast.
    pub timestamp_ntz_format: Option<DateTimePattern>,
    /// Zone of timestamps that name none.
    pub zone: Zone,
    /// The day on which a time without a date is; without it such a text is a bad field.
    pub now_us: Option<i64>,
    /// A number, object or array where STRING is wanted keeps its text as written; else it is written anew without blanks,
    /// as `from_json` does.
    pub exact_text: bool,
    /// Inferred columns may differ in case only; the session says so.
    pub case_sensitive: bool,
    /// One record is a whole input.
    pub multi_line: bool,
    /// What separates records, else any line end.
    pub line_separator: Option<Vec<u8>>,
    /// The longest record.
    pub record_bytes_max: usize,
    /// Infer numbers and booleans as strings.
    pub primitives_as_string: bool,
    /// Infer numbers with fraction as decimals.
    pub prefers_decimal: bool,
    /// Infer timestamps from strings.
    pub infer_timestamp: bool,
    /// Leave out columns without a value when inferring.
    pub drop_field_if_all_null: bool,
    /// The share of records used to infer a schema.
    pub sampling_ratio: f64,
    pub(crate) dialect: Dialect,
}

impl JsonReadOptions {
    /// Reads the options; names it does not know are left to the caller's [`Options::check`].
    pub fn new(options: &Options, session_zone: Zone) -> Result<Self> {
        let flag = |name: &str, default: bool| Ok::<_, Error>(options.get_bool(name)?.unwrap_or(default));
        let pattern = |name: &str| options.get(name).map(DateTimePattern::for_parse).transpose();
        check_encoding(options)?;
        check_locale(options)?;
        Ok(Self {
            mode: options.get("mode").map_or(Ok(ParseMode::default()), str::parse)?,
            corrupt_record_column: options.get("columnNameOfCorruptRecord").unwrap_or("_corrupt_record").to_owned(),
            date_format: pattern("dateFormat")?,
            timestamp_format: pattern("timestampFormat")?,
            timestamp_ntz_format: pattern("timestampNTZFormat")?,
            zone: options.get("timeZone").map_or(Ok(session_zone), Zone::parse)?,
            now_us: None,
            exact_text: true,
            case_sensitive: false,
            multi_line: flag("multiLine", false)?,
            line_separator: line_separator(options)?,
            record_bytes_max: record_bytes_max(options)?,
            primitives_as_string: flag("primitivesAsString", false)?,
            prefers_decimal: flag("prefersDecimal", false)?,
            infer_timestamp: flag("inferTimestamp", false)?,
            drop_field_if_all_null: flag("dropFieldIfAllNull", false)?,
            sampling_ratio: sampling_ratio(options)?,
            dialect: Dialect {
                comments: flag("allowComments", false)?,
                single_quotes: flag("allowSingleQuotes", true)?,
                unquoted_names: flag("allowUnquotedFieldNames", false)?,
                leading_zeros: flag("allowNumericLeadingZeros", false)?,
                any_escape: flag("allowBackslashEscapingAnyCharacter", false)?,
                control_chars: flag("allowUnquotedControlChars", false)?,
                non_numeric_numbers: flag("allowNonNumericNumbers", true)?,
            },
        })
    }
}
