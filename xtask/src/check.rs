//! `cargo xtask check`: everything about the tree that needs no test to run.
//!
//! Clippy and the docs build use the same feature set and profile as the tests (`--workspace`, dev), so a cold CI
//! machine compiles each third-party crate twice (metadata only, then code), never three times.

use crate::run::{Outcome, Steps, cargo, status};
use crate::{tidy, tools};

/// Runs all checks, cheapest first, and reports every one that failed.
pub fn run(args: &[String]) -> Outcome {
    if let Some(arg) = args.first() {
        return Err(format!("unknown argument {arg:?}"));
    }
    let mut steps = Steps::default();
    steps.step("fmt", || status(cargo().args(["fmt", "--all", "--", "--check"])));
    steps.step("tidy", tidy::run);
    steps.step("deny", deny);
    steps.step("clippy", || status(cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])));
    steps
        .step("docs", || status(cargo().args(["doc", "--workspace", "--no-deps", "--lib", "--locked"]).env("RUSTDOCFLAGS", "-D warnings")));
    steps.finish()
}

/// cargo-deny: licences, bans and sources always; advisories where their database can be fetched.
fn deny() -> Outcome {
    let deny = tools::cargo_deny()?;
    status(tools::command(&deny).args(["--locked", "check", "licenses", "bans", "sources"]))?;
    let fetched = tools::command(&deny).args(["fetch", "db"]).output();
    if fetched.is_ok_and(|o| o.status.success()) {
        status(tools::command(&deny).args(["--locked", "check", "--disable-fetch", "advisories"]))
    } else {
        println!("advisories NOT checked: the advisory database cannot be reached from this machine");
        Ok(())
    }
}
