//! Bytes as text and back: base64, hex, character sets, crc32.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::Result;

use crate::def::{Arg, Call, FunctionDef, Returns};
use crate::error::{data, internal};
use crate::rows::{binary_rows, bytes, number_rows, text, text_rows};

pub(super) const FUNCTIONS: &[FunctionDef] = &[
    FunctionDef::new("base64", &[Arg::Binary], Returns::String, |call| {
        let values = call.binaries(0)?;
        text_rows(call.n_rows(), |row, out| {
            let Some(value) = bytes(&values, row) else { return Ok(false) };
            base64_encode(value, out);
            Ok(true)
        })
    }),
    FunctionDef::new("unbase64", &[Arg::String], Returns::Binary, |call| {
        let values = call.strings(0)?;
        binary_rows(call.n_rows(), |row, out| {
            let Some(value) = text(&values, row) else { return Ok(false) };
            base64_decode(value.as_bytes(), out);
            Ok(true)
        })
    }),
    FunctionDef::new("hex", &[Arg::Any], Returns::String, hex),
    FunctionDef::new("unhex", &[Arg::String], Returns::Binary, |call| {
        let values = call.strings(0)?;
        binary_rows(call.n_rows(), |row, out| Ok(text(&values, row).is_some_and(|value| unhex(value, out))))
    }),
    FunctionDef::new("to_binary", &[Arg::String, Arg::LiteralString], Returns::Binary, |call| to_binary(call, false)).min(1),
    FunctionDef::new("try_to_binary", &[Arg::String, Arg::LiteralString], Returns::Binary, |call| to_binary(call, true)).min(1),
    FunctionDef::new("make_valid_utf8", &[Arg::StringOrBinary], Returns::String, |call| {
        let values = call.binaries(0)?;
        text_rows(call.n_rows(), |row, out| {
            let Some(value) = bytes(&values, row) else { return Ok(false) };
            out.push_str(&String::from_utf8_lossy(value));
            Ok(true)
        })
    }),
    FunctionDef::new("validate_utf8", &[Arg::StringOrBinary], Returns::String, |call| validate_utf8(call, false)),
    FunctionDef::new("try_validate_utf8", &[Arg::StringOrBinary], Returns::String, |call| validate_utf8(call, true)),
    FunctionDef::new("crc32", &[Arg::Binary], Returns::Long, |call| {
        let values = call.binaries(0)?;
        Ok(Arc::new(number_rows::<Int64Type>(call.n_rows(), |row| Ok(bytes(&values, row).map(|value| i64::from(crc32(value)))))?))
    }),
    FunctionDef::new("encode", &[Arg::String, Arg::String], Returns::Binary, |call| {
        let (values, charsets) = (call.strings(0)?, call.strings(1)?);
        binary_rows(call.n_rows(), |row, out| {
            let (Some(value), Some(charset)) = (text(&values, row), text(&charsets, row)) else { return Ok(false) };
            Charset::parse(charset, "encode")?.encode(value, out)?;
            Ok(true)
        })
    }),
    // `decode` with a charset; the form of CASE with many arguments is rewritten by the analyzer.
    FunctionDef::new("decode", &[Arg::Binary, Arg::String], Returns::String, |call| {
        let (values, charsets) = (call.binaries(0)?, call.strings(1)?);
        text_rows(call.n_rows(), |row, out| {
            let (Some(value), Some(charset)) = (bytes(&values, row), text(&charsets, row)) else { return Ok(false) };
            Charset::parse(charset, "decode")?.decode(value, out)?;
            Ok(true)
        })
    }),
];

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Standard base64 with padding, without line breaks.
fn base64_encode(value: &[u8], out: &mut String) {
    for chunk in value.chunks(3) {
        let at = |idx: usize| u32::from(chunk.get(idx).copied().unwrap_or(0));
        let group = at(0) << 16 | at(1) << 8 | at(2);
        for position in 0..4 {
            if position <= chunk.len() {
                let idx = (group >> (18 - 6 * position)) as usize & 63;
                out.push(char::from(ALPHABET.get(idx).copied().unwrap_or(b'A')));
            } else {
                out.push('=');
            }
        }
    }
}

