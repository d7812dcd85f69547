//! D-Bus values as JSON, so that a story can compare what it received with what it reads like.

use serde_json::{Map, Value};
use zbus::wire::Variant;

/// Translates a D-Bus value. A variant is its content; keys of a dictionary become strings.
pub(super) fn from_variant(value: &Variant<'_>) -> Value {
    match value {
        Variant::U8(number) => (*number).into(),
        Variant::Bool(truth) => (*truth).into(),
        Variant::I16(number) => (*number).into(),
        Variant::U16(number) => (*number).into(),
        Variant::I32(number) => (*number).into(),
        Variant::U32(number) => (*number).into(),
        Variant::I64(number) => (*number).into(),
        Variant::U64(number) => (*number).into(),
        Variant::F64(number) => (*number).into(),
        Variant::Str(text) => text.as_str().into(),
        Variant::Signature(signature) => signature.to_string().into(),
        Variant::ObjectPath(path) => path.as_str().into(),
        Variant::Variant(inner) => from_variant(inner),
        Variant::Array(array) => array.inner().iter().map(from_variant).collect(),
        Variant::Dict(dict) => {
            let entries = dict.iter().map(|(key, value)| (key_text(key), from_variant(value)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        Variant::Structure(structure) => structure.fields().iter().map(from_variant).collect(),
        Variant::Fd(_) => Value::Null,
    }
}

fn key_text(key: &Variant<'_>) -> String {
    let key = from_variant(key);
    key.as_str().map_or_else(|| key.to_string(), str::to_owned)
}
