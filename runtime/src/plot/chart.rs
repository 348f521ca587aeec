//! Charts: curves, dots and bars on two axes, with a legend.

use super::axis::{Axis, Tick, short};
use super::font::Font;
use super::scene::{Anchor, Color, FAINT, GRID, INK, Item, Scene};

/// Size of the plotting area.
const AREA: (f64, f64) = (520.0, 340.0);
/// Sizes of letters: title, names, numbers.
const TITLE: f64 = 15.0;
const NAME: f64 = 13.0;
const NUMBER: f64 = 11.5;
/// Most entries of a legend.
const LONGEST_LEGEND: usize = 16;

/// How a series is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Points joined in order; a point that has no place breaks the line.
    Line,
    /// A dot at each point.
    Dots,
    /// A bar from 0 to each value; `x` counts the bars from 0, one unit each.
    Bars,
    /// A bar from 0 to each value between its `x` and the next one, without gaps; the last `x`
    /// has no bar.
    Steps,
}

/// Values that belong together.
#[derive(Clone, PartialEq, Debug)]
pub struct Series {
    /// In the legend; an empty one is not named.
    pub name: String,
    /// How it is drawn.
    pub kind: Kind,
    /// Along the axis to the right.
    pub x: Vec<f64>,
    /// Along the axis upwards.
    pub y: Vec<f64>,
    /// For each point, 0 to 1 on a scale of colours; a class has its own colour without this.
    pub shade: Option<Vec<f64>>,
}

/// A scale of colours and the values at its ends.
#[derive(Clone, PartialEq, Debug)]
pub struct Key {
    /// The value of shade 0.
    pub low: f64,
    /// The value of shade 1.
    pub high: f64,
}

/// A chart.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Chart {
    /// Above it.
    pub title: String,
    /// Names of the axes.
    pub x_name: String,
    /// Upwards.
    pub y_name: String,
    /// Whether the axes are logarithmic.
    pub x_log: bool,
    /// Upwards.
    pub y_log: bool,
    /// What it shows.
    pub series: Vec<Series>,
    /// Names of bars, at the axis to the right.
    pub bars: Vec<String>,
    /// What the shades mean.
    pub key: Option<Key>,
}

impl Chart {
    /// The two axes.
    pub(super) fn axes(&self) -> (Axis, Axis) {
        let standing = self
            .series
            .iter()
            .any(|series| matches!(series.kind, Kind::Bars | Kind::Steps));
        let y = self
            .series
            .iter()
            .flat_map(|series| series.y.iter().copied());
        let y = Axis::around(y, self.y_log, standing);
        if let Some(series) = self.series.iter().find(|series| series.kind == Kind::Bars) {
            let count = series.y.len().max(1) as f64;
            return (Axis::exactly(-0.6, count - 0.4), y);
        }
        let x = self
            .series
            .iter()
            .flat_map(|series| series.x.iter().copied());
        (Axis::around(x, self.x_log, false), y)
    }

    /// The numbers, or the names of bars, along the axis to the right.
    fn x_ticks(&self, axis: &Axis, font: &Font) -> Vec<Tick> {
        if self.bars.is_empty() {
            return axis.ticks(7);
        }
        // As many names as have room.
        let widest = self.bars.iter().map(|name| font.width(name, NUMBER));
        let room = widest.fold(20.0, f64::max) + 8.0;
        let every = (self.bars.len() as f64 * room / AREA.0).ceil().max(1.0) as usize;
        self.bars
            .iter()
            .enumerate()
            .step_by(every)
            .map(|(at, name)| Tick {
                value: at as f64,
                label: name.clone(),
            })
            .collect()
    }

