//! Pictures of figures: charts and trees as PNG, as SVG, and as text for a terminal. A figure is
//! laid out once, as a scene of shapes; the three forms draw it.

mod axis;
mod chart;
mod font;
mod raster;
mod scene;
mod svg;
mod text;
mod tree;

use std::path::Path;

pub use chart::{Chart, Key, Kind, Series};
pub use tree::{Node, Tree};

use crate::write::{WriteError, write_atomic, write_text};

/// A figure.
#[derive(Clone, PartialEq, Debug)]
pub enum Figure {
    /// Curves, dots or bars on two axes.
    Chart(Chart),
    /// A tree from its root down.
    Tree(Tree),
}

impl Figure {
    /// The form for a terminal.
    pub fn text(&self) -> String {
        match self {
            Figure::Chart(chart) => text::chart(chart),
            Figure::Tree(tree) => text::tree(tree),
        }
    }

    fn scene(&self) -> scene::Scene {
        match self {
            Figure::Chart(chart) => chart.scene(),
            Figure::Tree(tree) => tree.scene(),
        }
    }

    /// Writes the figure in the form of the file's ending: `.png`, `.svg` or `.txt`.
    pub fn write(&self, path: &Path) -> Result<(), WriteError> {
        let ending = path
            .extension()
            .map(|ending| ending.to_string_lossy().to_lowercase());
        match ending.as_deref() {
            Some("png") => {
                let picture = raster::picture(&self.scene());
                write_atomic(path, |out| out.write_all(&picture))
            }
            Some("svg") => write_text(path, &svg::text(&self.scene())),
            Some("txt") => write_text(path, &self.text()),
            _ => Err(WriteError::new(
                path,
                "a figure is written to a file whose name ends in .png, .svg or .txt",
            )),
        }
    }
}
