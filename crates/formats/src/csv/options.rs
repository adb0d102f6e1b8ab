//! The options of Spark's CSV reader, read once.

use millstream_core::{Error, OptionSpec, Options, ParseMode, Result};

use crate::datetime::Zone;
use crate::pattern::DateTimePattern;
use crate::read_options::{check_encoding, check_locale, line_separator, record_bytes_max, sampling_ratio};

/// Options of CSV readers and of `from_csv`, for checking names.
pub const CSV_READ_OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("sep", "separator of values, one or more characters (,)"),
    OptionSpec::new("delimiter", "the same as sep"),
    OptionSpec::new("quote", "character around values that hold separators (\")"),
    OptionSpec::new("escape", "character before a quote within quotes (\\)"),
    OptionSpec::new("charToEscapeQuoteEscaping", "character before an escape within quotes (the escape, if it is not the quote)"),
    OptionSpec::new("comment", "lines that begin with this character are skipped (none)"),
    OptionSpec::new("header", "the first line of every file names the columns (false)"),
    OptionSpec::new("enforceSchema", "take the given schema whatever the header says (true)"),
    OptionSpec::new("inferSchema", "find the types of columns by reading the data (false)"),
    OptionSpec::new("samplingRatio", "the share of rows used to infer a schema (1.0)"),
    OptionSpec::new("preferDate", "infer dates as such, not as timestamps (true)"),
    OptionSpec::new("ignoreLeadingWhiteSpace", "cut blanks before values (false)"),
    OptionSpec::new("ignoreTrailingWhiteSpace", "cut blanks behind values (false)"),
    OptionSpec::new("nullValue", "text of null (empty)"),
    OptionSpec::new("emptyValue", "value of a quoted empty text (empty)"),
    OptionSpec::new("nanValue", "text of not-a-number (NaN)"),
    OptionSpec::new("positiveInf", "text of infinity (Inf)"),
    OptionSpec::new("negativeInf", "text of negative infinity (-Inf)"),
    OptionSpec::new("dateFormat", "datetime pattern of dates; without it Spark's casts"),
    OptionSpec::new("timestampFormat", "datetime pattern of timestamps; without it Spark's casts"),
    OptionSpec::new("timestampNTZFormat", "datetime pattern of timestamps without time zone"),
    OptionSpec::new("timeZone", "zone of timestamps that name none (the session's)"),
    OptionSpec::new("locale", "language of names in dates: en-US"),
    OptionSpec::new("mode", "PERMISSIVE (default), DROPMALFORMED or FAILFAST"),
    OptionSpec::new("columnNameOfCorruptRecord", "the string column that gets the text of bad records (_corrupt_record)"),
    OptionSpec::new("multiLine", "values in quotes may hold line ends (false)"),
    OptionSpec::new("lineSep", "what separates records (any line end)"),
    OptionSpec::new("encoding", "UTF-8"),
    OptionSpec::new("charset", "UTF-8"),
    OptionSpec::new("maxColumns", "the most values of a record (20480)"),
    OptionSpec::new("maxCharsPerColumn", "the longest value in bytes, -1 for no bound (-1)"),
    OptionSpec::new("unescapedQuoteHandling", "STOP_AT_DELIMITER"),
    OptionSpec::new("maxRecordBytes", "the longest record in bytes (512m)"),
];

/// How CSV is read.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CsvReadOptions {
    /// Separator of values.
    pub separator: Vec<u8>,
    /// Quote, if there is one.
    pub quote: Option<u8>,
    /// Escape within quotes.
    pub escape: Option<u8>,
    /// Escape of the escape within quotes.
    pub escape_escape: Option<u8>,
    /// First character of lines to skip.
    pub comment: Option<u8>,
    /// The first line names the columns.
    pub header: bool,
    /// The header is not compared with the schema.
    pub enforce_schema: bool,
    /// Find types by reading.
    pub infer_schema: bool,
    /// Infer dates.
    pub prefer_date: bool,
    /// The share of rows used to infer a schema.
    pub sampling_ratio: f64,
    /// Cut blanks before values.
    pub trim_left: bool,
    /// Cut blanks behind values.
    pub trim_right: bool,
    /// Text of null.
    pub null_value: String,
    /// Value of a quoted empty text.
    pub empty_value: String,
    /// Text of not-a-number.
    pub nan_value: String,
    /// Text of infinity.
    pub positive_inf: String,
    /// Text of negative infinity.
    pub negative_inf: String,
    /// Pattern of dates, else Spark's cast.
    pub date_format: Option<DateTimePattern>,
    /// Pattern of timestamps, else Spark's cast.
    pub timestamp_format: Option<DateTimePattern>,
    /// Pattern of timestamps without time zone, else Spark's cast.
    pub timestamp_ntz_format: Option<DateTimePattern>,
    /// Zone of timestamps that name none.
    pub zone: Zone,
    /// The day on which a time without a date is; without it such a text is a bad value.
    pub now_us: Option<i64>,
    /// What to do with bad records.
    pub mode: ParseMode,
    /// The column that gets the text of bad records, if the schema has it.
    pub corrupt_record_column: String,
    /// Values in quotes may hold line ends.
    pub multi_line: bool,
    /// What separates records, else any line end.
    pub line_separator: Option<Vec<u8>>,
    /// The most values of a record.
    pub columns_max: usize,
    /// The longest value.
    pub value_bytes_max: usize,
    /// The longest record.
    pub record_bytes_max: usize,
}

