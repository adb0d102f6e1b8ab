//! Spark's JSON paths: `$.a.b[0]['c'][*]`, evaluated while the text is scanned.
//!
//! The odd rules are Hive's and Spark keeps them: one match of a wildcard is not put into an array, two wildcards
//! in a row flatten, `.*` matches nothing, and NULL members do not match.

use std::fmt::Write;

use super::scan::{Kind, Scanner};
use crate::text::write_double;

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Into an object.
    Key,
    /// The member of this name.
    Named(String),
    /// Into an array.
    Subscript,
    /// The element at this index.
    Index(u64),
    /// All members or elements.
    Wildcard,
}

/// A parsed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path(Vec<Step>);

/// How strings and arrays are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Raw,
    Quoted,
    Flatten,
}

impl Path {
    /// Reads a path; `None` for what is no path.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let mut rest = path.strip_prefix('$')?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("['") {
                let (name, after) = after.split_once("']")?;
                rest = after;
                if name == "*" {
                    steps.push(Step::Wildcard);
                } else if name.is_empty() || name.contains(['\'', '?']) {
                    return None;
                } else {
                    steps.extend([Step::Key, Step::Named(name.to_string())]);
                }
            } else if let Some(after) = rest.strip_prefix('[') {
                let (index, after) = after.split_once(']')?;
                rest = after;
                steps.push(Step::Subscript);
                if index == "*" {
                    steps.push(Step::Wildcard);
                } else {
                    steps.push(Step::Index(index.parse().ok().filter(|_| index.bytes().all(|byte| byte.is_ascii_digit()))?));
                }
            } else {
                let after = rest.strip_prefix('.')?;
                if let Some(after) = after.strip_prefix('*') {
                    steps.push(Step::Wildcard);
                    rest = after;
                    continue;
                }
                let end = after.find(['.', '[']).unwrap_or(after.len());
                let (name, after) = after.split_at(end);
                if name.is_empty() {
                    return None;
                }
                rest = after;
                steps.extend([Step::Key, Step::Named(name.to_string())]);
            }
        }
        Some(Self(steps))
    }

    pub(super) fn of(steps: Vec<Step>) -> Self {
        Self(steps)
    }

    /// Writes what the path finds; `false` when it finds nothing or the text is malformed.
    pub(super) fn evaluate(&self, json: &str, out: &mut String) -> bool {
        let mut writer = Writer { out, open: Vec::new() };
        evaluate(&mut Scanner::new(json), &mut writer, Style::Raw, &self.0).unwrap_or(false)
    }
}

/// Writes JSON; knows where commas go.
struct Writer<'a> {
    out: &'a mut String,
    /// Per open array whether something was written.
    open: Vec<bool>,
}

impl Writer<'_> {
    fn separate(&mut self) {
        if let Some(written) = self.open.last_mut()
            && std::mem::replace(written, true)
        {
            self.out.push(',');
        }
    }

    fn begin_array(&mut self) {
        self.separate();
        self.out.push('[');
        self.open.push(false);
    }

    fn end_array(&mut self) {
        self.open.pop();
        self.out.push(']');
    }

    /// Copies the value here, without blanks and with numbers as Java prints them.
    fn copy(&mut self, scan: &mut Scanner<'_>) -> Option<()> {
        self.separate();
        copy_value(scan, self.out)
    }
}

fn copy_value(scan: &mut Scanner<'_>, out: &mut String) -> Option<()> {
    match scan.kind()? {
        Kind::String => write_quoted(out, &scan.string()?.text()),
        Kind::Number => write_number(out, scan.number()?),
        Kind::Word => out.push_str(scan.word()?),
        Kind::Array => {
            scan.begin_array()?;
            out.push('[');
            let mut first = true;
            while scan.next_element(first)? {
                if !std::mem::take(&mut first) {
                    out.push(',');
                }
                copy_value(scan, out)?;
            }
            out.push(']');
        }
        Kind::Object => {
            scan.begin_object()?;
            out.push('{');
            let mut first = true;
            while let Some(name) = scan.next_name(first)? {
                if !std::mem::take(&mut first) {
                    out.push(',');
                }
                write_quoted(out, &name.text());
                out.push(':');
                copy_value(scan, out)?;
            }
            out.push('}');
        }
    }
    Some(())
}

