//! Paths with Hadoop's globs: `*`, `?`, `[ab]`, `[^ab]`, `{x,y}`, one folder level per segment. Pure text work.

use glob::{MatchOptions, Pattern};
use millstream_core::{Error, Result};

/// A folder without globs, and what its descendants must match.
#[derive(Debug, Clone)]
pub(super) struct GlobPath {
    /// The path up to the first segment with a glob.
    pub(super) base: String,
    /// Patterns relative to `base`, alternatives of each other; empty if there was no glob.
    patterns: Vec<Vec<Pattern>>,
}

const OPTIONS: MatchOptions = MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

impl GlobPath {
    /// Splits a path.
    pub(super) fn parse(path: &str) -> Result<Self> {
        let mut segments: Vec<&str> = path.split('/').collect();
        let first_glob = segments.iter().position(|segment| segment.contains(['*', '?', '[', '{']));
        let Some(first_glob) = first_glob else { return Ok(Self { base: path.to_owned(), patterns: Vec::new() }) };
        let tail = segments.split_off(first_glob).join("/");
        let mut base = segments.join("/");
        if base.is_empty() {
            base = if path.starts_with('/') { "/".to_owned() } else { ".".to_owned() };
        }
        let patterns = expand_braces(&tail)
            .iter()
            .map(|tail| tail.split('/').filter(|segment| !segment.is_empty()).map(|segment| pattern(segment, path)).collect())
            .collect::<Result<_>>()?;
        Ok(Self { base, patterns })
    }

    pub(super) fn is_glob(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// Whether a descendant with these segments is one that is asked for.
    pub(super) fn matches(&self, segments: &[&str]) -> bool {
        self.patterns.iter().any(|pattern| pattern.len() == segments.len() && starts(pattern, segments))
    }

    /// Whether a folder with these segments may hold one that is asked for.
    pub(super) fn leads_on(&self, segments: &[&str]) -> bool {
        self.patterns.iter().any(|pattern| pattern.len() > segments.len() && starts(pattern, segments))
    }
}

fn starts(pattern: &[Pattern], segments: &[&str]) -> bool {
    pattern.iter().zip(segments).all(|(pattern, segment)| pattern.matches_with(segment, OPTIONS))
}

fn pattern(segment: &str, path: &str) -> Result<Pattern> {
    Pattern::new(&segment.replace("[^", "[!")).map_err(|error| Error::invalid(format!("path '{path}' has a wrong glob: {error}")))
}

/// A filter on file names, such as `pathGlobFilter`.
#[derive(Debug, Clone)]
pub(super) struct NameFilter(Vec<Pattern>);

impl NameFilter {
    pub(super) fn parse(text: &str) -> Result<Self> {
        expand_braces(text).iter().map(|alternative| pattern(alternative, text)).collect::<Result<_>>().map(Self)
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches_with(name, OPTIONS))
    }
}

/// `a{b,c}d` -> `abd`, `acd`; nested braces too. Unbalanced braces stay as they are.
fn expand_braces(text: &str) -> Vec<String> {
    let Some(open) = text.find('{') else { return vec![text.to_owned()] };
    let mut depth = 0;
    let mut commas = Vec::new();
    let mut close = None;
    for (at, c) in text.char_indices().skip_while(|(at, _)| *at < open) {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => {
                close = Some(at);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 1 => commas.push(at),
            _ => {}
        }
    }
    let Some(close) = close else { return vec![text.to_owned()] };
    let (head, tail) = (text.get(..open).unwrap_or_default(), text.get(close + 1..).unwrap_or_default());
    let mut starts = vec![open + 1];
    starts.extend(commas.iter().map(|comma| comma + 1));
    let ends = commas.iter().copied().chain([close]);
    starts
        .iter()
        .zip(ends)
        .filter_map(|(start, end)| text.get(*start..end))
        .flat_map(|alternative| expand_braces(&format!("{head}{alternative}{tail}")))
        .collect()
}