    /// The chart as shapes.
    pub(super) fn scene(&self) -> Scene {
        let font = Font::open();
        let (x_axis, y_axis) = self.axes();
        let (x_ticks, y_ticks) = (self.x_ticks(&x_axis, &font), y_axis.ticks(6));
        let widest = y_ticks.iter().map(|tick| font.width(&tick.label, NUMBER));
        let y_room = widest.fold(0.0, f64::max);
        let left = 16.0 + y_room + 8.0 + if self.y_name.is_empty() { 0.0 } else { 22.0 };
        let top = if self.title.is_empty() { 18.0 } else { 44.0 };
        let below = 34.0 + if self.x_name.is_empty() { 0.0 } else { 22.0 };
        let legend = self.legend_width(&font);
        let right = 22.0 + legend;
        let mut scene = Scene {
            width: left + AREA.0 + right,
            height: top + AREA.1 + below,
            items: Vec::new(),
        };
        let place = |x: f64, y: f64| -> Option<(f64, f64)> {
            let (x, y) = (x_axis.place(x)?, y_axis.place(y)?);
            Some((left + x * AREA.0, top + (1.0 - y) * AREA.1))
        };
        let bottom = top + AREA.1;
        for tick in &x_ticks {
            let Some(at) = x_axis.place(tick.value) else {
                continue;
            };
            let x = left + at * AREA.0;
            if self.bars.is_empty() {
                scene.line(vec![(x, top), (x, bottom)], 1.0, GRID);
            }
            scene.text(
                (x, bottom + 18.0),
                &tick.label,
                NUMBER,
                Anchor::Middle,
                FAINT,
            );
        }
        for tick in &y_ticks {
            let Some(at) = y_axis.place(tick.value) else {
                continue;
            };
            let y = top + (1.0 - at) * AREA.1;
            scene.line(vec![(left, y), (left + AREA.0, y)], 1.0, GRID);
            let text = (left - 8.0, y + NUMBER * 0.36);
            scene.text(text, &tick.label, NUMBER, Anchor::End, FAINT);
        }
        for (at, series) in self.series.iter().enumerate() {
            draw(
                &mut scene,
                series,
                Color::class(at),
                &place,
                (bottom, &y_axis, top),
            );
        }
        scene.line(
            vec![(left, top), (left, bottom), (left + AREA.0, bottom)],
            1.2,
            FAINT,
        );
        let middle = left + AREA.0 / 2.0;
        if !self.title.is_empty() {
            scene.text((middle, 26.0), &self.title, TITLE, Anchor::Middle, INK);
        }
        if !self.x_name.is_empty() {
            let at = (middle, bottom + 42.0);
            scene.text(at, &self.x_name, NAME, Anchor::Middle, INK);
        }
        if !self.y_name.is_empty() {
            scene.items.push(Item::Text {
                x: 20.0,
                y: top + AREA.1 / 2.0,
                text: self.y_name.clone(),
                size: NAME,
                anchor: Anchor::Middle,
                up: true,
                color: INK,
            });
        }
        self.legend(&mut scene, left + AREA.0 + 18.0, top);
        scene
    }

    /// Series that have a name, with their places.
    pub(super) fn named(&self) -> impl Iterator<Item = (usize, &Series)> {
        let named = self.series.iter().enumerate();
        named.filter(|(_, series)| !series.name.is_empty())
    }

    fn legend_width(&self, font: &Font) -> f64 {
        let names = self
            .named()
            .map(|(_, series)| font.width(&series.name, NUMBER) + 44.0);
        let key = self.key.iter().flat_map(|key| {
            [key.low, key.high].map(|value| font.width(&short(value), NUMBER) + 40.0)
        });
        names.chain(key).fold(0.0, f64::max)
    }

