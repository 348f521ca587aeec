//! Axes: from values to places, and the numbers that stand beside them.

/// An axis from its least value to its largest.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    log: bool,
}

/// A number at an axis.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Tick {
    pub(super) value: f64,
    pub(super) label: String,
}

impl Axis {
    /// Around these values; those that it cannot show (no number, or not above 0 on a logarithmic
    /// axis) do not count. With `zero` the axis includes 0 if it is linear.
    pub(super) fn around(values: impl Iterator<Item = f64>, log: bool, zero: bool) -> Axis {
        let mut range: Option<(f64, f64)> = (zero && !log).then_some((0.0, 0.0));
        for value in values.filter(|&value| value.is_finite() && (!log || value > 0.0)) {
            let (low, high) = range.unwrap_or((value, value));
            range = Some((low.min(value), high.max(value)));
        }
        let (low, high) = range.unwrap_or(if log { (1.0, 10.0) } else { (0.0, 1.0) });
        let (mut low, mut high) = match (low == high, log) {
            (false, _) => (low, high),
            (true, true) => (low / 2.0, high * 2.0),
            (true, false) if low == 0.0 => (-1.0, 1.0),
            (true, false) => (low - low.abs() / 2.0, high + high.abs() / 2.0),
        };
        // Air at the ends, but not below a 0 that bars stand on.
        if log {
            let air = 10f64.powf(0.04 * (high.log10() - low.log10()));
            (low, high) = ((low / air).max(1e-307), (high * air).min(1e307));
        } else {
            let air = 0.04 * (high - low);
            low -= if zero && low == 0.0 { 0.0 } else { air };
            high += if zero && high == 0.0 { 0.0 } else { air };
        }
        Axis { low, high, log }
    }

    /// From one value to another, without air.
    pub(super) fn exactly(low: f64, high: f64) -> Axis {
        Axis {
            low,
            high,
            log: false,
        }
    }

    /// The place of a value, 0 at the low end and 1 at the high end; none if it has none.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        let place = match self.log {
            true if value <= 0.0 => return None,
            true => (value / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        place.is_finite().then_some(place)
    }

    /// About `count` numbers along the axis.
    pub(super) fn ticks(&self, count: usize) -> Vec<Tick> {
        if self.log && self.high / self.low > 8.0 {
            return self.log_ticks(count);
        }
        let step = nice_step((self.high - self.low) / count.max(1) as f64);
        let first = (self.low / step - 1e-9).ceil();
        let values = (0..)
            .map(|at| (first + f64::from(at)) * step)
            .take_while(|value| *value <= self.high + 1e-9 * step)
            // A range that is nothing beside its values has steps that no float can tell apart.
            .take(4 * count + 4);
        let all: Vec<f64> = values
            .map(|value| if value.abs() < step / 2.0 { 0.0 } else { value })
            .collect();
        labelled(&all, step)
    }

    fn log_ticks(&self, count: usize) -> Vec<Tick> {
        let (first, last) = (self.low.log10(), self.high.log10());
        let decades = (first.ceil() as i32..=last.floor() as i32).collect::<Vec<_>>();
        let every = decades.len().div_ceil(count.max(1)).max(1) as i32;
        // Where there are few powers of ten, 2 and 5 stand between them.
        let between: &[f64] = if decades.len() < 3 {
            &[1.0, 2.0, 5.0]
        } else {
            &[1.0]
        };
        let mut ticks = Vec::new();
        for decade in first.floor() as i32..=last.floor() as i32 {
            if decade.rem_euclid(every) != 0 {
                continue;
            }
            for factor in between {
                let value = factor * 10f64.powi(decade);
                if value >= self.low && value <= self.high {
                    ticks.push(Tick {
                        value,
                        label: power(*factor, decade),
                    });
                }
            }
        }
        ticks
    }
}

/// 1, 2 or 5 times a power of ten, near to what is wanted.
fn nice_step(rough: f64) -> f64 {
    let rough = if rough > 0.0 && rough.is_finite() {
        rough
    } else {
        1.0
    };
    let power = 10f64.powf(rough.log10().floor());
    let factor = match rough / power {
        part if part < 1.5 => 1.0,
        part if part < 3.2 => 2.0,
        part if part < 7.0 => 5.0,
        _ => 10.0,
    };
    factor * power
}

