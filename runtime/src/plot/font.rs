//! The letters of PNG figures: a part of DejaVu Sans, embedded (`font.LICENSE`).

use tiny_skia::PathBuilder;
use ttf_parser::{Face, GlyphId, OutlineBuilder};

static FONT: &[u8] = include_bytes!("font.ttf");

/// The font, opened.
pub(super) struct Font(Option<Face<'static>>);

impl Font {
    pub(super) fn open() -> Font {
        Font(Face::parse(FONT, 0).ok())
    }

    /// Width of a text of so many units a letter.
    pub(super) fn width(&self, text: &str, size: f64) -> f64 {
        let Some(face) = &self.0 else { return 0.0 };
        let scale = size / f64::from(face.units_per_em());
        text.chars()
            .filter_map(|letter| face.glyph_hor_advance(glyph(face, letter)))
            .map(|advance| f64::from(advance) * scale)
            .sum()
    }

    /// The outline of a text that begins at the origin, y downwards.
    pub(super) fn outline(&self, text: &str, size: f64) -> Option<tiny_skia::Path> {
        let face = self.0.as_ref()?;
        let mut pen = Pen {
            path: PathBuilder::new(),
            scale: size as f32 / f32::from(face.units_per_em()),
            at: 0.0,
        };
        for letter in text.chars() {
            let id = glyph(face, letter);
            // A letter without an outline, such as a blank, only moves the pen.
            let _ = face.outline_glyph(id, &mut pen);
            pen.at += f32::from(face.glyph_hor_advance(id).unwrap_or(0)) * pen.scale;
        }
        pen.path.finish()
    }
}

/// A letter's glyph; what the font lacks is a question mark.
fn glyph(face: &Face<'_>, letter: char) -> GlyphId {
    face.glyph_index(letter)
        .or_else(|| face.glyph_index('?'))
        .unwrap_or(GlyphId(0))
}

struct Pen {
    path: PathBuilder,
    scale: f32,
    at: f32,
}

impl Pen {
    fn place(&self, x: f32, y: f32) -> (f32, f32) {
        (self.at + x * self.scale, -y * self.scale)
    }
}

impl OutlineBuilder for Pen {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.place(x1, y1), self.place(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let (x1, y1) = self.place(x1, y1);
        let ((x2, y2), (x, y)) = (self.place(x2, y2), self.place(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}
