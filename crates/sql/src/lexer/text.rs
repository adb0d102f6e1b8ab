//! What quoted tokens mean: strings with Spark's escapes, and names in backticks.

/// The value of a string token, quotes and escapes resolved.
pub(crate) fn string_value(token: &str) -> String {
    let mut chars = token.chars();
    match chars.next() {
        Some('r' | 'R') => {
            // A raw string: nothing is an escape.
            let inner = token.get(2..token.len().saturating_sub(1)).unwrap_or_default();
            inner.to_owned()
        }
        Some(quote) => {
            let inner = token.get(1..token.len().saturating_sub(1)).unwrap_or_default();
            unescape(inner, quote)
        }
        None => String::new(),
    }
}

/// The name in a backquoted token.
pub(crate) fn name_value(token: &str) -> String {
    token.get(1..token.len().saturating_sub(1)).unwrap_or_default().replace("``", "`")
}

/// Resolves escapes; `\%` and `\_` keep their backslash because LIKE reads them.
fn unescape(inner: &str, quote: char) -> String {
    let mut out = String::with_capacity(inner.len());
    // UTF-16 units, because `\ud83d\ude00` is one character written as two escapes.
    let mut units: Vec<u16> = vec![];
    let mut rest = inner;
    while let Some(c) = rest.chars().next() {
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
        if c == quote {
            // The lexer lets a quote through only as one of a pair.
            rest = rest.strip_prefix(quote).unwrap_or(rest);
            flush(&mut units, &mut out);
            out.push(quote);
        } else if c != '\\' {
            flush(&mut units, &mut out);
            out.push(c);
        } else if let Some((unit, len)) = hex_escape(rest, 'u', 4) {
            units.push(u16::try_from(unit).unwrap_or(0xfffd));
            rest = rest.get(len..).unwrap_or_default();
        } else {
            flush(&mut units, &mut out);
            rest = escape(rest, &mut out);
        }
    }
    flush(&mut units, &mut out);
    out
}

/// One escape behind its backslash; gives what is left of the text.
fn escape<'a>(rest: &'a str, out: &mut String) -> &'a str {
    if let Some((code, len)) = hex_escape(rest, 'U', 8) {
        out.push(char::from_u32(code).unwrap_or('\u{fffd}'));
        return rest.get(len..).unwrap_or_default();
    }
    if let Some(octal) = rest.get(..3).filter(|o| o.bytes().all(|b| (b'0'..=b'7').contains(&b)) && o.starts_with(['0', '1'])) {
        let code = u32::from_str_radix(octal, 8).unwrap_or(0);
        out.push(char::from_u32(code).unwrap_or('\u{fffd}'));
        return rest.get(3..).unwrap_or_default();
    }
    let Some(c) = rest.chars().next() else {
        out.push('\\');
        return rest;
    };
    match c {
        '0' => out.push('\0'),
        'b' => out.push('\u{8}'),
        'n' => out.push('\n'),
        'r' => out.push('\r'),
        't' => out.push('\t'),
        'Z' => out.push('\u{1a}'),
        '%' => out.push_str("\\%"),
        '_' => out.push_str("\\_"),
        other => out.push(other),
    }
    rest.get(c.len_utf8()..).unwrap_or_default()
}

fn hex_escape(rest: &str, letter: char, digits: usize) -> Option<(u32, usize)> {
    let hex = rest.strip_prefix(letter)?.get(..digits)?;
    let code = hex.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(hex, 16).ok())??;
    Some((code, 1 + digits))
}

fn flush(units: &mut Vec<u16>, out: &mut String) {
    if !units.is_empty() {
        out.extend(char::decode_utf16(units.drain(..)).map(|c| c.unwrap_or('\u{fffd}')));
    }
}
