//! Draws, from the runtime's generator: interpreted and compiled programs draw the same.

use super::array::{Array, Items};
use crate::function::Type;
use crate::op::Distribution;
use aec_runtime::Elem;
use aec_runtime::philox::{Draw, Place, fill_f32, fill_f64, key64};
use std::rc::Rc;

/// Operands are seed, step, coordinates. An `f32` draw has `f32` digits even when nothing is
/// rounded, so that both precisions see the same noise. Coordinates are taken modulo 2^32.
pub(super) fn draw(
    distribution: Distribution,
    site: u64,
    radices: &[usize],
    operands: &[Rc<Array>],
    ty: &Type,
) -> Array {
    let (seed, step) = (operands[0].ints()[0], operands[1].ints()[0]);
    let coordinates: Vec<&[i64]> = operands[2..].iter().map(|x| x.ints()).collect();
    let rows = coordinates.first().map_or(1, |first| first.len());
    let event = ty.len().checked_div(rows).unwrap_or(0);
    let draw = match distribution {
        Distribution::Uniform => Draw::Uniform,
        Distribution::Normal => Draw::Normal,
    };
    let mut out = Vec::with_capacity(ty.len());
    for row in 0..rows {
        let example = coordinates.first().map_or(0, |first| first[row]);
        let inner =
            coordinates
                .iter()
                .skip(1)
                .zip(radices)
                .fold(0i64, |inner, (coordinate, &radix)| {
                    inner
                        .wrapping_mul(radix as i64)
                        .wrapping_add(coordinate[row])
                });
        let place = Place {
            key: key64(seed as u64, site),
            inner: inner as u32,
            example: example as u32,
            step: step as u32,
        };
        if ty.elem == Elem::F32 {
            let mut drawn = vec![0f32; event];
            fill_f32(draw, &place, 0, &mut drawn);
            out.extend(drawn.into_iter().map(f64::from));
        } else {
            let mut drawn = vec![0f64; event];
            fill_f64(draw, &place, 0, &mut drawn);
            out.extend(drawn);
        }
    }
    Array {
        dims: ty.dims.to_vec(),
        items: Items::Float(out),
    }
}
