//! `millstream check`: what a job would do, and what of it would be refused.

use millstream::{Job, Result, Session};

use crate::args::CheckArgs;
use crate::run::parse_settings;

#[expect(clippy::print_stdout, reason = "it is what the command is for")]
pub async fn run(args: CheckArgs) -> Result<()> {
    let session = Session::new()?;
    let settings = parse_settings(&args.settings)?;
    let job = Job::open_with(&session, &args.job, &settings).await?;
    for dataset in job.check().await? {
        println!("{} {}", dataset.kind, dataset.name);
        if !dataset.upstream.is_empty() {
            println!("  reads {}", dataset.upstream.join(", "));
        }
        for field in dataset.schema.fields() {
            println!("  {} {}", field.name(), millstream::type_name(field.data_type()));
        }
        for line in dataset.plan.lines() {
            println!("  | {line}");
        }
    }
    println!("{}: ok", args.job.display());
    Ok(())
}
