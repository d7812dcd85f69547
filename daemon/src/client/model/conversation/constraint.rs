//! What the answer to a conversation may consist of: the fields `tool_choice` and `response_format`
//! of the chat completions format, which templates do not read.

use anyhow::{bail, ensure};
use gemma_runtime::{Constraint, ToolChoice};
use serde_json::{Map, Value, json};

const CHOICES: &str = "\"auto\", \"none\", \"required\" or \
                       {\"type\": \"function\", \"function\": {\"name\": ...}}";
const FORMATS: &str = "text, json_object, json_schema, regex or choice";

/// Takes both fields out of `fields`.
///
/// # Errors
/// When one is not in the format, or they contradict each other.
pub(super) fn take(fields: &mut Map<String, Value>) -> anyhow::Result<Constraint> {
    let choice = fields.remove("tool_choice").filter(|choice| !choice.is_null());
    let choice = choice.as_ref().map(tool_choice).transpose()?;
    let format = fields.remove("response_format").filter(|format| !format.is_null());
    let format = format.as_ref().map(response_format).transpose()?.flatten();
    match (choice, format) {
        (None, None) => Ok(Constraint::Free),
        (Some(choice), None) => Ok(Constraint::Tools(choice)),
        (None | Some(ToolChoice::Auto | ToolChoice::Forbidden), Some(format)) => Ok(format),
        (Some(ToolChoice::Required | ToolChoice::Named(_)), Some(_)) => {
            bail!("response_format and a tool_choice that requires a call exclude each other")
        }
    }
}

fn tool_choice(choice: &Value) -> anyhow::Result<ToolChoice> {
    let name = choice["function"]["name"].as_str().or_else(|| choice["name"].as_str());
    Ok(match (choice.as_str(), name) {
        (Some("auto"), _) => ToolChoice::Auto,
        (Some("none"), _) => ToolChoice::Forbidden,
        (Some("required"), _) => ToolChoice::Required,
        (None, Some(name)) => ToolChoice::Named(name.to_owned()),
        (Some(_), _) | (None, None) => bail!("tool_choice is {choice}; expected {CHOICES}"),
    })
}

/// Nothing where any text will do.
fn response_format(format: &Value) -> anyhow::Result<Option<Constraint>> {
    Ok(Some(match format["type"].as_str() {
        Some("text") => return Ok(None),
        Some("json_object") => Constraint::JsonSchema(json!({"type": "object"})),
        Some("json_schema") => {
            let schema = [&format["json_schema"]["schema"], &format["schema"]];
            let schema = schema.into_iter().find(|schema| !schema.is_null());
            let Some(schema) = schema else {
                bail!("response_format.json_schema.schema is missing; expected a JSON schema");
            };
            Constraint::JsonSchema(schema.clone())
        }
        Some("regex") => match format["pattern"].as_str() {
            Some(pattern) => Constraint::Regex(pattern.to_owned()),
            None => bail!("response_format.pattern is missing; expected a regular expression"),
        },
        Some("choice") => Constraint::Choice(choices(&format["choices"])?),
        Some(_) | None => bail!("response_format is {format}; expected a type of {FORMATS}"),
    }))
}

fn choices(choices: &Value) -> anyhow::Result<Vec<String>> {
    let texts = choices.as_array().map(Vec::as_slice).unwrap_or_default();
    let texts: Vec<String> =
        texts.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect();
    let given = choices.as_array().map_or(0, Vec::len);
    ensure!(given > 0 && texts.len() == given, "response_format.choices is no list of texts");
    Ok(texts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn constraint(fields: Value) -> anyhow::Result<Constraint> {
        let Value::Object(mut fields) = fields else { bail!("no fields") };
        let constraint = take(&mut fields);
        assert!(fields.is_empty(), "{fields:?} would reach the template");
        constraint
    }

    #[test]
    fn both_fields_are_read() {
        let check = |fields: Value, expected: Constraint| {
            assert_eq!(constraint(fields).unwrap(), expected);
        };
        check(json!({}), Constraint::Free);
        check(json!({"tool_choice": null, "response_format": null}), Constraint::Free);
        check(json!({"response_format": {"type": "text"}}), Constraint::Free);
        check(json!({"tool_choice": "auto"}), Constraint::Tools(ToolChoice::Auto));
        check(json!({"tool_choice": "none"}), Constraint::Tools(ToolChoice::Forbidden));
        check(json!({"tool_choice": "required"}), Constraint::Tools(ToolChoice::Required));
        let named = json!({"type": "function", "function": {"name": "now"}});
        let now = Constraint::Tools(ToolChoice::Named("now".into()));
        check(json!({"tool_choice": named}), now);
        let schema = json!({"type": "integer"});
        let format = json!({"type": "json_schema", "json_schema": {"schema": schema}});
        check(json!({"response_format": format}), Constraint::JsonSchema(schema));
        let object = Constraint::JsonSchema(json!({"type": "object"}));
        check(json!({"response_format": {"type": "json_object"}, "tool_choice": "none"}), object);
        let regex = json!({"type": "regex", "pattern": "[0-9]+"});
        check(json!({"response_format": regex}), Constraint::Regex("[0-9]+".into()));
        let choice = json!({"type": "choice", "choices": ["yes", "no"]});
        let both = Constraint::Choice(vec!["yes".into(), "no".into()]);
        check(json!({"response_format": choice}), both);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let check = |fields: Value, expected: &str| {
            let error = constraint(fields).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(json!({"tool_choice": "always"}), "expected \"auto\", \"none\", \"required\"");
        check(json!({"tool_choice": {}}), "tool_choice is {}");
        check(json!({"response_format": "json"}), "expected a type of text, json_object");
        check(json!({"response_format": {"type": "json_schema"}}), "schema is missing");
        check(json!({"response_format": {"type": "regex"}}), "pattern is missing");
        check(json!({"response_format": {"type": "choice", "choices": [1]}}), "no list of texts");
        check(
            json!({"response_format": {"type": "json_object"}, "tool_choice": "required"}),
            "exclude each other",
        );
    }
}
