//! What the daemon does, what is missing and how to mend it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;

use serde_json::{Value, json};
use zbus::names::InterfaceName;
use zbus::{OwnedVariant, fdo};

use super::harmless;
use crate::cli::Output;
use crate::config::Bus;
use crate::publish::dbus::{NAME, PATH};

/// Looks the state up and prints it; gives the exit code.
pub(super) async fn run(output: Output, bus: &Bus) -> anyhow::Result<u8> {
    let connection = super::connect(bus).await?;
    let properties = fdo::PropertiesProxy::new(&connection, NAME, PATH).await?;
    let all = properties.get_all(InterfaceName::from_static_str(NAME)?).await?;
    let status = Seen::read(all);
    let mut out = std::io::stdout();
    match output.json {
        true => writeln!(out, "{}", status.as_json())?,
        false => out.write_all(harmless(&status.as_text()).as_bytes())?,
    }
    Ok(0)
}

/// The state as the daemon shows it.
#[derive(Debug, Default)]
struct Seen {
    state: String,
    detail: String,
    muted: bool,
    model: String,
    engine: String,
    version: String,
    waiting: u32,
    answered: u64,
    last_answer: String,
    last_figures: HashMap<String, f64>,
    parts: Vec<(String, bool, String)>,
    tools: Vec<String>,
    peak_rss: u64,
}

impl Seen {
    fn read(mut all: HashMap<String, OwnedVariant>) -> Self {
        let mut parts: Vec<(String, bool, String)> =
            take::<HashMap<String, (bool, String)>>(&mut all, "Parts")
                .into_iter()
                .map(|(name, (working, detail))| (name, working, detail))
                .collect();
        parts.sort();
        Self {
            state: take(&mut all, "State"),
            detail: take(&mut all, "Detail"),
            muted: take(&mut all, "Muted"),
            model: take(&mut all, "Model"),
            engine: take(&mut all, "Engine"),
            version: take(&mut all, "Version"),
            waiting: take(&mut all, "Waiting"),
            answered: take(&mut all, "AnsweredCount"),
            last_answer: take(&mut all, "LastAnswer"),
            last_figures: take(&mut all, "LastFigures"),
            parts,
            tools: take(&mut all, "Tools"),
            peak_rss: take(&mut all, "PeakRss"),
        }
    }

    fn as_json(&self) -> Value {
        let part = |(name, working, detail): &(String, bool, String)| {
            (name.clone(), json!({"working": working, "detail": detail}))
        };
        json!({
            "state": self.state,
            "detail": self.detail,
            "muted": self.muted,
            "model": self.model,
            "engine": self.engine,
            "version": self.version,
            "waiting": self.waiting,
            "answered": self.answered,
            "last_answer": self.last_answer,
            "last": self.last_figures,
            "parts": self.parts.iter().map(part).collect::<serde_json::Map<_, _>>(),
            "tools": self.tools,
            "peak_rss_bytes": self.peak_rss,
        })
    }

    fn as_text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            if !value.is_empty() {
                let _ = writeln!(text, "{name:<11} {value}");
            }
        };
        let muted = if self.muted { ", muted" } else { "" };
        let detail = if self.detail.is_empty() { "" } else { ": " };
        line("state", &format!("{}{muted}{detail}{}", self.state, self.detail));
        line("model", &self.model);
        line("engine", &self.engine);
        line("questions", &format!("{} waiting, {} answered", self.waiting, self.answered));
        line("last answer", &self.last_answer);
        line("last took", &self.last_took());
        line("tools", &self.tools.join(", "));
        line("memory", &format!("{} MiB at most so far", self.peak_rss >> 20));
        line("version", &self.version);
        for (name, working, detail) in &self.parts {
            // What the configuration switched off is neither there nor missed.
            let word = match (working, detail.strip_prefix("off: ")) {
                (true, _) => "ok",
                (false, Some(_)) => "-",
                (false, None) => "missing",
            };
            let _ = writeln!(text, "{name:<11} {word:<8} {detail}");
        }
        text
    }

    fn last_took(&self) -> String {
        let figure = |name: &str| self.last_figures.get(name).copied().unwrap_or_default();
        if self.last_figures.is_empty() {
            return String::new();
        }
        format!(
            "{:.2} s, first word after {:.2} s, {:.1} tokens/s, {} + {} tokens ({} from the cache)",
            figure("total_ms") / 1e3,
            figure("first_text_ms") / 1e3,
            figure("tokens_per_second"),
            figure("prompt_tokens"),
            figure("reply_tokens"),
            figure("cached_tokens"),
        )
    }
}

/// A property, or its empty value where an older daemon lacks it.
fn take<T: TryFrom<OwnedVariant> + Default>(
    all: &mut HashMap<String, OwnedVariant>,
    name: &str,
) -> T {
    all.remove(name).and_then(|value| T::try_from(value).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(seen: &Seen, expected: &[&str]) {
        let text = seen.as_text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let seen = Seen { state: "degraded".into(), detail: "no model".into(), ..Seen::default() };
        check(
            &seen,
            &[
                "state       degraded: no model",
                "questions   0 waiting, 0 answered",
                "memory      0 MiB at most so far",
            ],
        );
    }

    #[test]
    fn parts_say_how_they_are() {
        let parts = vec![
            ("broker".to_owned(), false, "mqtt://house:1883: refused".to_owned()),
            ("bus".to_owned(), true, "there".to_owned()),
            ("camera".to_owned(), false, "off: [camera] source".to_owned()),
        ];
        let seen = Seen { state: "ready".into(), muted: true, parts, ..Seen::default() };
        check(
            &seen,
            &[
                "state       ready, muted",
                "questions   0 waiting, 0 answered",
                "memory      0 MiB at most so far",
                "broker      missing  mqtt://house:1883: refused",
                "bus         ok       there",
                "camera      -        off: [camera] source",
            ],
        );
    }
}
