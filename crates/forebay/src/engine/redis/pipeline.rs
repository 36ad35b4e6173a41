//! Several commands in one round trip.

use redis::{Cmd, Pipeline, RedisResult, Value, aio::MultiplexedConnection};

/// The commands as one pipeline.
pub(super) fn pipeline(commands: impl IntoIterator<Item = Cmd>) -> Pipeline {
    let mut pipeline = Pipeline::new();
    for command in commands {
        pipeline.add_command(command);
    }
    pipeline
}

/// Sends commands, and reads a reply to each.
pub(super) async fn send(
    connection: &mut MultiplexedConnection,
    commands: &Pipeline,
) -> RedisResult<Vec<Value>> {
    let mut each = commands.cmd_iter();
    if let (Some(command), None) = (each.next(), each.next()) {
        return Ok(vec![connection.send_packed_command(command).await?]);
    }
    connection.send_packed_commands(commands, 0, commands.len()).await
}

/// The command that loads the text of a script.
pub(super) fn load_text(script: &str) -> Cmd {
    let mut command = words("SCRIPT LOAD");
    command.arg(script);
    command
}

/// A command of words that have a space between them.
pub(super) fn words(text: &str) -> Cmd {
    let mut command = Cmd::new();
    command.arg(text.split(' ').collect::<Vec<_>>());
    command
}