/// Java's MIME decoder: characters outside the alphabet are skipped.
fn base64_decode(value: &[u8], out: &mut Vec<u8>) {
    let (mut group, mut n_bits) = (0u32, 0);
    for byte in value {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => break,
            _ => continue,
        };
        group = group << 6 | u32::from(digit);
        n_bits += 6;
        if n_bits >= 8 {
            n_bits -= 8;
            out.push((group >> n_bits) as u8);
        }
    }
}

/// Upper-case hexadecimal digits.
fn hex_upper(value: &[u8], out: &mut String) {
    for byte in value {
        let _ = write!(out, "{byte:02X}");
    }
}

fn hex(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.array(0)?;
    if array.data_type().is_integer() {
        let array = arrow::compute::cast(&array, &DataType::Int64)?;
        let values = array.as_primitive::<Int64Type>();
        return text_rows(call.n_rows(), |row, out| {
            if values.is_null(row) {
                return Ok(false);
            }
            let _ = write!(out, "{:X}", values.value(row));
            Ok(true)
        });
    }
    if !matches!(array.data_type(), DataType::Utf8 | DataType::Binary | DataType::Utf8View) {
        return Err(internal(format!("hex of {}", array.data_type())));
    }
    let values = call.binaries(0)?;
    text_rows(call.n_rows(), |row, out| {
        let Some(value) = bytes(&values, row) else { return Ok(false) };
        hex_upper(value, out);
        Ok(true)
    })
}

/// An odd number of digits has a 0 before it; `false` for anything but digits.
fn unhex(value: &str, out: &mut Vec<u8>) -> bool {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let mut digits = value.bytes();
    if value.len() % 2 == 1 {
        match digits.next().and_then(digit) {
            Some(low) => out.push(low),
            None => return false,
        }
    }
    while let (Some(high), Some(low)) = (digits.next(), digits.next()) {
        match (digit(high), digit(low)) {
            (Some(high), Some(low)) => out.push(high << 4 | low),
            _ => return false,
        }
    }
    true
}

fn to_binary(call: &Call<'_>, lenient: bool) -> Result<ArrayRef> {
    let values = call.strings(0)?;
    let format = if call.len() > 1 { call.required_text(1)?.to_lowercase() } else { "hex".to_string() };
    binary_rows(call.n_rows(), |row, out| {
        let Some(value) = text(&values, row) else { return Ok(false) };
        let good = match format.as_str() {
            "hex" => unhex(value, out),
            "utf-8" | "utf8" => {
                out.extend_from_slice(value.as_bytes());
                true
            }
            "base64" => {
                let is_text = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
                base64_decode(value.as_bytes(), out);
                value.bytes().filter(|byte| !byte.is_ascii_whitespace()).all(is_text)
            }
            other => {
                return Err(data(
                    "DATATYPE_MISMATCH.INVALID_ARG_VALUE",
                    format!("to_binary: '{other}' is not one of 'hex', 'utf-8', 'utf8', 'base64'"),
                ));
            }
        };
        if !good && !lenient {
            return Err(data("CONVERSION_INVALID_INPUT", format!("the value '{value}' cannot be converted to BINARY as {format}")));
        }
        Ok(good)
    })
}

fn validate_utf8(call: &Call<'_>, lenient: bool) -> Result<ArrayRef> {
    let values = call.binaries(0)?;
    text_rows(call.n_rows(), |row, out| {
        let Some(value) = bytes(&values, row) else { return Ok(false) };
        match std::str::from_utf8(value) {
            Ok(text) => out.push_str(text),
            Err(_) if lenient => return Ok(false),
            Err(_) => return Err(data("INVALID_UTF8_STRING", "the bytes are not valid UTF-8")),
        }
        Ok(true)
    })
}

