//! Options that every text reader has.

use millstream_core::{Error, Options, Result};

pub(crate) fn check_encoding(options: &Options) -> Result<()> {
    for name in ["encoding", "charset"] {
        if let Some(encoding) = options.get(name)
            && !["UTF-8", "UTF8", "US-ASCII"].iter().any(|known| known.eq_ignore_ascii_case(encoding))
        {
            return Err(Error::unsupported(format!("option '{name}' is '{encoding}': only UTF-8 is supported"))
                .hint("convert the files to UTF-8 first, for example with iconv"));
        }
    }
    Ok(())
}

pub(crate) fn check_locale(options: &Options) -> Result<()> {
    match options.get("locale") {
        Some(locale) if !locale.to_ascii_lowercase().starts_with("en") => {
            Err(Error::unsupported(format!("option 'locale' is '{locale}': only English is supported")))
        }
        _ => Ok(()),
    }
}

pub(crate) fn line_separator(options: &Options) -> Result<Option<Vec<u8>>> {
    match options.get("lineSep") {
        Some("") => Err(Error::invalid("option 'lineSep' is empty: expected at least one character")),
        // Any line end is what `\n` alone means to a reader that also takes `\r\n`; but then `\r` belongs to the line.
        separator => Ok(separator.map(|separator| separator.as_bytes().to_vec())),
    }
}

pub(crate) fn record_bytes_max(options: &Options) -> Result<usize> {
    let bytes = options.get_bytes("maxRecordBytes")?.unwrap_or(512 << 20);
    usize::try_from(bytes)
        .ok()
        .filter(|bytes| (1..=1 << 30).contains(bytes))
        .ok_or_else(|| Error::invalid(format!("option 'maxRecordBytes' is '{bytes}': expected 1 to 1g")))
}

pub(crate) fn sampling_ratio(options: &Options) -> Result<f64> {
    let Some(text) = options.get("samplingRatio") else { return Ok(1.0) };
    text.trim()
        .parse()
        .ok()
        .filter(|ratio| *ratio > 0.0 && *ratio <= 1.0)
        .ok_or_else(|| Error::invalid(format!("option 'samplingRatio' is '{text}': expected a number above 0 and up to 1")))
}
