//! The clock capability: the wall clock of the device, in its time zone, where it is granted.

use jiff::Zoned;
use jiff::civil;

use crate::contract::gemmad::plugin::clock::{Host, LocalTime, Weekday};
use crate::contract::gemmad::plugin::types::Error;
use crate::instance::Call;

impl Host for Call {
    async fn now(&mut self) -> wasmtime::Result<Result<LocalTime, Error>> {
        self.enter().await?;
        if !self.grants.clock {
            let text = format!("plugin {} is not granted the clock", self.plugin);
            return Ok(Err(self.refuse(text)));
        }
        Ok(Ok(local(&Zoned::now())))
    }
}

fn local(now: &Zoned) -> LocalTime {
    let part = |part: i8| part.unsigned_abs();
    LocalTime {
        year: now.year(),
        month: part(now.month()),
        day: part(now.day()),
        weekday: weekday(now.weekday()),
        hour: part(now.hour()),
        minute: part(now.minute()),
        second: part(now.second()),
        offset_seconds: now.offset().seconds(),
        zone: now.time_zone().iana_name().map_or_else(|| now.offset().to_string(), str::to_owned),
    }
}

fn weekday(day: civil::Weekday) -> Weekday {
    match day {
        civil::Weekday::Monday => Weekday::Monday,
        civil::Weekday::Tuesday => Weekday::Tuesday,
        civil::Weekday::Wednesday => Weekday::Wednesday,
        civil::Weekday::Thursday => Weekday::Thursday,
        civil::Weekday::Friday => Weekday::Friday,
        civil::Weekday::Saturday => Weekday::Saturday,
        civil::Weekday::Sunday => Weekday::Sunday,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn a_moment_is_told_as_the_wall_shows_it() {
        let now: Zoned = "2026-11-21T14:32:05-05:00[-05:00]".parse().unwrap();
        let told = local(&now);
        assert_eq!((told.year, told.month, told.day), (2026, 11, 21));
        assert_eq!((told.hour, told.minute, told.second), (14, 32, 5));
        assert_eq!(told.weekday, Weekday::Saturday);
        assert_eq!((told.offset_seconds, told.zone.as_str()), (-18_000, "-05"));
    }
}