    fn legend(&self, scene: &mut Scene, x: f64, top: f64) {
        let count = self.named().count();
        for (row, (at, series)) in self.named().take(LONGEST_LEGEND).enumerate() {
            let y = top + 10.0 + 20.0 * row as f64;
            let color = Color::class(at);
            match series.kind {
                Kind::Line => scene.line(vec![(x, y), (x + 18.0, y)], 2.2, color),
                Kind::Dots => scene.items.push(Item::Circle {
                    x: x + 9.0,
                    y,
                    radius: 4.5,
                    color,
                }),
                Kind::Bars | Kind::Steps => scene.items.push(Item::Rect {
                    x: x + 3.0,
                    y: y - 5.5,
                    width: 12.0,
                    height: 11.0,
                    color,
                }),
            }
            let text = (x + 26.0, y + NUMBER * 0.36);
            scene.text(text, &series.name, NUMBER, Anchor::Start, INK);
        }
        if count > LONGEST_LEGEND {
            let more = format!("and {} more", count - LONGEST_LEGEND);
            let y = top + 14.0 + 20.0 * LONGEST_LEGEND as f64;
            scene.text((x, y), &more, NUMBER, Anchor::Start, FAINT);
        }
        if let Some(key) = &self.key {
            let (height, steps) = (160.0, 80);
            for step in 0..steps {
                let share = f64::from(step) / f64::from(steps - 1);
                scene.items.push(Item::Rect {
                    x,
                    y: top + height * (1.0 - f64::from(step + 1) / f64::from(steps)),
                    width: 14.0,
                    height: height / f64::from(steps) + 0.5,
                    color: Color::share(share),
                });
            }
            for (value, y) in [(key.high, top + 9.0), (key.low, top + height)] {
                scene.text((x + 20.0, y), &short(value), NUMBER, Anchor::Start, FAINT);
            }
        }
    }
}

/// Draws a series; `frame` is the bottom of the area, the axis upwards, and the top.
fn draw(
    scene: &mut Scene,
    series: &Series,
    color: Color,
    place: &dyn Fn(f64, f64) -> Option<(f64, f64)>,
    (bottom, y_axis, top): (f64, &Axis, f64),
) {
    let points = || series.x.iter().zip(&series.y);
    match series.kind {
        Kind::Line => {
            let mut run = Vec::new();
            for (&x, &y) in points() {
                match place(x, y) {
                    Some(point) => run.push(point),
                    None => join(scene, std::mem::take(&mut run), color),
                }
            }
            join(scene, run, color);
        }
        Kind::Dots => {
            // Smaller and clearer the more there are.
            let radius = match series.x.len() {
                0..=150 => 3.6,
                151..=1000 => 2.8,
                _ => 2.1,
            };
            for (at, (&x, &y)) in points().enumerate() {
                let shade = series.shade.as_ref().and_then(|shade| shade.get(at));
                let color = shade.map_or(color, |&shade| Color::share(shade));
                if let Some((x, y)) = place(x, y) {
                    scene.items.push(Item::Circle {
                        x,
                        y,
                        radius,
                        color: color.with_opacity(205),
                    });
                }
            }
        }
        Kind::Bars | Kind::Steps => {
            let zero = y_axis.place(0.0).unwrap_or(0.0).clamp(0.0, 1.0);
            let ground = top + (1.0 - zero) * (bottom - top);
            for (at, (&x, &y)) in points().enumerate() {
                let ends = match (series.kind, series.x.get(at + 1)) {
                    (Kind::Steps, Some(&next)) => (x, next),
                    (Kind::Steps, None) => continue,
                    _ => (x - 0.4, x + 0.4),
                };
                let (Some((from, height)), Some((to, _))) = (place(ends.0, y), place(ends.1, y))
                else {
                    continue;
                };
                let gap = if series.kind == Kind::Steps { 0.7 } else { 0.0 };
                scene.items.push(Item::Rect {
                    x: from,
                    y: height.min(ground),
                    width: (to - from - gap).max(0.5),
                    height: (height - ground).abs(),
                    color,
                });
            }
        }
    }
}

/// A line through points, or a dot for one alone.
fn join(scene: &mut Scene, points: Vec<(f64, f64)>, color: Color) {
    match points.as_slice() {
        [] => {}
        [(x, y)] => scene.items.push(Item::Circle {
            x: *x,
            y: *y,
            radius: 2.5,
            color,
        }),
        _ => scene.line(points, 2.0, color),
    }
}
