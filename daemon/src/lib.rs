//! The daemon: all input and output, everything asynchronous. The modules stand in the order in
//! which a spoken sentence passes through them.

pub mod program; // arguments, log, run, exit code

pub mod config; // what can be set

pub mod daemon; // opens everything, runs it, stops it under a deadline

pub mod tasks; // the closed list of tasks and threads

pub mod event; // what is told to the outside, and what can be asked from it

pub mod status; // the state of the daemon as one value

pub mod channels; // every channel, its capacity and what happens when it is full

pub mod capture; // 1. microphones and cameras

pub mod listening; // 2. sound to utterances

pub mod assistant; // 3. the loop: turn, reply, tool calls, results, answer

pub mod sessions; // the queue of turns and the conversations

pub mod inference; // 4. the model on its own thread

pub mod publish; // 5. D-Bus and MQTT

pub mod cli; // the command line

pub mod client; // the commands that talk to a running daemon, and doctor

pub mod process; // what is done to the process itself

pub mod resources; // what this process takes of the machine

pub mod systemd; // readiness and watchdog
