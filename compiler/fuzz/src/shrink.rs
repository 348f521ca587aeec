//! Makes a finding small: leaves out lines, then pieces, then characters, while it still finds
//! the same.

use crate::pieces::cut;
use std::time::{Duration, Instant};

/// The smallest text found in this time of which `same` holds, as it does of `text`.
pub fn shrink(text: &str, time: Duration, same: &dyn Fn(&str) -> bool) -> String {
    let until = Instant::now() + time;
    let mut text = text.to_string();
    loop {
        let before = text.len();
        let lines = text.split_inclusive('\n').map(str::to_string).collect();
        text = leave_out(lines, until, same);
        let pieces = cut(&text).into_iter().map(|piece| piece.text).collect();
        text = leave_out(pieces, until, same);
        if text.len() < 200 {
            text = leave_out(text.chars().map(String::from).collect(), until, same);
        }
        if text.len() == before || Instant::now() > until {
            return text;
        }
    }
}

/// Leaves out runs of parts, long ones first.
fn leave_out(mut parts: Vec<String>, until: Instant, same: &dyn Fn(&str) -> bool) -> String {
    let mut run = parts.len().next_power_of_two();
    while run > 0 {
        let mut at = 0;
        while at < parts.len() && Instant::now() < until {
            let mut fewer = parts.clone();
            fewer.drain(at..(at + run).min(parts.len()));
            if same(&fewer.concat()) {
                parts = fewer;
            } else {
                at += run;
            }
        }
        run /= 2;
    }
    parts.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_is_left() {
        let text = "let a = 1\nlet b = f(x, y)\nprint b # note\n";
        let small = shrink(text, Duration::from_secs(5), &|text| {
            text.contains("f(") && text.contains(')')
        });
        assert_eq!(small, "f()");
    }
}
