//! What of the fast graph can be switched on and off by itself.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The switches. Each gain can be measured without the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levers {
    /// Layers behind the last one with keys and values of its own run only for the rows whose
    /// logits are wanted.
    pub share_rows: bool,
    /// In the last layer with keys and values of its own, all but those run only for these rows.
    pub late_query: bool,
    /// Layers that see a window keep that window and no more.
    pub ring: bool,
    /// Gate and up product are one operator.
    pub gated: bool,
    /// Per-layer inputs of the layers that run for few rows are projected for those rows only.
    pub split_projection: bool,
    /// How keys and values are kept.
    pub kv: Kv,
    /// Whether activations are rounded to eight bits for products with weights of few bits.
    pub int8: Int8,
    /// How the scales of weights of few bits are stored.
    pub scales: Stored,
}

/// How the scales of weights of few bits are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stored {
    /// In 16-bit floats, but in a mixture of experts as they are published: there the least change may
    /// let a token go to other experts.
    Auto,
    /// As they are published, where they are published.
    Published,
    /// In 16-bit floats in a file of their own, where these are exact enough.
    F16,
}

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kv {
    /// As the published graph keeps them.
    Published,
    /// In 32-bit floats.
    F32,
    /// In 16-bit floats.
    F16,
}

/// Whether activations are rounded to eight bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Int8 {
    /// Where the published graph says so.
    Published,
    /// In all products with weights of few bits.
    On,
    /// Nowhere.
    Off,
}

impl Default for Levers {
    fn default() -> Self {
        Self {
            share_rows: true,
            late_query: true,
            ring: true,
            gated: true,
            split_projection: true,
            kv: Kv::Published,
            int8: Int8::Published,
            scales: Stored::Auto,
        }
    }
}

/// Names of the levers with what they may be set to.
pub const KNOWN_LEVERS: &str = "share_rows, late_query, ring, gated, split_projection=on|off, \
                     kv=published|f32|f16, int8=published|on|off, scales=auto|published|f16";

impl Levers {
    /// Sets a lever, as in `gated=off`.
    ///
    /// # Errors
    /// When there is no such lever, or it cannot be set so; says which there are.
    pub fn set(&mut self, text: &str) -> Result<(), String> {
        let refused = || format!("{text:?} is none of {KNOWN_LEVERS}");
        let (name, value) = text.split_once('=').ok_or_else(refused)?;
        let switch = match value {
            "on" => Some(true),
            "off" => Some(false),
            _ => None,
        };
        let slot = match (name, value) {
            ("share_rows", _) => &mut self.share_rows,
            ("late_query", _) => &mut self.late_query,
            ("ring", _) => &mut self.ring,
            ("gated", _) => &mut self.gated,
            ("split_projection", _) => &mut self.split_projection,
            ("kv", _) => return value.parse().map(|kv| self.kv = kv).map_err(|()| refused()),
            ("int8", _) => {
                return value.parse().map(|int8| self.int8 = int8).map_err(|()| refused());
            }
            ("scales", _) => {
                return value.parse().map(|scales| self.scales = scales).map_err(|()| refused());
            }
            _ => return Err(refused()),
        };
        *slot = switch.ok_or_else(refused)?;
        Ok(())
    }
}

impl FromStr for Kv {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "published" => Ok(Self::Published),
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            _ => Err(()),
        }
    }
}

impl FromStr for Int8 {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "published" => Ok(Self::Published),
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            _ => Err(()),
        }
    }
}

impl FromStr for Stored {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "auto" => Ok(Self::Auto),
            "published" => Ok(Self::Published),
            "f16" => Ok(Self::F16),
            _ => Err(()),
        }
    }
}

/// As they are set: `share_rows=on ... scales=auto`.
impl fmt::Display for Levers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let switch = |on: bool| if on { "on" } else { "off" };
        let kv = match self.kv {
            Kv::Published => "published",
            Kv::F32 => "f32",
            Kv::F16 => "f16",
        };
        let int8 = match self.int8 {
            Int8::Published => "published",
            Int8::On => "on",
            Int8::Off => "off",
        };
        let scales = match self.scales {
            Stored::Auto => "auto",
            Stored::Published => "published",
            Stored::F16 => "f16",
        };
        write!(
            f,
            "share_rows={} late_query={} ring={} gated={} split_projection={} kv={kv} int8={int8} \
             scales={scales}",
            switch(self.share_rows),
            switch(self.late_query),
            switch(self.ring),
            switch(self.gated),
            switch(self.split_projection),
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn every_lever_is_set_by_its_printed_name() {
        let mut levers = Levers::default();
        for set in levers.to_string().split(' ') {
            levers.set(set).unwrap();
        }
        assert_eq!(levers, Levers::default());
        let turned = "share_rows=off late_query=off ring=off gated=off split_projection=off kv=f16 \
                      int8=on scales=published";
        turned.split(' ').filter(|set| !set.is_empty()).for_each(|set| levers.set(set).unwrap());
        assert_eq!(levers.to_string(), turned);
        let text = serde_json::to_string(&levers).unwrap();
        assert_eq!(serde_json::from_str::<Levers>(&text).unwrap(), levers);
    }

    #[test]
    fn unknown_levers_are_refused_with_those_there_are() {
        for text in ["gated", "gated=yes", "speed=on", "kv=on", "int8=f16", ""] {
            let error = Levers::default().set(text).unwrap_err();
            assert!(error.contains("kv=published|f32|f16"), "{error}");
        }
    }
}
