//! The kernels of an op that fills its buffer part by part.

use crate::kernel::{Action, Spec};
use aec_ir::{Function, Inst, Op};

/// The kernels of an op that fills its buffer part by part.
pub(super) fn specs_of_parts(f: &Function, inst: Inst) -> Vec<Spec> {
    let data = &f.insts[inst];
    let result = data.results[0];
    let dims = f.dims(result).to_vec();
    let spec = |space: &[usize], action: Action| Spec {
        space: space.to_vec(),
        actions: vec![action],
        tile: None,
    };
    match &data.op {
        Op::Concat { axis } => {
            let mut start = 0;
            data.operands
                .iter()
                .map(|&x| {
                    let own = f.dims(x);
                    let at = (0..own.len())
                        .map(|a| (if a == *axis { start } else { 0 }, 1))
                        .collect();
                    start += own[*axis];
                    spec(
                        own,
                        Action::Place {
                            value: x,
                            into: result,
                            at,
                        },
                    )
                })
                .collect()
        }
        Op::Pad { low, interior, .. } => {
            let x = data.operands[0];
            let at = low
                .iter()
                .zip(interior)
                .map(|(&low, &interior)| (low, interior + 1))
                .collect();
            vec![
                spec(
                    &dims,
                    Action::Fill {
                        scalar: Some(data.operands[1]),
                        into: result,
                    },
                ),
                spec(
                    f.dims(x),
                    Action::Place {
                        value: x,
                        into: result,
                        at,
                    },
                ),
            ]
        }
        Op::ScatterAdd { .. } => {
            let pairs = data.operands.chunks_exact(2);
            let start = match pairs.remainder() {
                &[value] => Action::Place {
                    value,
                    into: result,
                    at: vec![(0, 1); dims.len()],
                },
                _ => Action::Fill {
                    scalar: None,
                    into: result,
                },
            };
            let mut specs = vec![spec(&dims, start)];
            specs.extend(
                pairs.enumerate().map(|(pair, operands)| {
                    spec(f.dims(operands[1]), Action::Scatter { inst, pair })
                }),
            );
            specs
        }
        Op::Put { .. } => {
            let start = Action::Place {
                value: data.operands[0],
                into: result,
                at: vec![(0, 1); dims.len()],
            };
            let rows = f.dims(data.operands[2]);
            vec![spec(&dims, start), spec(rows, Action::Put(inst))]
        }
        Op::CumSum { .. } => vec![spec(&dims, Action::CumSum(inst))],
        _ => Vec::new(),
    }
}
