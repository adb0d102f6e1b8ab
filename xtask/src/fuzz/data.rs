//! Random rows: nulls, times before 1970, empty and unusual texts, decimals, duplicates.

use crate::kill::rng::Rng;

macro_rules! duck {
    ($table:literal) => {
        concat!(
            "(select *, epoch_us(cast(ts as timestamptz)) as ts_us, epoch_us(cast(other as timestamptz)) as other_us from read_json('in/",
            $table,
            "/*.json', format='newline_delimited', columns={id: 'BIGINT', ts: 'VARCHAR', other: 'VARCHAR', k: 'VARCHAR', g: 'INTEGER', \
             v: 'BIGINT', d: 'DECIMAL(12,2)', x: 'DOUBLE'}))"
        )
    };
}

/// The columns, as a job declares them.
pub const COLUMNS: &str = "id BIGINT, ts TIMESTAMP, other TIMESTAMP, k STRING, g INT, v BIGINT, d DECIMAL(12,2), x DOUBLE";
/// The table that queries read, and DuckDB's words for it, with times in microseconds beside: `ts_us`, `other_us`.
pub const DUCK: &str = duck!("src");
/// The second table, of the same columns: what joins join with.
pub const DUCK_RIGHT: &str = duck!("rhs");
/// Rows come out of order by less.
pub const DISORDER_S: u64 = 20;

const TEXTS: &[&str] = &["a", "b", "", "NULL", "é ☃", "a b", "Z"];

/// The lines of the input. `ts` goes on with the rows, out of order by less than [`DISORDER_S`], and lies behind 1970, where
/// watermarks begin; `other` lies anywhere.
pub fn lines(rng: &mut Rng) -> Vec<String> {
    let n_rows = if rng.one_in(15) { rng.range(0, 3) } else { rng.range(1, 120) };
    let step_ms = *rng.pick(&[100, 1_000, 5_000, 20_000]).unwrap_or(&1);
    let mut lines: Vec<String> = Vec::new();
    for row in 0..n_rows {
        if let Some(line) = lines.last().filter(|_| rng.one_in(12)) {
            lines.push(line.clone());
            continue;
        }
        let mut fields = vec![format!("\"id\":{}", rng.range(0, 2 * n_rows))];
        if !rng.one_in(20) {
            // Often at the edge of a window.
            let mut ms = DISORDER_S * 1000 + row * step_ms - rng.range(0, DISORDER_S * 1000 - 1);
            if rng.one_in(4) && ms >= 5000 {
                ms -= ms % 5000;
            }
            fields.push(format!("\"ts\":\"{}\"", time(ms + 1_000_000_000_000)));
        }
        if !rng.one_in(10) {
            fields.push(format!(
                "\"other\":\"{}\"",
                time(rng.range(0, 2_000_000) + (1_000_000_000_000 - 1_000_000_000_000 * rng.range(0, 2)))
            ));
        }
        if !rng.one_in(8) {
            fields.push(format!("\"k\":\"{}\"", rng.pick(TEXTS).unwrap_or(&"")));
        }
        if !rng.one_in(8) {
            fields.push(format!("\"g\":{}", rng.range(0, 4)));
        }
        let sign = |rng: &mut Rng| if rng.one_in(3) { "-" } else { "" };
        if !rng.one_in(8) {
            fields.push(format!("\"v\":{}{}", sign(rng), rng.range(1, 1000)));
        }
        if !rng.one_in(8) {
            fields.push(format!("\"d\":{}{}.{:02}", sign(rng), rng.range(0, 1000), rng.range(0, 100)));
        }
        if !rng.one_in(8) {
            // Quarters: sums are exact whatever the order.
            fields.push(format!("\"x\":{}{}.{}", sign(rng), rng.range(0, 100), rng.pick(&["0", "25", "5", "75"]).unwrap_or(&"0")));
        }
        lines.push(format!("{{{}}}", fields.join(",")));
    }
    lines
}

/// The text of a time, from milliseconds since 1938-04-24T22:13:20Z, a trillion before 1970.
fn time(ms: u64) -> String {
    // Days since 0000-03-01, as Howard Hinnant's civil_from_days counts them.
    let (day_ms, epoch_days) = (86_400_000, 719_468);
    let shifted = ms + epoch_days * day_ms - 1_000_000_000_000;
    let (days, ms) = (shifted / day_ms, shifted % day_ms);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z", ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000)
}
