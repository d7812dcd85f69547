//! What is done to the process itself, below what Rust watches over.

#![expect(unsafe_code, reason = "the environment and the end of a process have no safe face")]

/// Keeps ONNX Runtime from collecting usage: its library looks at this variable when it is loaded,
/// and writes files of its own into the user's cache otherwise. To be called first thing in `main`.
pub fn refuse_telemetry() {
    // SAFETY: `main` calls this before it starts any thread, so nobody reads the environment.
    unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") }
}

/// Ends the process at once, with work still going on in threads that nothing can stop.
///
/// The exit handlers of libraries do not run: they take things down that those threads still use.
pub fn leave(code: u8) -> ! {
    // SAFETY: `_exit` does nothing but end the process.
    unsafe { libc::_exit(i32::from(code)) }
}
