//! Bounds of a schema: of numbers, of lengths and of counts.

use serde_json::{Map, Value, json};

/// Whole numbers beyond this are not exact in every JSON reader.
const INTEGER_MAX: f64 = 9_007_199_254_740_991.0;

/// Fractions beyond this are written with an exponent, which a bounded number has not.
const NUMBER_MAX: f64 = 1e15;

/// Lengths and counts beyond this cost memory; an upper bound above it is lowered to it.
const COUNT_MAX: usize = 10_000;

/// How many of something there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::grammar) struct Count {
    /// No fewer.
    pub(in crate::grammar) least: usize,
    /// No more.
    pub(in crate::grammar) most: Option<usize>,
}

/// The range of a number.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::grammar) struct Range {
    least: Option<f64>,
    most: Option<f64>,
    above: Option<f64>,
    below: Option<f64>,
    multiple_of: Option<f64>,
}

impl Range {
    /// Reads the keywords of a number's range.
    pub(super) fn read(schema: &Map<String, Value>) -> Result<Self, String> {
        let number = |key: &str| match schema.get(key) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(number.as_f64()),
            Some(_) => Err(format!("its {key} is no number")),
        };
        Ok(Self {
            least: number("minimum")?,
            most: number("maximum")?,
            above: number("exclusiveMinimum")?,
            below: number("exclusiveMaximum")?,
            multiple_of: number("multipleOf")?,
        })
    }

    /// Whether every number is in it.
    pub(in crate::grammar) fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// A schema of whole numbers in this range, bounded on both sides: what has no bound may have
    /// any number of digits.
    pub(in crate::grammar) fn integers(&self) -> Value {
        let least = self.least.unwrap_or(-INTEGER_MAX).max(self.above.map_or(f64::MIN, next_whole));
        let most = self.most.unwrap_or(INTEGER_MAX).min(self.below.map_or(f64::MAX, last_whole));
        self.bounded("integer", least.ceil(), most.floor())
    }

    /// A schema of numbers in this range, bounded on both sides. A bound that is itself excluded is
    /// moved by what a long fraction could be rounded by.
    pub(in crate::grammar) fn numbers(&self) -> Value {
        let margin = |bound: f64| bound.abs().max(1.0) * 1e-9;
        let above = self.above.map_or(f64::MIN, |above| above + margin(above));
        let below = self.below.map_or(f64::MAX, |below| below - margin(below));
        let least = self.least.unwrap_or(-NUMBER_MAX).max(above);
        let most = self.most.unwrap_or(NUMBER_MAX).min(below);
        self.bounded("number", least, most)
    }

    fn bounded(&self, kind: &str, least: f64, most: f64) -> Value {
        let mut schema = json!({
            "x-guidance": {"whitespace_flexible": false},
            "type": kind,
            "minimum": least,
            "maximum": most,
        });
        if let Some(multiple_of) = self.multiple_of {
            schema["multipleOf"] = json!(multiple_of);
        }
        schema
    }
}

fn next_whole(above: f64) -> f64 {
    above.floor() + 1.0
}

fn last_whole(below: f64) -> f64 {
    below.ceil() - 1.0
}

/// Reads the keywords of a length or a count.
pub(super) fn count(schema: &Map<String, Value>, least: &str, most: &str) -> Result<Count, String> {
    let number = |key: &str| match schema.get(key) {
        None => Ok(None),
        Some(value) => match value.as_u64().and_then(|number| usize::try_from(number).ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(format!("its {key} is no whole number, 0 or more")),
        },
    };
    let (lower, upper) = (number(least)?.unwrap_or(0), number(most)?);
    if lower > COUNT_MAX || upper.is_some_and(|upper| upper < lower) {
        return Err(format!("its {least} is above {COUNT_MAX} or above its {most}"));
    }
    Ok(Count { least: lower, most: upper.map(|upper| upper.min(COUNT_MAX)) })
}

/// Whether a listed value keeps the bounds beside the list.
pub(super) fn fits_bounds(value: &Value, schema: &Map<String, Value>) -> bool {
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    let within = |number: f64, least: &str, most: &str| {
        bound(least).is_none_or(|least| number >= least)
            && bound(most).is_none_or(|most| number <= most)
    };
    match value {
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or(f64::NAN);
            within(number, "minimum", "maximum")
                && bound("exclusiveMinimum").is_none_or(|above| number > above)
                && bound("exclusiveMaximum").is_none_or(|below| number < below)
        }
        Value::String(text) => within(text.chars().count() as f64, "minLength", "maxLength"),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => true,
    }
}
