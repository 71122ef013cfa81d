//! The command line: its output, exit codes, and files on disk. Every test runs the built
//! program; clusters are child processes.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod config;
mod demo;
mod destinations;
mod failures;
mod flows;
mod json;
mod logs;
mod nodes;
mod offline;
mod operator;
mod ordered_log;
mod original;
mod packaging;
mod page;
mod printing;
mod program;
mod readme;
mod transcripts;
mod trust;
mod tutorial;
