//! Arguments as the guest gets them: JSON in which a whole number is written as one. A model may
//! write 40.0, which JSON Schema counts as an integer and most parsers of integers do not.

use gemma_types::Arguments;
use serde_json::{Number, Value};

/// Whole numbers up to this are exact as `f64`.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// The arguments of a call as JSON text.
pub(crate) fn to_json(arguments: &Arguments) -> String {
    whole(&Value::Object(arguments.clone())).to_string()
}

fn whole(value: &Value) -> Value {
    match value {
        Value::Number(number) => Value::Number(whole_number(number)),
        Value::Array(items) => Value::Array(items.iter().map(whole).collect()),
        Value::Object(properties) => {
            let properties = properties.iter();
            Value::Object(properties.map(|(name, value)| (name.clone(), whole(value))).collect())
        }
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

fn whole_number(number: &Number) -> Number {
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() <= EXACT_MAX => {
            Number::from(float as i64)
        }
        _ => number.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(given: Value, expected: &str) {
        let Value::Object(given) = given else { unreachable!("arguments are objects") };
        assert_eq!(to_json(&given), expected);
    }

    #[test]
    fn a_whole_number_is_written_as_one() {
        check(json!({"a": 40.0, "b": [-2.0, {"c": 0.0}]}), r#"{"a":40,"b":[-2,{"c":0}]}"#);
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        check(
            json!({"z": 40.5, "a": 1e300, "b": u64::MAX, "c": "4.0", "d": null}),
            r#"{"z":40.5,"a":1e+300,"b":18446744073709551615,"c":"4.0","d":null}"#,
        );
    }
}