/// Labels with as many decimals as the step between them needs, all alike.
fn labelled(values: &[f64], step: f64) -> Vec<Tick> {
    let largest = values
        .iter()
        .fold(0.0f64, |most, value| most.max(value.abs()));
    let scientific = largest >= 1e6 || (largest > 0.0 && largest < 1e-4);
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    values
        .iter()
        .map(|&value| {
            let label = match scientific {
                true if value == 0.0 => "0".to_string(),
                true => {
                    let exponent = largest.log10().floor() as i32;
                    let digits = (f64::from(exponent) - step.log10().floor()).max(0.0) as usize;
                    let factor = value / 10f64.powi(exponent);
                    format!("{factor:.digits$}·10{}", superscript(exponent))
                }
                false => format!("{value:.decimals$}"),
            };
            Tick {
                value,
                label: label.replace('-', "\u{2212}"),
            }
        })
        .collect()
}

/// `factor` (1, 2 or 5) times a power of ten.
fn power(factor: f64, exponent: i32) -> String {
    match exponent {
        -3..=4 => {
            let decimals = (-exponent).max(0) as usize;
            format!("{:.decimals$}", factor * 10f64.powi(exponent))
        }
        _ if factor == 1.0 => format!("10{}", superscript(exponent)),
        _ => format!("{factor}·10{}", superscript(exponent)),
    }
}

fn superscript(exponent: i32) -> String {
    exponent
        .to_string()
        .chars()
        .map(|digit| match digit {
            '-' => '⁻',
            '1' => '¹',
            '2' => '²',
            '3' => '³',
            digit => {
                let place = digit.to_digit(10).unwrap_or(0);
                char::from_u32(0x2070 + place).unwrap_or(digit)
            }
        })
        .collect()
}

/// A number in a few digits, for a legend or a terminal.
pub(super) fn short(value: f64) -> String {
    let text = match value.abs() {
        0.0 => "0".to_string(),
        size if !(1e-3..1e5).contains(&size) => format!("{value:.2e}"),
        size => {
            let decimals = (3 - size.log10().floor() as i32).clamp(0, 5) as usize;
            let text = format!("{value:.decimals$}");
            match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
                false => text,
            }
        }
    };
    text.replace('-', "\u{2212}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[f64], log: bool) -> Vec<String> {
        let axis = Axis::around(values.iter().copied(), log, false);
        let ticks = axis.ticks(6);
        assert!(
            ticks
                .iter()
                .all(|tick| (0.0..=1.0).contains(&axis.place(tick.value).unwrap()))
        );
        ticks.into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn numbers_at_an_axis_are_round() {
        assert_eq!(
            labels(&[0.0, 1.0], false),
            ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
        assert_eq!(labels(&[-3.0, 9.0], false), ["−2", "0", "2", "4", "6", "8"]);
        assert_eq!(
            labels(&[0.0, 3e7], false),
            [
                "0",
                "0.5·10⁷",
                "1.0·10⁷",
                "1.5·10⁷",
                "2.0·10⁷",
                "2.5·10⁷",
                "3.0·10⁷"
            ]
        );
        assert_eq!(labels(&[1e-6, 1.0], true), ["10⁻⁶", "10⁻⁴", "0.01", "1"]);
        assert_eq!(labels(&[3.0, 80.0], true), ["5", "10", "20", "50"]);
    }

    #[test]
    fn strange_ranges_still_have_an_axis() {
        for values in [
            &[][..],
            &[5.0],
            &[0.0],
            &[f64::NAN, f64::INFINITY],
            &[1e-300, 1e300],
            &[1.0, 1.0 + 1e-15],
        ] {
            for log in [false, true] {
                let axis = Axis::around(values.iter().copied(), log, false);
                assert!(axis.ticks(6).len() < 40);
            }
        }
        assert_eq!(short(0.012345), "0.01235");
        assert_eq!(short(-12.0), "−12");
        assert_eq!(short(1234567.0), "1.23e6");
    }
}
