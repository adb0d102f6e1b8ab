//! Options of sources, sinks and queries: case-insensitive names, typed reading, no unknown names, no printed secrets.
//!
//! Names are compared without case, as in Spark, and kept as written. Every connector lists the options it knows as
//! [`OptionSpec`]s; [`Options::check`] refuses any other name and says the nearest known one.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::error::{Error, Result};

/// One option that a reader, writer or query knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OptionSpec {
    /// The name as documented, such as `maxFilesPerTrigger`. A trailing `*` allows any name with that prefix.
    pub name: &'static str,
    /// One line: what it does, its unit and default.
    pub doc: &'static str,
    /// Whether the value must never be shown.
    pub secret: bool,
}

impl OptionSpec {
    /// A plain option.
    pub const fn new(name: &'static str, doc: &'static str) -> Self {
        Self { name, doc, secret: false }
    }

    /// An option whose value is never shown.
    pub const fn secret(name: &'static str, doc: &'static str) -> Self {
        Self { name, doc, secret: true }
    }

    fn matches(&self, lower: &str) -> bool {
        match self.name.strip_suffix('*') {
            Some(prefix) => lower.starts_with(&prefix.to_ascii_lowercase()),
            None => self.name.eq_ignore_ascii_case(lower),
        }
    }
}

/// A set of options. Printing it (`Debug`, [`Options::redacted`]) shows `***` for secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Options {
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, PartialEq, Eq)]
struct Entry {
    written: String,
    value: String,
}

impl Options {
    /// No options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets an option; a later value replaces an earlier one of the same name in any case.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let written = name.into();
        self.entries.insert(written.to_ascii_lowercase(), Entry { written, value: value.into() });
    }

    /// The same with one more option.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.set(name, value);
        self
    }

    /// Takes an option out.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        self.entries.remove(&name.to_ascii_lowercase()).map(|entry| entry.value)
    }

    /// The value of an option.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.entries.get(&name.to_ascii_lowercase()).map(|entry| entry.value.as_str())
    }

    /// The value of an option that must be there.
    pub fn require(&self, name: &str) -> Result<&str> {
        self.get(name).ok_or_else(|| Error::invalid(format!("option '{name}' is missing")))
    }

    /// `true` or `false` in any case.
    pub fn get_bool(&self, name: &str) -> Result<Option<bool>> {
        self.parsed(name, "true or false", |value| match value.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        })
    }

    /// A whole number, zero or more.
    pub fn get_u64(&self, name: &str) -> Result<Option<u64>> {
        self.parsed(name, "a whole number of 0 or more", |value| value.trim().parse().ok())
    }

    /// A number of bytes: `1048576`, `64k`, `128m`, `4g`, `1t` (binary units, an optional `b` after them).
    pub fn get_bytes(&self, name: &str) -> Result<Option<u64>> {
        self.parsed(name, "a number of bytes such as 1048576, 128m or 4g", parse_bytes)
    }

    /// A length of time: `500 ms`, `10s`, `5 minutes`, `1h`, `7d`; a bare number is milliseconds.
    pub fn get_duration(&self, name: &str) -> Result<Option<Duration>> {
        self.parsed(name, "a length of time such as 500 ms, 10s or 5 minutes", parse_duration)
    }

    /// One character.
    pub fn get_char(&self, name: &str) -> Result<Option<char>> {
        self.parsed(name, "one character", |value| {
            let mut chars = value.chars();
            let first = chars.next()?;
            chars.next().is_none().then_some(first)
        })
    }

    fn parsed<T>(&self, name: &str, expected: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        parse(value).map(Some).ok_or_else(|| {
            let shown = if looks_secret(name) { "***" } else { value };
            Error::invalid(format!("option '{name}' is '{shown}': expected {expected}"))
        })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Those that one of `known` lists.
    #[must_use]
    pub fn only(&self, known: &[OptionSpec]) -> Self {
        let is_known = |name: &str| known.iter().any(|spec| spec.matches(name));
        let entries = self.entries.iter().filter(|(lower, _)| is_known(lower));
        Self { entries: entries.map(|(lower, entry)| (lower.clone(), entry.clone())).collect() }
    }

    /// All options as (name as written, value), in the order of their lower-case names. Values are not redacted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.values().map(|entry| (entry.written.as_str(), entry.value.as_str()))
    }

    /// All options as (name, value) with `***` for secrets: the only form that may be stored or shown.
    pub fn redacted(&self) -> BTreeMap<String, String> {
        self.entries
            .values()
            .map(|entry| {
                let value = if looks_secret(&entry.written) { "***".to_owned() } else { redact_url(&entry.value) };
                (entry.written.clone(), value)
            })
            .collect()
    }

    /// Refuses options that none of `known` lists, naming the nearest one. `what` is for the message: `json source`.
    pub fn check<'a>(&self, what: &str, known: impl IntoIterator<Item = &'a OptionSpec> + Clone) -> Result<()> {
        for (lower, entry) in &self.entries {
            if known.clone().into_iter().any(|spec| spec.matches(lower)) {
                continue;
            }
            let names = known.clone().into_iter().map(|spec| spec.name);
            let error = Error::invalid(format!("unknown option '{}' of the {what}", entry.written));
            return Err(match nearest(&entry.written, names) {
                Some(name) => error.hint(format!("did you mean '{name}'?")),
                None => error,
            });
        }
        Ok(())
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.redacted()).finish()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Options {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(iter: I) -> Self {
        let mut options = Self::new();
        for (name, value) in iter {
            options.set(name, value);
        }
        options
    }
}

