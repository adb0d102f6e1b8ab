//! `millstream check`: what a job would do, and what of it would be refused.

use std::fmt::Write;

use millstream::job::RunOptions;
use millstream::{Error, Job, Result, Session, Trigger};

use crate::args::CheckArgs;
use crate::print;
use crate::run::parse_settings;

pub async fn run(args: CheckArgs) -> Result<()> {
    let trigger = args.trigger.as_deref().map(str::parse::<Trigger>).transpose()?;
    let session = Session::new()?;
    let settings = parse_settings(&args.settings)?;
    let job = Job::open_with(&session, &args.job, &settings).await?;
    print::answer(plan_text(&job, &RunOptions { trigger }).await?.as_bytes())?;
    print::answer(format!("{}: ok\n", args.job.display()).as_bytes())
}

async fn plan_text(job: &Job, options: &RunOptions) -> Result<String> {
    let mut text = String::new();
    for dataset in job.check(options).await? {
        let mut line = |line: String| writeln!(text, "{line}").map_err(|error| Error::internal(error.to_string()));
        line(format!("{} {}", dataset.kind, dataset.name))?;
        if !dataset.upstream.is_empty() {
            line(format!("  reads {}", dataset.upstream.join(", ")))?;
        }
        for field in dataset.schema.fields() {
            line(format!("  {} {}", field.name(), millstream::type_name(field.data_type())))?;
        }
        dataset.plan.lines().try_for_each(|of_plan| line(format!("  | {of_plan}")))?;
    }
    Ok(text)
}
