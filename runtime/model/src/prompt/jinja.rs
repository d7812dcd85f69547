//! The Jinja engine, set up to behave as the one that the published templates were written for.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State};

/// Name of the one template in the environment.
pub(super) const NAME: &str = "chat_template";

/// Compiles a chat template.
pub(super) fn environment(source: String) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_formatter(write_like_python);
    environment.add_function("raise_exception", raise_exception);
    environment.add_test("sequence", is_sequence);
    environment.add_filter("dictsort", dictsort);
    environment.add_filter("upper", upper);
    environment.add_filter("trim", trim);
    environment.add_template_owned(NAME, source)?;
    Ok(environment)
}

/// What went wrong, in one line, with the line of the template.
pub(super) fn reason(error: &Error) -> String {
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) => format!("{detail} (line {line} of the template)"),
        None => detail,
    }
}

/// A template says no.
fn raise_exception(reason: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, reason))
}

/// In Python a string and a mapping are sequences too.
fn is_sequence(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::String)
}

/// In Python the letters of all scripts are compared without regard to case, and keys that differ in
/// nothing else keep their order.
fn dictsort(mapping: &Value, options: Kwargs) -> Result<Value, Error> {
    if options.args().next().is_some() {
        return minijinja::filters::dictsort(mapping, options);
    }
    let mut pairs = Vec::new();
    for key in mapping.try_iter()? {
        let value = mapping.get_item(&key)?;
        pairs.push((key.to_string().to_lowercase(), Value::from(vec![key, value])));
    }
    pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(pairs.into_iter().map(|(_, pair)| pair).collect())
}

/// In Python what is undefined prints as nothing, and whatever else prints can be made upper case.
fn upper(value: &Value) -> String {
    value.to_string().to_uppercase()
}

fn trim(value: &Value) -> String {
    trimmed(&value.to_string()).to_owned()
}

/// A text without white space around it. Python's is Unicode's, and four control characters that
/// separate records.
pub(super) fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
}

/// Numbers print as in Python, where a large or small one has an exponent.
fn write_like_python(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), Error> {
    let fraction = value.kind() == ValueKind::Number && !value.is_integer();
    if fraction && let Ok(number) = f64::try_from(value.clone()) {
        return out.write_str(&python_float(number)).map_err(Error::from);
    }
    minijinja::escape_formatter(out, state, value)
}

/// Shortest digits that read back as the same number, in Python's notation.
pub(super) fn python_float(number: f64) -> String {
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return number.to_string();
    };
    match exponent.parse::<i32>() {
        Ok(exponent) if (-4..16).contains(&exponent) => format!("{number:?}"),
        Ok(exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
        Err(_) => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_in_python() {
        let check = |number: f64, expected: &str| assert_eq!(python_float(number), expected);
        check(-1.5, "-1.5");
        check(3.0, "3.0");
        check(0.0, "0.0");
        check(0.1 + 0.2, "0.30000000000000004");
        check(1e16, "1e+16");
        check(1e15, "1000000000000000.0");
        check(1.5e300, "1.5e+300");
        check(0.0001, "0.0001");
        check(0.00001, "1e-05");
    }
}
