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
    let options = RunOptions { trigger, allow_state_drop: args.allow_state_drop };
    if let Some(checkpoint) = &args.against {
        return against(&job, checkpoint, args.dataset.as_deref(), &options).await;
    }
    print::answer(plan_text(&job, &options).await?.as_bytes())?;
    print::answer(format!("{}: ok\n", args.job.display()).as_bytes())
}

/// A line for each stateful operator: what becomes of its state, and why.
async fn against(job: &Job, checkpoint: &str, dataset: Option<&str>, options: &RunOptions) -> Result<()> {
    let comparison = job.compare_with(checkpoint, dataset, options).await?;
    let mut text: String = comparison.changes.iter().map(|change| format!("{change}\n")).collect();
    if comparison.changes.is_empty() {
        text = "there is no state\n".to_owned();
    }
    if let Some(refusal) = &comparison.query_refusal {
        text += &format!("refused   the query: {}\n", refusal.message);
    }
    if comparison.is_closed_by_flush {
        text += "closed    the checkpoint was closed by a flush, behind which every row is late: a start is refused if a source has new input\n";
    }
    print::answer(text.as_bytes())?;
    if let Some(refusal) = &comparison.query_refusal {
        return Err(Error::invalid(format!("the job cannot go on from checkpoint '{checkpoint}'")).hint(refusal.hint.clone()));
    }
    if comparison.is_refused() {
        let of_table = dataset.map(|table| format!("{table}:")).unwrap_or_default();
        let names: Vec<String> = comparison.must_begin_afresh.iter().map(|name| format!("{of_table}{name}")).collect();
        return Err(Error::invalid(format!("the job cannot go on from checkpoint '{checkpoint}'")).hint(format!(
            "undo the change, or let what cannot go on begin afresh with --allow-state-drop {}, or start with a new checkpointLocation",
            names.join(",")
        )));
    }
    print::answer(b"ok\n")
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
