//! Input files: few rows with unique ids, some that no parser takes, some (`n` is 0) on which the jobs' queries fail.

use millstream_testkit::Rng;

/// What a file holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Csv,
}

/// The name and the text of file number `idx`.
pub fn file(format: Format, idx: u64, rng: &mut Rng) -> (String, String) {
    let n_rows = if rng.one_in(12) { 0 } else { 1 + rng.below(20) };
    let rows = (0..n_rows).map(|row| (format!("f{idx:03}-r{row:02}"), rng.one_in(8)));
    let rows: Vec<(String, bool)> = rows.collect();
    match format {
        Format::Json => (format!("f{idx:03}.json"), rows.iter().map(|(id, is_bad)| json(id, *is_bad, rng)).collect()),
        Format::Csv => {
            let rows: String = rows.iter().map(|(id, is_bad)| csv(id, *is_bad, rng)).collect();
            (format!("f{idx:03}.csv"), format!("id,n,price,text\n{rows}"))
        }
    }
}

fn json(id: &str, is_bad: bool, rng: &mut Rng) -> String {
    if is_bad {
        return format!("{{\"id\":\"{id}\",\n");
    }
    let kind = ["\"view\"", "\"a b\"", "null"][rng.index(3)];
    let (day, hour, n) = (14 + rng.below(2), rng.below(24), rng.below(10));
    format!("{{\"id\":\"{id}\",\"ts\":\"2023-11-{day}T{hour:02}:00:00Z\",\"kind\":{kind},\"n\":{n}}}\n")
}

fn csv(id: &str, is_bad: bool, rng: &mut Rng) -> String {
    let n = if is_bad { "x".to_owned() } else { rng.below(10).to_string() };
    let text = ["", "plain", "\"with, comma\""][rng.index(3)];
    format!("{id},{n},{}.25,{text}\n", rng.below(100))
}
