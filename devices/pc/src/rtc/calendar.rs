//! Seconds and the ten time registers (MC146818A data sheet, "Time, calendar, and alarm locations", table 3).

use time::{Date, Month, OffsetDateTime};

/// Where PC firmware keeps the century (IBM PS/2; also what ACPI's FADT says).
pub(super) const CENTURY: usize = 0x32;

const B_DM: u8 = 0x04;
const B_24: u8 = 0x02;
const PM: u8 = 0x80;

/// The registers of time, in the guest's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Registers {
    second: u8,
    minute: u8,
    hour: u8,
    weekday: u8,
    day: u8,
    month: u8,
    year: u8,
    century: u8,
}

/// Whether `index` is a register that the clock counts.
pub(super) fn is_time(index: usize) -> bool {
    matches!(index, 0 | 2 | 4 | 6..=9 | CENTURY)
}

fn encode(value: u8, b: u8) -> u8 {
    if b & B_DM != 0 {
        value
    } else {
        ((value / 10) << 4) | (value % 10)
    }
}

fn decode(value: u8, b: u8) -> u8 {
    if b & B_DM != 0 {
        value
    } else {
        (value >> 4) * 10 + (value & 0x0f)
    }
}

fn encode_hour(hour: u8, b: u8) -> u8 {
    if b & B_24 != 0 {
        return encode(hour, b);
    }
    let twelve = if hour.is_multiple_of(12) {
        12
    } else {
        hour % 12
    };
    encode(twelve, b) | if hour >= 12 { PM } else { 0 }
}

fn decode_hour(value: u8, b: u8) -> u8 {
    if b & B_24 != 0 {
        return decode(value, b);
    }
    decode(value & !PM, b) % 12 + if value & PM != 0 { 12 } else { 0 }
}

/// A moment, or 1970 if it is beyond the year 9999.
fn moment(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// 0 for Sunday.
fn weekday_of(seconds: i64) -> u8 {
    (seconds.div_euclid(86_400) + 4).rem_euclid(7) as u8
}

impl Registers {
    /// What they show at `seconds` since 1970, the weekday `shift` days further, in the format that register B says.
    pub(super) fn of(seconds: i64, shift: u8, b: u8) -> Registers {
        let moment = moment(seconds);
        let year = moment.year().clamp(0, 9999) as u32;
        Registers {
            second: encode(moment.second(), b),
            minute: encode(moment.minute(), b),
            hour: encode_hour(moment.hour(), b),
            weekday: encode((weekday_of(seconds) + shift) % 7 + 1, b),
            day: encode(moment.day(), b),
            month: encode(moment.month().into(), b),
            year: encode((year % 100) as u8, b),
            century: encode((year / 100) as u8, b),
        }
    }

    /// Those in the chip's bytes.
    pub(super) fn read_from(bytes: &[u8]) -> Registers {
        Registers {
            second: bytes[0],
            minute: bytes[2],
            hour: bytes[4],
            weekday: bytes[6],
            day: bytes[7],
            month: bytes[8],
            year: bytes[9],
            century: bytes[CENTURY],
        }
    }

    /// Puts them into the chip's bytes.
    pub(super) fn write_to(&self, bytes: &mut [u8]) {
        for index in [0, 2, 4, 6, 7, 8, 9, CENTURY] {
            bytes[index] = self.get(index);
        }
    }

    /// The register at `index`.
    pub(super) fn get(&self, index: usize) -> u8 {
        match index {
            0 => self.second,
            2 => self.minute,
            4 => self.hour,
            6 => self.weekday,
            7 => self.day,
            8 => self.month,
            9 => self.year,
            _ => self.century,
        }
    }

    /// Seconds since 1970 and the weekday's shift. What is no date is brought to the nearest one.
    pub(super) fn meaning(&self, b: u8) -> (i64, u8) {
        let year = i32::from(decode(self.century, b)).min(99) * 100
            + i32::from(decode(self.year, b)).min(99);
        let month = decode(self.month, b).clamp(1, 12);
        let month = Month::try_from(month).unwrap_or(Month::January);
        let day = decode(self.day, b).clamp(1, month.length(year));
        let days = Date::from_calendar_date(year, month, day).map_or(0, |date| {
            i64::from(date.to_julian_day()) - i64::from(OffsetDateTime::UNIX_EPOCH.to_julian_day())
        });
        let seconds = days * 86_400
            + i64::from(decode_hour(self.hour, b).min(23)) * 3600
            + i64::from(decode(self.minute, b).min(59)) * 60
            + i64::from(decode(self.second, b).min(59));
        let shown = decode(self.weekday, b).clamp(1, 7) - 1;
        (seconds, (shown + 7 - weekday_of(seconds)) % 7)
    }
}

/// The first second after `seconds` at which the alarm (its second, minute and hour registers) goes off; none if it never does.
pub(super) fn next_alarm(seconds: i64, alarm: [u8; 3], b: u8) -> Option<i64> {
    // 0xc0 to 0xff: any value will do (data sheet, "don't care").
    let wanted = |register: u8, plain: u8| (register < 0xc0).then_some(plain);
    let second = wanted(alarm[0], decode(alarm[0], b));
    let minute = wanted(alarm[1], decode(alarm[1], b));
    let hour = wanted(alarm[2], decode_hour(alarm[2], b));
    if second.is_some_and(|s| s > 59)
        || minute.is_some_and(|m| m > 59)
        || hour.is_some_and(|h| h > 23)
    {
        return None;
    }
    let first = seconds.checked_add(1)?;
    let day = first.div_euclid(86_400).checked_mul(86_400)?;
    let of_day = first.rem_euclid(86_400);
    // Today from now on, or else tomorrow: skip to the next hour, minute or second that can match.
    let (mut at, end) = (of_day, 2 * 86_400);
    while at < end {
        let (h, m, s) = (at / 3600 % 24, at / 60 % 60, at % 60);
        if hour.is_some_and(|wanted| i64::from(wanted) != h) {
            at = (at / 3600 + 1) * 3600;
        } else if minute.is_some_and(|wanted| i64::from(wanted) != m) {
            at = (at / 60 + 1) * 60;
        } else if second.is_some_and(|wanted| i64::from(wanted) != s) {
            at += 1;
        } else {
            return day.checked_add(at);
        }
    }
    None
}