fn write_number(out: &mut String, number: &str) {
    if !number.contains(['.', 'e', 'E']) {
        out.push_str(number);
    } else {
        write_double(out, number.parse().unwrap_or(f64::NAN));
    }
}

/// A JSON string as Jackson writes it: only what must be escaped is.
pub(super) fn write_quoted(out: &mut String, text: &str) {
    out.push('"');
    let mut clean = 0;
    for (at, byte) in text.bytes().enumerate() {
        let short = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x08 => "\\b",
            0x0C => "\\f",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(text.get(clean..at).unwrap_or(""));
        clean = at + 1;
        if short.is_empty() {
            let _ = write!(out, "\\u{byte:04X}");
        } else {
            out.push_str(short);
        }
    }
    out.push_str(text.get(clean..).unwrap_or(""));
    out.push('"');
}

/// Whether something was written; `None` for malformed text.
fn evaluate(scan: &mut Scanner<'_>, writer: &mut Writer<'_>, style: Style, path: &[Step]) -> Option<bool> {
    use Step::{Index, Key, Named, Subscript, Wildcard};
    match (scan.kind()?, path) {
        (Kind::String, []) if style == Style::Raw => {
            let text = scan.string()?;
            writer.out.push_str(&text.text());
            Some(true)
        }
        (Kind::Array, []) if style == Style::Flatten => {
            elements(scan, |scan| evaluate(scan, writer, style, &[])).map(|n_found| n_found > 0)
        }
        (_, []) => {
            writer.copy(scan)?;
            Some(true)
        }
        (Kind::Object, [Key, Named(wanted), rest @ ..]) => {
            scan.begin_object()?;
            let (mut found, mut first) = (false, true);
            while let Some(name) = scan.next_name(first)? {
                first = false;
                // The first match counts; the rest is only checked.
                if found || !name.is(wanted) || is_null(scan)? {
                    scan.skip_value()?;
                } else {
                    found = evaluate(scan, writer, style, rest)?;
                }
            }
            Some(found)
        }
        (Kind::Array, [Subscript, Wildcard, Subscript, Wildcard, rest @ ..]) => {
            writer.begin_array();
            let n_found = elements(scan, |scan| evaluate(scan, writer, Style::Flatten, rest))?;
            writer.end_array();
            Some(n_found > 0)
        }
        (Kind::Array, [Subscript, Wildcard, rest @ ..]) if style != Style::Quoted => {
            let next = if style == Style::Raw { Style::Quoted } else { style };
            let mut buffer = String::new();
            let mut inner = Writer { out: &mut buffer, open: vec![false] };
            let n_found = elements(scan, |scan| evaluate(scan, &mut inner, next, rest))?;
            if n_found > 0 {
                writer.separate();
                // A single match loses its brackets.
                if n_found == 1 {
                    writer.out.push_str(&buffer);
                } else {
                    writer.out.push('[');
                    writer.out.push_str(&buffer);
                    writer.out.push(']');
                }
            }
            Some(n_found > 0)
        }
        (Kind::Array, [Subscript, Wildcard, rest @ ..]) => {
            writer.begin_array();
            let n_found = elements(scan, |scan| evaluate(scan, writer, Style::Quoted, rest))?;
            writer.end_array();
            Some(n_found > 0)
        }
        (Kind::Array, [Subscript, Index(index), rest @ ..]) => {
            // Several results may follow: strings are quoted then.
            let style = if matches!(rest, [Subscript, Wildcard, ..]) { Style::Quoted } else { style };
            let mut at = 0;
            let n_found = elements(scan, |scan| {
                let hit = at == *index;
                at += 1;
                if hit {
                    evaluate(scan, writer, style, rest)
                } else {
                    scan.skip_value()?;
                    Some(false)
                }
            })?;
            Some(n_found > 0)
        }
        _ => {
            scan.skip_value()?;
            Some(false)
        }
    }
}

/// Visits the elements of the array here and counts those for which `f` is true.
fn elements(scan: &mut Scanner<'_>, mut f: impl FnMut(&mut Scanner<'_>) -> Option<bool>) -> Option<usize> {
    scan.begin_array()?;
    let (mut n_found, mut first) = (0, true);
    while scan.next_element(first)? {
        first = false;
        n_found += usize::from(f(scan)?);
    }
    Some(n_found)
}

fn is_null(scan: &mut Scanner<'_>) -> Option<bool> {
    Some(scan.kind()? == Kind::Word && scan.starts_with("null"))
}
