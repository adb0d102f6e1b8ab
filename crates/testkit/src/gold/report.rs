//! Judges outcomes and keeps the list of known differences honest.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::case::{Expected, root};

/// The list of cases that are not there yet: `<suite> <id> <reason>`.
const KNOWN: &str = "known-differences.txt";
/// How many differences a failing run prints.
const N_PRINTED: usize = 40;

/// What the code under test answered.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Rows, in the form of the gold files.
    Rows {
        /// Names and types of the columns.
        schema: Vec<(String, String)>,
        /// The rows.
        rows: Vec<Vec<Value>>,
    },
    /// An error.
    Error {
        /// Spark's error condition, if the error has one.
        class: Option<String>,
        /// The message; only printed.
        message: String,
        /// Whether it says that the feature is missing: never agreement.
        is_unsupported: bool,
    },
}

/// The judgement of one suite.
#[derive(Debug)]
pub struct Report {
    suite: &'static str,
    known: BTreeMap<String, String>,
    /// Lines of other suites.
    other_lines: Vec<String>,
    differences: BTreeMap<String, String>,
    agreed: Vec<String>,
    n_errors_agreed: usize,
    n_errors_with_class: usize,
}

impl Report {
    /// A report of the suite of this name, with its known differences.
    pub fn new(suite: &'static str) -> Result<Self, String> {
        let path = root().join(KNOWN);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let (mut known, mut other_lines) = (BTreeMap::new(), Vec::new());
        for line in text.lines() {
            let mut words = line.splitn(3, ' ');
            match (words.next(), words.next(), words.next()) {
                (Some(word), Some(id), reason) if word == suite => {
                    known.insert(id.to_owned(), reason.unwrap_or_default().to_owned());
                }
                _ => other_lines.push(line.to_owned()),
            }
        }
        let (differences, agreed) = (BTreeMap::new(), Vec::new());
        Ok(Self { suite, known, other_lines, differences, agreed, n_errors_agreed: 0, n_errors_with_class: 0 })
    }

    /// Whether the case is listed as not there yet.
    pub fn is_known(&self, id: &str) -> bool {
        self.known.contains_key(id)
    }

    /// Judges one case.
    pub fn case(&mut self, id: &str, expected: &Expected, is_ordered: bool, outcome: &Outcome) {
        match difference(expected, is_ordered, outcome) {
            Some(reason) => {
                self.differences.insert(id.to_owned(), reason);
            }
            None => {
                self.agreed.push(id.to_owned());
                if let Outcome::Error { class, .. } = outcome {
                    self.n_errors_agreed += 1;
                    self.n_errors_with_class += usize::from(class.is_some());
                }
            }
        }
    }

    /// Judges one case whose answer is a text.
    pub fn text(&mut self, id: &str, expected: &str, ours: Result<&str, String>) {
        let difference = match ours {
            Ok(ours) if ours == expected => None,
            Ok(ours) => Some(text_difference(expected, ours)),
            Err(message) => Some(format!("error: {message}")),
        };
        match difference {
            Some(reason) => {
                self.differences.insert(id.to_owned(), reason);
            }
            None => self.agreed.push(id.to_owned()),
        }
    }

    /// How many cases agree, and how many there were.
    pub fn counts(&self) -> (usize, usize) {
        (self.agreed.len(), self.agreed.len() + self.differences.len())
    }

    /// The text of the result; `Err` if a difference is not listed or a listed case agrees.
    pub fn finish(self) -> Result<String, String> {
        let (n_agreed, n_cases) = self.counts();
        let mut text = format!(
            "gold {}: {n_agreed} of {n_cases} agree with Spark ({} of them errors, {} with Spark's error class), {} known differences",
            self.suite,
            self.n_errors_agreed,
            self.n_errors_with_class,
            self.known.len()
        );
        let wish = std::env::var("MILLSTREAM_GOLD").unwrap_or_default();
        if wish == "accept" {
            self.write_known(|_| true)?;
            return Ok(text);
        }
        if wish == "shrink" {
            self.write_known(|id| self.known.contains_key(id))?;
        }
        let unlisted: Vec<_> = self.differences.iter().filter(|(id, _)| !self.known.contains_key(*id)).collect();
        // Stale lines were taken off just now.
        let has_stale_lines = wish != "shrink";
        let outgrown: Vec<_> = self.agreed.iter().filter(|id| has_stale_lines && self.known.contains_key(*id)).collect();
        let is_case = |id: &String| self.differences.contains_key(id) || self.agreed.contains(id);
        let gone: Vec<_> = self.known.keys().filter(|id| has_stale_lines && !is_case(id)).collect();
        if unlisted.is_empty() && outgrown.is_empty() && gone.is_empty() {
            return Ok(text);
        }
        for (id, reason) in unlisted.iter().take(N_PRINTED) {
            let _ = write!(text, "\ndiffers: {id}: {reason}");
        }
        if unlisted.len() > N_PRINTED {
            let _ = write!(text, "\n... and {} more", unlisted.len() - N_PRINTED);
        }
        for id in outgrown {
            let _ = write!(text, "\nagrees now, take it off gold/{KNOWN}: {} {id}", self.suite);
        }
        for id in gone {
            let _ = write!(text, "\nis no case any more, take it off gold/{KNOWN}: {} {id}", self.suite);
        }
        Err(text)
    }

