//! A laid out figure: shapes in units of about a pixel, y downwards, later ones on top.

/// Red, green, blue and how opaque, 0 to 255.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Color(pub(super) u8, pub(super) u8, pub(super) u8, pub(super) u8);

/// Text and axes.
pub(super) const INK: Color = Color(0x33, 0x33, 0x33, 255);
/// Numbers at the axes.
pub(super) const FAINT: Color = Color(0x66, 0x66, 0x66, 255);
/// Lines behind the data.
pub(super) const GRID: Color = Color(0xe4, 0xe4, 0xe4, 255);

/// Ten colours that can be told apart (Tableau 10).
const CLASSES: [[u8; 3]; 10] = [
    [0x4e, 0x79, 0xa7],
    [0xf2, 0x8e, 0x2b],
    [0xe1, 0x57, 0x59],
    [0x76, 0xb7, 0xb2],
    [0x59, 0xa1, 0x4f],
    [0xed, 0xc9, 0x48],
    [0xb0, 0x7a, 0xa1],
    [0xff, 0x9d, 0xa7],
    [0x9c, 0x75, 0x5f],
    [0x8c, 0x86, 0x82],
];

/// Stops of the viridis scale (Smith & van der Walt 2015), at equal steps.
const SCALE: [[u8; 3]; 9] = [
    [0x44, 0x01, 0x54],
    [0x47, 0x2d, 0x7b],
    [0x3b, 0x52, 0x8b],
    [0x2c, 0x72, 0x8e],
    [0x21, 0x91, 0x8c],
    [0x28, 0xae, 0x80],
    [0x5e, 0xc9, 0x62],
    [0xad, 0xdc, 0x30],
    [0xfd, 0xe7, 0x25],
];

impl Color {
    /// The colour of a class; they repeat after ten.
    pub(super) fn class(at: usize) -> Color {
        let [r, g, b] = CLASSES[at % CLASSES.len()];
        Color(r, g, b, 255)
    }

    /// The colour of a share, 0 to 1, dark to light.
    pub(super) fn share(share: f64) -> Color {
        let place = share.clamp(0.0, 1.0) * (SCALE.len() - 1) as f64;
        let low = (place as usize).min(SCALE.len() - 2);
        let part = place - low as f64;
        let mix = |at: usize| {
            let (a, b) = (f64::from(SCALE[low][at]), f64::from(SCALE[low + 1][at]));
            (a + part * (b - a)).round() as u8
        };
        Color(mix(0), mix(1), mix(2), 255)
    }

    /// The same, less opaque.
    pub(super) fn with_opacity(self, opacity: u8) -> Color {
        Color(self.0, self.1, self.2, opacity)
    }
}

/// Which part of a text is at its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A shape.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Item {
    Rect {
        x: f64,
        y: f64,
        width: f64,
        height: f64,
        color: Color,
    },
    Line {
        points: Vec<(f64, f64)>,
        width: f64,
        color: Color,
    },
    Circle {
        x: f64,
        y: f64,
        radius: f64,
        color: Color,
    },
    /// `y` is the line that letters stand on; `up` turns it to read from below.
    Text {
        x: f64,
        y: f64,
        text: String,
        size: f64,
        anchor: Anchor,
        up: bool,
        color: Color,
    },
}

/// A figure on white.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Scene {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) items: Vec<Item>,
}

impl Scene {
    pub(super) fn line(&mut self, points: Vec<(f64, f64)>, width: f64, color: Color) {
        self.items.push(Item::Line {
            points,
            width,
            color,
        });
    }

    pub(super) fn text(
        &mut self,
        (x, y): (f64, f64),
        text: &str,
        size: f64,
        anchor: Anchor,
        color: Color,
    ) {
        self.items.push(Item::Text {
            x,
            y,
            text: text.to_string(),
            size,
            anchor,
            up: false,
            color,
        });
    }
}
