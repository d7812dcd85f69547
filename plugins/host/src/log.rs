//! The log capability: lines in the daemon's log, named by plugin and tool, few and short.

use crate::contract::gemmad::plugin::log::{Host, Level};
use crate::contract::gemmad::plugin::types::Error;
use crate::instance::Call;
use crate::limits::Reached;

impl Host for Call {
    async fn write(
        &mut self,
        level: Level,
        message: String,
    ) -> wasmtime::Result<Result<(), Error>> {
        self.enter().await?;
        Ok(self.write_line(level, &message))
    }
}

impl Call {
    fn write_line(&mut self, level: Level, message: &str) -> Result<(), Error> {
        let over = |key, limit| Error::OverLimit(Reached { key, limit }.to_string());
        if u64::try_from(message.len()).unwrap_or(u64::MAX) > self.limits.log_line_bytes {
            return Err(over("log_line_bytes", self.limits.log_line_bytes));
        }
        if self.used.log_lines >= self.limits.log_lines {
            return Err(over("log_lines", self.limits.log_lines));
        }
        self.used.log_lines += 1;
        let (plugin, tool, line) = (&*self.plugin, &*self.tool, one_line(message));
        match level {
            Level::Debug => tracing::debug!(plugin, tool, "{line}"),
            Level::Info => tracing::info!(plugin, tool, "{line}"),
            Level::Warn => tracing::warn!(plugin, tool, "{line}"),
        }
        Ok(())
    }
}

/// The message without characters that would forge further lines or steer a terminal.
fn one_line(message: &str) -> String {
    message.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_message_stays_one_line() {
        assert_eq!(one_line("a\nERROR forged\u{1b}[2J ü"), "a ERROR forged [2J ü");
    }
}
