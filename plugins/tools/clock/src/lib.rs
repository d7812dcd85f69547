//! The clock: tells the time and the date of the device.

use gemma_plugin::clock::{self, Weekday};
use gemma_plugin::{Nothing, Result, Value, json};

fn get_time(_: Nothing) -> Result<Value> {
    let now = clock::now()?;
    Ok(json!({
        "date": format!("{:04}-{:02}-{:02}", now.year, now.month, now.day),
        "time": format!("{:02}:{:02}", now.hour, now.minute),
        "weekday": name(now.weekday),
    }))
}

fn name(weekday: Weekday) -> &'static str {
    match weekday {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    }
}

gemma_plugin::tools! { "get_time" => get_time }