/// CRC-32 as in zip files.
fn crc32(value: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in value {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

#[derive(Debug, Clone, Copy)]
enum Charset {
    Ascii,
    Latin1,
    Utf8,
    Utf16 { little: bool, mark: bool },
    Utf32,
}

impl Charset {
    fn parse(name: &str, function: &str) -> Result<Self> {
        Ok(match name.to_ascii_uppercase().as_str() {
            "US-ASCII" => Self::Ascii,
            "ISO-8859-1" => Self::Latin1,
            "UTF-8" => Self::Utf8,
            "UTF-16" => Self::Utf16 { little: false, mark: true },
            "UTF-16BE" => Self::Utf16 { little: false, mark: false },
            "UTF-16LE" => Self::Utf16 { little: true, mark: false },
            "UTF-32" => Self::Utf32,
            _ => {
                return Err(data(
                    "INVALID_PARAMETER_VALUE.CHARSET",
                    format!(
                        "{function}: the charset '{name}' is not one of US-ASCII, ISO-8859-1, UTF-8, UTF-16BE, UTF-16LE, UTF-16, UTF-32"
                    ),
                ));
            }
        })
    }

    fn encode(self, value: &str, out: &mut Vec<u8>) -> Result<()> {
        let narrow = |c: char, limit: u32| {
            u8::try_from(u32::from(c))
                .ok()
                .filter(|byte| u32::from(*byte) < limit)
                .ok_or_else(|| data("MALFORMED_CHARACTER_CODING", format!("encode: the character '{c}' is not in the charset")))
        };
        match self {
            Self::Utf8 => out.extend_from_slice(value.as_bytes()),
            Self::Ascii => {
                for c in value.chars() {
                    out.push(narrow(c, 0x80)?);
                }
            }
            Self::Latin1 => {
                for c in value.chars() {
                    out.push(narrow(c, 0x100)?);
                }
            }
            Self::Utf16 { little, mark } => {
                if mark && !value.is_empty() {
                    out.extend([0xFE, 0xFF]);
                }
                for unit in value.encode_utf16() {
                    out.extend(if little { unit.to_le_bytes() } else { unit.to_be_bytes() });
                }
            }
            Self::Utf32 => {
                for c in value.chars() {
                    out.extend(u32::from(c).to_be_bytes());
                }
            }
        }
        Ok(())
    }

    fn decode(self, value: &[u8], out: &mut String) -> Result<()> {
        let malformed = || data("MALFORMED_CHARACTER_CODING", "decode: the bytes are not valid in the charset");
        match self {
            Self::Utf8 => out.push_str(std::str::from_utf8(value).map_err(|_| malformed())?),
            Self::Ascii => {
                if !value.is_ascii() {
                    return Err(malformed());
                }
                out.extend(value.iter().map(|byte| char::from(*byte)));
            }
            Self::Latin1 => out.extend(value.iter().map(|byte| char::from(*byte))),
            Self::Utf16 { little, mark } => {
                let (mut little, mut value) = (little, value);
                if mark {
                    if let Some(rest) = value.strip_prefix(&[0xFE, 0xFF]) {
                        value = rest;
                    } else if let Some(rest) = value.strip_prefix(&[0xFF, 0xFE]) {
                        (value, little) = (rest, true);
                    }
                }
                if value.len() % 2 != 0 {
                    return Err(malformed());
                }
                let units = value.chunks_exact(2).map(|pair| {
                    let pair = [pair.first().copied().unwrap_or(0), pair.last().copied().unwrap_or(0)];
                    if little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) }
                });
                for c in char::decode_utf16(units) {
                    out.push(c.map_err(|_| malformed())?);
                }
            }
            Self::Utf32 => {
                let mut chunks = value.chunks_exact(4);
                for chunk in chunks.by_ref() {
                    let code = chunk.iter().fold(0u32, |code, byte| code << 8 | u32::from(*byte));
                    out.push(char::from_u32(code).ok_or_else(malformed)?);
                }
                if !chunks.remainder().is_empty() {
                    return Err(malformed());
                }
            }
        }
        Ok(())
    }
}
