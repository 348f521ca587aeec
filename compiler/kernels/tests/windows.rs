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
        (16, 2, 3, 3, 2),
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

/// What goes back through a layer of kernels to its pictures, `border` zeros of which are cut off.
fn way_back(
    size: usize,
    channels: usize,
    maps: usize,
    [kernel, stride, apart, border]: [usize; 4],
) -> String {
    let (c, o, k) = (channels, maps, kernel);
    let whole = size + 2 * border;
    let out = (whole - apart * (k - 1) - 1) / stride + 1;
    let end = size + border;
    let all = c * k * k;
    format!(
        "fn way_back(%0: f32[3,{o},{out},{out}], %1: f32[{o},{c},{k},{k}]) {{
  %2: f32[{o},{all}] = reshape %1
  %3: i64[{out},{k}] = iota 0
  %4: i64[{out},{k}] = iota 1
  %5: i64[3,{c},{out},{k}] = contract {stride}.0 %3[c,d] -> [a,b,c,d]
  %6: i64[3,{c},{out},{k}] = contract {apart}.0 %4[c,d] -> [a,b,c,d]
  %7: i64[3,{c},{out},{k}] = add %5, %6
  %8: f32[3,{out},{out},{all}] = contract 2.0 %2[e,d] %0[a,e,b,c] -> [a,b,c,d]
  %9: f32[3,{out},{out},{c},{k},{k}] = reshape %8
  %10: f32[3,{c},{out},{k},{out},{k}] = contract %9[a,e,c,b,f,d] -> [a,b,c,d,e,f]
  %11: f32[3,{c},{whole},{out},{k}] = scatter_add batch 2 %7, %10
  %12: f32[3,{c},{out},{k},{whole}] = contract %11[a,b,e,c,d] -> [a,b,c,d,e]
  %13: f32[3,{c},{whole},{whole}] = scatter_add batch 2 %7, %12
  %14: f32[3,{c},{size},{size}] = slice [0:3,0:{c},{border}:{end},{border}:{end}] %13
  %15: f32[3,{c},{size},{size}] = tanh %14
  return %15
}}
"
    )
}

#[test]
fn the_way_back_is_a_product_over_windows() {
    for (size, channels, maps, shape, [product, sums]) in [
        (9, 4, 5, [3, 1, 1, 1], [true, false]),
        (8, 5, 3, [5, 1, 1, 2], [true, false]),
        (9, 8, 2, [3, 1, 2, 2], [true, false]),
        (12, 6, 3, [2, 1, 1, 0], [true, false]),
        (12, 4, 7, [1, 1, 1, 0], [true, false]),
        // Zeros alone came in from the outer border, which is cut off afterwards.
        (9, 4, 5, [3, 1, 1, 3], [true, false]),
        // Two columns would fill no tile: the rows of windows are added up.
        (9, 2, 5, [3, 1, 1, 1], [true, true]),
        // Windows that leave places out.
        (9, 4, 5, [3, 2, 1, 1], [false, true]),
    ] {
        let text = way_back(size, channels, maps, shape);
        let plan = check(&parse(&text));
        let scatters = plan
            .kernels
            .values()
            .any(|kernel| kernel.name.contains("scatter"));
        assert_eq!(scatters, sums, "{text}\n{plan:?}");
        let said = plan
            .steps
            .iter()
            .any(|step| step.reason.contains("put onto one another"));
        assert_eq!(said, product, "{text}\n{plan:?}");
    }
}

/// A diagonal between the product and the sums is no order of axes.
#[test]
fn a_diagonal_of_windows_stays() {
    check(&parse(
        "fn diagonal(%0: f32[3,9,9,5], %1: f32[5,3,8]) {
  %2: f32[3,9,9,3,8] = contract %0[a,b,c,d] %1[d,e,f] -> [a,b,c,e,f]
  %3: f32[3,9,3,8] = contract %2[a,b,b,c,d] -> [a,b,c,d]
  %4: i64[3,9,3] = iota 1
  %5: i64[3,9,3] = iota 2
  %6: i64[3,9,3] = add %4, %5
  %7: f32[3,11,8] = scatter_add batch 1 %6, %3
  return %7
}
",
    ));
}
