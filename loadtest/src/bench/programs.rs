//! Other programs, run to their end.

use crate::error::LoadtestError;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::process::Command;

/// A program that will be given arguments. It is in a group of its own: Ctrl-C in a terminal goes to this
/// program alone, which ends the others in their order.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    command
}

/// What it says on standard output, if it ends well within `patience`.
pub(crate) async fn output(command: Command, patience: Duration) -> Result<String, LoadtestError> {
    let name = name(&command);
    let output = finish(command, patience).await?;
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let said = format!("{}\n{}", text(&output.stdout).trim(), text(&output.stderr).trim());
    Err(LoadtestError::Program { name, problem: format!("{}\n{}", output.status, said.trim()) })
}

/// How it ends and what it says, if it ends within `patience`.
pub(crate) async fn finish(mut command: Command, patience: Duration) -> Result<Output, LoadtestError> {
    let name = name(&command);
    let failed = |problem: String| LoadtestError::Program { name: name.clone(), problem };
    match tokio::time::timeout(patience, command.output()).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("it has not ended after {} s", patience.as_secs()))),
    }
}

fn name(command: &Command) -> String {
    let command = command.as_std();
    let file = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
    let first = command.get_args().find(|argument| !argument.to_string_lossy().starts_with('-'));
    first.map_or_else(|| file.to_string(), |first| format!("{file} {}", first.to_string_lossy()))
}

/// Its text, whatever it is.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