impl CsvReadOptions {
    /// Reads the options; names it does not know are left to the caller's [`Options::check`].
    pub fn new(options: &Options, session_zone: Zone) -> Result<Self> {
        let flag = |name: &str, default: bool| Ok::<_, Error>(options.get_bool(name)?.unwrap_or(default));
        let text = |name: &str, default: &str| options.get(name).unwrap_or(default).to_owned();
        let pattern = |name: &str| options.get(name).map(DateTimePattern::for_parse).transpose();
        check_encoding(options)?;
        check_locale(options)?;
        let quote = byte(options, "quote", Some(b'"'))?;
        let escape = byte(options, "escape", Some(b'\\'))?;
        if let Some(handling) = options.get("unescapedQuoteHandling")
            && !handling.eq_ignore_ascii_case("STOP_AT_DELIMITER")
        {
            return Err(Error::unsupported(format!(
                "option 'unescapedQuoteHandling' is '{handling}': only STOP_AT_DELIMITER is supported"
            )));
        }
        Ok(Self {
            separator: separator(options)?,
            quote,
            escape,
            escape_escape: byte(options, "charToEscapeQuoteEscaping", escape.filter(|escape| Some(*escape) != quote))?,
            comment: byte(options, "comment", None)?,
            header: flag("header", false)?,
            enforce_schema: flag("enforceSchema", true)?,
            infer_schema: flag("inferSchema", false)?,
            prefer_date: flag("preferDate", true)?,
            sampling_ratio: sampling_ratio(options)?,
            trim_left: flag("ignoreLeadingWhiteSpace", false)?,
            trim_right: flag("ignoreTrailingWhiteSpace", false)?,
            null_value: text("nullValue", ""),
            empty_value: text("emptyValue", ""),
            nan_value: text("nanValue", "NaN"),
            positive_inf: text("positiveInf", "Inf"),
            negative_inf: text("negativeInf", "-Inf"),
            date_format: pattern("dateFormat")?,
            timestamp_format: pattern("timestampFormat")?,
            timestamp_ntz_format: pattern("timestampNTZFormat")?,
            zone: options.get("timeZone").map_or(Ok(session_zone), Zone::parse)?,
            now_us: None,
            mode: options.get("mode").map_or(Ok(ParseMode::default()), str::parse)?,
            corrupt_record_column: text("columnNameOfCorruptRecord", "_corrupt_record"),
            multi_line: flag("multiLine", false)?,
            line_separator: line_separator(options)?,
            columns_max: options.get_u64("maxColumns")?.and_then(|max| usize::try_from(max).ok()).unwrap_or(20_480),
            value_bytes_max: value_bytes_max(options)?,
            record_bytes_max: record_bytes_max(options)?,
        })
    }
}

/// `sep` or `delimiter`, with `\t` and the like resolved.
pub(super) fn separator(options: &Options) -> Result<Vec<u8>> {
    let Some(written) = options.get("sep").or_else(|| options.get("delimiter")) else { return Ok(vec![b',']) };
    let mut out = String::new();
    let mut chars = written.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('n') => out.push('\n'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some(c @ ('\\' | '"' | '\'')) => out.push(c),
            Some('u') if chars.as_str() == "0000" => {
                out.push('\0');
                break;
            }
            None => {
                return Err(
                    Error::invalid("option 'sep' is a single backslash: write '\\\\' for a backslash").code("INVALID_DELIMITER_VALUE")
                );
            }
            Some(other) => {
                return Err(Error::invalid(format!("option 'sep' is '{written}': '\\{other}' is no special character"))
                    .code("INVALID_DELIMITER_VALUE"));
            }
        }
    }
    if out.is_empty() {
        return Err(Error::invalid("option 'sep' is empty: expected at least one character").code("INVALID_DELIMITER_VALUE"));
    }
    Ok(out.into_bytes())
}

/// A one-byte character; an empty text or NUL switches it off.
pub(super) fn byte(options: &Options, name: &str, default: Option<u8>) -> Result<Option<u8>> {
    let Some(written) = options.get(name) else { return Ok(default) };
    match written.as_bytes() {
        [] | [0] => Ok(None),
        [byte] => Ok(Some(*byte)),
        _ if written.chars().count() == 1 => {
            Err(Error::unsupported(format!("option '{name}' is '{written}': only ASCII characters are supported")))
        }
        _ => Err(Error::invalid(format!("option '{name}' is '{written}': expected one character"))),
    }
}

fn value_bytes_max(options: &Options) -> Result<usize> {
    match options.get("maxCharsPerColumn") {
        None | Some("-1") => Ok(usize::MAX),
        Some(text) => text
            .trim()
            .parse()
            .map_err(|_| Error::invalid(format!("option 'maxCharsPerColumn' is '{text}': expected a whole number, or -1 for no bound"))),
    }
}
