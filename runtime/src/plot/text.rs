//! Figures for a terminal.

use super::axis::{Axis, short};
use super::chart::{Chart, Kind, Series};
use super::tree::Tree;

/// Letters of the plotting area.
const AREA: (usize, usize) = (64, 18);
/// Longest bar.
const LONGEST: usize = 48;
/// Most bars.
const MOST: usize = 60;

/// Marks of the series, in their order.
const MARKS: [char; 10] = ['•', 'o', 'x', '+', '*', '#', '%', '@', '=', '&'];

/// A chart: bars to the right, or marks on a grid of letters.
pub(super) fn chart(chart: &Chart) -> String {
    let mut out = String::new();
    if !chart.title.is_empty() {
        out.push_str(&format!("{}\n", chart.title));
    }
    match chart.series.first().map(|series| series.kind) {
        Some(Kind::Bars | Kind::Steps) => bars(chart, &mut out),
        Some(Kind::Line | Kind::Dots) | None => marks(chart, &mut out),
    }
    out
}

fn bars(chart: &Chart, out: &mut String) {
    for series in &chart.series {
        if !series.name.is_empty() {
            out.push_str(&format!("{}\n", series.name));
        }
        let count = match series.kind {
            Kind::Steps => series.y.len().saturating_sub(1),
            _ => series.y.len(),
        };
        let labels: Vec<String> = (0..count.min(MOST))
            .map(|at| match (chart.bars.get(at), series.kind) {
                (Some(name), _) => name.clone(),
                (None, Kind::Steps) => {
                    format!("{} – {}", short(series.x[at]), short(series.x[at + 1]))
                }
                (None, _) => at.to_string(),
            })
            .collect();
        let width = labels.iter().map(|label| label.chars().count()).max();
        let largest = series.y.iter().fold(0.0f64, |most, y| most.max(y.abs()));
        for (label, &value) in labels.iter().zip(&series.y) {
            let eighths = match largest > 0.0 && value.is_finite() {
                true => (value.abs() / largest * (8 * LONGEST) as f64).round() as usize,
                false => 0,
            };
            let mut bar = "█".repeat(eighths / 8);
            bar.extend(
                [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉']
                    .get(eighths % 8)
                    .filter(|c| **c != ' '),
            );
            let width = width.unwrap_or(0);
            out.push_str(&format!("{label:>width$} │{bar} {}\n", short(value)));
        }
        if count > MOST {
            out.push_str(&format!("and {} more\n", count - MOST));
        }
    }
}

fn marks(chart: &Chart, out: &mut String) {
    let (x_axis, y_axis) = chart.axes();
    let (width, height) = AREA;
    let mut cells = vec![vec![' '; width]; height];
    let column = |place: f64| (place * (width - 1) as f64).round() as usize;
    let row = |place: f64| ((1.0 - place) * (height - 1) as f64).round() as usize;
    for (at, series) in chart.series.iter().enumerate() {
        let mark = MARKS[at % MARKS.len()];
        for (x, y) in places(series, &x_axis, &y_axis) {
            cells[row(y)][column(x)] = mark;
        }
    }
    let y_ticks = y_axis.ticks(4);
    let mut labels = vec![String::new(); height];
    for tick in y_ticks {
        if let Some(place) = y_axis.place(tick.value) {
            labels[row(place)] = tick.label;
        }
    }
    let room = labels.iter().map(|label| label.chars().count()).max();
    let room = room.unwrap_or(0);
    if !chart.y_name.is_empty() {
        out.push_str(&format!("{:room$} {}\n", "", chart.y_name));
    }
    for (label, cells) in labels.iter().zip(&cells) {
        let edge = if label.is_empty() { '│' } else { '┤' };
        let line: String = cells.iter().collect();
        out.push_str(&format!("{label:>room$} {edge}{}\n", line.trim_end()));
    }
    let mut edge: Vec<char> = vec!['─'; width];
    let mut below = vec![' '; room + 2 + width + 12];
    for tick in x_axis.ticks(6) {
        let Some(place) = x_axis.place(tick.value) else {
            continue;
        };
        let at = column(place);
        edge[at] = '┬';
        let letters: Vec<char> = tick.label.chars().collect();
        let start = (room + 2 + at).saturating_sub(letters.len() / 2);
        // A number that would touch the one before is left out.
        let free = |cell: Option<&char>| cell.is_none_or(|&letter| letter == ' ');
        if (start.saturating_sub(1)..start + letters.len()).all(|at| free(below.get(at))) {
            for (slot, letter) in below.iter_mut().skip(start).zip(letters) {
                *slot = letter;
            }
        }
    }
    let edge: String = edge.into_iter().collect();
    let below: String = below.into_iter().collect();
    out.push_str(&format!("{:room$} └{edge}\n{}\n", "", below.trim_end()));
    if !chart.x_name.is_empty() {
        let middle = room + 2 + (width.saturating_sub(chart.x_name.chars().count())) / 2;
        out.push_str(&format!("{:middle$}{}\n", "", chart.x_name));
    }
    let named: Vec<String> = chart
        .named()
        .map(|(at, series)| format!("{} {}", MARKS[at % MARKS.len()], series.name))
        .collect();
    if !named.is_empty() {
        out.push_str(&format!("{:room$}  {}\n", "", named.join("   ")));
    }
}

/// Where a series has marks, 0 to 1 along both axes: at its points, and between those of a line.
fn places(series: &Series, x_axis: &Axis, y_axis: &Axis) -> Vec<(f64, f64)> {
    let points: Vec<Option<(f64, f64)>> = series
        .x
        .iter()
        .zip(&series.y)
        .map(|(&x, &y)| Some((x_axis.place(x)?, y_axis.place(y)?)))
        .collect();
    let mut all: Vec<(f64, f64)> = points.iter().flatten().copied().collect();
    if series.kind == Kind::Line {
        for pair in points.windows(2) {
            let (Some((x0, y0)), Some((x1, y1))) = (pair[0], pair[1]) else {
                continue;
            };
            let steps = ((x1 - x0).abs() * AREA.0 as f64).ceil() as usize;
            all.extend((1..steps).map(|step| {
                let part = step as f64 / steps as f64;
                (x0 + part * (x1 - x0), y0 + part * (y1 - y0))
            }));
        }
    }
    all.retain(|(x, y)| (0.0..=1.0).contains(x) && (0.0..=1.0).contains(y));
    all
}

/// A tree, a line for each node.
pub(super) fn tree(tree: &Tree) -> String {
    let mut out = String::new();
    if !tree.title.is_empty() {
        out.push_str(&format!("{}\n", tree.title));
    }
    // Nodes to print: place, what stands before it, and whether it is its parent's last.
    let mut open = match tree.nodes.is_empty() {
        true => Vec::new(),
        false => vec![(0, String::new(), None)],
    };
    while let Some((at, before, last)) = open.pop() {
        let node = &tree.nodes[at];
        let (branch, below) = match last {
            None => ("", ""),
            Some(false) => ("├─ ", "│  "),
            Some(true) => ("└─ ", "   "),
        };
        let label = match (node.label.as_str(), node.faint) {
            ("", _) => "·".to_string(),
            (label, true) => format!("({label})"),
            (label, false) => label.to_string(),
        };
        let note = match node.note.as_str() {
            "" => String::new(),
            note => format!("  {note}"),
        };
        out.push_str(&format!("{before}{branch}{label}{note}\n"));
        for (place, &child) in node.children.iter().enumerate().rev() {
            let last = place + 1 == node.children.len();
            open.push((child, format!("{before}{below}"), Some(last)));
        }
    }
    out
}
