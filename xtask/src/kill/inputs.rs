//! The inputs of a run: small files of rows with unique ids, drawn from the run's generator.
//!
//! A row's id names its file and line (`f003-r0012`), so that a duplicate or a hole tells where it came from. The
//! texts hold what writers and readers trip over, but nothing on which two correct parsers may differ.

use super::rng::Rng;

/// What the files of a job hold.
#[derive(Clone, Copy, PartialEq)]
pub enum Format {
    /// One object a line; fields in any order, null or left out at times.
    Json,
    /// With a header; quotes where needed.
    Csv,
    /// JSON rows whose event time goes on with the file's number; see [`event_row`].
    Events,
}

const KINDS: &[&str] = &["view", "click", "a b", "purchase"];
const TEXTS: &[&str] = &[
    "",
    "plain",
    "with, comma",
    "tab\\tand \\\"quotes\\\"",
    "snow ☃ and é",
    "line\\nbreak",
    "{\\\"json\\\": [1, 2]}",
    "0123456789 0123456789 0123456789",
];
const CSV_TEXTS: &[&str] = &["", "plain", "\"with, comma\"", "snow ☃ and é", "0123456789 0123456789"];
const SECOND_0: u64 = 1_700_000_000;

/// The name and the bytes of file number `idx`.
pub fn file(format: Format, idx: u64, rng: &mut Rng) -> (String, String) {
    let n_rows = if rng.one_in(12) { 0 } else { rng.range(1, 60) };
    match format {
        Format::Json => (format!("f{idx:03}.json"), (0..n_rows).map(|row| json_row(idx, row, rng)).collect()),
        Format::Events => (format!("f{idx:03}.json"), (0..n_rows).map(|row| event_row(idx, row, rng)).collect()),
        Format::Csv => {
            let rows: String = (0..n_rows).map(|row| csv_row(idx, row, rng)).collect();
            (format!("f{idx:03}.csv"), format!("id,n,price,text\n{rows}"))
        }
    }
}

fn json_row(file: u64, row: u64, rng: &mut Rng) -> String {
    let mut fields = vec![format!("\"id\":\"f{file:03}-r{row:04}\""), format!("\"n\":{}", rng.range(0, 1_000_000))];
    // Three days, so that batches write several partitions.
    let second = SECOND_0 + rng.range(0, 3 * 86_400);
    fields.push(format!("\"ts\":\"{}\"", iso(second)));
    if !rng.one_in(9) {
        fields.push(format!("\"kind\":\"{}\"", rng.pick(KINDS).unwrap_or(&"")));
    }
    fields.push(if rng.one_in(7) { "\"text\":null".to_owned() } else { format!("\"text\":\"{}\"", rng.pick(TEXTS).unwrap_or(&"")) });
    let by = usize::try_from(rng.range(0, fields.len() as u64)).unwrap_or(0);
    fields.rotate_left(by);
    format!("{{{}}}\n", fields.join(","))
}

/// A row of events. What it says, but for its id, was drawn before: by itself, by another row of its file, or by one of
/// the file before. Times of a file lie in its 20 seconds and the 10 behind them, so that rows come out of order by less
/// than 30 seconds and equal tokens lie less than 50 apart.
fn event_row(file: u64, row: u64, rng: &mut Rng) -> String {
    let (of_file, of_row) = match rng.range(0, 6) {
        0 => (file, rng.range(0, row + 1)),
        1 if file > 0 => (file - 1, rng.range(0, 60)),
        _ => (file, row),
    };
    let mut rng = Rng::new(of_file, of_row);
    let mut fields = vec![format!("\"id\":\"f{file:03}-r{row:04}\""), format!("\"token\":\"t{of_file:03}-{of_row:04}\"")];
    if !rng.one_in(25) {
        // A watermark begins at the epoch, and what lies before it is late.
        let ms = of_file * 20_000 + rng.range(1, 30_000);
        fields.push(format!("\"ts\":\"{}\"", in_1970(ms)));
    }
    if !rng.one_in(12) {
        fields.push(format!("\"k\":\"{}\"", rng.pick(KINDS).unwrap_or(&"")));
    }
    fields.push(if rng.one_in(9) {
        "\"v\":null".to_owned()
    } else {
        format!("\"v\":{}{}", rng.pick(&["", "-"]).unwrap_or(&""), rng.range(1, 1_000_000))
    });
    format!("{{{}}}\n", fields.join(","))
}

fn csv_row(file: u64, row: u64, rng: &mut Rng) -> String {
    let (n, whole) = (rng.range(0, 1_000_000), rng.range(0, 10_000));
    // Halves and quarters: exact in binary, so that no two printers differ.
    let part = rng.pick(&["0", "25", "5", "75"]).unwrap_or(&"0");
    format!("f{file:03}-r{row:04},{n},{whole}.{part},{}\n", rng.pick(CSV_TEXTS).unwrap_or(&""))
}

/// `1970-01-01T00:00:20.500Z` from milliseconds of that day.
fn in_1970(ms: u64) -> String {
    format!("1970-01-01T{:02}:{:02}:{:02}.{:03}Z", ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000)
}

/// `2023-11-14T22:13:20Z` from seconds since 1970, for the few days of the inputs.
fn iso(second: u64) -> String {
    let (days, second) = (second / 86_400, second % 86_400);
    // 2023-11-01 is day 19,662; the inputs stay within that November.
    format!("2023-11-{:02}T{:02}:{:02}:{:02}Z", days - 19_661, second / 3600, second / 60 % 60, second % 60)
}
