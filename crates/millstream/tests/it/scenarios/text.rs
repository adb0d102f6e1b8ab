//! A life as text, so that the first line that differs says what is different; and what a refusal must say.

use std::fmt::Write as _;

use millstream::{Error, Result};
use serde_json::Value;

use super::case::{Columns, GoldBatch, Scenario, Steps};
use super::life::Lived;

/// Spark's life.
pub fn gold(schema: &Columns, steps: &Steps, scenario: &Scenario) -> String {
    let mut text = columns(schema);
    for (number, step) in steps.iter().enumerate() {
        let _ = writeln!(text, "step {number}");
        for batch in step {
            match batch {
                GoldBatch::Ran { batch, watermark, rows, operators } => {
                    let counted = operators.iter().map(|(_, _, _, _, n_late)| n_late).sum();
                    let n_late = scenario.late.get(batch).copied().unwrap_or(counted);
                    head(&mut text, *batch, watermark.as_deref(), n_late);
                    lines(&mut text, rows, scenario.is_ordered);
                }
                GoldBatch::Failed { error } => failure(&mut text, error),
            }
        }
    }
    text
}

/// Our life. `steps` is Spark's: an error is judged by its classes.
pub fn ours(lived: &Lived, steps: &Steps, is_ordered: bool) -> String {
    let mut text = columns(&lived.schema);
    for (number, step) in lived.steps.iter().enumerate() {
        let _ = writeln!(text, "step {number}");
        for batch in step {
            head(&mut text, batch.batch, batch.watermark.as_deref(), batch.n_late);
            lines(&mut text, &batch.rows, is_ordered);
        }
    }
    if let Some(error) = &lived.failed {
        let of_spark = steps.iter().flatten().find_map(|batch| match batch {
            GoldBatch::Failed { error } => Some(error),
            GoldBatch::Ran { .. } => None,
        });
        match of_spark {
            Some(classes) if has_class(error, classes) => failure(&mut text, classes),
            _ => failure(&mut text, &[error.to_string()]),
        }
    }
    text
}

/// What a refusal must say.
pub fn refusal(classes: &[String], names: &str) -> String {
    format!("refused ({}), naming '{names}'\n", classes.join(", "))
}

/// What ours says: the same, if it is of one of the classes (or of none) and names what it must.
pub fn our_refusal(lived: &Result<Lived>, classes: &[String], names: &str) -> std::result::Result<String, String> {
    match lived {
        Ok(lived) => Ok(match &lived.failed {
            Some(error) => format!("not refused, fails when it runs: {error}"),
            None => "not refused".to_owned(),
        }),
        Err(error) => {
            // The lines behind the first show the query, which has most words.
            let said = error.message().lines().take(1).chain(error.hint_text()).collect::<String>().to_lowercase();
            let is_named = said.contains(&names.to_lowercase());
            let is_same = error.error_class().is_none() || !classes.iter().any(|class| says_something(class)) || has_class(error, classes);
            if is_named && is_same { Ok(refusal(classes, names)) } else { Err(error.to_string()) }
        }
    }
}

/// Whether both lives answered, and the same.
pub fn our_alike(lives: &[Result<Lived>; 2]) -> std::result::Result<(), String> {
    let texts: Vec<String> = lives
        .iter()
        .map(|lived| match lived {
            Ok(Lived { failed: Some(error), .. }) | Err(error) => Err(error.to_string()),
            Ok(lived) => Ok(ours(lived, &Steps::new(), false)),
        })
        .collect::<std::result::Result<_, _>>()?;
    match texts.as_slice() {
        [live, restart] if live == restart => Ok(()),
        _ => Err(format!("the lives differ: {}", texts.join(" and "))),
    }
}

fn columns(schema: &Columns) -> String {
    let columns: Vec<String> = schema.iter().map(|(name, type_name)| format!("{name} {type_name}")).collect();
    format!("columns {}\n", columns.join(", "))
}

fn head(text: &mut String, batch: u64, watermark: Option<&str>, n_late: u64) {
    let _ = writeln!(text, "batch {batch}: watermark {}, {n_late} late", watermark.unwrap_or("none"));
}

fn lines(text: &mut String, rows: &[Vec<Value>], is_ordered: bool) {
    let mut lines: Vec<String> = rows.iter().map(|row| Value::Array(row.clone()).to_string()).collect();
    if !is_ordered {
        lines.sort_unstable();
    }
    for line in lines {
        let _ = writeln!(text, "  {line}");
    }
}

fn failure(text: &mut String, classes: &[String]) {
    let _ = writeln!(text, "fails: {}", classes.join(", "));
}

/// Whether the class tells more than that there was an error: not those without a name, nor names of Java classes.
fn says_something(class: &str) -> bool {
    !class.starts_with("_LEGACY_ERROR") && class != "STREAM_FAILED" && !class.contains(char::is_lowercase)
}

/// Whether the error is of one of Spark's classes; the part behind the dot is a hint rather than a kind of error.
fn has_class(error: &Error, classes: &[String]) -> bool {
    let kind = |class: &str| class.split('.').next().unwrap_or_default().to_owned();
    error.error_class().is_some_and(|ours| classes.iter().any(|class| kind(class) == kind(ours)))
}
