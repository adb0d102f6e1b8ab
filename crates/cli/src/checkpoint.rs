//! `millstream checkpoint`: shows and verifies checkpoints.

use millstream::{Result, checkpoint};

use crate::args::CheckpointCommand;
use crate::print;

pub async fn run(command: CheckpointCommand) -> Result<()> {
    let lines = match command {
        CheckpointCommand::Show { dir, json } => {
            checkpoint::show(&dir, if json { checkpoint::ShowFormat::Json } else { checkpoint::ShowFormat::Text }).await?
        }
        CheckpointCommand::Verify { dir } => vec![checkpoint::verify(&dir).await?],
    };
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    print::answer(text.as_bytes())
}
