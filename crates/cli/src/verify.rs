//! `millstream verify`: whether a job's streaming tables are what a batch makes of their input.

use std::path::Path;
use std::process::ExitCode;

use millstream::verify::{DatasetReport, Difference, Verdict, VerifyOptions, verify};
use millstream::{Error, Result};

use crate::args::VerifyArgs;
use crate::print;
use crate::run::parse_settings;

/// What it ends with when no table differs and one cannot be compared.
const NOT_COMPARABLE: u8 = 3;

pub async fn run(args: VerifyArgs) -> Result<ExitCode> {
    let folder = match &args.keep {
        Some(folder) if folder.exists() => return Err(Error::invalid(format!("--keep '{}': it is there already", folder.display()))),
        Some(folder) => std::path::absolute(folder)?,
        None => std::env::temp_dir().join(format!("millstream-verify-{}", std::process::id())),
    };
    let options = VerifyOptions {
        input: std::path::absolute(&args.input)?,
        seed: args.seed,
        runs: args.runs,
        settings: parse_settings(&args.settings)?,
        folder: folder.clone(),
    };
    let verified = verify(&args.job, &options).await;
    if args.keep.is_none() {
        clear(&folder);
    }
    let reports = verified?;
    let mut text = String::new();
    for report in &reports {
        describe(report, args.seed, &mut text);
    }
    print::answer(text.as_bytes())?;
    let is = |wanted: fn(&Verdict) -> bool| reports.iter().any(|report| wanted(&report.verdict));
    Ok(if is(|verdict| matches!(verdict, Verdict::Different { .. })) {
        ExitCode::FAILURE
    } else if is(|verdict| matches!(verdict, Verdict::NotComparable(_))) {
        ExitCode::from(NOT_COMPARABLE)
    } else {
        ExitCode::SUCCESS
    })
}

/// Scratch files that cannot be removed are the machine's business.
fn clear(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder)
        && folder.exists()
    {
        tracing::warn!(folder = %folder.display(), %error, "could not remove what verify had written");
    }
}

fn describe(report: &DatasetReport, seed: u64, text: &mut String) {
    let DatasetReport { name, n_runs, n_lives, n_crashes, n_rows, n_late, n_partly_late, .. } = report;
    match &report.verdict {
        Verdict::Equal => {
            let late = if *n_late == 0 { String::new() } else { format!(", {n_late} late rows left out") };
            let partly = match n_partly_late {
                0 => String::new(),
                n => format!(", {n} rows that were late for some of their windows left out of stream and batch"),
            };
            *text += &format!("{name}: equal, {n_rows} rows ({n_runs} streams, {n_lives} starts, {n_crashes} crashes{late}{partly})\n");
        }
        Verdict::NotComparable(why) => *text += &format!("{name}: not comparable: {why}\n"),
        Verdict::Different { run, difference } => {
            *text += &format!("{name}: DIFFERENT in stream {run} (--seed {seed}), where the batch has {n_rows} rows\n");
            let Difference { columns, .. } = difference;
            side("only in the stream", columns, difference.n_only_in_stream, &difference.only_in_stream, text);
            side("only in the batch", columns, difference.n_only_in_batch, &difference.only_in_batch, text);
            side("taken back by the stream and not given before", columns, difference.n_taken_back, &difference.taken_back, text);
        }
    }
}

fn side(what: &str, columns: &[String], n_rows: usize, first: &[Vec<String>], text: &mut String) {
    if n_rows == 0 {
        return;
    }
    *text += &format!("  {what}: {n_rows} rows{}\n", if n_rows > first.len() { ", of which the first" } else { "" });
    for row in first {
        let cells: Vec<String> = columns.iter().zip(row).map(|(column, cell)| format!("{column}={cell}")).collect();
        *text += &format!("    {}\n", cells.join(" "));
    }
}