/// Whether an option of this name holds a secret: passwords, tokens, keys, SASL settings, connection credentials.
pub fn looks_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase().replace(['_', '-', '.'], "");
    const WORDS: [&str; 11] =
        ["password", "passwd", "secret", "token", "credential", "accesskey", "apikey", "privatekey", "jaas", "authorization", "keypem"];
    WORDS.iter().any(|word| lower.contains(word))
}

/// `scheme://user:password@host` with the password taken out.
pub fn redact_url(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else { return value.to_owned() };
    let (authority, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
    match authority.rsplit_once('@') {
        Some((user_info, host)) => {
            let user = user_info.split_once(':').map_or(user_info, |(user, _)| user);
            format!("{scheme}://{user}:***@{host}{path}")
        }
        None => value.to_owned(),
    }
}

/// The name among `known` that is nearest to `name`, if any is near enough to be meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_ascii_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 2.max(candidate.len() / 3))
        .min()
        .map(|(_, candidate)| candidate)
}

/// See [`Options::get_bytes`].
pub fn parse_bytes(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = lower.get(digits.len()..)?;
    let factor: u64 = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(unit) {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        _ => return None,
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(factor)
}

/// See [`Options::get_duration`].
pub fn parse_duration(text: &str) -> Option<Duration> {
    let lower = text.trim().to_ascii_lowercase();
    let lower = lower.strip_prefix("interval ").unwrap_or(&lower);
    let mut total = Duration::ZERO;
    let mut rest = lower.trim_start();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (digits, after) = rest.split_at(end);
        let amount: u64 = digits.parse().ok()?;
        let after = after.trim_start();
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let us: u64 = match unit {
            "us" | "microsecond" | "microseconds" => 1,
            "" | "ms" | "millisecond" | "milliseconds" => 1_000,
            "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000,
            "m" | "min" | "mins" | "minute" | "minutes" => 60_000_000,
            "h" | "hr" | "hour" | "hours" => 3_600_000_000,
            "d" | "day" | "days" => 86_400_000_000,
            "w" | "week" | "weeks" => 604_800_000_000,
            _ => return None,
        };
        total = total.checked_add(Duration::from_micros(amount.checked_mul(us)?))?;
        rest = after.trim_start();
    }
    Some(total)
}

#[cfg(test)]
mod tests;
