//! The time of day as logs print it.
#![allow(unsafe_code)] // The local time zone is known to the C library only.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since the epoch.
pub fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |d| d.as_secs_f64())
}

/// What local time is ahead of UTC at `seconds`, in seconds.
pub fn offset_from_utc(seconds: f64) -> i64 {
    local(seconds).tm_gmtoff
}

fn local(seconds: f64) -> libc::tm {
    let time = seconds as libc::time_t;
    let mut out = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are to live objects of the right types for the whole call; an all-zero `tm` is a
    // valid value, so reading it is sound even when the call fails. std has no local time.
    unsafe {
        libc::localtime_r(&time, out.as_mut_ptr());
        out.assume_init()
    }
}

/// `YYYY-MM-DD HH:MM:SS`, local time.
pub fn stamp(seconds: f64) -> String {
    let tm = local(seconds);
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        i64::from(tm.tm_year) + 1900,
        tm.tm_mon + 1,
        tm.tm_mday,
        tm.tm_hour,
        tm.tm_min,
        tm.tm_sec
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamp_has_the_shape_that_log_readers_split() {
        let text = stamp(1_231_150_000.5);
        assert_eq!(text.len(), 19);
        assert!(text.starts_with("2009-01-05 "), "{text}");
        assert_eq!(&text[13..14], ":");
    }
}