    /// Writes the lines of this suite anew: the differences that may be listed, with what is different now.
    fn write_known(&self, may_list: impl Fn(&str) -> bool) -> Result<(), String> {
        // Other suites may have written since this one began, or want to now: tests of a binary run in threads.
        static WRITING: Mutex<()> = Mutex::new(());
        let _guard = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines: Vec<String> = Self::new(self.suite)?.other_lines;
        for (id, reason) in self.differences.iter().filter(|(id, _)| may_list(id)) {
            let reason: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(160).collect();
            lines.push(format!("{} {id} {}", self.suite, reason.trim_end()));
        }
        lines.sort_unstable();
        let path = root().join(KNOWN);
        std::fs::write(&path, lines.join("\n") + "\n").map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// Why the outcome is not Spark's; `None` when it is.
fn difference(expected: &Expected, is_ordered: bool, outcome: &Outcome) -> Option<String> {
    match (expected, outcome) {
        (_, Outcome::Error { is_unsupported: true, message, .. }) => Some(format!("unsupported: {message}")),
        (Expected::Rows { .. }, Outcome::Error { message, .. }) => Some(format!("error: {message}")),
        (Expected::Error(classes), Outcome::Rows { rows, .. }) => {
            Some(format!("no error: {} instead of {}", json(rows), classes.join(", ")))
        }
        (Expected::Error(classes), Outcome::Error { class: Some(class), message, .. }) => {
            // The part behind the dot is Spark's sub-condition, a hint rather than a kind of error.
            let kind = |class: &str| class.split('.').next().unwrap_or_default().to_owned();
            let agrees = classes.iter().any(|expected| kind(expected) == kind(class));
            (!agrees).then(|| format!("error class: {class} instead of {} ({message})", classes.join(", ")))
        }
        (Expected::Error(_), Outcome::Error { class: None, .. }) => None,
        (Expected::Rows { schema, rows }, Outcome::Rows { schema: our_schema, rows: our_rows }) => {
            let names = |schema: &[(String, String)]| schema.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
            let types = |schema: &[(String, String)]| schema.iter().map(|(_, t)| t.clone()).collect::<Vec<_>>();
            let values_differ = !same_rows(rows, our_rows, is_ordered);
            let parts = [
                values_differ.then(|| value_difference(schema, rows, our_rows, is_ordered)),
                (!same_types(schema, our_schema))
                    .then(|| format!("type: {} instead of {}", types(our_schema).join(", "), types(schema).join(", "))),
                (names(schema) != names(our_schema))
                    .then(|| format!("name: {} instead of {}", names(our_schema).join(", "), names(schema).join(", "))),
            ];
            let parts: Vec<String> = parts.into_iter().flatten().collect();
            (!parts.is_empty()).then(|| parts.join("; "))
        }
    }
}

/// Equal types; where Arrow lost the fields of an interval, its widest form counts.
fn same_types(expected: &[(String, String)], ours: &[(String, String)]) -> bool {
    expected.len() == ours.len()
        && expected.iter().zip(ours).all(|((_, expected), (_, ours))| expected == ours || &widest_intervals(expected) == ours)
}

fn widest_intervals(type_name: &str) -> String {
    let mut parts = type_name.split("interval ");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find([',', '>']).unwrap_or(part.len());
        let (fields, rest) = part.split_at(end);
        let is_months = fields.starts_with("year") || fields.starts_with("month");
        text.push_str(if is_months { "interval year to month" } else { "interval day to second" });
        text.push_str(rest);
    }
    text
}

fn same_rows(expected: &[Vec<Value>], ours: &[Vec<Value>], is_ordered: bool) -> bool {
    if is_ordered {
        return expected == ours;
    }
    let sorted = |rows: &[Vec<Value>]| {
        let mut texts: Vec<String> = rows.iter().map(|row| Value::Array(row.clone()).to_string()).collect();
        texts.sort_unstable();
        texts
    };
    sorted(expected) == sorted(ours)
}

/// The first line that differs.
fn text_difference(expected: &str, ours: &str) -> String {
    let differing = expected.lines().zip(ours.lines()).enumerate().find(|(_, (expected, ours))| expected != ours);
    match differing {
        Some((line_idx, (expected, ours))) => format!("text: {ours:?} instead of {expected:?} (line {})", line_idx + 1),
        None => format!("text: {} bytes instead of {}", ours.len(), expected.len()),
    }
}

/// Where rows differ: the whole of small answers, of large ones the first cell.
fn value_difference(schema: &[(String, String)], expected: &[Vec<Value>], ours: &[Vec<Value>], is_ordered: bool) -> String {
    if expected.len() == ours.len() && expected.len() > 3 && is_ordered {
        for (row_idx, (expected, ours)) in expected.iter().zip(ours).enumerate() {
            for (column_idx, (expected, ours)) in expected.iter().zip(ours).enumerate() {
                if expected != ours {
                    let name = schema.get(column_idx).map_or("?", |(name, _)| name);
                    return format!("value: {ours} instead of {expected} (row {row_idx}, column {name})");
                }
            }
        }
    }
    format!("value: {} instead of {}", json(ours), json(expected))
}

fn json(rows: &[Vec<Value>]) -> String {
    let text = match rows {
        [row] => match row.as_slice() {
            [value] => value.to_string(),
            row => Value::Array(row.to_vec()).to_string(),
        },
        rows => Value::Array(rows.iter().cloned().map(Value::Array).collect()).to_string(),
    };
    text.chars().take(400).collect()
}

#[cfg(test)]
mod tests;
