//! What this process occupies, as the kernel counts it.

use serde::Serialize;

/// Memory of this process, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Memory {
    /// Pages that belong to it alone and can only be swapped.
    pub(super) anonymous_bytes: u64,
    /// Pages of files, which the kernel can drop and read again.
    pub(super) file_bytes: u64,
}

impl Memory {
    /// What is occupied now; nothing where the kernel does not say.
    pub(super) fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let bytes = |key| bytes(&status, key);
        Self { anonymous_bytes: bytes("RssAnon"), file_bytes: bytes("RssFile") + bytes("RssShmem") }
    }

    /// The larger of two, kind by kind.
    pub(super) fn most(self, other: Self) -> Self {
        Self {
            anonymous_bytes: self.anonymous_bytes.max(other.anonymous_bytes),
            file_bytes: self.file_bytes.max(other.file_bytes),
        }
    }
}

/// Forgets the most that was ever occupied, so that it counts from now on. A kernel that does not
/// let us keeps counting.
pub(super) fn forget_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The most that was ever occupied, of both kinds together.
pub(super) fn peak_bytes() -> u64 {
    bytes(&std::fs::read_to_string("/proc/self/status").unwrap_or_default(), "VmHWM")
}

/// A line of `/proc/self/status`, which counts in kibibytes.
fn bytes(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_the_kernel_are_read() {
        let status = "VmHWM:\t    2048 kB\nRssAnon:\t     100 kB\nRssFile:\t      20 kB\n";
        let expected = [("VmHWM", 2 << 20), ("RssAnon", 100 << 10), ("Rss", 0), ("VmSwap", 0)];
        for (key, expected) in expected {
            assert_eq!(bytes(status, key), expected, "{key}");
        }
    }

    #[test]
    fn memory_that_is_touched_is_counted() {
        let before = Memory::now();
        let touched = vec![1_u8; 64 << 20];
        let after = Memory::now();
        assert!(after.anonymous_bytes >= before.anonymous_bytes + (60 << 20), "{after:?}");
        assert!(peak_bytes() >= after.anonymous_bytes);
        drop(touched);
    }
}
