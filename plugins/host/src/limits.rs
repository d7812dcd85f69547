//! The limits of a call: their names, the host's ceilings, and how a manifest lowers them. What
//! counts against them lives beside what it counts: [`crate::instance`] and the capabilities.

use std::fmt;

/// Core instances in one call; a component made from one module needs three or four.
pub(crate) const INSTANCES_MAX: usize = 16;
/// Tables in one call.
pub(crate) const TABLES_MAX: usize = 16;
/// Linear memories in one call.
pub(crate) const MEMORIES_MAX: usize = 4;
/// Calls that run at a time; further calls wait, and the wait counts as their wall-clock time.
pub(crate) const CALLS_AT_ONCE: usize = 4;

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $key:ident: $least:literal, $ceiling:literal;)+) => {
        /// Upper bounds of one call. The host's own are ceilings; a manifest may only lower them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Limits {
            $($(#[doc = $doc])+ pub $key: u64,)+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($key: $ceiling,)+ }
            }
        }

        impl Limits {
            /// Names of all limits, as they stand in plugin.toml.
            pub const KEYS: &[&str] = &[$(stringify!($key)),+];

            /// Every limit with its name.
            pub fn entries(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($key), self.$key)),+].into_iter()
            }

            /// Lowers the limit `key` to `value`; the present value is the ceiling.
            ///
            /// # Errors
            ///
            /// There is no such limit, or the value is not in its range.
            pub fn lower(&mut self, key: &str, value: u64) -> Result<(), LimitError> {
                match key {
                    $(stringify!($key) => {
                        if !($least..=self.$key).contains(&value) {
                            return Err(LimitError::Range { value, least: $least, most: self.$key });
                        }
                        self.$key = value;
                    })+
                    _ => return Err(LimitError::Unknown),
                }
                Ok(())
            }
        }
    };
}

limits! {
    /// Wall-clock time in milliseconds, waiting in host calls included.
    wall_ms: 1, 5_000;
    /// WebAssembly fuel: about one unit an instruction, one a byte of a bulk copy.
    fuel: 1, 2_000_000_000;
    /// Linear memory in bytes, all memories together.
    memory_bytes: 65_536, 33_554_432;
    /// Elements of all tables together.
    table_elements: 1, 10_000;
    /// Calls of capabilities, refused ones included.
    host_calls: 0, 1_000;
    /// Messages published.
    publications: 0, 16;
    /// Bytes of one published payload.
    publication_bytes: 0, 65_536;
    /// Lines written to the log.
    log_lines: 0, 64;
    /// Bytes of one line of the log.
    log_line_bytes: 0, 1_024;
    /// Bytes of the arguments as JSON.
    arguments_bytes: 2, 65_536;
    /// Bytes of the result as JSON.
    result_bytes: 2, 65_536;
}

/// Why a limit of a manifest is wrong.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// There is no limit of that name.
    #[error("is no limit; accepted: {}", Limits::KEYS.join(", "))]
    Unknown,
    /// The value is below the least that works, or above the host's ceiling.
    #[error("is {value}; accepted: {least} to {most}, the host's ceiling")]
    Range {
        /// The value of the manifest.
        value: u64,
        /// The least that works.
        least: u64,
        /// The ceiling of the host.
        most: u64,
    },
}

/// A limit that stopped a call, or that kept a capability from doing as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Name of the limit.
    pub(crate) key: &'static str,
    /// Its value.
    pub(crate) limit: u64,
}

impl fmt::Display for Reached {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "limit {} = {} reached", self.key, self.limit)
    }
}

impl std::error::Error for Reached {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_lowered_but_never_raised() {
        let mut limits = Limits::default();
        assert_eq!(limits.lower("wall_ms", 100), Ok(()));
        assert_eq!(limits.wall_ms, 100);
        assert_eq!(
            limits.lower("wall_ms", 101),
            Err(LimitError::Range { value: 101, least: 1, most: 100 })
        );
    }

    #[test]
    fn an_unknown_limit_is_answered_with_the_known_ones() {
        let error = Limits::default().lower("wall", 1).err().map(|error| error.to_string());
        assert!(
            error.is_some_and(|text| text.contains("wall_ms") && text.contains("result_bytes"))
        );
    }

    #[test]
    fn every_key_can_be_set_to_its_default() {
        for (key, value) in Limits::default().entries() {
            assert_eq!(Limits::default().lower(key, value), Ok(()), "{key}");
        }
    }
}
