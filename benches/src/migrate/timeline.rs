//! A picture of moves: what was sent, what the guest wrote meanwhile, and how long it stood still.
//!
//! ```text
//!   a band a move:  bars: bytes a second of each step      line: what the guest wrote a second      red: the guest stood still
//! ```

use super::Sample;
use std::fmt::Write;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 190.0;
const BAND: f64 = 90.0;
const PLOT: f64 = 60.0;

/// The picture, SVG; `wire` is what the bands are as high as, bytes a second.
pub fn svg(samples: &[Sample], wire: u64) -> String {
    let longest = samples.iter().map(|s| s.total_us).max().unwrap_or(1).max(1);
    let height = BAND * samples.len() as f64 + 40.0;
    let mut text = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{}' height='{height}' font-family='sans-serif' font-size='11'>\n\
         <rect width='100%' height='100%' fill='white'/>\n",
        LEFT + WIDTH + 20.0
    );
    let x = |us: u64| LEFT + WIDTH * us as f64 / longest as f64;
    for (index, sample) in samples.iter().enumerate() {
        let base = BAND * index as f64 + PLOT + 15.0;
        let y = |rate: f64| base - (PLOT * rate / wire.max(1) as f64).min(PLOT * 1.2);
        let mut put = |line: std::fmt::Arguments<'_>| {
            // Writing into a string does not fail.
            let _ = text.write_fmt(line);
        };
        put(format_args!(
            "<text x='4' y='{:.1}'>{} {}</text><text x='4' y='{:.1}'>still {:.1} ms of {:.0} ms</text>\n\
             <line x1='{LEFT}' y1='{base}' x2='{:.1}' y2='{base}' stroke='black'/>\n",
            base - 30.0,
            sample.contender,
            sample.row,
            base - 15.0,
            sample.downtime_us as f64 / 1000.0,
            sample.total_us as f64 / 1000.0,
            x(sample.total_us)
        ));
        let mut points = Vec::new();
        for step in &sample.steps {
            let per_second = |bytes: u64| bytes as f64 * 1e6 / step.micros.max(1) as f64;
            let top = y(per_second(step.bytes));
            put(format_args!(
                "<rect x='{:.1}' y='{top:.1}' width='{:.1}' height='{:.1}' fill='#8ab' stroke='white' stroke-width='0.3'/>\n",
                x(step.from_us),
                (x(step.micros) - LEFT).max(0.5),
                base - top
            ));
            let middle = x(step.from_us + step.micros / 2);
            points.push(format!("{middle:.1},{:.1}", y(per_second(step.written))));
        }
        put(format_args!(
            "<polyline points='{}' fill='none' stroke='#c70'/>\n",
            points.join(" ")
        ));
        let end = sample.steps.last().map_or(0, |s| s.from_us + s.micros);
        put(format_args!(
            "<rect x='{:.1}' y='{:.1}' width='{:.1}' height='8' fill='#c00'/>\n",
            x(end),
            base,
            (x(sample.downtime_us) - LEFT).max(1.0)
        ));
    }
    let _ = write!(
        text,
        "<text x='{LEFT}' y='{:.1}'>0 to {:.0} ms of the lab's time; bars: sent, line: written by the guest (a band is {} MiB/s high); red: it stood still</text>\n</svg>\n",
        height - 8.0,
        longest as f64 / 1000.0,
        wire >> 20
    );
    text
}

#[cfg(test)]
mod tests {
    use super::super::contender::Step;
    use super::*;

    #[test]
    fn picture_has_a_bar_for_each_step_and_a_red_one_for_each_move() {
        let step = |from_us| Step {
            from_us,
            micros: 500,
            bytes: 4096,
            written: 2048,
        };
        let sample = Sample {
            contender: "noxen".into(),
            row: "idle".into(),
            total_us: 2000,
            downtime_us: 100,
            steps: vec![step(0), step(500)],
            ..Sample::default()
        };
        let text = svg(&[sample.clone(), sample], 1 << 20);
        assert_eq!(text.matches("fill='#8ab'").count(), 4);
        assert_eq!(text.matches("fill='#c00'").count(), 2);
        assert!(text.contains("noxen idle") && text.ends_with("</svg>\n"));
    }
}
