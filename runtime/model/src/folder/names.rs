//! What the inputs and outputs of text graphs are called.

/// Names of ports; `%d` stands for the number of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) input_ids: String,
    pub(crate) inputs_embeds: String,
    pub(crate) per_layer_inputs: String,
    pub(crate) image_features: String,
    pub(crate) audio_features: String,
    pub(crate) attention_mask: String,
    pub(crate) position_ids: String,
    pub(crate) past_keys: String,
    pub(crate) past_values: String,
    pub(crate) present_keys: String,
    pub(crate) present_values: String,
    pub(crate) logits: String,
}

/// The names that published conversions share.
impl Default for Names {
    fn default() -> Self {
        Self {
            input_ids: "input_ids".into(),
            inputs_embeds: "inputs_embeds".into(),
            per_layer_inputs: "per_layer_inputs".into(),
            image_features: "image_features".into(),
            audio_features: "audio_features".into(),
            attention_mask: "attention_mask".into(),
            position_ids: "position_ids".into(),
            past_keys: "past_key_values.%d.key".into(),
            past_values: "past_key_values.%d.value".into(),
            present_keys: "present.%d.key".into(),
            present_values: "present.%d.value".into(),
            logits: "logits".into(),
        }
    }
}

impl Names {
    /// The name that a key of `genai_config.json` stands for.
    pub(super) fn slot(&mut self, key: &str) -> Option<&mut String> {
        Some(match key {
            "input_ids" => &mut self.input_ids,
            "inputs_embeds" | "embeddings" => &mut self.inputs_embeds,
            "per_layer_inputs" => &mut self.per_layer_inputs,
            "image_features" => &mut self.image_features,
            "audio_features" => &mut self.audio_features,
            "attention_mask" => &mut self.attention_mask,
            "position_ids" => &mut self.position_ids,
            "past_key_names" => &mut self.past_keys,
            "past_value_names" => &mut self.past_values,
            "present_key_names" => &mut self.present_keys,
            "present_value_names" => &mut self.present_values,
            "logits" => &mut self.logits,
            _ => return None,
        })
    }

    /// The layer that a port belongs to, by a name with `%d` in it.
    pub(crate) fn layer_of(pattern: &str, port: &str) -> Option<usize> {
        let (before, after) = pattern.split_once("%d")?;
        let number = port.strip_prefix(before)?.strip_suffix(after)?;
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| number.parse().ok()).flatten()
    }

    /// The port of a layer, by a name with `%d` in it.
    pub(crate) fn of_layer(pattern: &str, layer: usize) -> String {
        pattern.replacen("%d", &layer.to_string(), 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_found_in_names_and_put_there() {
        let names = Names::default();
        let check =
            |port: &str, expected| assert_eq!(Names::layer_of(&names.past_keys, port), expected);
        check("past_key_values.0.key", Some(0));
        check("past_key_values.41.key", Some(41));
        check("past_key_values.41.value", None);
        check("past_key_values.+1.key", None);
        check("past_key_values..key", None);
        check("present.1.key", None);
        assert_eq!(Names::layer_of("no layer", "no layer"), None);
        assert_eq!(Names::of_layer(&names.present_values, 7), "present.7.value");
    }
}
