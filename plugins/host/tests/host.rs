//! Plugins against the host, hostile ones above all. Their guests are written as text and turned
//! into components here, so that no guest compiler is needed.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "host/bundled.rs"]
mod bundled;
#[path = "host/folders.rs"]
mod folders;
#[path = "host/limits.rs"]
mod limits;
#[path = "host/publications.rs"]
mod publications;
#[path = "host/results.rs"]
mod results;
#[path = "host/workshop.rs"]
mod workshop;
