//! The harness: a private house with a real message bus, a real broker and the real daemon, and
//! the two clients that talk to it and write down what they are told. Nothing here knows the
//! daemon's code; it stands outside, where users stand.

pub mod process;
pub mod record; // what arrived, and waiting for what has not
pub mod workspace; // where the things under test lie // a child process that never outlives its test

pub mod broker; // the private mosquitto
pub mod bus; // the private dbus-daemon
pub mod daemon;
pub mod hub; // a private hub of models
pub mod settings; // the configuration file of a story // the daemon under test

pub mod bus_client; // a program that asks over D-Bus
pub mod house;
pub mod mqtt_client; // a program that asks over MQTT // all of it together, as a story uses it

pub mod film; // films and long sound

pub mod demo; // the same house, shown to a person
