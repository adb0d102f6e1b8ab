//! `millstream checkpoint`: shows and verifies checkpoints.

use millstream::{Result, checkpoint};

use crate::args::CheckpointCommand;

#[expect(clippy::print_stdout, reason = "it is what the command is for")]
pub async fn run(command: CheckpointCommand) -> Result<()> {
    match command {
        CheckpointCommand::Show { dir, json } => {
            for line in checkpoint::show(&dir, if json { checkpoint::ShowFormat::Json } else { checkpoint::ShowFormat::Text }).await? {
                println!("{line}");
            }
        }
        CheckpointCommand::Verify { dir } => println!("{}", checkpoint::verify(&dir).await?),
    }
    Ok(())
}
