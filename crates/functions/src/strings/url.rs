//! URLs: `url_encode`, `url_decode`, `parse_url`, as Java's `URLEncoder` and `URI` see them.

use std::fmt::Write;

use arrow::array::ArrayRef;
use datafusion::common::Result;

use crate::def::{Arg, Call, FunctionDef, Returns};
use crate::error::data;
use crate::rows::{text, text_rows};

pub(super) const FUNCTIONS: &[FunctionDef] = &[
    FunctionDef::new("url_encode", &[Arg::String], Returns::String, |call| {
        let values = call.strings(0)?;
        text_rows(call.n_rows(), |row, out| {
            let Some(value) = text(&values, row) else { return Ok(false) };
            for byte in value.bytes() {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => out.push(char::from(byte)),
                    b' ' => out.push('+'),
                    _ => {
                        let _ = write!(out, "%{byte:02X}");
                    }
                }
            }
            Ok(true)
        })
    }),
    FunctionDef::new("url_decode", &[Arg::String], Returns::String, |call| url_decode(call, false)),
    FunctionDef::new("try_url_decode", &[Arg::String], Returns::String, |call| url_decode(call, true)),
    FunctionDef::new("parse_url", &[Arg::String, Arg::String, Arg::String], Returns::String, |call| parse_url(call, false)).min(2),
    FunctionDef::new("try_parse_url", &[Arg::String, Arg::String, Arg::String], Returns::String, |call| parse_url(call, true)).min(2),
];

fn url_decode(call: &Call<'_>, lenient: bool) -> Result<ArrayRef> {
    let values = call.strings(0)?;
    text_rows(call.n_rows(), |row, out| {
        let Some(value) = text(&values, row) else { return Ok(false) };
        match decode(value) {
            Some(decoded) => {
                out.push_str(&decoded);
                Ok(true)
            }
            None if lenient => Ok(false),
            None => Err(data("CANNOT_DECODE_URL", format!("the URL '{value}' cannot be decoded: its encoding is not valid"))),
        }
    })
}

fn decode(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut iter = value.bytes();
    while let Some(byte) = iter.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
                let (high, low) = (digit(iter.next())?, digit(iter.next())?);
                bytes.push((high << 4 | low) as u8);
            }
            byte => bytes.push(byte),
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A URL taken apart by RFC 2396, as `java.net.URI`.
struct Parts<'a> {
    scheme: Option<&'a str>,
    authority: Option<&'a str>,
    path: Option<&'a str>,
    query: Option<&'a str>,
    fragment: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn read(url: &'a str) -> Option<Self> {
        if url.bytes().any(|byte| byte <= b' ' || matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')) {
            return None;
        }
        let (rest, fragment) = url.split_once('#').map_or((url, None), |(rest, fragment)| (rest, Some(fragment)));
        let scheme_end = rest.find([':', '/', '?']).filter(|at| rest.as_bytes().get(*at) == Some(&b':'));
        let (scheme, rest) = match scheme_end {
            Some(0) => return None,
            Some(at) => (rest.get(..at), rest.get(at + 1..)?),
            None => (None, rest),
        };
        if scheme.is_some() && !rest.starts_with('/') {
            // An opaque URI (`mailto:x`) has neither host nor path nor query.
            return Some(Self { scheme, authority: None, path: None, query: None, fragment });
        }
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => match rest.find('/') {
                Some(at) => (rest.get(..at), rest.get(at..)),
                None => (Some(rest), Some("")),
            },
            None => (None, Some(rest)),
        };
        Some(Self { scheme, authority, path, query, fragment })
    }

    fn part(&self, name: &str) -> Option<String> {
        let authority = self.authority.filter(|authority| !authority.is_empty());
        let user = authority.and_then(|authority| authority.rsplit_once('@')).map(|(user, _)| user);
        let text = match name {
            "HOST" => {
                let host = authority.map(|authority| authority.rsplit_once('@').map_or(authority, |(_, host)| host))?;
                match host.rsplit_once(':') {
                    Some((name, port)) if !name.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
                    _ => host,
                }
            }
            "PATH" => self.path?,
            "QUERY" => self.query?,
            "REF" => self.fragment?,
            "PROTOCOL" => self.scheme?,
            "FILE" => {
                let path = self.path?;
                return Some(self.query.map_or_else(|| path.to_string(), |query| format!("{path}?{query}")));
            }
            "AUTHORITY" => authority?,
            "USERINFO" => user?,
            _ => return None,
        };
        Some(text.to_string())
    }
}

fn parse_url(call: &Call<'_>, lenient: bool) -> Result<ArrayRef> {
    let (values, parts) = (call.strings(0)?, call.strings(1)?);
    let keys = if call.len() > 2 { Some(call.strings(2)?) } else { None };
    text_rows(call.n_rows(), |row, out| {
        let (Some(value), Some(part)) = (text(&values, row), text(&parts, row)) else { return Ok(false) };
        let Some(url) = Parts::read(value) else {
            return if lenient {
                Ok(false)
            } else {
                Err(data("INVALID_URL", format!("the URL '{value}' is not valid; use try_parse_url to get NULL instead")))
            };
        };
        let found = match &keys {
            None => url.part(part),
            Some(keys) => match (part, text(keys, row), url.query) {
                ("QUERY", Some(key), Some(query)) => query
                    .split('&')
                    .find_map(|pair| pair.split_once('=').filter(|(name, _)| *name == key))
                    .map(|(_, value)| value.to_string()),
                _ => None,
            },
        };
        match found {
            Some(found) => {
                out.push_str(&found);
                Ok(true)
            }
            None => Ok(false),
        }
    })
}
