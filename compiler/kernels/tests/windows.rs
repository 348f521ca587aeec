//! Windows of a picture are views: products read them where they are.

mod common;

use aec_kernels::plan::{Plan, StepKind};
use common::{check, counts, parse};

/// A layer of 3 x 3 kernels on two pictures, the gradients by the kernel and by the picture, and
/// the sums over windows.
fn layer(size: usize, channels: usize, maps: usize, stride: usize, apart: usize) -> String {
    let out = (size - 2 * apart - 1) / stride + 1;
    let list = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>().join(", ");
    let (c, o, s, k) = (channels, maps, size, 9 * channels);
    format!(
        "fn layer(%0: f32[2,{s},{s},{c}], %1: f32[{o},{k}], %2: f32[2,{out},{out},{o}]) {{
  %3: i64[{out}] = dense [{}]
  %4: i64[3] = dense [0, 1, 2]
  %5: i64[2,{out},3] = contract {stride}.0 %3[b] -> [a,b,c]
  %6: i64[2,{out},3] = contract {apart}.0 %4[c] -> [a,b,c]
  %7: i64[2,{out},3] = add %5, %6
  %8: f32[2,{out},3,{s},{c}] = gather batch 1 %0, %7
  %9: f32[2,{out},{s},3,{c}] = contract %8[a,b,d,c,e] -> [a,b,c,d,e]
  %10: i64[2,{out},{out},3] = contract {stride}.0 %3[c] -> [a,b,c,d]
  %11: i64[2,{out},{out},3] = contract {apart}.0 %4[d] -> [a,b,c,d]
  %12: i64[2,{out},{out},3] = add %10, %11
  %13: f32[2,{out},{out},3,3,{c}] = gather batch 2 %9, %12
  %14: f32[2,{out},{out},{k}] = reshape %13
  %15: f32[2,{out},{out},{o}] = contract %1[d,e] %14[a,b,c,e] -> [a,b,c,d]
  %16: f32[{o},{k}] = contract %2[c,d,e,a] %14[c,d,e,b] -> [a,b]
  %17: f32[{k},{o}] = contract %14[c,d,e,a] %2[c,d,e,b] -> [a,b]
  %18: f32[2,{out},{out}] = contract %14[a,b,c,d]^2 -> [a,b,c]
  return %15, %16, %17, %18
}}
",
        list(out),
    )
}

fn plain_operands(plan: &Plan) -> usize {
    let plain = |m: &aec_kernels::plan::Matrix| {
        usize::from(m.rows.uniform().is_some() && m.cols.uniform().is_some())
    };
    plan.steps
        .iter()
        .map(|step| match &step.kind {
            StepKind::Gemm(gemm) => plain(&gemm.a) + plain(&gemm.b),
            _ => 0,
        })
        .sum()
}

#[test]
fn convolutions_read_the_picture() {
    for (size, channels, maps, stride, apart) in [
        (9, 3, 4, 1, 1),
        (9, 1, 5, 2, 1),
        (11, 16, 8, 2, 1),
        (13, 2, 3, 3, 2),
        (8, 5, 37, 1, 1),
    ] {
        let text = layer(size, channels, maps, stride, apart);
        let plan = check(&parse(&text));
        // Three products and the sums: no matrix of the pieces.
        let (kernels, products, _) = counts(&plan);
        assert_eq!((kernels, products), (1, 3), "{text}\n{plan:?}");
        assert_eq!(plain_operands(&plan), 3, "{text}\n{plan:?}");
        assert!(plan.checks.is_empty(), "{text}");
    }
}
